#include "event/tape.h"

#include <time.h>

#include "base/random.h"
#include "base/units.h"

namespace menura {

namespace {

i64 read_clock(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<i64>(t.tv_sec) * kNsPerSecond + t.tv_nsec;
}

}  // namespace

i64 LiveTape::host_clock_ns() { return read_clock(CLOCK_MONOTONIC); }

i64 LiveTape::wall_clock_ns() { return read_clock(CLOCK_REALTIME); }

void LiveTape::random(Bytes out) { fill_random(out); }

// xorshift64: reproducible, not secret.
void ScriptedTape::random(Bytes out) {
  for (std::byte& b : out) {
    random_state_ ^= random_state_ << 13;
    random_state_ ^= random_state_ >> 7;
    random_state_ ^= random_state_ << 17;
    b = static_cast<std::byte>(random_state_ >> 32);
  }
}

}  // namespace menura
