// Expectations are from the ICH9 data sheet (316972 §13 and §20).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/acpi/ich9_lpc.h"
#include "hw/acpi/ich9_smbus.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr u16 kPm = 0x600;
constexpr unsigned kSci = 9, kFirstGsi = 16, kIsa = 100;

Ich9LpcWiring wiring(TestMachine& machine) {
  Ich9LpcWiring wiring{.time = machine.time, .isa_irqs = {}, .gsis = {}, .sci = machine.pin(kSci)};
  for (unsigned i = 0; i < 16; i++) wiring.isa_irqs[i] = machine.pin(kIsa + i);
  for (unsigned i = 0; i < 8; i++) wiring.gsis[i] = machine.pin(kFirstGsi + i);
  return wiring;
}

struct Rig : PciTestBus {
  explicit Rig(bool smm = true) {
    Ich9LpcWiring w = wiring(machine);
    w.on_sleep = [this](SleepState state) { sleeps.push_back(state); };
    if (smm) w.smi = [this] { smis++; };
    w.request_reset = [this](ResetControl::Kind kind) { resets.push_back(kind); };
    lpc.emplace("lpc", std::move(w), SleepConfig{});
    bus.add(*lpc, PciBus::devfn(31, 0)).value();
    machine.io_root.map(0xb2, lpc->apm_ports());
    lpc->reset(ResetKind::PowerOn);
    lpc->config_write(0x40, 4, kPm | 1);
    lpc->config_write(0x44, 1, 0x80);
  }
  ~Rig() { bus.remove(*lpc); }
  std::vector<SleepState> sleeps;
  std::vector<ResetControl::Kind> resets;
  int smis = 0;
  std::optional<Ich9Lpc> lpc;
};

struct LpcRig final : PciConformanceRig {
  LpcRig() { plug(lpc, PciBus::devfn(31, 0)); }
  Ich9Lpc lpc{"lpc",
              [this] {
                Ich9LpcWiring w = wiring(machine);
                w.on_sleep = [](SleepState) {};
                w.smi = [] {};
                w.request_reset = [](ResetControl::Kind) {};
                return w;
              }(),
              {}};
};

struct SmbusRig final : PciConformanceRig {
  SmbusRig() { plug(smbus, PciBus::devfn(31, 3)); }
  Ich9Smbus smbus{"smbus"};
};

TEST(Ich9Lpc, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(*rig.lpc), IsEmpty());
  EXPECT_THAT(conformance_problems<LpcRig>(), IsEmpty());
  survive_hostile_states<LpcRig>();
}

TEST(Ich9Lpc, RoutesToBothInterruptControllers) {
  Rig rig;
  EXPECT_EQ(rig.lpc->config_read(0x60, 4), 0x8080'8080u);
  EXPECT_EQ(rig.lpc->config_read(0x68, 4), 0x8080'8080u);
  (void)rig.lpc->set_irq(5, true);
  EXPECT_TRUE(rig.machine.pin_level(kFirstGsi + 5));
  rig.lpc->config_write(0x69, 1, 11);  // PIRQF
  EXPECT_TRUE(rig.machine.pin_level(kIsa + 11));
  rig.lpc->config_write(0x60, 1, 11);  // PIRQA shares it
  (void)rig.lpc->set_irq(0, true);
  (void)rig.lpc->set_irq(5, false);
  EXPECT_TRUE(rig.machine.pin_level(kIsa + 11));
  EXPECT_FALSE(rig.machine.pin_level(kFirstGsi + 5));
  (void)rig.lpc->set_irq(0, false);
  EXPECT_FALSE(rig.machine.pin_level(kIsa + 11));
  rig.lpc->config_write(0x60, 1, 2);  // a reserved code
  EXPECT_EQ(rig.lpc->route(0), -1);
}

TEST(Ich9Lpc, PowerManagementPorts) {
  Rig rig;
  rig.machine.out8(0xb2, Pm1Block::kAcpiEnable);
  EXPECT_EQ(rig.machine.in16(kPm + 4) & 1, 1);
  rig.machine.out16(kPm + 2, 1 << 8);
  rig.lpc->pm1().press_power_button();
  EXPECT_TRUE(rig.machine.pin_level(kSci));
  rig.machine.out16(kPm, 1 << 8);
  EXPECT_FALSE(rig.machine.pin_level(kSci));
  rig.machine.out16(kPm + 4, 0x2001);
  rig.machine.out16(kPm + 4, 0x2401);
  EXPECT_THAT(rig.sleeps, ElementsAre(SleepState::S5, SleepState::S3));
  rig.lpc->config_write(0x40, 4, 0xb001);
  EXPECT_EQ(rig.machine.in16(kPm + 4), 0xffff);
  EXPECT_EQ(rig.machine.in16(0xb004) & 1, 1);
  rig.lpc->config_write(0x44, 1, 0);
  EXPECT_EQ(rig.lpc->pm_base(), 0);
  EXPECT_EQ(rig.machine.in16(0xb004), 0xffff);
}

TEST(Ich9Lpc, SmiByCommand) {
  Rig rig;
  rig.machine.out8(0xb2, 0x42);
  EXPECT_EQ(rig.smis, 0);
  rig.machine.out32(kPm + 0x30, 0x21);
  rig.machine.out8(0xb2, 0x42);
  EXPECT_EQ(rig.smis, 1);
  EXPECT_EQ(rig.machine.in32(kPm + 0x34), 0x20u);
  rig.lpc->config_write(0xa0, 1, 0x10);  // SMI_LOCK
  rig.machine.out32(kPm + 0x30, 0x20);
  EXPECT_EQ(rig.machine.in32(kPm + 0x30), 0x21u);
}

TEST(Ich9Lpc, WithoutSmmThereIsNothingToSetUp) {
  Rig rig(false);
  EXPECT_EQ(rig.machine.in32(kPm + 0x30) & 0x20, 0x20u);
  EXPECT_EQ(rig.machine.in16(kPm + 4) & 1, 1);
}

TEST(Ich9Lpc, RoundTrip) {
  Rig rig, twin;
  rig.lpc->config_write(0x60, 1, 10);
  (void)rig.lpc->set_irq(0, true);
  rig.machine.out32(kPm + 0x28, 0x55);
  EXPECT_THAT(TestMachine::round_trip(*rig.lpc, *twin.lpc), IsEmpty());
  EXPECT_EQ(twin.machine.pin_rises(kIsa + 10), 0u);  // no edge from a load
  (void)twin.lpc->set_irq(0, false);
  EXPECT_FALSE(twin.machine.pin_level(kIsa + 10));
}

TEST(Ich9Smbus, ConformsAndNeedsItsEnableBit) {
  PciTestBus rig;
  Ich9Smbus smbus("smbus");
  rig.bus.add(smbus, PciBus::devfn(31, 3)).value();
  smbus.reset(ResetKind::PowerOn);
  EXPECT_THAT(check_pci_function(smbus), IsEmpty());
  smbus.config_write(0x20, 4, 0x700);
  smbus.config_write(0x04, 2, 1);
  EXPECT_EQ(rig.machine.in8(0x700), 0xff);
  smbus.config_write(0x40, 1, 1);
  EXPECT_EQ(rig.machine.in8(0x700), 0x00);
  rig.machine.out8(0x704, 0xa1);
  rig.machine.out8(0x702, 0x48);
  EXPECT_EQ(rig.machine.in8(0x700), 0x04);  // nobody there
  rig.bus.remove(smbus);
  EXPECT_THAT(conformance_problems<SmbusRig>(), IsEmpty());
  survive_hostile_states<SmbusRig>();
}

}  // namespace
}  // namespace menura
