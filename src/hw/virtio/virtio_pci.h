// VirtioPci: a virtio device on a PCI bus, with the modern interface, the legacy one, or both.
//
// Owner: the board or the catalogue. Threads: under the machine lock. Source: VIRTIO 1.2 §4.1; PCI
// device IDs as §4.1.2. BAR 0 is the legacy I/O interface, BAR 1 MSI-X, BAR 4 the modern structures.
// Where the accelerator can, doorbells are ioeventfds and interrupts irqfds while the driver runs.
// Example:
//   VirtioPci rng("rng0", std::make_unique<VirtioRng>(tape, RngConfig{}), {}, {.time = time});
//   bus.add(rng, PciBus::devfn(4, 0)).value();
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "event/event_loop.h"
#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "hw/pci/msi_events.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msix.h"
#include "hw/virtio/virtio_device.h"

namespace menura {

struct VirtioPciOptions {
  VirtioOptions virtio = {};
  bool legacy = true;  // one of the two at least
  bool modern = true;
  unsigned vectors = 2;  // of MSI-X; 0: INTx only
};

struct VirtioPciWiring {
  TimerQueue& time;
  // With a loop, the accelerator takes doorbells and injects interrupts by eventfds.
  EventLoop* event_loop = nullptr;
};

class VirtioPci final : public PciFunction, private VirtioHost {
 public:
  // Layout of BAR 4.
  static constexpr u64 kCommonAt = 0x0000, kIsrAt = 0x1000, kConfigAt = 0x2000, kNotifyAt = 0x3000;
  static constexpr u32 kNotifyMultiplier = 4;

  VirtioPci(std::string id, std::unique_ptr<VirtioDevice> device, const VirtioPciOptions& options,
            const VirtioPciWiring& wiring);
  ~VirtioPci() override;

  std::string_view type() const override { return type_; }
  VirtioDevice& device() { return *device_; }
  void pause() override { device_->pause(); }
  void resume() override { device_->resume(); }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void config_reading(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  enum class DriverReg : u8;
  static constexpr size_t kDriverRegisters = 18;
  static const RegisterTable<DriverReg, kDriverRegisters> kCommonTable;

  // VirtioHost
  bool read(u64 address, Bytes to) override;
  bool write(u64 address, ConstBytes from) override;
  void queue_interrupt(unsigned queue) override;
  void config_interrupt() override;
  TimerQueue& time() override { return time_; }
  const std::string& name() const override { return id(); }

  void add_capabilities();
  u64 read_common(Access access);
  void write_common(Access access, u64 value);
  u64 common_value(DriverReg reg);
  u64 queue_value(DriverReg reg);
  void set_common(DriverReg reg, u64 value);
  void set_queue(DriverReg reg, u64 value);
  u64 read_isr(Access access);
  void write_isr(Access, u64) {}
  u64 read_device(Access access);
  void write_device(Access access, u64 value);
  u64 read_notify(Access) { return 0; }
  void write_notify(Access access, u64 value);
  u64 read_legacy(Access access);
  void write_legacy(Access access, u64 value);
  u64 legacy_value(unsigned reg);
  void set_legacy(unsigned reg, u64 value);
  void set_legacy_queue(u32 page);
  unsigned legacy_config_at() const { return msix_ && msix_->enabled() ? 24 : 20; }
  u64 access_by_config(bool write, u64 value);

  void set_status(u8 status);
  void clear();
  u16 valid_vector(u64 vector) const;
  bool has_queue() const { return queue_select_ < device_->queues(); }
  VirtQueue& queue() { return device_->queue(queue_select_); }
  void raise(u8 isr_bit, u16 vector);
  void start_doorbells();
  void stop_doorbells();
  Region::IoEvent doorbell_event(unsigned queue, bool legacy) const;

  // Configuration
  const VirtioPciOptions options_;
  const std::string type_;

  // Wiring
  TimerQueue& time_;
  EventLoop* event_loop_;
  Window<VirtioPci> common_window_{*this, &VirtioPci::read_common, &VirtioPci::write_common};
  Window<VirtioPci> isr_window_{*this, &VirtioPci::read_isr, &VirtioPci::write_isr};
  Window<VirtioPci> device_window_{*this, &VirtioPci::read_device, &VirtioPci::write_device};
  Window<VirtioPci> notify_window_{*this, &VirtioPci::read_notify, &VirtioPci::write_notify};
  Window<VirtioPci> legacy_window_{*this, &VirtioPci::read_legacy, &VirtioPci::write_legacy};
  Region modern_region_ = Region::container("virtio-pci", 0x4000);
  Region common_region_, isr_region_, device_region_, notify_region_, legacy_region_;
  Region msix_region_;
  std::optional<PciMsiX> msix_;
  std::unique_ptr<MsiEvents> events_;
  struct Doorbell {
    UniqueFd fd;
    Watch watch;
  };
  std::vector<Doorbell> doorbells_;  // while they ring past us
  unsigned access_window_at_ = 0;    // the capability for access by configuration space
  RegisterFile<DriverReg, kDriverRegisters> common_;  // values only during an access

  // State
  u32 device_feature_select_ = 0;
  u32 driver_feature_select_ = 0;
  u64 driver_features_ = 0;
  u16 queue_select_ = 0;
  u16 config_vector_ = virtio::kNoVector;
  std::vector<u16> queue_vectors_;
  u8 isr_ = 0;
  std::unique_ptr<VirtioDevice> device_;
};

}  // namespace menura
