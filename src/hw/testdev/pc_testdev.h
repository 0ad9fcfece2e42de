// PcTestdev: ports and memory by which test programs reach what a PC has no way to: a latch to read and
// write, interrupts raised by hand, a page whose mapping is dropped.
//
// Owner: the catalogue. Threads: under the machine lock. Source: the device list of kvm-unit-tests. Ports
// E0h to E3h and E8h to EBh: one latch of 32 bits. E4h: the address of a page to flush. 2000h to 2017h:
// a level for each ISA interrupt. Memory at FF000000h: 64 KiB that are always asked for.
// Example: `PcTestdev device("t", flush, irqs);   io.map(0xe0, device.latch());`
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/window.h"
#include "memory/region.h"

namespace menura {

class PcTestdev final : public Device {
 public:
  static constexpr u16 kLatch = 0xe0, kFlush = 0xe4, kBytes = 0xe8, kIrqs = 0x2000;
  static constexpr u64 kMemory = 0xff00'0000;
  static constexpr unsigned kIrqCount = 24;

  // flush: has the host forget how the page at this address is mapped.
  PcTestdev(std::string id, std::function<void(u64)> flush, std::array<IrqLine, kIrqCount> irqs);
  std::string_view type() const override { return "pc-testdev"; }

  Region& latch() { return latch_region_; }
  Region& flush() { return flush_region_; }
  Region& bytes() { return bytes_region_; }
  Region& irqs() { return irq_region_; }
  Region& memory() { return memory_region_; }

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  u64 read_latch(Access access);
  void write_latch(Access access, u64 value);
  u64 read_nothing(Access) { return 0; }
  void write_flush(Access, u64 value) { flush_(value & 0xffff'ffff); }
  void write_irq(Access access, u64 value);
  u64 read_memory(Access access);
  void write_memory(Access access, u64 value);

  // Wiring
  std::function<void(u64)> flush_;
  std::array<IrqLine, kIrqCount> lines_;
  Window<PcTestdev> latch_window_{*this, &PcTestdev::read_latch, &PcTestdev::write_latch};
  Window<PcTestdev> flush_window_{*this, &PcTestdev::read_nothing, &PcTestdev::write_flush};
  Window<PcTestdev> irq_window_{*this, &PcTestdev::read_nothing, &PcTestdev::write_irq};
  Window<PcTestdev> memory_window_{*this, &PcTestdev::read_memory, &PcTestdev::write_memory};
  Region latch_region_ = Region::mmio("pc-testdev-ioport", 4, latch_window_);
  Region bytes_region_ =
      Region::mmio("pc-testdev-ioport-byte", 4, latch_window_, {.handler_max = 1});
  Region flush_region_ =
      Region::mmio("pc-testdev-flush-page", 4, flush_window_, {.valid_min = 4, .handler_min = 4});
  Region irq_region_ = Region::mmio("pc-testdev-irq-line", kIrqCount, irq_window_,
                                    {.valid_max = 1, .handler_max = 1});
  Region memory_region_;

  // State
  u32 latch_ = 0;
  std::array<bool, kIrqCount> levels_{};
  std::vector<std::byte> memory_;
};

}  // namespace menura
