#include "hw/net/e1000_statistics.h"

#include <limits>

#include "hw/net/frames.h"

namespace menura {

namespace {

// With FCS: up to 64, 127, 255, 511, 1023, and more.
u32 size_class(size_t size) {
  constexpr size_t kLimits[] = {64, 127, 255, 511, 1023};
  u32 at = 0;
  while (at < std::size(kLimits) && size > kLimits[at]) at++;
  return at * 4;
}

}  // namespace

void E1000Statistics::add(u32 offset, u32 value) {
  u32& word = words_[offset / 4];
  word = value > std::numeric_limits<u32>::max() - word ? std::numeric_limits<u32>::max()
                                                        : word + value;
}

void E1000Statistics::add_octets(u32 offset, u64 value) {
  const u64 sum = (words_[offset / 4] | u64{words_[offset / 4 + 1]} << 32) + value;
  words_[offset / 4] = static_cast<u32>(sum);
  words_[offset / 4 + 1] = static_cast<u32>(sum >> 32);
}

void E1000Statistics::received(ConstBytes frame) {
  const MacAddress to = destination_of(frame);
  const size_t size = frame.size() + kFcs;
  add(kGprc, 1);
  add(kTpr, 1);
  add_octets(kGorc, size);
  add_octets(kTor, size);
  add(kPrc + size_class(size), 1);
  if (is_broadcast(to))
    add(kBprc, 1);
  else if (is_multicast(to))
    add(kMprc, 1);
}

void E1000Statistics::sent(ConstBytes frame) {
  const MacAddress to = destination_of(frame);
  const size_t size = frame.size() + kFcs;
  add(kGptc, 1);
  add(kTpt, 1);
  add_octets(kGotc, size);
  add_octets(kTot, size);
  add(kPtc + size_class(size), 1);
  if (is_broadcast(to))
    add(kBptc, 1);
  else if (is_multicast(to))
    add(kMptc, 1);
}

bool E1000Statistics::is_upper_half(u32 offset) {
  for (const u32 low : {u32{kGorc}, u32{kGotc}, u32{kTor}, u32{kTot}})
    if (offset == low + 4) return true;
  return false;
}

// Of the octets' two halves, reading the upper clears both.
u32 E1000Statistics::read(u32 offset) {
  const u32 value = words_[offset / 4];
  const bool lower = is_upper_half(offset + 4);
  if (!lower) words_[offset / 4] = 0;
  if (is_upper_half(offset)) words_[offset / 4 - 1] = 0;
  return value;
}

}  // namespace menura
