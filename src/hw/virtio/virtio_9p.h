// Virtio9p: a folder of the host in 9P messages (Linux's net/9p/trans_virtio.c is its only driver; VIRTIO
// lists the device's number, 9, and no more).
//
// Owner: its transport. Threads: under the machine lock. The request is what the driver lets us read,
// the reply goes where it lets us write. Example:
//   auto folder = std::make_unique<Virtio9p>(Virtio9pConfig{.mount_tag = "host"}, share);
#pragma once

#include "hw/virtio/virtio_device.h"
#include "io/file_share.h"

namespace menura {

struct Virtio9pConfig {
  std::string mount_tag;
};

class Virtio9p final : public VirtioDevice {
 public:
  static constexpr VirtioKind kKind{
      .id = 9, .name = "virtio-9p", .class_code = 0x000200, .legacy_pci_device = 0x1009};
  static constexpr size_t kMostTag = 31;
  // The share outlives it.
  Virtio9p(Virtio9pConfig config, FileShare& share);
  ~Virtio9p() override;

 protected:
  u64 device_features() const override;
  void fill_config(Bytes config) override;
  void process(unsigned queue) override;
  void drain(unsigned) override { share_.drain(); }
  void reset_device() override { share_.reset(); }
  void describe_device(StateVisitor& v) override { share_.describe(v); }
  Result<void> restored_device() override { return share_.restored(); }
  void paused() override { share_.drain(); }

 private:
  void reply(const VirtioChain& chain, std::vector<std::byte> message);

  // Configuration
  const Virtio9pConfig config_;
  // Wiring
  FileShare& share_;
};

}  // namespace menura
