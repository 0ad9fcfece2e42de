// Expectations are from the public specifications of "edu" and "pci-testdev".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/testdev/edu.h"
#include "hw/testdev/pc_testdev.h"
#include "hw/testdev/pci_testdev.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kBar = 0xfe00'0000;

class EduTest : public testing::Test {
 protected:
  EduTest() {
    rig.bus.add(edu, PciBus::devfn(3, 0)).value();
    edu.reset(ResetKind::PowerOn);
    edu.config_write(0x10, 4, kBar);
    edu.config_write(0x04, 2, 0x0006);
  }
  ~EduTest() override { rig.bus.remove(edu); }
  u32 read(u64 at) { return static_cast<u32>(m.read_mem(kBar + at, 4)); }
  void write(u64 at, u32 value) { m.write_mem(kBar + at, 4, value); }
  void dma(u64 from, u64 to, u32 count, u32 command) {
    m.write_mem(kBar + 0x80, 8, from);
    m.write_mem(kBar + 0x88, 8, to);
    m.write_mem(kBar + 0x90, 8, count);
    write(0x98, command);
    EXPECT_EQ(read(0x98) & 1, 1u);
    m.step_ns(200 * kNsPerMs);
    EXPECT_EQ(read(0x98) & 1, 0u);
  }

  PciTestBus rig;
  TestMachine& m = rig.machine;
  Edu edu{"edu", {}, m.time};
};

