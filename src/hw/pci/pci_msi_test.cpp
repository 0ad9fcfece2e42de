#include "hw/pci/pci_msi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_msix.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Writes down what it hears: "+2 fee00000:0041" opened, "-2" closed.
class Notes final : public MsiListener {
 public:
  void vector_opened(unsigned vector, const MsiMessage& m) override {
    heard.push_back(format("+{} {:x}:{:04x}", vector, m.address, m.data));
  }
  void vector_closed(unsigned vector) override { heard.push_back(format("-{}", vector)); }
  std::vector<std::string> take() { return std::exchange(heard, {}); }
  std::vector<std::string> heard;
};

struct Rig : PciTestBus {
  Rig() {
    bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    card.config_write(pci::kCommand, 2, pci::kCommandBusMaster | pci::kCommandMemory);
    card.config_write(0x20, 4, kTable);
  }
  // The MSI capability's registers, at the offsets of PCI 3.0 figure 6-9, 64 bits with masks.
  void msi(unsigned offset, unsigned size, u32 value) {
    card.config_write(card.msi.offset() + offset, size, value);
  }
  u32 msi_pending() { return card.config_read(card.msi.offset() + 0x14, 4); }
  void enable_msi(unsigned allowed_log2) {
    msi(4, 4, 0xfee0'1000);
    msi(8, 4, 0);
    msi(12, 2, 0x4140);
    msi(2, 2, 1 | allowed_log2 << 4);
  }
  void msix_control(u16 value) { card.config_write(card.msix.offset() + 2, 2, value); }
  void entry(unsigned vector, u64 address, u32 data, u32 control) {
    const u64 at = kTable + 16 * vector;
    machine.write_mem(at, 8, address);
    machine.write_mem(at + 8, 4, data);
    machine.write_mem(at + 12, 4, control);
  }
  bool pba(unsigned vector) {
    return (machine.read_mem(kTable + 0x800 + vector / 64 * 8, 8) >> (vector % 64)) & 1;
  }
  static constexpr u32 kTable = 0xfebc'0000;
  TestCard card{"card0"};
};

TEST(PciMsi, CapabilityLayout) {
  Rig rig;
  const unsigned at = rig.card.msi.offset();
  EXPECT_EQ(std::as_const(rig.card).config().find_capability(0x05), at);
  // 64-bit capable, per-vector masks, 4 vectors wanted, nothing allowed or enabled.
  EXPECT_EQ(rig.card.config_read(at + 2, 2), 0x0184u);
}

TEST(PciMsi, SendsTheVectorsInTheLowDataBits) {
  Rig rig;
  EXPECT_EQ(rig.card.msi.notify(0), IrqStatus::Ignored);
  rig.enable_msi(1);  // 2 of 4
  EXPECT_EQ(rig.card.msi.allocated(), 2u);
  rig.card.msi.notify(0);
  rig.card.msi.notify(1);
  rig.card.msi.notify(3);  // folded onto 1
  EXPECT_THAT(rig.machine.take_msis(),
              ElementsAre(MsiMessage{0xfee01000, 0x4140}, MsiMessage{0xfee01000, 0x4141},
                          MsiMessage{0xfee01000, 0x4141}));
  rig.enable_msi(5);  // more than it asked for
  EXPECT_EQ(rig.card.msi.allocated(), 4u);
}

TEST(PciMsi, MaskedVectorsWait) {
  Rig rig;
  rig.enable_msi(2);
  rig.msi(16, 4, 0b0100);
  EXPECT_EQ(rig.card.msi.notify(2), IrqStatus::Ignored);
  EXPECT_EQ(rig.card.msi.notify(2), IrqStatus::Coalesced);
  EXPECT_THAT(rig.machine.take_msis(), IsEmpty());
  EXPECT_EQ(rig.msi_pending(), 0b0100u);
  rig.msi(16, 4, 0);
  EXPECT_THAT(rig.machine.take_msis(), ElementsAre(MsiMessage{0xfee01000, 0x4142}));
  EXPECT_EQ(rig.msi_pending(), 0u);
  rig.msi(20, 4, 0xf);  // read-only
  EXPECT_EQ(rig.msi_pending(), 0u);
}

TEST(PciMsi, TakesThePlaceOfIntx) {
  Rig rig;
  rig.card.set_intx(true);
  EXPECT_TRUE(rig.machine.pin_level(3));
  rig.enable_msi(0);
  EXPECT_FALSE(rig.machine.pin_level(3));
  rig.msi(2, 2, 0);
  EXPECT_TRUE(rig.machine.pin_level(3));
}

TEST(PciMsi, NeedsBusMastering) {
  Rig rig;
  rig.enable_msi(0);
  rig.card.config_write(pci::kCommand, 2, 0);
  EXPECT_EQ(rig.card.msi.notify(0), IrqStatus::Ignored);
  EXPECT_THAT(rig.machine.take_msis(), IsEmpty());
}

TEST(PciMsi, ListenerHearsRoutes) {
  Rig rig;
  Notes notes;
  rig.enable_msi(1);
  rig.card.msi.set_listener(&notes);
  EXPECT_THAT(notes.take(), ElementsAre("+0 fee01000:4140", "+1 fee01000:4141"));
  rig.msi(4, 4, 0xfee0'2000);
  EXPECT_THAT(notes.take(), ElementsAre("+0 fee02000:4140", "+1 fee02000:4141"));
  rig.msi(16, 4, 1);
  EXPECT_THAT(notes.take(), ElementsAre("-0"));
  rig.card.reset(ResetKind::System);
  EXPECT_THAT(notes.take(), ElementsAre("-1"));
}

TEST(PciMsiX, CapabilityLayout) {
  Rig rig;
  const unsigned at = rig.card.msix.offset();
  EXPECT_EQ(rig.card.config_read(at, 1), 0x11u);
  EXPECT_EQ(rig.card.config_read(at + 2, 2), 69u);     // table size, N-1
  EXPECT_EQ(rig.card.config_read(at + 4, 4), 0x004u);  // BAR 4 at 0
  EXPECT_EQ(rig.card.config_read(at + 8, 4), 0x804u);
}

TEST(PciMsiX, TableAfterReset) {
  Rig rig;
  for (unsigned v = 0; v < 70; v++) {
    EXPECT_EQ(rig.machine.read_mem(Rig::kTable + 16 * v, 8), 0u);
    EXPECT_EQ(rig.machine.read_mem(Rig::kTable + 16 * v + 8, 8), u64{1} << 32);  // masked
  }
  EXPECT_EQ(rig.machine.read_mem(Rig::kTable + 16 * 70, 4), 0xffff'ffffu);
}

TEST(PciMsiX, TableTakesDwordsAndQuadwords) {
  Rig rig;
  rig.machine.write_mem(Rig::kTable + 16, 8, 0x1'fee0'3007);
  rig.machine.write_mem(Rig::kTable + 24, 8, 0xffff'fffe'0000'0051);
  EXPECT_EQ(rig.card.msix.message(1), (MsiMessage{0x1'fee0'3004, 0x51}));
  EXPECT_FALSE(rig.card.msix.masked(1));
  EXPECT_EQ(rig.machine.read_mem(Rig::kTable + 28, 4), 0u);  // reserved bits of vector control
  rig.machine.write_mem(Rig::kTable + 20, 4, 0);
  EXPECT_EQ(rig.machine.read_mem(Rig::kTable + 16, 8), 0xfee0'3004u);
}

TEST(PciMsiX, PendingSemantics) {
  Rig rig;
  rig.entry(68, 0xfee0'0000, 0x99, 1);
  EXPECT_EQ(rig.card.msix.notify(68), IrqStatus::Ignored);  // disabled: dropped
  EXPECT_FALSE(rig.pba(68));
  rig.msix_control(0x8000);
  EXPECT_EQ(rig.card.msix.notify(68), IrqStatus::Ignored);
  EXPECT_EQ(rig.card.msix.notify(68), IrqStatus::Coalesced);
  EXPECT_TRUE(rig.pba(68));
  EXPECT_FALSE(rig.pba(67));
  rig.machine.write_mem(Rig::kTable + 0x808, 8, 0);  // read-only
  EXPECT_TRUE(rig.pba(68));
  EXPECT_THAT(rig.machine.take_msis(), IsEmpty());
  rig.entry(68, 0xfee0'0000, 0x9a, 0);  // the message as it is when unmasked
  EXPECT_THAT(rig.machine.take_msis(), ElementsAre(MsiMessage{0xfee0'0000, 0x9a}));
  EXPECT_FALSE(rig.pba(68));
  EXPECT_EQ(rig.card.msix.notify(68), IrqStatus::Delivered);
  EXPECT_THAT(rig.machine.take_msis(), ElementsAre(MsiMessage{0xfee0'0000, 0x9a}));
}

TEST(PciMsiX, FunctionMaskCoversAllVectors) {
  Rig rig;
  rig.msix_control(0xc000);
  rig.entry(0, 0xfee0'0000, 0x30, 0);
  rig.entry(1, 0xfee0'0000, 0x31, 1);
  rig.card.msix.notify(0);
  rig.card.msix.notify(1);
  EXPECT_TRUE(rig.pba(0));
  EXPECT_TRUE(rig.pba(1));
  rig.msix_control(0x8000);
  EXPECT_THAT(rig.machine.take_msis(), ElementsAre(MsiMessage{0xfee0'0000, 0x30}));
  EXPECT_FALSE(rig.pba(0));
  EXPECT_TRUE(rig.pba(1));
  rig.card.msix.clear_pending(1);
  rig.entry(1, 0xfee0'0000, 0x31, 0);
  EXPECT_THAT(rig.machine.take_msis(), IsEmpty());
}

TEST(PciMsiX, ListenerHearsRoutes) {
  Rig rig;
  Notes notes;
  rig.card.msix.set_listener(&notes);
  rig.entry(5, 0xfee0'0000, 0x35, 0);
  EXPECT_THAT(notes.take(), IsEmpty());
  rig.msix_control(0x8000);
  EXPECT_THAT(notes.take(), ElementsAre("+5 fee00000:0035"));
  rig.machine.write_mem(Rig::kTable + 5 * 16 + 8, 4, 0x36);
  EXPECT_THAT(notes.take(), ElementsAre("+5 fee00000:0036"));
  rig.msix_control(0xc000);
  rig.msix_control(0x8000);
  EXPECT_THAT(notes.take(), ElementsAre("-5", "+5 fee00000:0036"));
  rig.machine.write_mem(Rig::kTable + 5 * 16 + 12, 4, 1);
  EXPECT_THAT(notes.take(), ElementsAre("-5"));
}

TEST(PciMsiX, RoundTripKeepsPendingAndTellsTheListener) {
  Rig rig, other;
  rig.msix_control(0x8000);
  rig.entry(5, 0xfee0'0000, 0x35, 0);
  rig.entry(69, 0xfee0'0000, 0x36, 1);
  rig.card.msix.notify(69);
  Notes notes;
  other.card.msix.set_listener(&notes);
  EXPECT_THAT(TestMachine::round_trip(rig.card, other.card), IsEmpty());
  EXPECT_THAT(notes.take(), ElementsAre("+5 fee00000:0035"));
  EXPECT_TRUE(other.pba(69));
  EXPECT_THAT(other.machine.take_msis(), IsEmpty());
}

}  // namespace
}  // namespace menura
