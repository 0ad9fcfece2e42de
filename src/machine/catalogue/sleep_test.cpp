// Suspension to RAM through the whole PC, as a guest and its firmware see it.
#include <gtest/gtest.h>

#include "hw/acpi/piix4_pm.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/machine.h"

namespace menura {
namespace {

constexpr u16 kPm = 0x600;
constexpr u16 kPmSts = kPm, kPmEn = kPm + 2, kPmCntrl = kPm + 4;
constexpr u16 kWakeSts = 0x8000, kRtcSts = 0x0400, kPowerButtonSts = 0x0100;
constexpr u16 kSleepS3 = 1 << 10 | 1 << 13;

struct SleepTest : testing::Test {
  void build(MachineConfig config = {}) {
    config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
    auto built = Machine::build(std::move(config), catalogue());
    ASSERT_TRUE(built) << built.error().text;
    machine = std::move(built).value();
    const MachineLock::Guard guard(machine->lock());
    machine->observe([this](const MachineEvent& e) { events.push_back(e.name); });
    machine->cont();
  }
  void out(u16 port, unsigned size, u32 value) { machine->io().store({port}, size, value); }
  u32 in(u16 port, unsigned size) { return static_cast<u32>(machine->io().load({port}, size)); }
  // As firmware does: the PM registers at kPm.
  void place_pm() {
    out(0xcf8, 4, 0x8000'0b40);
    out(0xcfc, 4, kPm);
    out(0xcf8, 4, 0x8000'0b80);
    out(0xcfc, 1, 1);
  }
  u8 cmos(u8 index) {
    out(0x70, 1, index);
    return static_cast<u8>(in(0x71, 1));
  }
  void set_cmos(u8 index, u8 value) {
    out(0x70, 1, index);
    out(0x71, 1, value);
  }
  void suspend() {
    {
      const MachineLock::Guard guard(machine->lock());
      place_pm();
      machine->memory().store({0x5000}, 8, 0x1122'3344'5566'7788);
      set_cmos(0x0f, 0xfe);
      set_cmos(0x50, 0x77);
      out(kPmCntrl, 2, kSleepS3);
    }
    (void)machine->loop().run_once(0);
  }
  void expect_memory_survived() {
    EXPECT_EQ(machine->memory().load({0x5000}, 8), 0x1122'3344'5566'7788u);
    EXPECT_EQ(cmos(0x0f), 0xfe) << "tells the firmware to resume";
    EXPECT_EQ(cmos(0x50), 0x77);
  }

  std::unique_ptr<Machine> machine;
  std::vector<std::string> events;
};

TEST_F(SleepTest, ThePowerButtonWakes) {
  build();
  suspend();
  ASSERT_EQ(machine->run_state(), RunState::Suspended);
  {
    const MachineLock::Guard guard(machine->lock());
    out(0x80, 1, 0x55);
  }
  machine->request_power_button();
  (void)machine->loop().run_once(0);
  ASSERT_EQ(machine->run_state(), RunState::Running);
  const MachineLock::Guard guard(machine->lock());
  expect_memory_survived();
  EXPECT_EQ(in(0x80, 1), 0u) << "the chips were reset";
  place_pm();
  EXPECT_EQ(in(kPmSts, 2) & (kWakeSts | kPowerButtonSts | kRtcSts),
            unsigned{kWakeSts | kPowerButtonSts});
  EXPECT_EQ(events, (std::vector<std::string>{"RESUME", "STOP", "SUSPEND", "POWERDOWN", "WAKEUP",
                                              "RESUME"}));
}

TEST_F(SleepTest, TheClocksAlarmWakesIfTheGuestWantsIt) {
  build();
  {
    const MachineLock::Guard guard(machine->lock());
    place_pm();
    out(kPmEn, 2, kRtcSts);
    for (const u8 alarm : {0x01, 0x03, 0x05}) set_cmos(alarm, 0xff);  // every second
    set_cmos(0x0b, 0x22);
  }
  suspend();
  ASSERT_EQ(machine->run_state(), RunState::Suspended);
  for (int i = 0; i < 50 && machine->run_state() == RunState::Suspended; i++)
    (void)machine->loop().run_once(100'000'000);
  ASSERT_EQ(machine->run_state(), RunState::Running);
  const MachineLock::Guard guard(machine->lock());
  expect_memory_survived();
  place_pm();
  EXPECT_EQ(in(kPmSts, 2) & (kWakeSts | kPowerButtonSts | kRtcSts), unsigned{kWakeSts | kRtcSts});
}

TEST_F(SleepTest, WithoutS3TheGuestStaysAwake) {
  MachineConfig config;
  Value off = Value::object();
  off.set("disable_s3", true);
  config.globals.push_back({.name = "PIIX4_PM", .id = {}, .options = off});
  build(std::move(config));
  suspend();
  EXPECT_EQ(machine->run_state(), RunState::Running);
}

}  // namespace
}  // namespace menura
