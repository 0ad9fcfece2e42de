#include "hw/usb/usb_device.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

enum : u8 {
  kGetStatus = 0,
  kClearFeature = 1,
  kSetFeature = 3,
  kSetAddress = 5,
  kGetDescriptor = 6,
  kGetConfiguration = 8,
  kSetConfiguration = 9,
  kGetInterface = 10,
  kSetInterface = 11,
};
enum : u8 {
  kSetSel = 0x30,  // a SuperSpeed device's latencies, of which nothing depends
  kSetIsochDelay = 0x31,
};
enum : u8 {
  kDeviceDescriptor = 1,
  kConfigurationDescriptor = 2,
  kStringDescriptor = 3,
  kObjectStore = 15,
};
enum : u8 { kToDevice = 0, kToInterface = 1, kToEndpoint = 2 };

u16 halt_bit(unsigned endpoint) {
  return static_cast<u16>(1u << ((endpoint & 7) + (endpoint & 0x80 ? 8 : 0)));
}

}  // namespace

UsbDevice::~UsbDevice() {
  if (bus_) bus_->unplug(*this);
}

UsbSpeed UsbDevice::speed() const {
  return bus_ ? std::min(fastest(), bus_->fastest()) : fastest();
}

void UsbDevice::halt(u8 endpoint) { halted_ |= halt_bit(endpoint); }

void UsbDevice::wake() {
  if (bus_) bus_->wake();
}

void UsbDevice::bus_reset() {
  address_ = new_address_ = configuration_ = 0;
  halted_ = 0;
  stage_ = Stage::Idle;
  request_ = {};
  data_.clear();
  done_ = 0;
  reset_function();
  configured_changed();
}

void UsbDevice::reset(ResetKind) { bus_reset(); }

void UsbDevice::describe(StateVisitor& v) {
  v.field("address", address_);
  v.field("new_address", new_address_);
  v.field("configuration", configuration_);
  v.field("halted", halted_);
  v.field("stage", stage_);
  v.field("request", request_);
  v.field("data", data_);
  v.field("done", done_);
  describe_function(v);
}

Result<void> UsbDevice::restored() {
  if (data_.size() > kControlMax || done_ > data_.size())
    return fail(Errc::Corrupt, "USB device '{}' is beyond the end of its control transfer", id());
  const bool takes_more = data_.size() < request_.length && request_.length <= kControlMax;
  if (stage_ == Stage::DataOut && !takes_more)
    return fail(Errc::Corrupt, "USB device '{}' waits for more data than was announced", id());
  TRY(restored_function());
  configured_changed();
  return {};
}

// Endpoint 0

UsbAnswer UsbDevice::setup(ConstBytes packet) {
  if (packet.size() != 8) return {UsbStatus::Stall};
  request_ = {.type = load_le<u8>(packet, 0),
              .request = load_le<u8>(packet, 1),
              .value = load_le<u16>(packet, 2),
              .index = load_le<u16>(packet, 4),
              .length = load_le<u16>(packet, 6)};
  data_.clear();
  done_ = 0;
  if (!request_.to_host() && request_.length > 0) {
    stage_ = request_.length <= kControlMax ? Stage::DataOut : Stage::Stalled;
  } else if (!control_request()) {
    stage_ = Stage::Stalled;
  } else {
    if (data_.size() > request_.length) data_.resize(request_.length);
    stage_ = request_.to_host() ? Stage::DataIn : Stage::Status;
  }
  return {.length = 8};
}

UsbAnswer UsbDevice::in(u8 endpoint, Bytes to) {
  if (endpoint != 0) {
    if (!configured() || (halted_ & halt_bit(endpoint | 0x80u))) return {UsbStatus::Stall};
    return data_in(endpoint, to);
  }
  switch (stage_) {
    case Stage::DataIn: {
      const size_t size = std::min(to.size(), data_.size() - done_);
      std::copy_n(std::as_bytes(std::span(data_)).begin() + done_, size, to.begin());
      done_ += static_cast<u32>(size);
      return {.length = size};
    }
    case Stage::Status:
      address_ = new_address_;
      stage_ = Stage::Idle;
      return {};
    default: return {UsbStatus::Stall};
  }
}

