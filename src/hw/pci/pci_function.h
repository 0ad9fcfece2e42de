// PciFunction: one function of a PCI device: identity, configuration header, BARs, INTx, bus mastering.
//
// Owner: the machine (derived chips are Devices). Threads: under the machine lock. Source: PCI Local
// Bus 3.0 §6. A chip declares its registers and BARs in its constructor, is put on a bus by the board,
// and overrides the *_chip hooks. Example (see also hw/acpi/piix4_pm.h):
//   class Card final : public PciFunction {
//     Card() : PciFunction("card0", {.vendor = 0x8086, .device = 0x100e, .class_code = 0x020000}) {
//       add_bar(0, BarKind::Memory32, registers_).value();  set_interrupt_pin(IntxPin::A);
//     } ... };
//   bus.add(card, PciBus::devfn(3, 0)).value();
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hw/core/device.h"
#include "hw/core/msi.h"
#include "hw/pci/config_space.h"
#include "memory/address_space.h"

namespace menura {

class PciBus;
class PciCapability;

// What software recognises a function by.
struct PciIdentity {
  u16 vendor = 0;
  u16 device = 0;
  u32 class_code = 0;  // 24 bits: class, sub-class, programming interface
  u8 revision = 0;
  u16 subsystem_vendor = 0;
  u16 subsystem = 0;
};

enum class PciHeader : u8 { Endpoint = 0, Bridge = 1 };
enum class IntxPin : u8 { None, A, B, C, D };
enum class BarKind : u8 {
  Io,
  Memory32,
  Memory32Prefetchable,
  Memory64,  // takes the next BAR's place too
  Memory64Prefetchable,
  Rom,
};

// A base address register and the region behind it.
struct PciBar {
  BarKind kind = BarKind::Memory32;
  unsigned offset = 0;       // in configuration space
  Region* region = nullptr;  // null: not there
  u64 size = 0;
  std::optional<u64> mapped = {};  // where it answers now
};

class PciFunction : public Device {
 public:
  static constexpr unsigned kRomBarIndex = 6;
  static constexpr unsigned kBars = 7;

  ~PciFunction() override;

  const PciIdentity& identity() const { return identity_; }
  PciHeader header() const { return header_; }
  PciBus* bus() const { return bus_; }  // null until it is plugged
  u8 devfn() const { return devfn_; }
  unsigned slot() const { return devfn_ >> 3; }
  unsigned function() const { return devfn_ & 7; }
  const std::array<PciBar, kBars>& bars() const { return bars_; }
  IntxPin interrupt_pin() const;
  const ConfigSpace& config() const { return config_; }
  // The bus behind a bridge.
  virtual PciBus* secondary_bus() { return nullptr; }
  // Shows the multifunction bit even while it is alone in its slot; before it is plugged.
  void announce_functions() { more_functions_ = true; }

  // Configuration cycles. offset + size <= 256, size 1, 2 or 4.
  u32 config_read(unsigned offset, unsigned size);
  void config_write(unsigned offset, unsigned size, u32 value);

  void reset(ResetKind kind) final;
  void describe(StateVisitor& v) final;
  Result<void> restored() final;

 protected:
  PciFunction(std::string id, const PciIdentity& identity, Device* parent = nullptr,
              PciHeader header = PciHeader::Endpoint);

  ConfigSpace& config() { return config_; }
  // A power of two within PCI 3.0's limits for its kind, else InvalidArgument. The region must not
  // be mapped elsewhere; it outlives the function's time on the bus.
  Result<void> add_bar(unsigned index, BarKind kind, Region& region);
  Result<void> add_rom(Region& region);
  void set_interrupt_pin(IntxPin pin);

  // Drives the function's INTx# (true: asserted). Held back while INTx is disabled or MSI enabled.
  void set_intx(bool asserted);
  bool intx() const { return intx_; }

  // As bus master: reaches guest RAM only. Refused while bus mastering is disabled here or in a
  // bridge above.
  AccessStatus dma_read(GuestAddr addr, Bytes to) const;
  AccessStatus dma_write(GuestAddr addr, ConstBytes from);
  bool bus_master() const;

  // For the chip. The header, BARs and capabilities are taken care of before each call.
  virtual void config_written(unsigned /*offset*/, unsigned /*size*/) {}
  // A guest is about to read there: brings registers up to date that are not plain storage.
  virtual void config_reading(unsigned /*offset*/, unsigned /*size*/) {}
  virtual void reset_chip(ResetKind kind) = 0;
  virtual void describe_chip(StateVisitor& v) = 0;
  virtual Result<void> restored_chip() { return {}; }

 private:
  friend class PciBus;
  friend class PciCapability;

  u64 bar_address(const PciBar& bar) const;
  std::optional<u64> decoded_address(const PciBar& bar) const;
  void update_bars();
  enum class Edge : u8 { Drive, Import };
  void update_intx(Edge edge);
  bool in_power_down() const;
  bool uses_messages() const;

  // Configuration
  PciIdentity identity_;
  PciHeader header_;
  std::array<PciBar, kBars> bars_{};
  std::vector<PciCapability*> capabilities_;
  bool more_functions_ = false;

  // Wiring
  PciBus* bus_ = nullptr;
  u8 devfn_ = 0;
  bool intx_driven_ = false;  // what the bus was told last

  // State
  ConfigSpace config_;
  bool intx_ = false;
};

// An element of the capability list that does something: MSI, MSI-X, power management. A member of
// its function, made in the function's constructor.
class PciCapability {
 public:
  virtual ~PciCapability();
  PciCapability(const PciCapability&) = delete;
  PciCapability& operator=(const PciCapability&) = delete;
  unsigned offset() const { return offset_; }

 protected:
  friend class PciFunction;
  // size: of the capability with its two header bytes. The list must have room for it.
  PciCapability(PciFunction& function, u8 id, unsigned size);

  ConfigSpace& config() { return function_.config_; }
  const ConfigSpace& config() const { return function_.config_; }
  PciFunction& function() { return function_; }
  bool can_send() const;  // bus mastering is on
  // A message on the bus: needs bus mastering, else Ignored.
  IrqStatus send(const MsiMessage& message);

  // After a guest's write into the capability or that turns bus mastering on or off, and after
  // configuration space was reset.
  virtual void config_written() {}
  virtual void reset() {}
  virtual void describe(StateVisitor& /*v*/) {}
  virtual Result<void> restored() { return {}; }
  // Whether it takes the place of INTx now.
  virtual bool replaces_intx() const { return false; }
  // Whether it holds the function back from decoding and mastering now (D1..D3).
  virtual bool powers_down() const { return false; }

 private:
  PciFunction& function_;
  unsigned offset_;
  unsigned size_;
};

}  // namespace menura
