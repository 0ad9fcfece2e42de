// SystemPorts: the PC's loose bits: system control ports A (92h) and B (61h), and the POST code
// port (80h).
//
// Owner: the board. Threads: under the machine lock. Source: Intel 82371AB (PIIX4) data sheet §9.2,
// IBM PC/AT and PS/2 technical references. Port 61h's timer side is the PIT's counter 2, given as
// two functions. Example:
//   SystemPorts ports("ports", time, {.set_gate2 = ..., .out2 = ..., .set_a20 = ..., .reset = ...});
#pragma once

#include <functional>

#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/window.h"
#include "memory/region.h"

namespace menura {

class SystemPorts final : public Device {
 public:
  struct Wires {
    std::function<void(bool gate)> set_gate2;  // PIT counter 2's gate
    std::function<bool()> out2;                // its output
    std::function<void(bool on)> set_speaker = {};
    std::function<void(bool on)> set_a20;  // fast A20
    std::function<void()> reset;           // fast reset (port 92h bit 0)
  };
  SystemPorts(std::string id, TimerQueue& time, Wires wires);

  std::string_view type() const override { return "isa-system-ports"; }
  Region& port61() { return port61_; }
  Region& port92() { return port92_; }
  Region& port80() { return port80_; }
  u8 post_code() const { return post_code_; }
  bool a20() const { return port92_value_ & 2; }

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  u64 read61(Access access);
  void write61(Access access, u64 value);
  u64 read92(Access) { return port92_value_; }
  void write92(Access access, u64 value);
  u64 read80(Access) { return post_code_; }
  void write80(Access access, u64 value);

  // Wiring
  TimerQueue& time_;
  Wires wires_;
  Window<SystemPorts> window61_{*this, &SystemPorts::read61, &SystemPorts::write61};
  Window<SystemPorts> window92_{*this, &SystemPorts::read92, &SystemPorts::write92};
  Window<SystemPorts> window80_{*this, &SystemPorts::read80, &SystemPorts::write80};
  Region port61_ = Region::mmio("port61", 1, window61_, {.handler_max = 1});
  Region port92_ = Region::mmio("port92", 1, window92_, {.handler_max = 1});
  Region port80_ = Region::mmio("port80", 1, window80_, {.handler_max = 1});

  // State
  u8 port61_value_ = 0;  // bits 0-3
  u8 port92_value_ = 0;
  u8 post_code_ = 0;
};

}  // namespace menura
