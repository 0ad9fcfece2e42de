#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/watchdog/i6300esb.h"
#include "hw/watchdog/ib700.h"

namespace menura {
namespace {

using testing::IsEmpty;

// As Linux's i6300esb driver programs it: 1 kHz clock, no interrupt, both stages alike.
struct EsbRig : PciTestBus {
  static constexpr u32 kBar = 0xe000'0000;
  EsbRig() {
    bus.add(watchdog, PciBus::devfn(5, 0)).value();
    watchdog.reset(ResetKind::PowerOn);
    watchdog.config_write(pci::kBar0, 4, kBar);
    watchdog.config_write(pci::kCommand, 2, pci::kCommandMemory);
    watchdog.config_write(0x60, 2, 3);
  }
  void unlocked(u64 offset, unsigned size, u32 value) {
    machine.write_mem(kBar + 0xc, 2, 0x80);
    machine.write_mem(kBar + 0xc, 2, 0x86);
    machine.write_mem(kBar + offset, size, value);
  }
  void set_seconds(u32 seconds) {
    unlocked(0, 4, seconds << 9);
    unlocked(4, 4, seconds << 9);
  }
  void step_ms(i64 ms) { machine.step_ns(ms * kNsPerMs); }

  unsigned timeouts = 0;
  I6300Esb watchdog{"wdt", machine.time, [this] { timeouts++; }};
};

TEST(I6300EsbTest, TwoStagesThenTheEnd) {
  EsbRig rig;
  rig.set_seconds(30);
  rig.watchdog.config_write(0x68, 1, 2);
  rig.step_ms(29'000);
  EXPECT_EQ(rig.timeouts, 0u);
  EXPECT_EQ(rig.machine.read_mem(EsbRig::kBar + 8, 4), 1u);  // the first stage is over
  rig.step_ms(3'000);
  EXPECT_EQ(rig.timeouts, 1u);
  EXPECT_EQ(rig.machine.read_mem(EsbRig::kBar + 0xc, 2), 0x200u);
  // The flag tells the next boot, unless the power went.
  rig.watchdog.reset(ResetKind::System);
  rig.watchdog.config_write(pci::kBar0, 4, EsbRig::kBar);
  rig.watchdog.config_write(pci::kCommand, 2, pci::kCommandMemory);
  EXPECT_EQ(rig.machine.read_mem(EsbRig::kBar + 0xc, 2), 0x200u);
  rig.unlocked(0xc, 2, 0x200);
  EXPECT_EQ(rig.machine.read_mem(EsbRig::kBar + 0xc, 2), 0u);
}

TEST(I6300EsbTest, AReloadStartsAnewAndDisablingStops) {
  EsbRig rig;
  rig.set_seconds(10);
  rig.watchdog.config_write(0x68, 1, 2);
  for (int i = 0; i < 20; i++) {
    rig.step_ms(8'000);
    rig.unlocked(0xc, 2, 0x100);
  }
  EXPECT_EQ(rig.timeouts, 0u);
  rig.watchdog.config_write(0x68, 1, 0);
  rig.step_ms(60'000);
  EXPECT_EQ(rig.timeouts, 0u);
}

TEST(I6300EsbTest, RegistersWantTheUnlockingPairAndTheLockHolds) {
  EsbRig rig;
  rig.set_seconds(10);
  rig.machine.write_mem(EsbRig::kBar, 4, 1);  // without the pair
  rig.machine.write_mem(EsbRig::kBar + 0xc, 2, 0x86);
  rig.machine.write_mem(EsbRig::kBar, 4, 1);  // half of it
  rig.watchdog.config_write(0x68, 1, 3);      // enabled and locked
  rig.watchdog.config_write(0x68, 1, 0);
  EXPECT_EQ(rig.watchdog.config_read(0x68, 1), 3u);
  rig.step_ms(9'000);
  EXPECT_EQ(rig.timeouts, 0u);
  rig.step_ms(2'000);
  EXPECT_EQ(rig.timeouts, 1u);
}

struct EsbConformance final : PciConformanceRig {
  EsbConformance() { plug(watchdog, PciBus::devfn(5, 0)); }
  std::vector<std::string> battery_backed() override { return {"timed_out"}; }
  I6300Esb watchdog{"wdt", machine.time, [] {}};
};

TEST(I6300EsbTest, Conforms) {
  PciTestBus rig;
  I6300Esb watchdog("wdt", rig.machine.time, [] {});
  rig.bus.add(watchdog, PciBus::devfn(5, 0)).value();
  EXPECT_THAT(check_pci_function(watchdog, {{0x68, 1}}), IsEmpty());
  EXPECT_THAT(conformance_problems<EsbConformance>(), IsEmpty());
  survive_hostile_states<EsbConformance>();
}

struct IbRig final : ConformanceRig {
  IbRig() { machine.io_root.map(Ib700::kBase, watchdog.ports()); }
  Device& device() override { return watchdog; }
  unsigned timeouts = 0;
  Ib700 watchdog{"wdt", machine.time, [this] { timeouts++; }};
};

TEST(Ib700Test, CountsTheSecondsOfItsTable) {
  IbRig rig;
  rig.machine.out8(0x443, 0);
  rig.machine.step_ns(29 * kNsPerSecond);
  EXPECT_EQ(rig.timeouts, 0u);
  rig.machine.out8(0x443, 0xe);  // anew: two seconds
  rig.machine.step_ns(2 * kNsPerSecond);
  EXPECT_EQ(rig.timeouts, 1u);
  rig.machine.out8(0x443, 0xa);
  rig.machine.out8(0x441, 0);
  rig.machine.step_ns(60 * kNsPerSecond);
  EXPECT_EQ(rig.timeouts, 1u);
}

TEST(Ib700Test, Conforms) {
  EXPECT_THAT(conformance_problems<IbRig>(), IsEmpty());
  survive_hostile_states<IbRig>();
}

}  // namespace
}  // namespace menura
