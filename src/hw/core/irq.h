// Interrupt pins: a line carries a level from one output to one input.
//
// Owner: the driving device owns the IrqLine (a value); the sink belongs to the receiving chip.
// Threads: under the machine lock. The status tells a level's fate, so that the RTC and the PIT can
// count lost ticks. Example: `irq_.set(true);` with `IrqLine irq_{pic, 0}` given by the board.
#pragma once

#include <functional>

#include "base/types.h"

namespace menura {

// As KVM_IRQ_LINE_STATUS reports it.
enum class IrqStatus {
  Ignored,    // masked, or no change
  Coalesced,  // an interrupt of this line was still pending
  Delivered,
};

class IrqSink {
 public:
  virtual ~IrqSink() = default;
  // pin is the sink's own numbering.
  virtual IrqStatus set_irq(unsigned pin, bool level) = 0;
};

class IrqLine {
 public:
  IrqLine() = default;  // not connected
  IrqLine(IrqSink& sink, unsigned pin) : sink_(&sink), pin_(pin) {}

  bool connected() const { return sink_ != nullptr; }
  bool level() const { return level_; }
  IrqStatus set(bool level) {
    level_ = level;
    return sink_ ? sink_->set_irq(pin_, level) : IrqStatus::Ignored;
  }
  IrqStatus raise() { return set(true); }
  IrqStatus lower() { return set(false); }
  // A rising and falling edge.
  IrqStatus pulse() {
    const IrqStatus status = set(true);
    set(false);
    return status;
  }
  // After a load: the level as it stood, without an edge; the sink restored its own view of it.
  void import(bool level) { level_ = level; }

 private:
  IrqSink* sink_ = nullptr;
  unsigned pin_ = 0;
  bool level_ = false;
};

// A sink made of a function: wiring on the board, and pins watched by tests.
class IrqFunction final : public IrqSink {
 public:
  explicit IrqFunction(std::function<IrqStatus(unsigned pin, bool level)> on_level)
      : on_level_(std::move(on_level)) {}
  IrqStatus set_irq(unsigned pin, bool level) override { return on_level_(pin, level); }

 private:
  std::function<IrqStatus(unsigned, bool)> on_level_;
};

// Several outputs on one input: the OR of their levels (shared PCI interrupts).
class IrqOr final : public IrqSink {
 public:
  explicit IrqOr(IrqLine output) : output_(output) {}
  // pin is the input's number, below 64.
  IrqStatus set_irq(unsigned pin, bool level) override {
    const u64 mask = u64{1} << pin;
    levels_ = level ? levels_ | mask : levels_ & ~mask;
    return output_.set(levels_ != 0);
  }
  u64 levels() const { return levels_; }
  // After a load.
  void import(u64 levels) {
    levels_ = levels;
    output_.import(levels != 0);
  }

 private:
  IrqLine output_;
  u64 levels_ = 0;
};

}  // namespace menura
