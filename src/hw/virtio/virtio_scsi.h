// VirtioScsi: a SCSI host adapter (VIRTIO 1.2 §5.6), with hw/scsi's units on its bus.
//
// Owner: its transport; units go before it. Threads: under the machine lock. Example:
//   auto scsi = std::make_unique<VirtioScsi>(VirtioScsiConfig{});   ScsiBus& bus = *scsi;
#pragma once

#include <map>
#include <memory>

#include "hw/scsi/scsi_unit.h"
#include "hw/virtio/virtio_device.h"

namespace menura {

struct VirtioScsiConfig {
  u32 num_queues = 1;  // for requests
  u32 virtqueue_size = 256;
  u32 max_sectors = 0xffff;
  u32 cmd_per_lun = 128;
  void describe(PropertyVisitor& p);
  Result<void> check() const;
};

class VirtioScsi final : public VirtioDevice, public ScsiBus {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kScsi,
                                    .name = "virtio-scsi",
                                    .class_code = 0x010000,
                                    .legacy_pci_device = 0x1004};
  explicit VirtioScsi(const VirtioScsiConfig& config);

  ScsiUnit* unit(unsigned target, unsigned lun) const override;
  void plug(unsigned target, unsigned lun, ScsiUnit& unit) override;
  void unplug(ScsiUnit& unit) override;

 protected:
  u64 device_features() const override { return 0; }
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void process(unsigned queue) override;
  void drain(unsigned queue) override;
  void reset_device() override;
  void describe_device(StateVisitor& v) override;
  Result<void> restored_device() override;

 private:
  struct Task;
  void take_control();
  void take_request(unsigned queue, std::shared_ptr<Task> task);
  void report_luns(Task& task, unsigned target);
  bool has_target(unsigned target) const;

  // Configuration
  const VirtioScsiConfig config_;

  // Wiring
  std::map<std::pair<unsigned, unsigned>, ScsiUnit*> units_;  // by target and LUN

  // State
  u32 sense_size_, cdb_size_;
};

}  // namespace menura
