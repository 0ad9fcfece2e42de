#include "hw/usb/xhci.h"

#include "base/bits.h"
#include "base/bytes.h"

namespace menura {

using namespace xhci;

namespace {

constexpr u64 kBarSize = 0x4000;
constexpr unsigned kOperational = 0x40, kPortRegisters = 0x440, kRuntime = 0x1000,
                   kDoorbells = 0x2000, kMsixTable = 0x3000, kMsixPending = 0x3800;
constexpr unsigned kRegisterBytes = kMsixTable;
constexpr unsigned kUsb2Protocol = 0x20, kUsb3Protocol = 0x30;
constexpr u32 kProtocolName = 0x20425355;  // "USB "

enum : unsigned {
  kUsbCmd = 0x00,
  kUsbSts = 0x04,
  kPageSizes = 0x08,
  kDnCtrl = 0x14,
  kCrcr = 0x18,
  kDcbaap = 0x30,
  kConfig = 0x38,
};
enum : unsigned { kIman = 0, kImod = 4, kErstSz = 8, kErstBa = 16, kErdp = 24 };
enum : u32 { kStop = 1u << 1, kAbort = 1u << 2, kCommandsRun = 1u << 3 };  // CRCR

PciIdentity identity_of(XhciConfig::Model model) {
  const bool nec = model == XhciConfig::Model::Nec;
  return {.vendor = nec ? u16{0x1033} : u16{0x1b36},
          .device = nec ? u16{0x0194} : u16{0x000d},
          .class_code = 0x0c0330,
          .revision = nec ? u8{3} : u8{1},
          .subsystem_vendor = 0x1af4,
          .subsystem = 0x1100};
}

constexpr ConfigRegister kRegisters[] = {
    {.offset = 0x60, .size = 1, .name = "sbrn", .reset = 0x30},
    {.offset = 0x61, .size = 1, .name = "fladj", .reset = 0x20, .writable = 0x3f},
};

void set_half(u64& value, bool high, u32 half, u32 mask = ~0u) {
  const unsigned shift = high ? 32 : 0;
  value = (value & ~(u64{0xffff'ffff} << shift)) | u64{half & mask} << shift;
}

}  // namespace

Xhci::Xhci(std::string id, TimerQueue& time, const XhciConfig& config, Device* parent)
    : PciFunction(id, identity_of(config.model), parent),
      config_(config),
      bar_(Region::container(id + "-bar", kBarSize)),
      registers_(Region::mmio(id + "-registers", kRegisterBytes, window_, {.handler_max = 4})),
      msix_(*this,
            {.vectors = kInterrupters,
             .bar = 0,
             .table_offset = kMsixTable,
             .pba_offset = kMsixPending},
            bar_),
      time_(time),
      timer_(time, [this] { run_waiting(); }),
      bus_(id + ".0", config.ports, config.usb3 ? UsbSpeed::Super : UsbSpeed::High,
           {.changed = [this](unsigned place) { port_changed(place); },
            .woken = [this] { timer_.arm(time_.now_ns()); }}),
      dma_{.read = [this](GuestAddr at, Bytes to) { return dma_read(at, to); },
           .write = [this](GuestAddr at, ConstBytes from) { return dma_write(at, from); }} {
  this->config().define(kRegisters);
  bar_.map(0, registers_);
  add_bar(0, BarKind::Memory64, bar_).value();
  set_interrupt_pin(IntxPin::A);
}

void Xhci::reset_chip(ResetKind) { reset_controller(); }

void Xhci::reset_controller() {
  command_ = notifications_ = configure_ = 0;
  status_ = kHalted;
  dcbaap_ = 0;
  commands_ = {};
  commands_run_ = false;
  interrupters_ = {};
  slots_ = {};
  ports_ = {};
  timer_.cancel();
  for (unsigned place = 0; place < config_.ports; place++) port_changed(place);
  for (unsigned port = 0; port < register_ports(); port++) {
    if (ports_[port].status & kConnected) continue;
    ports_[port].status = kPower | kRxDetect << kLinkShift;
  }
  update_intx();
}

void Xhci::Endpoint::describe(StateVisitor& v) {
  v.field("state", state);
  v.field("ring", ring);
  v.field("waits", waits);
}

void Xhci::Slot::describe(StateVisitor& v) {
  v.field("enabled", enabled);
  v.field("context", context);
  v.field("port", port);
  v.field("route", route);
  v.field("endpoints", endpoints);
}

void Xhci::describe_chip(StateVisitor& v) {
  v.field("command", command_);
  v.field("status", status_);
  v.field("notifications", notifications_);
  v.field("configure", configure_);
  v.field("dcbaap", dcbaap_);
  v.field("commands", commands_);
  v.field("commands_run", commands_run_);
  v.field("interrupters", interrupters_);
  v.field("ports", ports_);
  v.field("slots", slots_);
  v.field("timer", timer_);
}

Result<void> Xhci::restored_chip() {
  for (const Slot& slot : slots_)
    if (slot.endpoints.size() != (slot.enabled ? kEndpoints : 0)) {
      reset_controller();
      return fail(Errc::Corrupt, "USB controller '{}' has a slot of {} endpoints in its state",
                  id(), slot.endpoints.size());
    }
  return {};
}

bool Xhci::running() const { return (command_ & kRun) && !(status_ & (kHalted | kHostError)); }

// Rings that are not in RAM stop the controller.
void Xhci::fail_host() {
  status_ |= kHostError | kHalted;
  command_ &= ~u32{kRun};
}

bool Xhci::read32(u64 at, u32& value) const {
  std::array<std::byte, 4> bytes;
  if (!dma_.read_ok(at, bytes)) return false;
  value = load_le<u32>(bytes);
  return true;
}

bool Xhci::write32(u64 at, u32 value) {
  std::array<std::byte, 4> bytes;
  store_le(Bytes(bytes), 0, value);
  return dma_.write_ok(at, bytes);
}

// Registers

u64 Xhci::read_registers(Access access) {
  const unsigned offset = static_cast<unsigned>(access.offset) & ~3u;
  u32 value = 0;
  if (offset < kOperational)
    value = read_capability(offset);
  else if (offset < kRuntime)
    value = read_operational(offset - kOperational);
  else if (offset < kDoorbells)
    value = read_runtime(offset - kRuntime);
  return (value >> (8 * (access.offset & 3))) & low_mask(8 * access.size);
}

// §5.1: in double words; others change nothing.
void Xhci::write_registers(Access access, u64 value) {
  const unsigned offset = static_cast<unsigned>(access.offset);
  if (access.size != 4 || (offset & 3)) return;
  const u32 word = static_cast<u32>(value);
  if (offset >= kDoorbells)
    ring_doorbell((offset - kDoorbells) / 4, word);
  else if (offset >= kRuntime)
    write_runtime(offset - kRuntime, word);
  else if (offset >= kOperational)
    write_operational(offset - kOperational, word);
}

u32 Xhci::read_capability(unsigned offset) const {
  const u32 ports = config_.ports;
  switch (offset) {
    case 0x00: return kOperational | 0x0100u << 16;
    case 0x04: return kSlots | kInterrupters << 8 | register_ports() << 24;
    case 0x08: return 3u << 4 | 8u;  // eight segments of events; scheduled eight micro-frames ahead
    case 0x10: return 1u | (kUsb2Protocol / 4) << 16;  // 64-bit addresses
    case 0x14: return kDoorbells;
    case 0x18: return kRuntime;
    case kUsb2Protocol: return 2u | (config_.usb3 ? 4u << 8 : 0u) | 0x0200u << 16;
    case kUsb2Protocol + 8: return 1u | ports << 8;
    case kUsb3Protocol: return config_.usb3 ? 2u | 0x0300u << 16 : 0u;
    case kUsb3Protocol + 8: return config_.usb3 ? (ports + 1) | ports << 8 : 0u;
    case kUsb2Protocol + 4: return kProtocolName;
    case kUsb3Protocol + 4: return config_.usb3 ? kProtocolName : 0u;
    default: return 0;
  }
}

u32 Xhci::read_operational(unsigned offset) const {
  if (offset >= kPortRegisters - kOperational) {
    const unsigned port = (offset - (kPortRegisters - kOperational)) / 16;
    return port < register_ports() && offset % 16 == 0 ? ports_[port].status : 0;
  }
  switch (offset) {
    case kUsbCmd: return command_;
    case kUsbSts: return status_;
    case kPageSizes: return 1;
    case kDnCtrl: return notifications_;
    case kCrcr: return commands_run_ ? u32{kCommandsRun} : 0;
    case kDcbaap: return static_cast<u32>(dcbaap_);
    case kDcbaap + 4: return static_cast<u32>(dcbaap_ >> 32);
    case kConfig: return configure_;
    default: return 0;
  }
}

void Xhci::write_operational(unsigned offset, u32 value) {
  if (offset >= kPortRegisters - kOperational) {
    const unsigned port = (offset - (kPortRegisters - kOperational)) / 16;
    if (port < register_ports() && offset % 16 == 0) write_port(port, value);
    return;
  }
  switch (offset) {
    case kUsbCmd: return write_command(value);
    case kUsbSts:
      status_ &= ~(value & (kHostError | kEventInterrupt | kPortChange | kSaveError));
      return update_intx();
    case kDnCtrl: notifications_ = value & 0xffff; return;
    case kCrcr:
      if (commands_run_) {
        // The ring is walked to its end at each doorbell, so that nothing is there to be stopped.
        if (value & (kStop | kAbort)) commands_run_ = false;
        return;
      }
      set_half(commands_.dequeue, false, value, ~0x3fu);
      commands_.cycle = value & 1;
      return;
    case kCrcr + 4:
      if (!commands_run_) set_half(commands_.dequeue, true, value);
      return;
    case kDcbaap: return set_half(dcbaap_, false, value, ~0x3fu);
    case kDcbaap + 4: return set_half(dcbaap_, true, value);
    case kConfig: configure_ = value & 0xff; return;
    default: return;
  }
}

void Xhci::write_command(u32 value) {
  if (value & kHostReset) return reset_controller();
  command_ = value & (kRun | kInterruptEnable | 0x8 | 0x400);
  if (value & (kSaveState | kRestoreState)) status_ |= kSaveError;
  if (command_ & kRun) {
    status_ &= ~u32{kHalted};
    timer_.arm(time_.now_ns());
  } else {
    status_ |= kHalted;
    commands_run_ = false;
  }
  update_intx();
}

u32 Xhci::read_runtime(unsigned offset) const {
  constexpr i64 kMicroFrameNs = 125'000;
  if (offset < 0x20) return offset == 0 ? (time_.now_ns() / kMicroFrameNs) & 0x3fff : 0;
  const unsigned number = (offset - 0x20) / 32;
  if (number >= kInterrupters) return 0;
  const XhciInterrupter& i = interrupters_[number];
  switch (offset % 32) {
    case kIman: return i.iman;
    case kImod: return i.imod;
    case kErstSz: return i.erstsz;
    case kErstBa: return static_cast<u32>(i.erstba);
    case kErstBa + 4: return static_cast<u32>(i.erstba >> 32);
    case kErdp: return static_cast<u32>(i.erdp);
    case kErdp + 4: return static_cast<u32>(i.erdp >> 32);
    default: return 0;
  }
}

void Xhci::write_runtime(unsigned offset, u32 value) {
  if (offset < 0x20) return;
  const unsigned number = (offset - 0x20) / 32;
  if (number >= kInterrupters) return;
  XhciInterrupter& i = interrupters_[number];
  switch (offset % 32) {
    case kIman:
      i.iman = (i.iman & ~(value & kPending) & kPending) | (value & kEnable);
      if ((i.iman & kPending) && (i.iman & kEnable)) return raise(number);
      return update_intx();
    case kImod: i.imod = value; return;
    case kErstSz: i.erstsz = value & 0xffff; return;
    case kErstBa:
    case kErstBa + 4:
      set_half(i.erstba, offset % 32 != kErstBa, value, offset % 32 == kErstBa ? ~0x3fu : ~0u);
      if (!i.begin(dma_)) i.segment_size = 0;  // both halves may not be there yet
      return;
    case kErdp: {
      const bool busy = (i.erdp & kHandlerBusy) && !(value & kHandlerBusy);
      set_half(i.erdp, false, value, ~0xfu);
      i.erdp |= (value & 7) | (busy ? kHandlerBusy : 0u);
      i.full = false;
      // More than it has seen: another interrupt.
      if (!busy && !i.empty() && i.segment_size != 0) raise(number);
      return;
    }
    case kErdp + 4: return set_half(i.erdp, true, value);
    default: return;
  }
}

void Xhci::ring_doorbell(unsigned target, u32 value) {
  if (!running() || target > kSlots) return;
  if (target == 0) {
    if ((value & 0xff) != 0) return;
    commands_run_ = true;
    return run_commands();
  }
  const unsigned index = value & 0xff;
  Slot& slot = slots_[target - 1];
  if (!slot.enabled || index == 0 || index > kEndpoints) return;
  Endpoint& endpoint = slot.endpoints[index - 1];
  if (endpoint.state == EndpointState::Stopped) {
    endpoint.state = EndpointState::Running;
    write_endpoint_state(slot, index);
  }
  run_endpoint(static_cast<u8>(target), index);
}

// Events

void Xhci::post(unsigned interrupter, const XhciTrb& event, bool interrupts) {
  if (interrupter >= kInterrupters) return;
  XhciInterrupter& i = interrupters_[interrupter];
  switch (i.post(dma_, event)) {
    case XhciInterrupter::Post::Bad: return fail_host();
    case XhciInterrupter::Post::Lost: return;
    case XhciInterrupter::Post::Posted: break;
  }
  if (interrupts && !(i.erdp & kHandlerBusy)) raise(interrupter);
}

// §4.17.5. A message takes the pending bit with it.
void Xhci::raise(unsigned interrupter) {
  XhciInterrupter& i = interrupters_[interrupter];
  i.iman |= kPending;
  i.erdp |= kHandlerBusy;
  status_ |= kEventInterrupt;
  if (msix_.enabled() && (i.iman & kEnable) && (command_ & kInterruptEnable)) {
    i.iman &= ~u32{kPending};
    (void)msix_.notify(interrupter);
  }
  update_intx();
}

void Xhci::update_intx() {
  bool pending = false;
  for (const XhciInterrupter& i : interrupters_)
    pending |= (i.iman & (kPending | kEnable)) == (kPending | kEnable);
  set_intx(pending && (command_ & kInterruptEnable) && !msix_.enabled());
}

}  // namespace menura
