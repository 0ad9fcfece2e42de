// VirtioDevice: what a virtio device is without its bus: features, status, queues and configuration;
// VirtioHost: the bus's side, which a transport (virtio_pci.h, virtio_mmio.h) implements.
//
// Owner: its transport. Threads: under the machine lock. Source: VIRTIO 1.2 §2, §3. A kind of device
// says what it offers, serves its queues in process(), and never waits: what takes time completes
// later, from the loop. Breaking the rules of a queue puts it into DEVICE_NEEDS_RESET, and then it
// does nothing more until the driver resets it. Example: see virtio_rng.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "event/timer.h"
#include "hw/virtio/virtio_regs.h"
#include "hw/virtio/virtqueue.h"
#include "state/properties.h"
#include "state/visitor.h"

namespace menura {

class VirtioHost : public VirtioMemory {
 public:
  // Buffers were given back in this queue, and the driver wants to hear of it.
  virtual void queue_interrupt(unsigned queue) = 0;
  virtual void config_interrupt() = 0;
  virtual TimerQueue& time() = 0;
  virtual const std::string& name() const = 0;  // for messages
};

// What every kind lets users choose.
struct VirtioOptions {
  bool indirect_desc = true;
  bool event_idx = true;
  bool notify_on_empty = true;  // legacy drivers only
  bool any_layout = true;       // legacy drivers only
  bool packed = false;
  bool in_order = false;
  bool iommu_platform = false;
  bool notification_data = false;
  bool queue_reset = true;
  void describe(PropertyVisitor& p);
};

// What tells a kind from the others.
struct VirtioKind {
  u16 id = 0;                 // §5
  std::string_view name;      // "virtio-blk"
  u32 class_code = 0;         // on PCI
  u16 legacy_pci_device = 0;  // transitional PCI device id; 0: none
};

class VirtioDevice {
 public:
  static constexpr size_t kMaxConfig = 256;

  virtual ~VirtioDevice();
  VirtioDevice(const VirtioDevice&) = delete;
  VirtioDevice& operator=(const VirtioDevice&) = delete;

  const VirtioKind& kind() const { return kind_; }

  // For the transport, which lives longer.
  void attach(VirtioHost& host, const VirtioOptions& options);
  VirtioHost& host() const { return *host_; }
  enum class Interface : u8 { Legacy, Modern };
  u64 offered(Interface interface) const;
  u64 driver_features() const { return features_; }
  // Bits that were not offered are remembered so that FEATURES_OK can be refused (legacy: dropped).
  void set_driver_features(u64 features, Interface interface);
  u8 status() const { return status_; }
  void set_status(u8 status);  // zero resets
  u8 config_generation() const { return generation_; }
  unsigned queues() const { return static_cast<unsigned>(queues_.size()); }
  VirtQueue& queue(unsigned n) { return queues_[n]; }
  void enable_queue(unsigned n);
  // VIRTIO_F_RING_RESET: the device has given everything back, or forgotten it, when this returns.
  void reset_queue(unsigned n);
  void notify(unsigned n);
  // Size of the configuration that this driver may see.
  size_t config_size() const { return config_size_; }
  // At most 8 bytes; beyond the end zero, or nothing.
  u64 read_config(u64 offset, unsigned size);
  void write_config(u64 offset, unsigned size, u64 value);

  void reset();
  void describe(StateVisitor& v);
  Result<void> restored();
  void pause();
  void resume();
  bool driver_ok() const { return (status_ & virtio::kDriverOk) != 0 && !broken(); }
  bool broken() const { return broken_; }

 protected:
  VirtioDevice(const VirtioKind& kind, std::vector<u16> queue_sizes, size_t config_size);

  // For the kind. What it offers over the transport's bits.
  virtual u64 device_features() const = 0;
  // The whole configuration as it is now; starts as zeroes.
  virtual void fill_config(Bytes /*config*/) {}
  // A guest wrote these bytes of it.
  virtual void config_written(size_t /*offset*/, ConstBytes /*bytes*/) {}
  // The driver put something into a queue, or there may be more to do in it.
  virtual void process(unsigned queue) = 0;
  // After the driver's features or DRIVER_OK took effect.
  virtual void features_accepted() {}
  virtual void driver_ready() {}
  // Nothing taken from this queue is in work elsewhere when it returns.
  virtual void drain(unsigned /*queue*/) {}
  virtual void reset_device() {}
  virtual void queue_was_reset(unsigned /*queue*/) {}
  virtual void describe_device(StateVisitor& /*v*/) {}
  virtual Result<void> restored_device() { return {}; }
  virtual void paused() {}
  virtual void resumed() {}

  bool has(u64 feature) const { return (features_ & feature) != 0; }
  bool is_paused() const { return paused_; }

  // The next chain of a queue, while the device works. During process() only so many that a driver
  // which keeps adding cannot hold up the machine; the rest comes in another turn.
  bool take(unsigned queue, VirtioChain& chain);
  void put_back(unsigned queue, const VirtioChain& chain) { queues_[queue].put_back(chain); }
  void give_back(unsigned queue, const VirtioChain& chain, u32 written);
  // After one or several give_back().
  void interrupt(unsigned queue);
  // give_back() and interrupt().
  void finish(unsigned queue, const VirtioChain& chain, u32 written);
  void config_changed();
  // Copies a chain's content; false, and the device is broken, where that fails.
  bool read_chain(const VirtioChain& chain, u64 offset, Bytes to);
  bool write_chain(const VirtioChain& chain, u64 offset, ConstBytes from);
  // The driver broke the rules.
  void break_down(std::string_view why);

 private:
  VirtQueue::Rules rules() const;
  void serve(unsigned queue);
  void serve_again();
  void clear();

  // Configuration
  const VirtioKind kind_;
  const size_t config_size_;
  VirtioOptions options_;

  // Wiring
  VirtioHost* host_ = nullptr;
  std::optional<Timer> again_;

  // State
  u64 features_ = 0;
  bool features_refused_ = false;
  u8 status_ = 0;
  u8 generation_ = 0;
  bool broken_ = false;
  std::vector<VirtQueue> queues_;
  u64 waiting_ = 0;  // queues that wait for another turn, a bit each, the last for all beyond

  // Not state
  bool paused_ = false;
  u32 budget_ = ~u32{0};
};

}  // namespace menura
