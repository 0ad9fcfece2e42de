// AtapiCd: an ATAPI CD-ROM drive: MMC commands in packets over PIO or DMA.
//
// Owner: the catalogue. Threads: as IdeDrive. Source: ATA/ATAPI-7 volumes 1 and 2 (PACKET), MMC-5
// (the commands, mmc_commands.h). Example: `AtapiCd cd("ide1-cd0", image, {});`
#pragma once

#include "hw/ide/ide_drive.h"
#include "hw/scsi/mmc_commands.h"

namespace menura {

class AtapiCd final : public IdeDrive {
 public:
  AtapiCd(std::string id, Disk& disk, const DriveNames& names);

  std::string_view type() const override { return "ide-cd"; }

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
  enum class Phase : u8 { Idle, Packet, Data, Sectors };

  void begin_packet();
  void run_packet(const MmcCommands::Packet& packet);
  void send_some();
  void fetch_sectors();
  void finish_packet(bool good);

  // State
  MmcCommands mmc_;
  Phase phase_ = Phase::Idle;
  bool dma_ = false;
  u32 byte_limit_ = 0;              // of one PIO block
  std::vector<std::byte> pending_;  // to go to the host
  u64 next_sector_ = 0, sectors_left_ = 0;
  u8 dma_mode_ = 0x42;
};

}  // namespace menura
