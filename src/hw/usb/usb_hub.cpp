#include "hw/usb/usb_hub.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

enum : u8 { kGetStatus = 0, kClearFeature = 1, kSetFeature = 3, kGetDescriptor = 6 };
enum : u8 { kHubDescriptor = 0x29, kStatusChangeEndpoint = 1 };
// §11.16.2, table 11-15.
enum : u16 {
  kPortEnable = 1,
  kPortSuspend = 2,
  kPortReset = 4,
  kPortPower = 8,
  kChangeConnection = 16,
  kChangeEnable = 17,
  kChangeSuspend = 18,
  kChangeOverCurrent = 19,
  kChangeReset = 20,
};
// wPortStatus, and below bit 5 wPortChange.
enum : u16 {
  kConnected = 0x0001,
  kEnabled = 0x0002,
  kSuspended = 0x0004,
  kReset = 0x0010,
  kPowered = 0x0100,
  kLowSpeed = 0x0200,
};
enum : u8 { kOfHub = 0x20, kOfPort = 0x23 };

}  // namespace

// clang-format off
UsbHub::UsbHub(std::string id, Device* parent)
    : UsbDevice(std::move(id), parent),
      descriptors_{.device = {18, 1, 0x10, 0x01, 9, 0, 0, 8, 0x27, 0x06, 0x04, 0x00, 0x00, 0x01, 1, 2, 0, 1},
                   .configuration = {9, 2, 25, 0, 1, 1, 0, 0xe0, 0,
                                     9, 4, 0, 0, 1, 9, 0, 0, 0,
                                     7, 5, 0x80 | kStatusChangeEndpoint, 3, 2, 0, 0xff},
                   .strings = {"menura", "USB hub"}},
      ports_(this->id() + ".0", kPorts, UsbSpeed::Full,
             {.changed = [this](unsigned port) { port_changed(port); }, .woken = [this] { wake(); }}) {}
// clang-format on

UsbDevice* UsbHub::find(u8 address) {
  if (UsbDevice* self = UsbDevice::find(address)) return self;
  for (unsigned n = 0; n < kPorts; n++) {
    UsbDevice* device = ports_.device(n);
    if (!device || !(port_[n].status & kEnabled) || (port_[n].status & kSuspended)) continue;
    if (UsbDevice* found = device->find(address)) return found;
  }
  return nullptr;
}

void UsbHub::reset_function() { port_ = {}; }

void UsbHub::describe_function(StateVisitor& v) { v.field("ports", port_); }

void UsbHub::connect(unsigned n) {
  Port& port = port_[n];
  const UsbDevice* device = ports_.device(n);
  port.status &= static_cast<u16>(~(kConnected | kEnabled | kSuspended | kLowSpeed));
  if (!device) return;
  port.status |= kConnected | (device->speed() == UsbSpeed::Low ? kLowSpeed : 0);
}

void UsbHub::port_changed(unsigned n) {
  if (!(port_[n].status & kPowered)) return;
  connect(n);
  port_[n].change |= kConnected;
  wake();
}

bool UsbHub::class_request(const UsbRequest& r, std::vector<u8>& data) {
  const bool to_hub = (r.type & 0x7f) == kOfHub, to_port = (r.type & 0x7f) == kOfPort;
  if (!to_hub && !to_port) return false;
  if (to_port && (r.index == 0 || r.index > kPorts)) return false;
  Port* port = to_port ? &port_[r.index - 1u] : nullptr;
  switch (r.request) {
    case kGetDescriptor:
      // Power switched for each port, ready after 2 ms; all devices can be removed.
      data = {9, kHubDescriptor, kPorts, 0x09, 0, 1, 0, 0, 0xff};
      return to_hub && r.value >> 8 == kHubDescriptor;
    case kGetStatus:
      data = {0, 0, 0, 0};
      if (port) {
        store_le(writable_bytes_of(data), 0, port->status);
        store_le(writable_bytes_of(data), 2, port->change);
      }
      return true;
    case kSetFeature: return port && set_feature(r.value, *port, r.index - 1u);
    case kClearFeature: return to_hub ? r.value <= 1 : clear_feature(r.value, *port);
    default: return false;
  }
}

bool UsbHub::set_feature(u16 feature, Port& port, unsigned number) {
  switch (feature) {
    case kPortPower:
      if (port.status & kPowered) return true;
      port.status |= kPowered;
      port_changed(number);
      if (!ports_.device(number)) port.change = 0;
      return true;
    case kPortReset:
      // Over at once.
      if (!ports_.device(number)) return true;
      ports_.device(number)->bus_reset();
      port.status |= kEnabled;
      port.change |= kReset;
      wake();
      return true;
    case kPortSuspend: port.status |= port.status & kEnabled ? kSuspended : 0; return true;
    default: return false;
  }
}

bool UsbHub::clear_feature(u16 feature, Port& port) {
  switch (feature) {
    case kPortEnable: port.status &= static_cast<u16>(~kEnabled); return true;
    case kPortSuspend:
      if (port.status & kSuspended) port.change |= kSuspended;
      port.status &= static_cast<u16>(~kSuspended);
      return true;
    case kPortPower: port = {}; return true;
    case kChangeConnection:
    case kChangeEnable:
    case kChangeSuspend:
    case kChangeOverCurrent:
    case kChangeReset:
      port.change &= static_cast<u16>(~(1u << (feature - kChangeConnection)));
      return true;
    default: return false;
  }
}

// A bit for each port that changed, from bit 1 on.
UsbAnswer UsbHub::data_in(u8 endpoint, Bytes to) {
  if (endpoint != kStatusChangeEndpoint) return {UsbStatus::Stall};
  u16 changed = 0;
  for (unsigned n = 0; n < kPorts; n++)
    changed |= static_cast<u16>((port_[n].change ? 2u : 0u) << n);
  if (changed == 0) return {UsbStatus::Nak};
  std::array<std::byte, 2> bytes;
  store_le(Bytes(bytes), 0, changed);
  const size_t size = std::min(to.size(), bytes.size());
  std::copy_n(bytes.begin(), size, to.begin());
  return {.length = size};
}

}  // namespace menura
