// ResetControl: the reset control register at port CF9h, which lies behind CONFADD (RCR of the
// PIIX3, RST_CNT of the ICH9).
//
// Owner: an ISA bridge (a member). Threads: under the machine lock. Source: 82371SB data sheet 290550
// §2.5.5, ICH9 data sheet 316972 §13.7.5. The request is asynchronous: the guest's write completes
// first. Example: `ResetControl rcr_{0x06, request};   ports.set_behind(&rcr_);`
#pragma once

#include <functional>

#include "memory/mmio.h"
#include "state/visitor.h"

namespace menura {

class ResetControl final : public MmioHandler {
 public:
  enum class Kind : u8 {
    Soft,  // INIT to the processor
    Hard,  // CPURST, PCIRST# and RSTDRV: everything
  };

  ResetControl(u8 writable, std::function<void(Kind)> request)
      : writable_(writable), request_(std::move(request)) {}

  // What CF8h..CFBh look like to accesses that CONFADD leaves: the register is at offset 1.
  u64 read(Access access) override { return access.offset == kOffset ? value_ : 0xff; }
  void write(Access access, u64 value) override {
    if (access.offset != kOffset) return;
    const u8 before = value_;
    value_ = static_cast<u8>(value) & writable_;
    if ((value_ & kRcpu) != 0 && (before & kRcpu) == 0)
      request_((value_ & kSrst) != 0 ? Kind::Hard : Kind::Soft);
  }
  void reset() { value_ = 0; }
  void describe(StateVisitor& v) { v.field("value", value_); }

 private:
  static constexpr u64 kOffset = 1;
  static constexpr u8 kSrst = 1 << 1, kRcpu = 1 << 2;

  // Configuration
  const u8 writable_;
  // Wiring
  const std::function<void(Kind)> request_;
  // State
  u8 value_ = 0;
};

}  // namespace menura
