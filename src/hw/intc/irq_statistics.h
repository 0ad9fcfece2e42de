// IrqStatistics: stands in front of the interrupt controllers and counts how often each line rose
// and how often that was too early (coalesced). One observer may watch the levels.
//
// Owner: the board; every device's line goes through it. Threads: under the machine lock.
// Example: `IrqStatistics irqs(gsi);  IrqLine com1{irqs, 4};  irqs.line(4).raised`
#pragma once

#include <functional>
#include <vector>

#include "hw/core/irq.h"

namespace menura {

class IrqStatistics final : public IrqSink {
 public:
  struct Line {
    u64 raised = 0;
    u64 coalesced = 0;
    bool level = false;
  };

  explicit IrqStatistics(IrqSink& next) : next_(next) {}

  IrqStatus set_irq(unsigned pin, bool level) override {
    if (pin >= lines_.size()) lines_.resize(pin + 1);
    if (observer_) observer_(pin, level);
    const IrqStatus status = next_.set_irq(pin, level);
    Line& line = lines_[pin];
    if (level && !line.level) line.raised++;
    if (level && status == IrqStatus::Coalesced) line.coalesced++;
    line.level = level;
    return status;
  }
  Line line(unsigned pin) const { return pin < lines_.size() ? lines_[pin] : Line{}; }
  size_t size() const { return lines_.size(); }
  // Told of every level that is driven, until another is set; empty: nobody.
  void watch(std::function<void(unsigned pin, bool level)> observer) {
    observer_ = std::move(observer);
  }

 private:
  IrqSink& next_;
  std::function<void(unsigned, bool)> observer_;
  std::vector<Line> lines_;
};

}  // namespace menura
