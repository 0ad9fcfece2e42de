// ScsiCd: a CD-ROM drive on a SCSI bus: the MMC commands of mmc_commands.h over an io/disk.h Disk.
//
// Owner: the catalogue. Threads: under the machine lock. Long reads go in pieces. Example:
//   ScsiCd cd("cd0", bus, {.target = 1}, *drive->disk);
#pragma once

#include <string>

#include "hw/core/device.h"
#include "hw/scsi/mmc_commands.h"
#include "hw/scsi/scsi_unit.h"

namespace menura {

struct ScsiCdConfig {
  unsigned target = 0;
  unsigned lun = 0;
  std::string vendor = "MENURA";
  std::string product = "MENURA CD-ROM";
  std::string version = "1.0";
};

class ScsiCd final : public Device, public ScsiUnit {
 public:
  // A free place of the bus.
  ScsiCd(std::string id, ScsiBus& bus, ScsiCdConfig config, Disk& disk);
  ~ScsiCd() override;

  std::string_view type() const override { return "scsi-cd"; }
  void reset(ResetKind) override;
  void describe(StateVisitor& v) override { v.field("mmc", mmc_); }
  void pause() override { disk_.drain(); }

  void execute(ScsiTaskPtr task) override;
  void drain() override { disk_.drain(); }

 private:
  struct Read;
  void next_piece(std::shared_ptr<Read> read);
  void fail_task(ScsiTask& task);

  // Wiring
  ScsiBus& bus_;
  Disk& disk_;
  // State
  MmcCommands mmc_;
};

}  // namespace menura
