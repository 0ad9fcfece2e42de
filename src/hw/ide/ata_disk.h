// AtaDisk: an ATA hard disk with LBA48, multi-word and Ultra DMA, over a Disk.
//
// Owner: the catalogue. Threads: as IdeDrive. Source: ATA/ATAPI-7 volume 1 (T13/1532D).
// On a serial link also Serial ATA 2.6's queued commands, and their log. Deviations: no security,
// SMART, or power saving beyond the commands that report it; media errors come from the host's image
// alone. Example: `AtaDisk disk("ide0-hd0", image, {.serial = "QM0001"});`
#pragma once

#include "hw/ide/ide_drive.h"

namespace menura {

class AtaDisk final : public IdeDrive {
 public:
  AtaDisk(std::string id, Disk& disk, const DriveNames& names);

  std::string_view type() const override { return "ide-hd"; }
  bool accepts(const QueuedCommand& command) const override;
  void move_queued(const QueuedCommand& command, u64 first, Bytes data,
                   std::function<void(Result<void>)> then) override;
  void queued_failed(const QueuedCommand& command) override { queued_error_ = command; }

 protected:
  void execute(u8 code) override;
  void set_signature() override;
  void reset_drive() override;
  void describe_drive(StateVisitor& v) override;
  Result<void> restored_drive() override;
  void pio_in_done() override;
  void pio_out_done(std::vector<std::byte> data) override;
  void move_dma() override;

 private:
  enum class Transfer : u8 { None, PioIn, PioOut, DmaIn, DmaOut, Verify };
  struct Command;
  static const Command* find_command(u8 code);

  // Takes address and count from the task file; false: it lies outside the disk.
  bool begin_transfer(const Command& command);
  u64 lba_of_task_file(bool extended) const;
  void put_lba(u64 lba, bool extended);
  u64 sectors_left() const { return end_lba_ - next_lba_; }
  u64 pio_block() const;
  bool transfer_is_possible() const;
  void next_pio_in();
  void next_dma_in();
  void next_dma_out();
  // Writes the transfer's next sectors; goes on unless they failed or were the last.
  void write_next(Buffer data, std::function<void()> go_on);
  // Checks a finished request; on failure ends the command.
  bool succeeded(const Result<void>& result);
  void finish_transfer(u8 error_bits = 0);
  void execute_other(u8 code);
  void flush();
  void set_features();
  void set_multiple();
  void begin_trim();
  void trim(Buffer ranges, size_t at);
  std::vector<std::byte> identify() const;
  void read_log();
  std::vector<std::byte> queued_error_log() const;
  u64 sectors() const { return disk()->size() / ata::kSector; }

  // State
  Transfer transfer_ = Transfer::None;
  bool extended_ = false;
  bool fua_ = false;
  bool trim_ = false;
  u64 next_lba_ = 0;
  u64 end_lba_ = 0;
  u8 multiple_ = 0;        // sectors per block of READ/WRITE MULTIPLE; 0: not set
  u8 block_multiple_ = 1;  // of the command in progress
  u8 heads_ = 16, sectors_per_track_ = 63;
  u8 dma_mode_ = 0x45;  // as SET FEATURES names it: Ultra DMA 5
  bool write_cache_ = true;
  bool read_ahead_ = true;
  std::optional<QueuedCommand> queued_error_;  // the last, until its log is read
};

}  // namespace menura
