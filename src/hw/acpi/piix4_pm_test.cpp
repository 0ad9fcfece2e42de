#include "hw/acpi/piix4_pm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr u16 kPm = 0x600;
constexpr u16 kSmb = 0x700;
constexpr unsigned kSci = 9;

enum class Smm { No, Yes };

struct Rig : PciTestBus {
  explicit Rig(Smm smm = Smm::Yes, SleepConfig config = {})
      : pm("pm",
           {.time = machine.time,
            .sci = machine.pin(kSci),
            .on_sleep = [this](SleepState s) { sleeps.push_back(s); },
            .smi = smm == Smm::Yes ? std::function<void()>([this] { smis++; }) : nullptr},
           config) {
    bus.add(pm, PciBus::devfn(1, 3)).value();
    machine.io_root.map(0xb2, pm.apm_ports());
    pm.reset(ResetKind::PowerOn);
    open();
  }
  ~Rig() { bus.remove(pm); }
  // As firmware opens the ports.
  void open() {
    pm.config_write(0x40, 4, kPm | 1);
    pm.config_write(0x80, 1, 1);
    pm.config_write(0x90, 4, kSmb | 1);
    pm.config_write(0xd2, 1, 0x09);
    pm.config_write(pci::kCommand, 2, 1);
  }
  u16 status() { return machine.in16(kPm); }
  bool sci() { return machine.pin_level(kSci); }

  std::vector<SleepState> sleeps;
  unsigned smis = 0;
  Piix4Pm pm;
};

TEST(Piix4Pm, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(rig.pm), IsEmpty());
}

struct ChipRig final : PciConformanceRig {
  ChipRig() {
    plug(pm, PciBus::devfn(1, 3));
    machine.io_root.map(0xb2, pm.apm_ports());
    pm.smbus().attach(0x50, eeprom);
  }
  void program() override {
    PciConformanceRig::program();
    pm.config_write(0x40, 4, kPm | 1);
    pm.config_write(0x80, 1, 1);
    pm.config_write(0x90, 4, kSmb | 1);
    pm.config_write(0xd2, 1, 0x09);
  }
  // A device of its own, which the checks do not reset or save: it must not keep what is written.
  class Echo final : public SmbusDevice {
   public:
    bool write(std::span<const u8> bytes) override { return bytes.size() != 2; }
    bool read(std::span<u8> bytes) override {
      std::ranges::fill(bytes, u8{3});
      return true;
    }
  } eeprom;
  Piix4Pm pm{
      "pm", {.time = machine.time, .sci = machine.pin(kSci), .on_sleep = [](SleepState) {}}, {}};
};

TEST(Piix4Pm, SurvivesWildGuestsAndStreams) {
  EXPECT_THAT(conformance_problems<ChipRig>(), IsEmpty());
  survive_hostile_states<ChipRig>();
}

