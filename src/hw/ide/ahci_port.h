// AhciPort: a port of an AHCI controller: its registers, its command slots, and the drive behind.
//
// Owner: Ahci. Threads: under the machine lock; disk requests complete through the loop. Source:
// Serial ATA AHCI 1.3.1 §3.3, §5 and §6; Serial ATA 3.x for the FISes. A command from a slot becomes
// register writes to an IdeDrive, the same as on an IDE cable; queued commands (NCQ) go to the disk
// beside each other. Example:
//   AhciPort port("ide.0", dma, [this] { update_interrupts(); });   port.plug(0, disk);
// Deviations: no port multiplier, no power saving of the link (it is always active), FIS-based
// switching and device sleep are absent. A drive that has too little memory for what the guest writes
// leaves the command unfinished, as one that waits for data.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "hw/core/register_file.h"
#include "hw/ide/ahci_memory.h"
#include "hw/ide/ide_connector.h"

namespace menura {

enum class AhciPortReg : u8 {
  Clb,
  Clbu,
  Fb,
  Fbu,
  Is,
  Ie,
  Cmd,
  Tfd,
  Sig,
  Ssts,
  Sctl,
  Serr,
  Sact,
  Ci,
  kCount
};

class AhciPort final : public IdeHost, public IdeConnector {
 public:
  static constexpr unsigned kSlots = 32;

  // What became of pending(): it came, perhaps again, or it may have gone.
  enum class Interrupt : u8 { Came, Gone };
  AhciPort(std::string name, AhciDma dma, std::function<void(Interrupt)> interrupt);

  u64 read(Access access) const;
  void write(Access access, u64 value);
  void reset();
  // The controller's own reset keeps where the lists are.
  void reset_by_controller();
  // An enabled interrupt's bit is set.
  bool pending() const { return (get(AhciPortReg::Is) & get(AhciPortReg::Ie)) != 0; }
  void describe(StateVisitor& v);
  Result<void> restored();

  unsigned places() const override { return 1; }
  IdeDrive* drive(unsigned) const override { return drive_; }
  void plug(unsigned unit, IdeDrive& drive) override;

  void interrupt_changed() override { service(); }
  void was_reset() override { show_signature(); }
  void dma_ready() override { drive_->run_dma(); }
  bool dma_to_host(ConstBytes data) override;
  bool dma_from_host(Bytes data) override;
  bool dma_active() const override { return active_.has_value(); }
  void dma_finished() override {}
  bool serial() const override { return true; }

 private:
  using Reg = AhciPortReg;
  // A queued command on its way; none is while the machine is saved (the drive's pause waits).
  struct Queued {
    QueuedCommand command;
    AhciRegions regions;
    u64 header = 0;
    u64 done = 0;  // sectors
  };

  u64 get(Reg reg) const { return regs_.get(reg); }
  u64 list() const { return get(Reg::Clb) | get(Reg::Clbu) << 32; }
  u64 received() const { return get(Reg::Fb) | get(Reg::Fbu) << 32; }
  u8 taskfile_status() const { return static_cast<u8>(get(Reg::Tfd)); }
  bool started() const;
  void written(Reg reg, u64 value, u64 mask);
  void write_command(u64 value, u64 mask);
  void write_control(u64 value, u64 mask);
  void stop();
  void link_reset();
  void show_signature();
  void raise(u32 bits);
  void halt(u32 bits);

  // Slots.
  void process();
  void issue(unsigned slot);
  void issue_register_fis(const AhciCommand& command);
  void control_fis(u8 control);
  void service();
  bool move_pio();
  void complete();
  void finish_slot(bool good);

  // Queued commands.
  void issue_queued(unsigned slot, const AhciCommand& command);
  void run_queued(u8 tag);
  void queued_moved(u8 tag, ConstBytes data);
  void finish_queued(u8 tag, bool good);
  void forget_queued();

  // FISes to the host.
  void send_register_fis();
  void send_pio_setup(bool to_host, u8 status, size_t size, bool interrupt);
  void send_set_device_bits(u32 finished, u8 status, u8 error);
  void deliver(u64 offset, ConstBytes fis);
  void put_taskfile(Bytes fis, u8 status) const;
  void count_bytes(u64 header, u64 bytes);

  // Configuration
  const std::string name_;

  // Wiring
  const AhciDma dma_;
  const std::function<void(Interrupt)> interrupt_;
  IdeDrive* drive_ = nullptr;

  // State
  RegisterFile<AhciPortReg, static_cast<size_t>(AhciPortReg::kCount)> regs_;
  std::optional<u8> active_;  // the slot whose command the drive executes
  AhciCommand command_;       // its
  bool packet_sent_ = false;
  bool data_came_ = false;   // by PIO, from the drive
  bool halted_ = false;      // after an error, until the next start
  bool soft_reset_ = false;  // SRST is held
  bool owes_signature_ = true;

  // Not state
  bool servicing_ = false;
  std::map<u8, Queued> queued_;
  std::shared_ptr<u64> epoch_ = std::make_shared<u64>(0);
};

}  // namespace menura
