#include "hw/virtio/virtio_device.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kStatus, "virtio.status", "{} status {:#x} features {:#x}");
TRACE_EVENT(kNotify, "virtio.notify", "{} queue {}");
TRACE_EVENT(kBroken, "virtio.broken", "{}: {}");

// A turn takes so many times a ring's length.
constexpr u32 kTurns = 2;
constexpr unsigned kTrackedQueues = 63;

u64 queue_bit(unsigned queue) { return bit(std::min(queue, kTrackedQueues)); }

}  // namespace

void VirtioOptions::describe(PropertyVisitor& p) {
  p.field("indirect_desc", indirect_desc, "offer tables of descriptors");
  p.field("event_idx", event_idx, "offer to say when a notification is wanted");
  p.field("notify_on_empty", notify_on_empty, "offer legacy drivers a word when a queue runs dry");
  p.field("any_layout", any_layout, "let legacy drivers cut their requests as they like");
  p.field("packed", packed, "offer packed rings");
  p.field("in_order", in_order, "offer to use buffers in the driver's order");
  p.field("iommu_platform", iommu_platform, "demand addresses as the platform's DMA uses them");
  p.field("notification_data", notification_data, "take the ring's position with each doorbell");
  p.field("queue_reset", queue_reset, "offer the reset of single queues");
}

VirtioDevice::VirtioDevice(const VirtioKind& kind, std::vector<u16> queue_sizes, size_t config_size)
    : kind_(kind), config_size_(config_size) {
  for (const u16 size : queue_sizes) queues_.emplace_back(size);
}

VirtioDevice::~VirtioDevice() = default;

void VirtioDevice::attach(VirtioHost& host, const VirtioOptions& options) {
  host_ = &host;
  options_ = options;
  again_.emplace(host.time(), [this] { serve_again(); });
}

u64 VirtioDevice::offered(Interface interface) const {
  u64 features = device_features();
  if (options_.indirect_desc) features |= virtio::kRingIndirect;
  if (options_.event_idx) features |= virtio::kRingEventIndex;
  if (interface == Interface::Legacy) {
    if (options_.notify_on_empty) features |= virtio::kNotifyOnEmpty;
    if (options_.any_layout) features |= virtio::kAnyLayout;
    return features & low_mask(32);
  }
  features |= virtio::kVersion1;
  if (options_.packed) features |= virtio::kRingPacked;
  if (options_.in_order) features |= virtio::kInOrder;
  if (options_.iommu_platform) features |= virtio::kAccessPlatform;
  if (options_.notification_data) features |= virtio::kNotificationData;
  if (options_.queue_reset) features |= virtio::kRingReset;
  return features;
}

// §2.2.2: a driver that accepts what was not offered, or less than a demand, is refused at
// FEATURES_OK.
void VirtioDevice::set_driver_features(u64 features, Interface interface) {
  if (status_ & (virtio::kFeaturesOk | virtio::kDriverOk)) return;
  const u64 known = offered(interface);
  features_ = features & known;
  features_refused_ = false;
  if (interface == Interface::Modern) {
    features_refused_ = features_ != features || !has(virtio::kVersion1) ||
                        (options_.iommu_platform && !has(virtio::kAccessPlatform));
  } else {
    features_accepted();
  }
}

void VirtioDevice::set_status(u8 status) {
  if (status == 0) return reset();
  const u8 fresh = static_cast<u8>(status & ~status_);
  const u8 kept = status_ & virtio::kNeedsReset;
  trace(kStatus, host_->name(), status, features_);
  if ((fresh & virtio::kFeaturesOk) && features_refused_) {
    guest_error(host_->name(), "features {:#x} were refused", features_);
    status &= static_cast<u8>(~virtio::kFeaturesOk);
  }
  status_ = static_cast<u8>((status & ~virtio::kNeedsReset) | kept);
  if (fresh & status_ & virtio::kFeaturesOk) features_accepted();
  if ((fresh & virtio::kDriverOk) == 0 || broken_) return;
  driver_ready();
  for (unsigned n = 0; n < queues(); n++) serve(n);
}

VirtQueue::Rules VirtioDevice::rules() const {
  return {.packed = has(virtio::kRingPacked),
          .indirect = has(virtio::kRingIndirect),
          .event_index = has(virtio::kRingEventIndex),
          .in_order = has(virtio::kInOrder),
          .notify_on_empty = has(virtio::kNotifyOnEmpty)};
}

void VirtioDevice::enable_queue(unsigned n) {
  VirtQueue& queue = queues_[n];
  if (queue.enabled() || broken_) return;
  queue.enable(*host_, rules());
  serve(n);
}

void VirtioDevice::reset_queue(unsigned n) {
  drain(n);
  queues_[n].reset();
  queue_was_reset(n);
}

void VirtioDevice::notify(unsigned n) {
  trace(kNotify, host_->name(), n);
  if (n < queues()) serve(n);
}

