// ScsiDisk: a direct-access block device (SBC-3, SPC-4) over an io/disk.h Disk.
//
// Owner: the catalogue. Threads: under the machine lock. Sectors of 512 bytes. Long transfers go in
// pieces of a MiB. Example: `ScsiDisk disk("disk0", bus, {.target = 0}, *drive->disk);`
#pragma once

#include <string>
#include <vector>

#include "hw/core/device.h"
#include "hw/scsi/scsi_unit.h"
#include "io/disk.h"

namespace menura {

struct ScsiDiskConfig {
  unsigned target = 0;
  unsigned lun = 0;
  std::string serial = {};
  std::string device_id = {};  // names the disk in VPD page 83h; empty: the serial number
  std::string vendor = "MENURA";
  std::string product = "MENURA HARDDISK";
  std::string version = "1.0";
  u16 rotation_rate = 0;  // 1: solid state; 0: not said
  bool write_cache = true;
  bool removable = false;  // says so; the medium stays
};

class ScsiDisk final : public Device, public ScsiUnit {
 public:
  // A free place of the bus.
  ScsiDisk(std::string id, ScsiBus& bus, ScsiDiskConfig config, Disk& disk);
  ~ScsiDisk() override;

  std::string_view type() const override { return "scsi-hd"; }
  void reset(ResetKind) override;
  void describe(StateVisitor& v) override;
  void pause() override { disk_.drain(); }

  void execute(ScsiTaskPtr task) override;
  void drain() override { disk_.drain(); }

 private:
  struct Transfer;
  using TransferPtr = std::shared_ptr<Transfer>;
  using Data = std::vector<u8>;

  void dispatch(ScsiTaskPtr task);
  void transfer(ScsiTaskPtr task, u64 lba, u64 count, bool writes);
  void next_piece(TransferPtr transfer);
  void submit(ScsiTaskPtr task, DiskRequest request);
  void unmap(ScsiTaskPtr task);
  void write_same(ScsiTaskPtr task, u64 lba, u64 count);
  void verify(ScsiTask& task, u64 lba, u64 count);
  void inquiry(ScsiTask& task);
  bool vital_product_data(u8 page, Data& data) const;
  void mode_sense(ScsiTask& task, bool ten);
  void mode_select(ScsiTask& task, bool ten);
  void read_capacity16(ScsiTask& task);
  void reply(ScsiTask& task, const Data& data, u64 allocation);
  bool on_disk(u64 lba, u64 count) const { return lba <= sectors() && count <= sectors() - lba; }
  u64 sectors() const { return disk_.size() / 512; }

  // Configuration
  const ScsiDiskConfig config_;

  // Wiring
  ScsiBus& bus_;
  Disk& disk_;

  // State
  bool unit_attention_ = true;
  bool write_cache_;
};

}  // namespace menura
