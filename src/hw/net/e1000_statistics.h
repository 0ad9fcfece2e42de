// E1000Statistics: the counters of Intel's cards, which reading clears.
//
// Owner: the card (a member). Threads: under the machine lock. Source: Intel SDM 317453 §13.7.
// Offsets are relative to the first counter's register (4000h). Example:
//   statistics_.sent(frame);   u32 value = statistics_.read(0x74);
#pragma once

#include <array>

#include "base/types.h"
#include "state/visitor.h"

namespace menura {

class E1000Statistics {
 public:
  static constexpr u32 kBytes = 0x100;

  void reset() { words_ = {}; }
  void received(ConstBytes frame);
  void sent(ConstBytes frame);
  void segmented(u32 packets) { add(kTsctc, packets); }
  void missed() { add(kMpc, 1), add(kRnbc, 1); }
  void too_long() { add(kRoc, 1); }
  // The register at a multiple of 4.
  u32 read(u32 offset);
  void describe(StateVisitor& v) { v.field("words", words_); }

 private:
  enum : u32 {
    kMpc = 0x10,
    kPrc = 0x5c,  // and five more by size
    kGprc = 0x74,
    kBprc = 0x78,
    kMprc = 0x7c,
    kGptc = 0x80,
    kGorc = 0x88,
    kGotc = 0x90,
    kRnbc = 0xa0,
    kRoc = 0xac,
    kTor = 0xc0,
    kTot = 0xc8,
    kTpr = 0xd0,
    kTpt = 0xd4,
    kPtc = 0xd8,  // and five more by size
    kMptc = 0xf0,
    kBptc = 0xf4,
    kTsctc = 0xf8,
  };
  static bool is_upper_half(u32 offset);
  // Stops at its largest value.
  void add(u32 offset, u32 value);
  void add_octets(u32 offset, u64 value);

  // State
  std::array<u32, kBytes / 4> words_{};
};

}  // namespace menura
