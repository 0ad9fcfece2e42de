// The legacy interface of virtio over PCI: VIRTIO 1.2 §4.1.4.10 and §2.7.2.
#include <algorithm>

#include "hw/virtio/virtio_pci.h"

namespace menura {

namespace {

enum Legacy : unsigned {
  kDeviceFeatures = 0,
  kDriverFeatures = 4,
  kQueueAddress = 8,
  kQueueSize = 12,
  kQueueSelect = 14,
  kQueueNotify = 16,
  kStatus = 18,
  kIsr = 19,
  kConfigVector = 20,
  kQueueVector = 22
};

struct LegacyRegister {
  unsigned at;
  unsigned size;
};
constexpr LegacyRegister kRegisters[] = {
    {kDeviceFeatures, 4}, {kDriverFeatures, 4}, {kQueueAddress, 4}, {kQueueSize, 2},
    {kQueueSelect, 2},    {kQueueNotify, 2},    {kStatus, 1},       {kIsr, 1},
    {kConfigVector, 2},   {kQueueVector, 2},
};

constexpr unsigned kPageShift = 12;
constexpr u64 kUsedAlign = u64{1} << kPageShift;

const LegacyRegister* register_at(u64 offset) {
  for (const LegacyRegister& reg : kRegisters)
    if (offset >= reg.at && offset < reg.at + reg.size) return &reg;
  return nullptr;
}

}  // namespace

u64 VirtioPci::read_legacy(Access access) {
  if (access.offset >= legacy_config_at())
    return device_->read_config(access.offset - legacy_config_at(), access.size);
  const LegacyRegister* reg = register_at(access.offset);
  return reg ? legacy_value(reg->at) >> (8 * (access.offset - reg->at)) : 0;
}

u64 VirtioPci::legacy_value(unsigned reg) {
  switch (reg) {
    case kDeviceFeatures: return device_->offered(VirtioDevice::Interface::Legacy);
    case kDriverFeatures: return device_->driver_features() & low_mask(32);
    case kQueueAddress:
      return has_queue() && queue().enabled() ? static_cast<u32>(queue().descriptors >> kPageShift)
                                              : 0;
    case kQueueSize: return has_queue() ? queue().max_size() : 0;
    case kQueueSelect: return queue_select_;
    case kStatus: return device_->status();
    case kIsr: return read_isr({0, 1});
    case kConfigVector: return config_vector_;
    case kQueueVector: return has_queue() ? queue_vectors_[queue_select_] : virtio::kNoVector;
    default: return 0;
  }
}

// Registers are written whole, as their drivers do; anything else means nothing.
void VirtioPci::write_legacy(Access access, u64 value) {
  if (access.offset >= legacy_config_at())
    return device_->write_config(access.offset - legacy_config_at(), access.size, value);
  const LegacyRegister* reg = register_at(access.offset);
  if (reg && reg->at == access.offset && reg->size == access.size) set_legacy(reg->at, value);
}

void VirtioPci::set_legacy(unsigned reg, u64 value) {
  switch (reg) {
    case kDriverFeatures:
      return device_->set_driver_features(value, VirtioDevice::Interface::Legacy);
    case kQueueAddress: return set_legacy_queue(static_cast<u32>(value));
    case kQueueSelect: queue_select_ = static_cast<u16>(value); return;
    case kQueueNotify:
      if (value < device_->queues()) device_->notify(static_cast<unsigned>(value));
      return;
    case kStatus: return set_status(static_cast<u8>(value));
    case kConfigVector: config_vector_ = valid_vector(value); return;
    case kQueueVector:
      if (has_queue()) queue_vectors_[queue_select_] = valid_vector(value);
      return;
    default: return;
  }
}

// One address for all three parts; the used ring begins at a page of its own.
void VirtioPci::set_legacy_queue(u32 page) {
  if (!has_queue()) return;
  if (queue().enabled()) device_->reset_queue(queue_select_);
  if (page == 0) return;
  const u64 size = queue().size();
  queue().descriptors = u64{page} << kPageShift;
  queue().driver_area = queue().descriptors + 16 * size;
  queue().device_area = align_up(queue().driver_area + 6 + 2 * size, kUsedAlign);
  device_->enable_queue(queue_select_);
}

}  // namespace menura
