// The conformance checks themselves: a good device passes, each kind of bad one is found.
#include "hw/core/device_conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/core/register_file.h"

namespace menura {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

enum class Fault { None, ForgetsReset, ForgetsState, ForgetsTimer };

enum class Reg : u8 { Control, Period, Count };
constexpr RegisterTable<Reg, 3> kRegs{{{
    {Reg::Control, 0, 1, "control", 0x10, 0x0f},
    {Reg::Period, 2, 2, "period", 100, 0xffff},
    {Reg::Count, 8, 4, "count", 0, 0},
}}};

// A ticker: counts while bit 0 of control is set, every `period` nanoseconds.
class Ticker final : public Device, public MmioHandler {
 public:
  Ticker(TestMachine& machine, Fault fault)
      : Device("ticker"),
        fault_(fault),
        timer_(machine.time, [this] { tick(); }),
        time_(machine.time) {}

  std::string_view type() const override { return "test-ticker"; }
  void reset(ResetKind) override {
    const u64 period = regs_.get(Reg::Period);
    regs_.reset();
    timer_.cancel();
    hidden_ = 0;
    if (fault_ == Fault::ForgetsReset) regs_.set(Reg::Period, period);
  }
  void describe(StateVisitor& v) override {
    v.field("registers", regs_);
    if (fault_ != Fault::ForgetsTimer) v.field("timer", timer_);
    if (fault_ != Fault::ForgetsState) v.field("hidden", hidden_);
  }
  u64 read(Access access) override {
    return regs_.read(access, [this](Reg reg) {
      return reg == Reg::Count ? regs_.get(reg) + hidden_ : regs_.get(reg);
    });
  }
  void write(Access access, u64 value) override {
    hidden_++;
    regs_.write(access, value, [this](Reg reg, u64 now, u64 mask) {
      regs_.set_writable(reg, now, mask);
      const bool on = regs_.get(Reg::Control) & 1;
      if (!on)
        timer_.cancel();
      else if (!timer_.armed())
        arm();
    });
  }
  Region registers_ = Region::mmio("ticker", 12, *this);

 private:
  void arm() {
    timer_.arm(time_.now_ns() + std::max<i64>(1, static_cast<i64>(regs_.get(Reg::Period))));
  }
  void tick() {
    regs_.set(Reg::Count, regs_.get(Reg::Count) + 1);
    arm();
  }

  // Configuration
  Fault fault_;
  // State
  RegisterFile<Reg, 3> regs_{kRegs};
  u64 hidden_ = 0;
  Timer timer_;
  TimerQueue& time_;
};

template <Fault kFault>
struct Rig final : ConformanceRig {
  Rig() { machine.io_root.map(0x300, ticker.registers_); }
  Device& device() override { return ticker; }
  Ticker ticker{machine, kFault};
};

TEST(DeviceConformance, AGoodDevicePasses) {
  EXPECT_THAT(conformance_problems<Rig<Fault::None>>(), IsEmpty());
  survive_hostile_states<Rig<Fault::None>>();
}

TEST(DeviceConformance, AResetThatForgetsIsFound) {
  EXPECT_THAT(
      conformance_problems<Rig<Fault::ForgetsReset>>(),
      Contains(HasSubstr("reset after a wild guest: ticker.registers.period: 0x64 became")));
}

TEST(DeviceConformance, AStateThatForgetsIsFound) {
  EXPECT_THAT(conformance_problems<Rig<Fault::ForgetsState>>(),
              Contains(HasSubstr("reading the loaded twin: read ")));
  EXPECT_THAT(conformance_problems<Rig<Fault::ForgetsTimer>>(),
              Contains(HasSubstr("the twin left alone: ticker.registers.count")));
}

TEST(DeviceConformanceDeathTest, ATimerWithoutTimeIsFound) {
  TestMachine machine;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(machine.time, [&] { timer->arm(machine.time.now_ns()); });
  timer->arm(5);
  EXPECT_DEATH(machine.step_ns(10), "without time passing");
}

}  // namespace
}  // namespace menura
