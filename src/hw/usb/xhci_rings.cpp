#include "hw/usb/xhci_rings.h"

#include <array>

#include "base/bytes.h"

namespace menura {

namespace {

constexpr unsigned kMostLinks = 8;
constexpr u32 kLeastSegment = 16, kMostSegment = 4096;
constexpr u64 kSegmentEntry = 16;

}  // namespace

XhciRing::Fetch XhciRing::next(const XhciDma& dma, XhciTrb& block) {
  for (unsigned links = 0; links <= kMostLinks; links++) {
    std::array<std::byte, XhciTrb::kSize> raw;
    if (!dma.read_ok(dequeue, raw)) return Fetch::Bad;
    block = {.at = dequeue,
             .parameter = load_le<u64>(raw, 0),
             .status = load_le<u32>(raw, 8),
             .control = load_le<u32>(raw, 12)};
    if (((block.control & trb::kCycle) != 0) != cycle) return Fetch::Empty;
    if (block.type() != trb::kLink) {
      dequeue += XhciTrb::kSize;
      return Fetch::Block;
    }
    dequeue = block.parameter & ~u64{0xf};
    if (block.control & trb::kToggle) cycle = !cycle;
  }
  return Fetch::Bad;
}

void XhciRing::describe(StateVisitor& v) {
  v.field("dequeue", dequeue);
  v.field("cycle", cycle);
}

void XhciInterrupter::describe(StateVisitor& v) {
  v.field("iman", iman);
  v.field("imod", imod);
  v.field("erstsz", erstsz);
  v.field("erstba", erstba);
  v.field("erdp", erdp);
  v.field("segment", segment);
  v.field("index", index);
  v.field("segment_size", segment_size);
  v.field("segment_base", segment_base);
  v.field("cycle", cycle);
  v.field("full", full);
}

bool XhciInterrupter::load_segment(const XhciDma& dma, u32 number, u64& base, u32& size) const {
  std::array<std::byte, kSegmentEntry> raw;
  if (!dma.read_ok(erstba + kSegmentEntry * number, raw)) return false;
  base = load_le<u64>(raw, 0) & ~u64{0x3f};
  size = load_le<u32>(raw, 8) & 0xffff;
  return size >= kLeastSegment && size <= kMostSegment;
}

bool XhciInterrupter::begin(const XhciDma& dma) {
  segment = index = segment_size = 0;
  cycle = true;
  full = false;
  if (erstsz == 0) return true;
  return load_segment(dma, 0, segment_base, segment_size);
}

bool XhciInterrupter::write(const XhciDma& dma, const XhciTrb& event) const {
  std::array<std::byte, XhciTrb::kSize> raw;
  store_le(Bytes(raw), 0, event.parameter);
  store_le(Bytes(raw), 8, event.status);
  store_le<u32>(Bytes(raw), 12, (event.control & ~u32{trb::kCycle}) | (cycle ? trb::kCycle : 0u));
  return dma.write_ok(enqueue(), raw);
}

// §4.9.4: the ring is full when but one place is left, which takes the event that says so.
XhciInterrupter::Post XhciInterrupter::post(const XhciDma& dma, XhciTrb event) {
  if (segment_size == 0 || full) return Post::Lost;
  u32 next_segment = segment, next_index = index + 1, next_size = segment_size;
  u64 next_base = segment_base;
  if (next_index >= segment_size) {
    next_index = 0;
    next_segment = segment + 1 < erstsz ? segment + 1 : 0;
    if (!load_segment(dma, next_segment, next_base, next_size)) return Post::Bad;
  }
  if (next_base + u64{next_index} * XhciTrb::kSize == (erdp & ~u64{0xf})) {
    full = true;
    event = {.status = u32{trb::kEventRingFull} << 24, .control = u32{trb::kHostController} << 10};
  }
  if (!write(dma, event)) return Post::Bad;
  // Back at the first segment, the producer's cycle turns.
  if (next_index == 0 && next_segment == 0) cycle = !cycle;
  segment = next_segment;
  index = next_index;
  segment_size = next_size;
  segment_base = next_base;
  return Post::Posted;
}

}  // namespace menura
