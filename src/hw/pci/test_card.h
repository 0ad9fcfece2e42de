// TestCard: a PCI function with one BAR of each kind, for this room's tests and fuzzing.
//
// Owner: the test. Threads: one. Source: none, it is nobody's card. Each region reads as its kind's
// letter in every byte, so that a test sees who answered. Example: `TestCard card("card0");`
#pragma once

#include <memory>

#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msi.h"
#include "hw/pci/pci_msix.h"
#include "hw/pci/pci_power.h"

namespace menura {

// Reads as one byte everywhere, remembers the last write.
class LetterPorts final : public MmioHandler {
 public:
  explicit LetterPorts(char letter) : letter_(static_cast<u8>(letter)) {}
  u64 read(Access access) override {
    return (u64{letter_} * 0x0101'0101'0101'0101) >> (64 - 8 * access.size);
  }
  void write(Access access, u64 value) override {
    last_offset = access.offset;
    last_value = value;
  }
  u64 last_offset = ~u64{0};
  u64 last_value = 0;

 private:
  u8 letter_;
};

class TestCard final : public PciFunction {
 public:
  static constexpr PciIdentity kIdentity{.vendor = 0x1b36,
                                         .device = 0x7e57,
                                         .class_code = 0x088000,
                                         .revision = 7,
                                         .subsystem_vendor = 0x1af4,
                                         .subsystem = 0x1100};

  explicit TestCard(std::string id, IntxPin pin = IntxPin::A)
      : PciFunction(std::move(id), kIdentity) {
    add_bar(0, BarKind::Io, io_region).value();
    add_bar(1, BarKind::Memory32, memory_region).value();
    add_bar(2, BarKind::Memory64Prefetchable, wide_region).value();
    add_bar(4, BarKind::Memory32Prefetchable, msix_region).value();
    add_rom(rom_region).value();
    set_interrupt_pin(pin);
  }
  std::string_view type() const override { return "test-card"; }

  // The protected side, for tests.
  using PciFunction::add_bar;
  using PciFunction::add_rom;
  using PciFunction::bus_master;
  using PciFunction::config;
  using PciFunction::dma_read;
  using PciFunction::dma_write;
  using PciFunction::intx;
  using PciFunction::set_intx;

  LetterPorts io{'i'};
  LetterPorts memory{'m'};
  LetterPorts wide{'w'};
  LetterPorts rom{'r'};
  Region io_region = Region::mmio("card.io", 32, io);
  Region memory_region = Region::mmio("card.memory", 4096, memory);
  Region wide_region = Region::mmio("card.wide", u64{1} << 33, wide);
  Region rom_region = Region::mmio("card.rom", 64 * 1024, rom);
  Region msix_region = Region::container("card.msix", 4096);

  PciPower power{*this};
  PciMsi msi{*this, {.vectors = 4}};
  PciMsiX msix{
      *this, {.vectors = 70, .bar = 4, .table_offset = 0, .pba_offset = 0x800}, msix_region};

  unsigned resets = 0;
  unsigned config_writes = 0;

 protected:
  void config_written(unsigned, unsigned) override { config_writes++; }
  void reset_chip(ResetKind) override { resets++; }
  void describe_chip(StateVisitor&) override {}
};

}  // namespace menura
