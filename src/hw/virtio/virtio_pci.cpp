#include "hw/virtio/virtio_pci.h"

#include <algorithm>
#include <bit>

#include "base/log.h"
#include "hw/pci/pci_bus.h"

namespace menura {

namespace {

constexpr u16 kVendor = 0x1af4;
constexpr u16 kModernDevice = 0x1040;
constexpr u16 kSubsystem = 0x1100;
// ISR status (§4.1.4.5).
constexpr u8 kIsrQueue = 1, kIsrConfig = 2;
// Capabilities (§4.1.4): a vendor's, each saying where one structure lies.
constexpr u8 kCapVendor = 0x09;
enum CapKind : u8 { kCapCommon = 1, kCapNotify = 2, kCapIsr = 3, kCapDevice = 4, kCapAccess = 5 };
constexpr unsigned kModernBar = 4;
constexpr u64 kPart = 0x1000;
constexpr unsigned kMsiXEntry = 16;
constexpr std::array<u64, 1> kOneSignal{1};

// 20 or 24 bytes, and then the device's configuration.
u64 legacy_size(size_t config_size) { return std::bit_ceil(24 + config_size); }

u32 msix_pba_offset(unsigned vectors) {
  return std::max<u32>(0x800, std::bit_ceil(vectors * kMsiXEntry));
}
u64 msix_bar_size(unsigned vectors) { return 2 * u64{msix_pba_offset(vectors)}; }

PciIdentity identity_of(const VirtioKind& kind, const VirtioPciOptions& options) {
  PciIdentity identity{.vendor = kVendor,
                       .device = static_cast<u16>(kModernDevice + kind.id),
                       .class_code = kind.class_code,
                       .revision = 1,
                       .subsystem_vendor = kVendor,
                       .subsystem = kSubsystem};
  if (!options.legacy) return identity;
  identity.device = kind.legacy_pci_device;
  identity.revision = 0;  // §4.1.2.3
  identity.subsystem = kind.id;
  return identity;
}

constexpr AccessRules kRules{.valid_min = 1, .valid_max = 8, .handler_min = 1, .handler_max = 8};
constexpr AccessRules kPortRules{
    .valid_min = 1, .valid_max = 4, .handler_min = 1, .handler_max = 4};

}  // namespace

enum class VirtioPci::DriverReg : u8 {
  DeviceFeatureSelect,
  DeviceFeature,
  DriverFeatureSelect,
  DriverFeature,
  ConfigMsixVector,
  NumQueues,
  DeviceStatus,
  ConfigGeneration,
  QueueSelect,
  QueueSize,
  QueueMsixVector,
  QueueEnable,
  QueueNotifyOff,
  QueueDesc,
  QueueDriver,
  QueueDevice,
  QueueNotifConfigData,
  QueueReset
};

// §4.1.4.3
constinit const RegisterTable<VirtioPci::DriverReg, VirtioPci::kDriverRegisters>
    VirtioPci::kCommonTable{{{
        {DriverReg::DeviceFeatureSelect, 0x00, 4, "device_feature_select"},
        {DriverReg::DeviceFeature, 0x04, 4, "device_feature"},
        {DriverReg::DriverFeatureSelect, 0x08, 4, "driver_feature_select"},
        {DriverReg::DriverFeature, 0x0c, 4, "driver_feature"},
        {DriverReg::ConfigMsixVector, 0x10, 2, "config_msix_vector"},
        {DriverReg::NumQueues, 0x12, 2, "num_queues"},
        {DriverReg::DeviceStatus, 0x14, 1, "device_status"},
        {DriverReg::ConfigGeneration, 0x15, 1, "config_generation"},
        {DriverReg::QueueSelect, 0x16, 2, "queue_select"},
        {DriverReg::QueueSize, 0x18, 2, "queue_size"},
        {DriverReg::QueueMsixVector, 0x1a, 2, "queue_msix_vector"},
        {DriverReg::QueueEnable, 0x1c, 2, "queue_enable"},
        {DriverReg::QueueNotifyOff, 0x1e, 2, "queue_notify_off"},
        {DriverReg::QueueDesc, 0x20, 8, "queue_desc"},
        {DriverReg::QueueDriver, 0x28, 8, "queue_driver"},
        {DriverReg::QueueDevice, 0x30, 8, "queue_device"},
        {DriverReg::QueueNotifConfigData, 0x38, 2, "queue_notif_config_data"},
        {DriverReg::QueueReset, 0x3a, 2, "queue_reset"},
    }}};

VirtioPci::VirtioPci(std::string id, std::unique_ptr<VirtioDevice> device,
                     const VirtioPciOptions& options, const VirtioPciWiring& wiring)
    : PciFunction(std::move(id), identity_of(device->kind(), options)),
      options_(options),
      type_(std::string(device->kind().name) + "-pci"),
      time_(wiring.time),
      event_loop_(wiring.event_loop),
      common_region_(Region::mmio("virtio-common", kPart, common_window_, kRules)),
      isr_region_(Region::mmio("virtio-isr", kPart, isr_window_, kRules)),
      device_region_(Region::mmio("virtio-device", kPart, device_window_, kRules)),
      notify_region_(Region::mmio("virtio-notify", kPart, notify_window_, kRules)),
      legacy_region_(Region::mmio("virtio-legacy", legacy_size(device->config_size()),
                                  legacy_window_, kPortRules)),
      msix_region_(Region::container("virtio-msix", msix_bar_size(options.vectors))),
      common_(kCommonTable),
      queue_vectors_(device->queues(), virtio::kNoVector),
      device_(std::move(device)) {
  device_->attach(*this, options.virtio);
  set_interrupt_pin(IntxPin::A);
  if (options.legacy) add_bar(0, BarKind::Io, legacy_region_).value();
  if (options.vectors != 0) {
    msix_.emplace(*this,
                  PciMsiXConfig{.vectors = options.vectors,
                                .bar = 1,
                                .table_offset = 0,
                                .pba_offset = msix_pba_offset(options.vectors)},
                  msix_region_);
    add_bar(1, BarKind::Memory32, msix_region_).value();
  }
  if (!options.modern) return;
  modern_region_.map(kCommonAt, common_region_);
  modern_region_.map(kIsrAt, isr_region_);
  modern_region_.map(kConfigAt, device_region_);
  modern_region_.map(kNotifyAt, notify_region_);
  add_bar(kModernBar, BarKind::Memory64Prefetchable, modern_region_).value();
  add_capabilities();
}

VirtioPci::~VirtioPci() {
  stop_doorbells();
  if (msix_) msix_->set_listener(nullptr);
  // What is in work elsewhere ends before its host is gone.
  device_->pause();
}

void VirtioPci::add_capabilities() {
  struct Row {
    CapKind kind;
    u64 offset, length;
    u8 size;
  };
  const Row rows[] = {
      {kCapCommon, kCommonAt, kPart, 16},
      {kCapIsr, kIsrAt, kPart, 16},
      {kCapDevice, kConfigAt, kPart, 16},
      {kCapNotify, kNotifyAt, kPart, 20},
      {kCapAccess, 0, 0, 20},
  };
  for (const Row& row : rows) {
    const unsigned base = config().add_capability(kCapVendor, row.size).value();
    const auto at = [&](unsigned offset) { return static_cast<u8>(base + offset); };
    const bool access = row.kind == kCapAccess;
    config().define({.offset = at(2), .name = "cap_len", .reset = row.size});
    config().define({.offset = at(3), .name = "cfg_type", .reset = row.kind});
    config().define({.offset = at(4),
                     .name = "cap_bar",
                     .reset = access ? 0 : kModernBar,
                     .writable = access ? 0xffu : 0});
    config().define({.offset = at(8),
                     .size = 4,
                     .name = "cap_offset",
                     .reset = static_cast<u32>(row.offset),
                     .writable = access ? ~0u : 0});
    config().define({.offset = at(12),
                     .size = 4,
                     .name = "cap_length",
                     .reset = static_cast<u32>(row.length),
                     .writable = access ? ~0u : 0});
    if (row.kind == kCapNotify)
      config().define({.offset = at(16),
                       .size = 4,
                       .name = "notify_off_multiplier",
                       .reset = kNotifyMultiplier});
    if (!access) continue;
    config().define({.offset = at(16), .size = 4, .name = "pci_cfg_data", .writable = ~0u});
    access_window_at_ = base;
  }
}

// §4.1.4.9: the structures of BAR 4 for a driver that cannot reach it.
u64 VirtioPci::access_by_config(bool write, u64 value) {
  const u32 offset = config().get32(access_window_at_ + 8);
  const u32 size = config().get32(access_window_at_ + 12);
  if (config().get8(access_window_at_ + 4) != kModernBar || (size != 1 && size != 2 && size != 4) ||
      offset % size != 0 || offset >= 4 * kPart)
    return 0;
  const Access access{offset % kPart, size};
  value &= low_mask(8 * size);
  switch (align_down(offset, u32{kPart})) {
    case kCommonAt: return write ? (write_common(access, value), 0) : read_common(access);
    case kIsrAt: return write ? 0 : read_isr(access);
    case kConfigAt: return write ? (write_device(access, value), 0) : read_device(access);
    default: return write ? (write_notify(access, value), 0) : 0;
  }
}

void VirtioPci::config_written(unsigned offset, unsigned size) {
  const unsigned data = access_window_at_ + 16;
  if (access_window_at_ == 0 || offset >= data + 4 || offset + size <= data) return;
  (void)access_by_config(true, config().get32(data));
}

void VirtioPci::config_reading(unsigned offset, unsigned size) {
  const unsigned data = access_window_at_ + 16;
  if (access_window_at_ == 0 || offset >= data + 4 || offset + size <= data) return;
  config().set(data, 4, static_cast<u32>(access_by_config(false, 0)));
}

bool VirtioPci::read(u64 address, Bytes to) { return dma_read({address}, to) == AccessStatus::Ok; }

bool VirtioPci::write(u64 address, ConstBytes from) {
  return dma_write({address}, from) == AccessStatus::Ok;
}

void VirtioPci::queue_interrupt(unsigned queue) { raise(kIsrQueue, queue_vectors_[queue]); }

void VirtioPci::config_interrupt() { raise(kIsrConfig, config_vector_); }

void VirtioPci::raise(u8 isr_bit, u16 vector) {
  if (!msix_ || !msix_->enabled()) {
    isr_ |= isr_bit;
    return set_intx(true);
  }
  if (vector >= msix_->vectors()) return;
  if (events_ && events_->direct(vector))
    (void)write_all(events_->eventfd(vector).value(), bytes_of(kOneSignal));
  else
    (void)msix_->notify(vector);
}

u16 VirtioPci::valid_vector(u64 vector) const {
  return msix_ && vector < msix_->vectors() ? static_cast<u16>(vector) : virtio::kNoVector;
}

u64 VirtioPci::read_common(Access access) {
  return common_.read(access, [this](DriverReg reg) { return common_value(reg); });
}

void VirtioPci::write_common(Access access, u64 value) {
  for (size_t i = 0; i < kDriverRegisters; i++)
    common_.set(static_cast<DriverReg>(i), common_value(static_cast<DriverReg>(i)));
  common_.write(access, value, [this](DriverReg reg, u64 merged, u64) { set_common(reg, merged); });
}

u64 VirtioPci::common_value(DriverReg reg) {
  const auto half = [](u64 features, u32 select) {
    return select < 2 ? static_cast<u32>(features >> (32 * select)) : 0;
  };
  switch (reg) {
    case DriverReg::DeviceFeatureSelect: return device_feature_select_;
    case DriverReg::DeviceFeature:
      return half(device_->offered(VirtioDevice::Interface::Modern), device_feature_select_);
    case DriverReg::DriverFeatureSelect: return driver_feature_select_;
    case DriverReg::DriverFeature: return half(driver_features_, driver_feature_select_);
    case DriverReg::ConfigMsixVector: return config_vector_;
    case DriverReg::NumQueues: return device_->queues();
    case DriverReg::DeviceStatus: return device_->status();
    case DriverReg::ConfigGeneration: return device_->config_generation();
    case DriverReg::QueueSelect: return queue_select_;
    default: return has_queue() ? queue_value(reg) : 0;
  }
}

u64 VirtioPci::queue_value(DriverReg reg) {
  switch (reg) {
    case DriverReg::QueueSize: return queue().size();
    case DriverReg::QueueMsixVector: return queue_vectors_[queue_select_];
    case DriverReg::QueueEnable: return queue().enabled();
    case DriverReg::QueueNotifyOff:
    case DriverReg::QueueNotifConfigData: return queue_select_;
    case DriverReg::QueueDesc: return queue().descriptors;
    case DriverReg::QueueDriver: return queue().driver_area;
    case DriverReg::QueueDevice: return queue().device_area;
    default: return 0;
  }
}

void VirtioPci::set_common(DriverReg reg, u64 value) {
  switch (reg) {
    case DriverReg::DeviceFeatureSelect: device_feature_select_ = static_cast<u32>(value); break;
    case DriverReg::DriverFeatureSelect: driver_feature_select_ = static_cast<u32>(value); break;
    case DriverReg::DriverFeature:
      // A selector past the bits there are: only zeroes may be written there.
      if (driver_feature_select_ >= 2) break;
      driver_features_ = with_bits(driver_features_, 32 * driver_feature_select_ + 31,
                                   32 * driver_feature_select_, value);
      device_->set_driver_features(driver_features_, VirtioDevice::Interface::Modern);
      break;
    case DriverReg::ConfigMsixVector: config_vector_ = valid_vector(value); break;
    case DriverReg::DeviceStatus: set_status(static_cast<u8>(value)); break;
    case DriverReg::QueueSelect: queue_select_ = static_cast<u16>(value); break;
    default:
      if (has_queue()) set_queue(reg, value);
  }
}

void VirtioPci::set_queue(DriverReg reg, u64 value) {
  if (reg == DriverReg::QueueMsixVector) {
    queue_vectors_[queue_select_] = valid_vector(value);
    return;
  }
  if (reg == DriverReg::QueueReset) {
    if (value == 1 && (device_->driver_features() & virtio::kRingReset))
      device_->reset_queue(queue_select_);
    return;
  }
  if (queue().enabled()) return;  // its places are fixed then
  switch (reg) {
    case DriverReg::QueueSize:
      if (!queue().set_size(static_cast<u16>(value),
                            (device_->driver_features() & virtio::kRingPacked) != 0))
        guest_error(id(), "queue {} cannot have {} places", queue_select_, value);
      break;
    case DriverReg::QueueDesc: queue().descriptors = value; break;
    case DriverReg::QueueDriver: queue().driver_area = value; break;
    case DriverReg::QueueDevice: queue().device_area = value; break;
    case DriverReg::QueueEnable:
      if (value == 1 && (device_->status() & virtio::kFeaturesOk))
        device_->enable_queue(queue_select_);
      break;
    default: break;
  }
}

u64 VirtioPci::read_isr(Access access) {
  if (access.offset != 0) return 0;
  const u8 isr = std::exchange(isr_, u8{0});
  set_intx(false);
  return isr;
}

u64 VirtioPci::read_device(Access access) {
  return device_->read_config(access.offset, access.size);
}

void VirtioPci::write_device(Access access, u64 value) {
  device_->write_config(access.offset, access.size, value);
}

void VirtioPci::write_notify(Access access, u64 value) {
  const u64 queue = access.offset / kNotifyMultiplier;
  // With notification data the value says where the ring stands; we look there ourselves.
  (void)value;
  if (queue < device_->queues()) device_->notify(static_cast<unsigned>(queue));
}

void VirtioPci::set_status(u8 status) {
  const bool was_ok = device_->driver_ok();
  device_->set_status(status);
  if (status == 0) return clear();
  if (!was_ok && device_->driver_ok()) start_doorbells();
}

void VirtioPci::clear() {
  stop_doorbells();
  device_feature_select_ = driver_feature_select_ = 0;
  driver_features_ = 0;
  queue_select_ = 0;
  config_vector_ = virtio::kNoVector;
  std::ranges::fill(queue_vectors_, virtio::kNoVector);
  isr_ = 0;
  set_intx(false);
}

void VirtioPci::reset_chip(ResetKind) {
  device_->reset();
  clear();
}

Region::IoEvent VirtioPci::doorbell_event(unsigned queue, bool legacy) const {
  constexpr u64 kLegacyNotify = 16;
  const int fd = doorbells_[queue].fd.get();
  if (legacy) return {.offset = kLegacyNotify, .size = 2, .value = queue, .fd = fd};
  return {.offset = u64{queue} * kNotifyMultiplier, .fd = fd};
}

// From now on the accelerator may take doorbells and inject interrupts by itself. Where descriptors
// are short, everything goes on through us.
void VirtioPci::start_doorbells() {
  if (!event_loop_ || !doorbells_.empty() || !bus() || !bus()->wiring()) return;
  const PciRootWiring& wiring = *bus()->wiring();
  std::vector<Doorbell> doorbells;
  for (unsigned n = 0; n < device_->queues(); n++) {
    Result<UniqueFd> made = make_eventfd();
    if (!made) return;
    UniqueFd fd = std::move(made).value();
    const int raw = fd.get();
    Result<Watch> watch = event_loop_->watch(raw, {.readable = true}, [this, raw, n](FdEvents) {
      std::array<u64, 1> rings{};
      if (read_all(raw, writable_bytes_of(rings))) device_->notify(n);
    });
    if (!watch) return;
    doorbells.push_back({std::move(fd), std::move(watch).value()});
  }
  doorbells_ = std::move(doorbells);
  const Transaction one_view({&wiring.memory, &wiring.io});
  for (unsigned n = 0; n < device_->queues(); n++) {
    if (options_.modern) notify_region_.add_io_event(doorbell_event(n, false));
    if (options_.legacy) legacy_region_.add_io_event(doorbell_event(n, true));
  }
  if (!msix_) return;
  if (!events_) {
    events_ = std::make_unique<MsiEvents>(*event_loop_, wiring.msi, msix_->vectors(),
                                          [this](unsigned v) { (void)msix_->notify(v); });
    msix_->set_listener(events_.get());
  }
  for (const u16 vector : queue_vectors_)
    if (vector != virtio::kNoVector) (void)events_->eventfd(vector);
}

void VirtioPci::stop_doorbells() {
  if (doorbells_.empty()) return;
  const PciRootWiring* wiring = bus() ? bus()->wiring() : nullptr;
  std::optional<Transaction> one_view;
  if (wiring) one_view.emplace(std::initializer_list<AddressSpace*>{&wiring->memory, &wiring->io});
  for (unsigned n = 0; n < device_->queues(); n++) {
    if (options_.modern) notify_region_.remove_io_event(doorbell_event(n, false));
    if (options_.legacy) legacy_region_.remove_io_event(doorbell_event(n, true));
  }
  one_view.reset();
  for (Doorbell& doorbell : doorbells_) doorbell.watch.reset();
  doorbells_.clear();
}

void VirtioPci::describe_chip(StateVisitor& v) {
  v.field("device_feature_select", device_feature_select_);
  v.field("driver_feature_select", driver_feature_select_);
  v.field("driver_features", driver_features_);
  v.field("queue_select", queue_select_);
  v.field("config_vector", config_vector_);
  std::vector<u16> vectors = queue_vectors_;
  v.field("queue_vectors", vectors);
  if (vectors.size() == queue_vectors_.size())
    queue_vectors_ = std::move(vectors);
  else
    v.fail(fail(Errc::Corrupt, "'{}' has {} vectors for {} queues", id(), vectors.size(),
                queue_vectors_.size()));
  v.field("isr", isr_);
  v.field("device", *device_);
}

Result<void> VirtioPci::restored_chip() {
  stop_doorbells();
  config_vector_ = valid_vector(config_vector_);
  for (u16& vector : queue_vectors_) vector = valid_vector(vector);
  TRY(device_->restored());
  if (device_->driver_ok()) start_doorbells();
  return {};
}

}  // namespace menura
