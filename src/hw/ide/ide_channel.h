// IdeChannel: a cable with up to two drives: command and control blocks, INTRQ, reset, and the bus
// master of the host's side.
//
// Owner: an IDE controller. Threads: under the machine lock. Source: ATA/ATAPI-7 volumes 1 and 2;
// "Programming Interface for Bus Master IDE Controller" 1.0 for the bus master.
// Example: `IdeChannel primary("ide0", irq14, dma);  io.map(0x1f0, primary.command_block());`
#pragma once

#include <array>
#include <functional>

#include "hw/core/irq.h"
#include "hw/core/window.h"
#include "hw/ide/ide_connector.h"
#include "memory/address_space.h"
#include "memory/region.h"

namespace menura {

// How the bus master reaches guest memory: a PCI function's checked DMA.
struct IdeDma {
  std::function<AccessStatus(GuestAddr, Bytes)> read;
  std::function<AccessStatus(GuestAddr, ConstBytes)> write;
};

class IdeChannel final : public IdeHost, public IdeConnector {
 public:
  IdeChannel(std::string name, IrqLine irq, IdeDma dma);

  Region& command_block() { return command_region_; }  // 8 ports
  Region& control_block() { return control_region_; }  // 1 port
  // Eight ports: command, status, descriptor table address.
  u64 read_bus_master(Access access);
  void write_bus_master(Access access, u64 value);

  unsigned places() const override { return 2; }
  IdeDrive* drive(unsigned unit) const override { return drives_[unit]; }
  void plug(unsigned unit, IdeDrive& drive) override;
  void reset();
  void describe(StateVisitor& v);
  Result<void> restored();

  void interrupt_changed() override;
  void dma_ready() override;
  bool dma_to_host(ConstBytes data) override;
  bool dma_from_host(Bytes data) override;
  bool dma_active() const override { return bm_command_ & 1; }
  void dma_finished() override;

 private:
  u64 read_command(Access access);
  void write_command(Access access, u64 value);
  u64 read_control(Access access);
  void write_control(Access access, u64 value);
  IdeDrive* selected() const { return drives_[selected_]; }
  void select(u8 device);
  bool level() const;

  // The next piece of the descriptor table: false at its end or outside of RAM.
  bool next_piece();
  template <class Move>
  bool move_dma(size_t size, Move move);

  // Wiring
  std::string name_;
  IrqLine irq_;
  IdeDma dma_;
  std::array<IdeDrive*, 2> drives_{};
  Window<IdeChannel> command_window_{*this, &IdeChannel::read_command, &IdeChannel::write_command};
  Window<IdeChannel> control_window_{*this, &IdeChannel::read_control, &IdeChannel::write_control};
  Region command_region_;
  Region control_region_;

  // State
  u8 selected_ = 0;
  u8 control_ = 0;
  u8 bm_command_ = 0;
  u8 bm_status_ = 0;
  u32 bm_table_ = 0;
  u32 next_descriptor_ = 0;  // address of the next descriptor
  u32 piece_address_ = 0;    // what is left of the present one
  u32 piece_length_ = 0;
  bool last_piece_ = false;
};

}  // namespace menura
