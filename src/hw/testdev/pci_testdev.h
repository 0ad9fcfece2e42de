// PciTestdev: registers that count what is written to them, 1b36:0005: in memory space, in I/O space, by
// the handler or by an eventfd.
//
// Owner: the catalogue. Threads: under the machine lock. Source: the public "pci-testdev" specification.
// A write of a test's number to offset 0 of a BAR starts that test; its header can be read from there.
// Example: `PciTestdev device("t", 0);   write8(bar, 0);  write8(bar + 2048, 0xfa);  read32(bar + 12)  // 1`
#pragma once

#include <array>

#include "base/fd.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"

namespace menura {

class PciTestdev final : public PciFunction {
 public:
  // membar: bytes of a third, 64-bit BAR behind which nobody answers; 0: there is none. A power of two.
  explicit PciTestdev(std::string id, u64 membar = 0, Device* parent = nullptr);
  ~PciTestdev() override;
  std::string_view type() const override { return "pci-testdev"; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  enum class Space : u8 { Memory, Io };
  static constexpr unsigned kTests = 3;

  void write_memory(Access access, u64 value) { write(Space::Memory, access, value); }
  void write_io(Access access, u64 value) { write(Space::Io, access, value); }
  u64 read(Access access);
  void write(Space space, Access access, u64 value);
  void select(u8 test);
  void set_event(bool on);
  Region& region(Space space) { return space == Space::Memory ? memory_ : io_; }

  // Wiring
  Window<PciTestdev> memory_window_{*this, &PciTestdev::read, &PciTestdev::write_memory};
  Window<PciTestdev> io_window_{*this, &PciTestdev::read, &PciTestdev::write_io};
  Region memory_;
  Region io_;
  std::unique_ptr<Region> membar_;
  UniqueFd event_;
  std::optional<std::pair<Space, Region::IoEvent>> watched_;

  // State
  u8 current_ = kNone;  // kTests of memory space, then those of I/O space
  std::array<u32, 2 * kTests> counts_{};

  static constexpr u8 kNone = 0xff;
};

}  // namespace menura
