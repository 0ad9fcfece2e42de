// IdeDrive: what an ATA disk and an ATAPI drive share: the task file, the PIO buffer, the interrupt,
// and a DMA transfer in pieces through the channel's bus master.
//
// Owner: the board or the catalogue. Threads: under the machine lock; disk requests complete through
// the loop. Source: ATA/ATAPI-7 (T13/1532D) volumes 1 and 2. Example: see ata_disk.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "hw/core/device.h"
#include "hw/ide/ata_identify.h"
#include "io/disk.h"

namespace menura {

// The registers a host writes before a command. `previous` holds what was written before, for the
// 48-bit commands.
struct TaskFile {
  u8 feature = 0, count = 0, lba_low = 0, lba_mid = 0, lba_high = 0;
  void describe(StateVisitor& v);
};

namespace ata {
enum Status : u8 { kErr = 0x01, kDrq = 0x08, kDsc = 0x10, kDf = 0x20, kDrdy = 0x40, kBsy = 0x80 };
enum ErrorBits : u8 { kAbort = 0x04, kIdNotFound = 0x10, kUncorrectable = 0x40 };
enum DeviceBits : u8 { kSelect = 0x10, kLba = 0x40 };
inline constexpr u64 kSector = 512;
}  // namespace ata

// The channel, as its drives see it.
class IdeHost {
 public:
  virtual ~IdeHost() = default;
  // A drive's INTRQ changed.
  virtual void interrupt_changed() = 0;
  // A drive has a DMA command going: the bus master may ask it for data.
  virtual void dma_ready() = 0;
  // Data for the host (false: the host's buffers are too small or not RAM), and from it.
  virtual bool dma_to_host(ConstBytes data) = 0;
  virtual bool dma_from_host(Bytes data) = 0;
  // Whether the bus master runs.
  virtual bool dma_active() const = 0;
  virtual void dma_finished() = 0;
  // A drive shows its signature again.
  virtual void was_reset() {}
  // Serial ATA: a drive offers queued commands.
  virtual bool serial() const { return false; }
};

// A command among others (Serial ATA's native command queuing).
struct QueuedCommand {
  u8 tag = 0;  // 0 to 31
  bool write = false;
  bool fua = false;
  u64 lba = 0;
  u64 sectors = 0;
};

class IdeDrive : public Device {
 public:
  enum class Register : u8 {
    Data,
    ErrorFeature,
    Count,
    LbaLow,
    LbaMid,
    LbaHigh,
    Device,
    StatusCommand
  };

  void attach(IdeHost& host) { host_ = &host; }

  // Register access by the channel. The status register's other effects are the channel's.
  u8 read(Register reg, bool previous) const;
  void write(Register reg, u8 value);
  u8 status() const { return status_; }
  bool interrupt() const { return interrupt_; }
  void acknowledge_interrupt();
  void command(u8 code);
  // SRST: as a soft reset asks.
  void soft_reset();

  // The data port, 2 or 4 bytes (a drive not asking for data reads all ones).
  u32 read_data(unsigned size);
  void write_data(unsigned size, u32 value);
  // Bytes that the port still gives or takes in this block, and which of the two.
  size_t data_left() const { return (status_ & ata::kDrq) ? buffer_.size() - position_ : 0; }
  bool wants_data() const { return (status_ & ata::kDrq) && pio_out_; }

  // Queued commands, on a serial link. False: not with this drive, or not there.
  virtual bool accepts(const QueuedCommand&) const { return false; }
  // Moves data.size() bytes from the command's sector `first` on; data lives until `then`.
  virtual void move_queued(const QueuedCommand&, u64 /*first*/, Bytes /*data*/,
                           std::function<void(Result<void>)> /*then*/) {}
  // The log of queued errors is to tell of this one.
  virtual void queued_failed(const QueuedCommand&) {}

  // The bus master was started: a DMA command that waits for it goes on.
  void run_dma() {
    if (!in_flight_) move_dma();
  }

  void reset(ResetKind kind) final;
  void describe(StateVisitor& v) final;
  Result<void> restored() final;
  void pause() final;

 protected:
  IdeDrive(std::string id, Disk* disk, DriveNames names)
      : Device(std::move(id)), names_(std::move(names)), disk_(disk) {}

  // For the kind of drive.
  virtual void execute(u8 code) = 0;
  virtual void set_signature() = 0;
  virtual void reset_drive() = 0;
  virtual void describe_drive(StateVisitor& v) = 0;
  virtual Result<void> restored_drive() = 0;
  // Bytes the host has still to give before pio_out_done(); 0: none are wanted.
  size_t pio_out_size() const { return (status_ & ata::kDrq) && pio_out_ ? buffer_.size() : 0; }
  // The host took all of the PIO data, or gave it.
  virtual void pio_in_done() = 0;
  virtual void pio_out_done(std::vector<std::byte> data) = 0;
  // Moves data if a DMA command is going; no disk request is in flight.
  virtual void move_dma() = 0;

  void start_pio_in(std::vector<std::byte> data);
  void start_pio_out(size_t size);
  // Ends a command: DRDY, with an error when error_bits is not zero; interrupts.
  void finish(u8 error_bits = 0);
  void abort() { finish(ata::kAbort); }
  void set_busy();
  void raise_interrupt();
  // Submits; `then` runs when it is done, unless a reset came between.
  void submit(DiskRequest request, std::function<void(Result<void>)> then);
  // As submit(), into or out of a buffer that lives as long as the request.
  using Buffer = std::shared_ptr<std::vector<std::byte>>;
  void read_disk(u64 offset, size_t size, std::function<void(Buffer, Result<void>)> then);

  const DriveNames& names() const { return names_; }
  IdeHost& host() const { return *host_; }
  Disk* disk() const { return disk_; }

  // State
  TaskFile now_, previous_;
  u8 device_ = 0;
  u8 error_ = 0;
  u8 status_ = 0;

 private:
  void forget_request();

  // Configuration
  const DriveNames names_;

  // Wiring
  IdeHost* host_ = nullptr;
  Disk* disk_;

  // State
  bool interrupt_ = false;
  bool pio_out_ = false;
  std::vector<std::byte> buffer_;
  size_t position_ = 0;

  // Not state: nothing is in flight while a machine is saved (pause drains).
  bool in_flight_ = false;
  std::shared_ptr<u64> epoch_ = std::make_shared<u64>(0);
};

}  // namespace menura
