// The ports of the xHCI (§4.19, §5.4.8).
#include "hw/usb/xhci.h"

namespace menura {

using namespace xhci;

namespace {

u32 speed_id(UsbSpeed speed) {
  switch (speed) {
    case UsbSpeed::Full: return 1;
    case UsbSpeed::Low: return 2;
    case UsbSpeed::High: return 3;
    case UsbSpeed::Super: return 4;
  }
  return 0;
}

u32 with_link(u32 status, u32 link) { return (status & ~kLinkMask) | link << kLinkShift; }

}  // namespace

// port: of the registers, from 0.
UsbDevice* Xhci::device_on(unsigned port) const {
  if (port >= register_ports()) return nullptr;
  UsbDevice* device = bus_.device(port % config_.ports);
  return device && (device->speed() == UsbSpeed::Super) == is_usb3(port) ? device : nullptr;
}

void Xhci::change_port(unsigned port, u32 changes) {
  const u32 news = changes & ~ports_[port].status;
  ports_[port].status |= changes;
  if (news == 0) return;
  status_ |= kPortChange;
  if (!running()) return;
  post(0, {.parameter = u64{port + 1} << 24,
           .status = u32{trb::kSuccess} << 24,
           .control = u32{trb::kPortStatusChange} << 10});
}

// A place has two sets of registers; the device is seen by those of its speed.
void Xhci::port_changed(unsigned place) {
  for (unsigned port = place; port < register_ports(); port += config_.ports) {
    u32& status = ports_[port].status;
    const UsbDevice* device = device_on(port);
    if (!device && !(status & kConnected)) continue;
    const u32 kept = status & (kChanges | kWakeBits);
    if (!device)
      status = kept | kPower | kRxDetect << kLinkShift;
    else if (is_usb3(port))  // trains by itself
      status = kept | kPower | kConnected | kEnabled | kU0 << kLinkShift |
               speed_id(device->speed()) << kSpeedShift;
    else
      status = kept | kPower | kConnected | kPolling << kLinkShift |
               speed_id(device->speed()) << kSpeedShift;
    change_port(port, kConnectChange);
  }
  timer_.arm(time_.now_ns());  // transfers to somebody who has gone
}

void Xhci::write_port(unsigned port, u32 value) {
  u32& status = ports_[port].status;
  status &= ~(value & kChanges);
  status = (status & ~kWakeBits) | (value & kWakeBits);
  if (value & (kReset | kWarmReset)) {
    if ((value & kWarmReset) && is_usb3(port) && device_on(port))
      change_port(port, kWarmResetChange);
    return reset_port(port);
  }
  if ((value & kEnabled) && (status & kEnabled)) {
    status = with_link(status & ~u32{kEnabled}, is_usb3(port) ? u32{kDisabled} : u32{kPolling});
    return;
  }
  if (!(value & kLinkWrite) || !(status & kEnabled)) return;
  const u32 from = (status & kLinkMask) >> kLinkShift, to = (value & kLinkMask) >> kLinkShift;
  if (to == kU3 || (to == kResume && !is_usb3(port))) {
    status = with_link(status, to);
  } else if (to == kU0 && (from == kU3 || from == kResume)) {
    status = with_link(status, kU0);
    change_port(port, kLinkChange);
  }
}

void Xhci::reset_port(unsigned port) {
  UsbDevice* device = device_on(port);
  if (!device) return;
  device->bus_reset();
  u32& status = ports_[port].status;
  status = with_link(status | kEnabled, kU0);
  change_port(port, kResetChange);
}

}  // namespace menura