TEST(Piix4Pm, ValuesAfterReset) {
  Rig rig(Smm::Yes);
  rig.pm.reset(ResetKind::System);
  struct Row {
    unsigned offset, size;
    u32 value;
  };
  // 82371AB data sheet §7.1.
  for (const Row& row :
       {Row{0x00, 4, 0x7113'8086}, Row{0x04, 2, 0}, Row{0x06, 2, 0x0280}, Row{0x09, 1, 0},
        Row{0x0a, 2, 0x0680}, Row{0x0e, 1, 0}, Row{0x3d, 1, 1}, Row{0x40, 4, 1}, Row{0x58, 4, 0},
        Row{0x80, 1, 0}, Row{0x90, 4, 1}, Row{0xd2, 1, 0}, Row{0xd6, 1, 0}})
    EXPECT_EQ(rig.pm.config_read(row.offset, row.size), row.value) << std::hex << row.offset;
  rig.open();
  for (u16 port = 0; port < 64; port++) EXPECT_EQ(rig.machine.in8(kPm + port), 0) << port;
}

TEST(Piix4Pm, PortsAnswerWhereAndWhenEnabled) {
  Rig rig;
  EXPECT_EQ(rig.machine.in16(kPm), 0);
  EXPECT_EQ(rig.machine.in8(kPm + 0x3f), 0);
  EXPECT_EQ(rig.machine.in8(kPm + 0x40), 0xff);
  EXPECT_EQ(rig.machine.in8(kSmb), 0);
  rig.pm.config_write(0x40, 4, 0xb000);
  EXPECT_EQ(rig.machine.in16(kPm), 0xffff);
  EXPECT_EQ(rig.machine.in16(0xb000), 0);
  rig.pm.config_write(0x80, 1, 0);
  EXPECT_EQ(rig.machine.in16(0xb000), 0xffff);
  rig.pm.config_write(pci::kCommand, 2, 0);  // gates the SMBus ports only
  EXPECT_EQ(rig.machine.in8(kSmb), 0xff);
  rig.pm.config_write(pci::kCommand, 2, 1);
  rig.pm.config_write(0xd2, 1, 0x08);
  EXPECT_EQ(rig.machine.in8(kSmb), 0xff);
  rig.pm.reset(ResetKind::System);
  EXPECT_EQ(rig.machine.in16(0xb000), 0xffff);
}

TEST(Piix4Pm, WithoutSmmTheModeIsAlwaysAcpi) {
  Rig rig(Smm::No);
  EXPECT_EQ(rig.pm.config_read(0x5b, 1), 0x02u);  // "SMM is set up"
  EXPECT_EQ(rig.machine.in16(kPm + 4), 1);
  rig.machine.out8(0xb2, 0xf0);
  EXPECT_EQ(rig.machine.in16(kPm + 4), 1);
  rig.machine.out16(kPm + 4, 0);
  EXPECT_EQ(rig.machine.in16(kPm + 4), 1);
  rig.pm.reset(ResetKind::System);
  rig.open();
  EXPECT_EQ(rig.machine.in16(kPm + 4), 1);
}

TEST(Piix4Pm, AcpiModeThroughApmc) {
  Rig rig;
  EXPECT_EQ(rig.pm.config_read(0x5b, 1), 0x00u);
  rig.machine.out8(0xb2, 0xf1);
  EXPECT_EQ(rig.machine.in16(kPm + 4), 1);
  EXPECT_EQ(rig.machine.in8(0xb2), 0xf1);
  rig.machine.out8(0xb2, 0xf0);
  EXPECT_EQ(rig.machine.in16(kPm + 4), 0);
  rig.machine.out16(0xb2, 0x55f1);  // APMC and APMS
  EXPECT_EQ(rig.machine.in16(0xb2), 0x55f1);
  EXPECT_EQ(rig.smis, 0u);
}

TEST(Piix4Pm, SmiNeedsBothEnables) {
  Rig rig(Smm::Yes);
  rig.machine.out8(0xb2, 0x42);
  rig.machine.out32(kPm + 0x28, 1);
  rig.machine.out8(0xb2, 0x42);
  EXPECT_EQ(rig.smis, 0u);
  rig.pm.config_write(0x58, 4, 0x0200'0000);
  rig.machine.out8(0xb2, 0x42);
  EXPECT_EQ(rig.smis, 1u);
  EXPECT_EQ(rig.machine.in16(kPm + 0x18), 0x20);
  rig.machine.out16(kPm + 0x18, 0x20);
  EXPECT_EQ(rig.machine.in16(kPm + 0x18), 0);
  rig.machine.out32(kPm + 0x28, 0);
  rig.machine.out8(0xb2, 0x42);
  EXPECT_EQ(rig.smis, 1u);
}

TEST(Piix4Pm, PowerButtonRaisesSciUntilCleared) {
  Rig rig;
  rig.pm.pm1().press_power_button();
  EXPECT_EQ(rig.status(), 0x0100);
  EXPECT_FALSE(rig.sci());
  rig.machine.out16(kPm + 2, 0x0100);
  EXPECT_FALSE(rig.sci());  // not in ACPI mode
  rig.machine.out8(0xb2, 0xf1);
  EXPECT_TRUE(rig.sci());
  rig.machine.out16(kPm, 0xfeff);
  EXPECT_TRUE(rig.sci());
  rig.machine.out8(kPm + 1, 0x01);  // the high byte alone
  EXPECT_EQ(rig.status(), 0);
  EXPECT_FALSE(rig.sci());
  rig.pm.pm1().press_sleep_button();
  EXPECT_EQ(rig.status(), 0x0200);
  EXPECT_FALSE(rig.sci());
  rig.machine.out32(kPm, 0x0200'0000);
  EXPECT_TRUE(rig.sci());
}

TEST(Piix4Pm, EveryStatusBitAgainstEveryEnable) {
  // GPE bits as well: SCI is the OR of (status AND enable).
  Rig rig;
  rig.machine.out8(0xb2, 0xf1);
  for (unsigned gpe : {0u, 8u, 9u, 10u, 11u}) {
    rig.pm.raise_gpe(gpe);
    EXPECT_EQ(rig.machine.in16(kPm + 0x0c), 1 << gpe);
    for (unsigned enable = 0; enable < 16; enable++) {
      rig.machine.out16(kPm + 0x0e, static_cast<u16>(1 << enable));
      EXPECT_EQ(rig.sci(), enable == gpe);
    }
    rig.machine.out16(kPm + 0x0e, static_cast<u16>(1 << gpe));
    rig.machine.out16(kPm + 0x0c, static_cast<u16>(1 << gpe));
    EXPECT_FALSE(rig.sci());
  }
}

TEST(Piix4Pm, TimerOverflowInterrupts) {
  Rig rig;
  rig.machine.out8(0xb2, 0xf1);
  rig.machine.out16(kPm + 2, 1);
  rig.machine.step_ns(2'343'484'437);
  EXPECT_FALSE(rig.sci());
  EXPECT_EQ(rig.machine.in32(kPm + 8), 0x7f'ffffu);
  rig.machine.step_ns(1);
  EXPECT_TRUE(rig.sci());
  EXPECT_EQ(rig.machine.in32(kPm + 8), 0x80'0000u);
  EXPECT_EQ(rig.machine.in8(kPm + 10), 0x80);
  EXPECT_EQ(rig.status(), 1);
  rig.machine.out16(kPm, 1);
  EXPECT_FALSE(rig.sci());
  EXPECT_EQ(rig.status(), 0);
  rig.machine.step_ns(2'343'484'439);
  EXPECT_TRUE(rig.sci());
}

TEST(Piix4Pm, SleepTypes) {
  Rig rig;
  rig.machine.out16(kPm + 4, 0x0001 | 1 << 10);  // without SUS_EN nothing happens
  EXPECT_THAT(rig.sleeps, IsEmpty());
  for (unsigned type = 0; type < 8; type++)
    rig.machine.out16(kPm + 4, static_cast<u16>(0x2001 | type << 10));
  EXPECT_THAT(rig.sleeps, ElementsAre(SleepState::S5, SleepState::S3, SleepState::S4));
  EXPECT_EQ(rig.machine.in16(kPm + 4), 0x1c01);  // SUS_EN reads zero
  rig.machine.out8(kPm + 5, 0x24);               // by the high byte alone: type 1
  EXPECT_EQ(rig.sleeps.back(), SleepState::S3);
  rig.machine.out8(kPm + 4, 0x01);
  EXPECT_EQ(rig.sleeps.size(), 4u);

  Rig never(Smm::No, {.disable_s3 = true, .disable_s4 = true});
  for (unsigned type = 0; type < 8; type++)
    never.machine.out16(kPm + 4, static_cast<u16>(0x2000 | type << 10));
  EXPECT_THAT(never.sleeps, ElementsAre(SleepState::S5));
}

TEST(Piix4Pm, WakesWithItsReason) {
  Rig rig;
  rig.pm.reset(ResetKind::System);
  rig.pm.pm1().woken(WakeReason::PowerButton);
  rig.open();
  EXPECT_EQ(rig.status(), 0x8100);
  rig.machine.out16(kPm, 0xffff);
  EXPECT_EQ(rig.status(), 0);
}

TEST(Piix4Pm, SmbusInterruptSharesTheLine) {
  Rig rig;  // SMBHSTCFG 09h: IRQ9
  rig.machine.out8(kSmb + 4, 0xa0);
  rig.machine.out8(kSmb + 2, 0x41);
  EXPECT_TRUE(rig.sci());
  EXPECT_EQ(rig.machine.in8(kSmb), 0x04);  // nobody at 50h
  rig.machine.out8(kSmb, 0x04);
  EXPECT_FALSE(rig.sci());
  rig.pm.config_write(0xd2, 1, 0x01);  // SMI# instead
  rig.machine.out8(kSmb + 2, 0x41);
  EXPECT_FALSE(rig.sci());
}

TEST(Piix4Pm, RoundTrip) {
  Rig rig, other;
  rig.machine.out8(0xb2, 0xf1);
  rig.machine.out16(kPm + 2, 0x0101);
  rig.pm.pm1().press_power_button();
  rig.machine.out8(kSmb + 5, 0x77);
  other.machine.step_ns(1'000'000);
  rig.machine.step_ns(1'000'000);
  EXPECT_THAT(TestMachine::round_trip(rig.pm, other.pm), IsEmpty());
  EXPECT_EQ(other.status(), 0x0100);
  EXPECT_EQ(other.machine.in32(kPm + 8), rig.machine.in32(kPm + 8));
  EXPECT_EQ(other.machine.pin_rises(kSci), 0u);
  EXPECT_EQ(other.machine.in8(kSmb + 5), 0x77);
  other.machine.out16(kPm, 0x0100);
  other.machine.step_ns(2'400'000'000);
  EXPECT_TRUE(other.sci());  // the timer was armed again
}

}  // namespace
}  // namespace menura
