// VirtioBalloon: memory that the guest lends back to the host (VIRTIO 1.2 §5.5): what it inflates into,
// and what it reports as free; and the guest's own statistics.
//
// Owner: its transport. Threads: under the machine lock. The guest decides what to give; what it says
// is believed only as far as its own RAM goes. Example:
//   VirtioBalloon balloon({}, 512 * MiB, {.discard = [&](u64 at, u64 n) { discard_ram(m, {at}, n); }});
//   balloon.set_target(256 * MiB);
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "hw/virtio/virtio_device.h"

namespace menura {

struct VirtioBalloonConfig {
  bool deflate_on_oom = false;
  bool free_page_reporting = false;
  void describe(PropertyVisitor& p);
};

class VirtioBalloon final : public VirtioDevice {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kBalloon,
                                    .name = "virtio-balloon",
                                    .class_code = 0x00ff00,
                                    .legacy_pci_device = 0x1002};
  struct Wiring {
    std::function<void(u64 address, u64 length)> discard;
    std::function<void(u64 actual)> changed = {};  // the guest has so many bytes now
  };
  VirtioBalloon(const VirtioBalloonConfig& config, u64 ram_size, Wiring wiring);

  // Bytes of RAM that the guest keeps, and shall keep.
  u64 actual() const { return ram_size_ - u64{actual_} * kPage; }
  void set_target(u64 bytes);

  // The guest's statistics by name, as it told them last; ~0: never.
  static constexpr std::array<std::string_view, 10> kStatistics{
      "stat-swap-in",      "stat-swap-out",     "stat-major-faults",     "stat-minor-faults",
      "stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
      "stat-htlb-pgalloc", "stat-htlb-pgfail"};
  const std::array<u64, 10>& statistics() const { return statistics_; }
  i64 statistics_time_ns() const { return statistics_time_ns_; }  // of guest time
  // Asks for them so often, in seconds; 0: not.
  void set_polling_interval(u32 seconds);
  u32 polling_interval() const { return polling_interval_; }

 protected:
  u64 device_features() const override;
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void process(unsigned queue) override;
  void reset_device() override;
  void queue_was_reset(unsigned queue) override;
  void describe_device(StateVisitor& v) override;
  Result<void> restored_device() override;

 private:
  static constexpr u64 kPage = 4096;
  enum class Role : u8 { Inflate, Deflate, Statistics, Reporting, None };

  Role role_of(unsigned queue) const;
  void take_pages(unsigned queue, bool inflate);
  void take_reports(unsigned queue);
  void take_statistics(unsigned queue);
  void poll();

  // Configuration
  const VirtioBalloonConfig config_;
  const u64 ram_size_;

  // Wiring
  Wiring wiring_;
  std::optional<Timer> timer_;

  // State
  u32 target_ = 0;  // pages that the guest shall give
  u32 actual_ = 0;  // has given
  std::array<u64, 10> statistics_;
  i64 statistics_time_ns_ = 0;
  u32 polling_interval_ = 0;
  bool holding_ = false;  // a buffer for statistics, to be given back when we want new ones
  u32 held_queue_ = 0;
  VirtioChain held_;
};

}  // namespace menura