void VirtioDevice::serve(unsigned n) {
  if (!driver_ok() || paused_ || !queues_[n].enabled()) return;
  budget_ = kTurns * queues_[n].size();
  process(n);
  const bool exhausted = budget_ == 0;
  budget_ = ~u32{0};
  if (!exhausted || broken_) return;
  waiting_ |= queue_bit(n);
  again_->arm(host_->time().now_ns());
}

void VirtioDevice::serve_again() {
  const u64 waiting = std::exchange(waiting_, 0);
  for (unsigned n = 0; n < queues(); n++)
    if (waiting & queue_bit(n)) serve(n);
}

bool VirtioDevice::take(unsigned queue, VirtioChain& chain) {
  if (!driver_ok() || paused_ || budget_ == 0) return false;
  const VirtQueue::Outcome outcome = queues_[queue].take(chain);
  if (outcome == VirtQueue::Outcome::Broken) break_down("a queue's descriptors make no sense");
  if (outcome != VirtQueue::Outcome::Done) return false;
  if (budget_ != ~u32{0}) budget_--;
  return true;
}

void VirtioDevice::give_back(unsigned queue, const VirtioChain& chain, u32 written) {
  if (broken_) return;
  if (queues_[queue].give_back(chain, written) == VirtQueue::Outcome::Broken)
    break_down("a used ring is not in RAM");
}

void VirtioDevice::interrupt(unsigned queue) {
  if (!broken_ && queues_[queue].wants_interrupt()) host_->queue_interrupt(queue);
}

void VirtioDevice::finish(unsigned queue, const VirtioChain& chain, u32 written) {
  give_back(queue, chain, written);
  interrupt(queue);
}

void VirtioDevice::config_changed() {
  generation_++;
  if (driver_ok()) host_->config_interrupt();
}

bool VirtioDevice::read_chain(const VirtioChain& chain, u64 offset, Bytes to) {
  if (chain.read(*host_, offset, to)) return true;
  break_down("a buffer is too short or not in RAM");
  return false;
}

bool VirtioDevice::write_chain(const VirtioChain& chain, u64 offset, ConstBytes from) {
  if (chain.write(*host_, offset, from)) return true;
  break_down("a buffer is too short or not in RAM");
  return false;
}

// §2.1.2: tells the driver, if it is one that knows the bit.
void VirtioDevice::break_down(std::string_view why) {
  if (broken_) return;
  broken_ = true;
  trace(kBroken, host_->name(), why);
  guest_error(host_->name(), "needs a reset: {}", why);
  if (!has(virtio::kVersion1)) return;
  status_ |= virtio::kNeedsReset;
  if (status_ & virtio::kDriverOk) host_->config_interrupt();
}

u64 VirtioDevice::read_config(u64 offset, unsigned size) {
  std::array<std::byte, kMaxConfig + 8> config{};
  fill_config(Bytes(config).first(config_size_));
  if (offset >= config_size_) return 0;
  return load_le<u64>(config, offset) & low_mask(8 * size);
}

void VirtioDevice::write_config(u64 offset, unsigned size, u64 value) {
  if (offset >= config_size_) return;
  std::array<std::byte, 8> bytes{};
  store_le(Bytes(bytes), 0, value);
  config_written(offset, ConstBytes(bytes).first(std::min<u64>(size, config_size_ - offset)));
}

void VirtioDevice::clear() {
  features_ = 0;
  features_refused_ = false;
  status_ = 0;
  generation_ = 0;
  broken_ = false;
  waiting_ = 0;
  again_->cancel();
  for (VirtQueue& queue : queues_) queue.reset();
}

void VirtioDevice::reset() {
  if (status_ != 0) trace(kStatus, host_->name(), 0, features_);
  for (unsigned n = 0; n < queues(); n++) drain(n);
  clear();
  reset_device();
}

void VirtioDevice::describe(StateVisitor& v) {
  v.field("features", features_);
  v.field("features_refused", features_refused_);
  v.field("status", status_);
  v.field("generation", generation_);
  v.field("broken", broken_);
  const size_t count = queues_.size();
  size_t saved = count;
  v.field("queue_count", saved);
  if (saved != count)
    return v.fail(fail(Errc::Corrupt, "A device with {} queues, this one has {}", saved, count));
  for (unsigned n = 0; n < count; n++) v.field("queue" + std::to_string(n), queues_[n]);
  v.field("waiting", waiting_);
  describe_device(v);
}

Result<void> VirtioDevice::restored() {
  for (unsigned n = 0; n < queues(); n++)
    if (!queues_[n].restored(*host_, rules())) {
      clear();
      return fail(Errc::Corrupt, "Queue {} of '{}' is in an impossible state", n, host_->name());
    }
  if (waiting_ != 0)
    again_->arm(host_->time().now_ns());
  else
    again_->cancel();
  return restored_device();
}

void VirtioDevice::pause() {
  for (unsigned n = 0; n < queues(); n++) drain(n);
  paused_ = true;
  paused();
}

// Whatever was rung for meanwhile.
void VirtioDevice::resume() {
  paused_ = false;
  resumed();
  for (unsigned n = 0; n < queues(); n++) serve(n);
}

}  // namespace menura
