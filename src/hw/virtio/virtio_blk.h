// VirtioBlk: a disk (VIRTIO 1.2 §5.2), over an io/disk.h Disk.
//
// Owner: its transport. Threads: under the machine lock; requests complete through the loop. Long
// transfers go in pieces, so that a guest cannot make us hold more than a piece for each request.
// Example: `std::make_unique<VirtioBlk>(*drive->disk, VirtioBlkConfig{.serial = "S1"})`
#pragma once

#include <memory>
#include <string>

#include "hw/virtio/virtio_device.h"
#include "io/disk.h"

namespace menura {

struct VirtioBlkConfig {
  std::string serial = {};
  u16 num_queues = 1;
  u16 queue_size = 256;
  bool seg_max_adjust = true;
  bool write_cache = true;
  bool config_wce = true;
  bool discard = true;
  bool write_zeroes = true;
  u32 max_discard_sectors = 0x3f'ffff;
  u32 max_write_zeroes_sectors = 0x3f'ffff;
  u32 logical_block_size = 512;
  u32 physical_block_size = 512;
  u32 min_io_size = 0;
  u32 opt_io_size = 0;
  u32 discard_granularity = 0;  // 0: a logical block
  u32 cyls = 0, heads = 0, secs = 0;
  void describe(PropertyVisitor& p);
  Result<void> check() const;
};

class VirtioBlk final : public VirtioDevice {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kBlock,
                                    .name = "virtio-blk",
                                    .class_code = 0x010000,
                                    .legacy_pci_device = 0x1001};
  // config.check() has been made.
  VirtioBlk(Disk& disk, VirtioBlkConfig config);

  // The medium has another size now.
  void resized() { config_changed(); }

 protected:
  u64 device_features() const override;
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void features_accepted() override;
  void process(unsigned queue) override;
  void drain(unsigned queue) override;
  void reset_device() override;
  void describe_device(StateVisitor& v) override;

 private:
  struct Request;
  using RequestPtr = std::shared_ptr<Request>;

  void start(RequestPtr request);
  void start_transfer(RequestPtr request);
  void next_piece(RequestPtr request);
  void piece_done(RequestPtr request, const Result<void>& outcome);
  void start_range(RequestPtr request);
  void submit(RequestPtr request, DiskRequest disk);
  void send_id(RequestPtr request);
  void complete(Request& request, u8 status, u32 written = 0);
  bool on_disk(u64 sector, u64 bytes) const;

  // Configuration
  const VirtioBlkConfig config_;

  // Wiring
  Disk& disk_;

  // State
  bool writeback_;
};

}  // namespace menura