UsbAnswer UsbDevice::out(u8 endpoint, ConstBytes from) {
  if (endpoint != 0) {
    if (!configured() || (halted_ & halt_bit(endpoint))) return {UsbStatus::Stall};
    return data_out(endpoint, from);
  }
  if (stage_ == Stage::DataIn) {  // its status
    stage_ = Stage::Idle;
    return {};
  }
  if (stage_ != Stage::DataOut) return {UsbStatus::Stall};
  const size_t size = std::min<size_t>(from.size(), request_.length - data_.size());
  for (size_t i = 0; i < size; i++) data_.push_back(static_cast<u8>(from[i]));
  if (data_.size() == request_.length) stage_ = control_request() ? Stage::Status : Stage::Stalled;
  return {.length = from.size()};
}

bool UsbDevice::control_request() {
  const bool standard = (request_.type & 0x60) == 0;
  if (standard && standard_request()) return true;
  return class_request(request_, data_);
}

bool UsbDevice::standard_request() {
  const u8 recipient = request_.type & 0x1f;
  switch (request_.request) {
    case kGetStatus: {
      const bool halted = recipient == kToEndpoint && (halted_ & halt_bit(request_.index));
      const bool powered = recipient == kToDevice;
      data_ = {static_cast<u8>(halted ? 1 : powered ? 1 : 0), 0};
      return true;
    }
    case kClearFeature:
    case kSetFeature:
      if (recipient != kToEndpoint || request_.value != 0) return recipient == kToDevice;
      if (request_.request == kSetFeature)
        halted_ |= halt_bit(request_.index);
      else
        halted_ &= static_cast<u16>(~halt_bit(request_.index));
      return true;
    case kSetAddress: new_address_ = request_.value & 0x7f; return true;
    case kGetDescriptor: return recipient == kToDevice && get_descriptor();
    case kGetConfiguration: data_ = {configuration_}; return true;
    case kSetConfiguration:
      if (request_.value > 1) return false;
      configuration_ = static_cast<u8>(request_.value);
      halted_ = 0;
      configured_changed();
      return true;
    case kGetInterface: data_ = {0}; return recipient == kToInterface;
    case kSetInterface: return recipient == kToInterface && request_.value == 0;
    case kSetSel:
    case kSetIsochDelay: return speed() == UsbSpeed::Super;
    default: return false;
  }
}

bool UsbDevice::get_descriptor() {
  const Descriptors& all = descriptors();
  const u8 number = static_cast<u8>(request_.value);
  switch (request_.value >> 8) {
    case kDeviceDescriptor: data_ = all.device; return true;
    case kConfigurationDescriptor: data_ = all.configuration; return number == 0;
    case kObjectStore: data_ = all.object_store; return !data_.empty();
    case kStringDescriptor: {
      if (number > all.strings.size()) return false;
      data_ = {0, kStringDescriptor};
      if (number == 0) {
        data_.insert(data_.end(), {0x09, 0x04});  // English
      } else {
        for (const char c : all.strings[number - 1u])
          data_.insert(data_.end(), {static_cast<u8>(c), 0});
      }
      data_[0] = static_cast<u8>(data_.size());
      return true;
    }
    default: return false;
  }
}

// The bus

UsbBus::~UsbBus() {
  for (UsbDevice* device : devices_)
    if (device) device->bus_ = nullptr;
}

Result<void> UsbBus::plug(UsbDevice& device, std::optional<unsigned> port) {
  const auto free = std::ranges::find(devices_, nullptr);
  const unsigned at = port.value_or(static_cast<unsigned>(free - devices_.begin()));
  if (at >= devices_.size())
    return fail(Errc::NoSpace, "USB bus '{}' has {} ports, and {}", name_, devices_.size(),
                port ? format("none is {}", at + 1) : "all are taken");
  if (devices_[at]) return fail(Errc::Busy, "Port {} of USB bus '{}' is taken", at + 1, name_);
  devices_[at] = &device;
  device.bus_ = this;
  wiring_.changed(at);
  return {};
}

void UsbBus::unplug(UsbDevice& device) {
  const auto at = std::ranges::find(devices_, &device);
  if (at == devices_.end()) return;
  *at = nullptr;
  device.bus_ = nullptr;
  wiring_.changed(static_cast<unsigned>(at - devices_.begin()));
}

}  // namespace menura