TEST_F(EduTest, IsAPciFunction) {
  EXPECT_THAT(check_pci_function(edu), IsEmpty());
  EXPECT_EQ(edu.config_read(0, 4), 0x11e8'1234u);
}

TEST_F(EduTest, KnowsItselfAndInverts) {
  EXPECT_EQ(read(0x00), 0x0100'00edu);
  write(0x04, 0x1234'5678);
  EXPECT_EQ(read(0x04), ~0x1234'5678u);
  EXPECT_EQ(m.read_mem(kBar + 0x04, 2), 0xffffu);  // only dwords there
}

TEST_F(EduTest, ComputesFactorials) {
  write(0x20, 0x80);
  write(0x08, 10);
  EXPECT_EQ(read(0x20), 0x81u);
  m.step_ns(10 * kNsPerMs);
  EXPECT_EQ(read(0x20), 0x80u);
  EXPECT_EQ(read(0x08), 3'628'800u);
  EXPECT_EQ(read(0x24), 1u);
  EXPECT_TRUE(m.pin_level(3));
  write(0x64, 1);
  EXPECT_EQ(read(0x24), 0u);
  EXPECT_FALSE(m.pin_level(3));
  write(0x08, ~0u);
  m.step_ns(10 * kNsPerMs);
  EXPECT_EQ(read(0x08), 0u);
}

TEST_F(EduTest, RaisesWhatIsWritten) {
  write(0x60, 0x42);
  write(0x60, 0x11);
  EXPECT_EQ(read(0x24), 0x53u);
  write(0x64, 0x53);
  EXPECT_EQ(read(0x24), 0u);
}

TEST_F(EduTest, MovesMemoryBothWays) {
  for (u64 i = 0; i < 100; i++) m.ram->store<u8>(0x5000 + i, static_cast<u8>(i + 1));
  dma(0x5000, 0x4'0000, 100, 0x1);
  dma(0x4'0000 + 10, 0x6000, 50, 0x3 | 0x4);
  EXPECT_EQ(m.ram->load<u8>(0x6000), 11);
  EXPECT_EQ(m.ram->load<u8>(0x6031), 60);
  EXPECT_EQ(m.ram->load<u8>(0x6032), 0);
  EXPECT_EQ(read(0x24), 0x100u);
  // An address is cut to 28 bits; what leaves the buffer moves nothing.
  dma(0x4'0000, u64{1} << 28 | 0x7000, 4, 0x3);
  EXPECT_EQ(m.ram->load<u8>(0x7000), 1);
  dma(0x4'0000 + 4090, 0x8000, 7, 0x3);
  dma(0x3'ffff, 0x8000, 1, 0x3);
  EXPECT_EQ(m.ram->load<u64>(0x8000), 0u);
}

struct EduRig final : PciConformanceRig {
  EduRig() { plug(edu, PciBus::devfn(3, 0)); }
  Edu edu{"edu", {}, machine.time};
};
struct PciTestdevRig final : PciConformanceRig {
  PciTestdevRig() { plug(device, PciBus::devfn(3, 0)); }
  PciTestdev device{"testdev", 64 * KiB};
};
struct PcTestdevRig final : ConformanceRig {
  PcTestdevRig() {
    machine.io_root.map(0xe0, dev.latch());
    machine.io_root.map(0xe4, dev.flush());
    machine.io_root.map(0xe8, dev.bytes());
    machine.io_root.map(0x2000, dev.irqs());
    machine.memory_root.map(0xff00'0000, dev.memory());
  }
  static std::array<IrqLine, PcTestdev::kIrqCount> pins(TestMachine& m) {
    std::array<IrqLine, PcTestdev::kIrqCount> lines;
    for (unsigned i = 0; i < lines.size(); i++) lines[i] = m.pin(i);
    return lines;
  }
  Device& device() override { return dev; }
  u64 flushed = 0;
  PcTestdev dev{"t", [this](u64 at) { flushed = at; }, pins(machine)};
};

TEST(TestDevices, Conform) {
  EXPECT_THAT(conformance_problems<EduRig>(), IsEmpty());
  EXPECT_THAT(conformance_problems<PciTestdevRig>(), IsEmpty());
  EXPECT_THAT(conformance_problems<PcTestdevRig>(), IsEmpty());
  survive_hostile_states<EduRig>();
  survive_hostile_states<PciTestdevRig>();
  survive_hostile_states<PcTestdevRig>();
}

TEST(PcTestdev, LatchInterruptsAndMemory) {
  PcTestdevRig rig;
  TestMachine& m = rig.machine;
  m.out32(0xe0, 0x1234'5678);
  EXPECT_EQ(m.in8(0xe9), 0x56);
  m.out8(0xe3, 0xab);
  EXPECT_EQ(m.in32(0xe8), 0xab34'5678u);
  m.out32(0xe4, 0x5000);
  EXPECT_EQ(rig.flushed, 0x5000u);
  m.out8(0x2005, 1);
  EXPECT_TRUE(m.pin_level(5));
  m.out8(0x2005, 0);
  EXPECT_FALSE(m.pin_level(5));
  m.write_mem(0xff00'fffc, 4, 0xdead'beef);
  EXPECT_EQ(m.read_mem(0xff00'fffe, 2), 0xdeadu);
}

TEST(PciTestdev, CountsWritesOfTheSelectedTest) {
  PciTestBus rig;
  TestMachine& m = rig.machine;
  PciTestdev device("t");
  rig.bus.add(device, PciBus::devfn(3, 0)).value();
  EXPECT_THAT(check_pci_function(device), IsEmpty());
  device.config_write(0x10, 4, kBar);
  device.config_write(0x14, 4, 0xc000);
  device.config_write(0x04, 2, 0x0007);
  m.write_mem(kBar, 1, 0);
  EXPECT_EQ(m.read_mem(kBar, 1), 0u);         // the test,
  EXPECT_EQ(m.read_mem(kBar + 1, 1), 1u);     // its width,
  EXPECT_EQ(m.read_mem(kBar + 4, 4), 2048u);  // its place
  EXPECT_EQ(m.read_mem(kBar + 8, 1), 0xfau);
  EXPECT_EQ(m.read_mem(kBar + 16, 4), 0x6f69'6d6du);  // "mmio"
  for (int i = 0; i < 3; i++) m.write_mem(kBar + 2048, 1, 0x11);
  m.write_mem(kBar + 2049, 1, 0x11);
  m.write_mem(kBar + 2048, 2, 0x11);
  EXPECT_EQ(m.read_mem(kBar + 12, 4), 3u);
  m.out8(0xc000, 0);
  m.out8(0xc000 + 128, 1);
  EXPECT_EQ(m.in32(0xc000 + 12), 1u);
  EXPECT_EQ(m.in8(0xc000 + 16), 'p');
  // By an eventfd nothing is counted; with a value to match, others go to the handler, which minds it, too.
  m.write_mem(kBar, 1, 1);
  m.write_mem(kBar + 2049, 1, 0x11);
  EXPECT_EQ(m.read_mem(kBar + 12, 4), 0u);
  m.write_mem(kBar, 1, 2);
  m.write_mem(kBar + 2050, 1, 0x11);
  m.write_mem(kBar + 2050, 1, 0xfa);
  EXPECT_EQ(m.read_mem(kBar + 12, 4), 0u);
  m.write_mem(kBar, 1, 3);  // there is none
  EXPECT_EQ(m.read_mem(kBar + 16, 4), 0u);
  rig.bus.remove(device);
}

}  // namespace
}  // namespace menura
