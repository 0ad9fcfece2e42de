#include "hw/usb/uhci.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "base/units.h"

namespace menura {

namespace {

TRACE_EVENT(kTransfer, "uhci.transfer", "pid {:#x} address {} endpoint {} length {} -> {:#x}");

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x7020,
                                .class_code = 0x0c0300,
                                .revision = 1,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};
constexpr ConfigRegister kRegisters[] = {
    {.offset = 0x60, .size = 1, .name = "sbrnum", .reset = 0x10},
    {.offset = 0xc0, .size = 2, .name = "legsup", .reset = 0x2000, .writable = 0xafff},
};

enum : unsigned {
  kUsbCmd = 0,
  kUsbSts = 2,
  kUsbIntr = 4,
  kFrNum = 6,
  kFrBase = 8,
  kSofMod = 0x0c,
  kPortSc = 0x10
};
enum : u16 { kRun = 0x01, kHostReset = 0x02, kGlobalReset = 0x04, kCommandBits = 0x00ff };
enum : u16 {
  kUsbInt = 0x01,
  kErrorInt = 0x02,
  kResume = 0x04,
  kHostError = 0x08,
  kProcessError = 0x10,
  kHalted = 0x20
};
enum : u16 { kIntTimeout = 0x01, kIntResume = 0x02, kIntComplete = 0x04, kIntShort = 0x08 };
enum : u16 {
  kConnected = 0x0001,
  kConnectChange = 0x0002,
  kEnabled = 0x0004,
  kEnableChange = 0x0008,
  kLineDPlus = 0x0010,
  kLineDMinus = 0x0020,
  kPortResume = 0x0040,
  kAlwaysOne = 0x0080,
  kLowSpeed = 0x0100,
  kPortReset = 0x0200,
  kSuspend = 0x1000,
};
constexpr u16 kPortWritable = kEnabled | kPortResume | kPortReset | kSuspend;
constexpr u16 kPortChanges = kConnectChange | kEnableChange;

// Of a TD's control and status word.
enum : u32 {
  kActualLength = 0x7ff,
  kTimeoutError = 1u << 18,
  kNak = 1u << 19,
  kStalled = 1u << 22,
  kActive = 1u << 23,
  kComplete = 1u << 24,
  kShortDetect = 1u << 29,
  kErrorCount = 3u << 27,
};
enum : u32 { kTerminate = 1, kQueue = 2, kDepthFirst = 4 };
enum : u8 { kPidOut = 0xe1, kPidIn = 0x69, kPidSetup = 0x2d };

constexpr u8 kPendingComplete = 1, kPendingShort = 2;

constexpr i64 kFrameNs = 1'000'000;
// Of one frame: descriptors and heads looked at, and bytes moved (12 Mbit/s).
constexpr unsigned kMaxElements = 1024;
constexpr u32 kMaxBytes = 1500;

}  // namespace

struct Uhci::Transfer {
  u32 link, control, token, buffer;
  u8 pid() const { return static_cast<u8>(token); }
  u8 address() const { return (token >> 8) & 0x7f; }
  u8 endpoint() const { return (token >> 15) & 0x0f; }
  // 7FFh is none.
  u32 length() const { return ((token >> 21) + 1) & 0x7ff; }
};

Uhci::Uhci(std::string id, TimerQueue& time, Device* parent)
    : PciFunction(id, kIdentity, parent),
      registers_(Region::mmio(id + "-registers", 32, window_, {.handler_max = 4})),
      time_(time),
      timer_(time, [this] { frame(); }),
      bus_(id + ".0", kPorts, UsbSpeed::Full,
           {.changed = [this](unsigned port) { port_changed(port); }}) {
  config().define(kRegisters);
  add_bar(4, BarKind::Io, registers_).value();
  set_interrupt_pin(IntxPin::D);
}

void Uhci::reset_chip(ResetKind) { reset_controller(); }

void Uhci::reset_controller() {
  command_ = interrupts_ = frame_number_ = 0;
  status_ = kHalted;
  frame_base_ = 0;
  sof_modify_ = 0x40;
  pending_ = 0;
  port_status_ = {};
  timer_.cancel();
  for (unsigned port = 0; port < kPorts; port++) port_changed(port);
  update_irq();
}

void Uhci::describe_chip(StateVisitor& v) {
  v.field("command", command_);
  v.field("status", status_);
  v.field("interrupts", interrupts_);
  v.field("frame_number", frame_number_);
  v.field("frame_base", frame_base_);
  v.field("sof_modify", sof_modify_);
  v.field("port_status", port_status_);
  v.field("pending", pending_);
  v.field("timer", timer_);
}

Result<void> Uhci::restored_chip() {
  frame_number_ &= 0x7ff;
  return {};
}

// Registers

void Uhci::port_changed(unsigned port) {
  u16& status = port_status_[port];
  status &= static_cast<u16>(~(kConnected | kEnabled | kLowSpeed | kLineDPlus | kLineDMinus));
  status |= kConnectChange;
  if (const UsbDevice* device = bus_.device(port)) {
    const bool low = device->speed() == UsbSpeed::Low;
    status |= kConnected | (low ? kLowSpeed | kLineDMinus : kLineDPlus);
  } else if (!(command_ & kRun)) {
    status &= static_cast<u16>(~kConnectChange);
  }
}

u64 Uhci::read_registers(Access access) {
  const unsigned base = static_cast<unsigned>(access.offset) & ~1u;
  u64 value = read_word(base) | u32{read_word(base + 2)} << 16;
  value >>= 8 * (access.offset & 1);
  return value & low_mask(8 * access.size);
}

void Uhci::write_registers(Access access, u64 value) {
  const unsigned offset = static_cast<unsigned>(access.offset);
  if (access.size == 1) {
    if (offset == kSofMod) {
      sof_modify_ = value & 0x7f;
      return;
    }
    const unsigned base = offset & ~1u, shift = 8 * (offset & 1);
    // Half a register of which some bits are cleared by ones: the other half must not be.
    const bool clears = base == kUsbSts || (base >= kPortSc && base < kPortSc + 2 * kPorts);
    const u16 others =
        static_cast<u16>(read_word(base) & ~(0xffu << shift) &
                         (clears ? base == kUsbSts ? 0 : ~unsigned{kPortChanges} : ~0u));
    return write_word(base, static_cast<u16>(others | (value & 0xff) << shift));
  }
  for (unsigned i = 0; i < access.size; i += 2)
    write_word((offset & ~1u) + i, static_cast<u16>(value >> (8 * i)));
}

u16 Uhci::read_word(unsigned offset) const {
  switch (offset) {
    case kUsbCmd: return command_;
    case kUsbSts: return status_;
    case kUsbIntr: return interrupts_;
    case kFrNum: return frame_number_;
    case kFrBase: return static_cast<u16>(frame_base_);
    case kFrBase + 2: return static_cast<u16>(frame_base_ >> 16);
    case kSofMod: return sof_modify_;
    default: {
      const unsigned port = (offset - kPortSc) / 2;
      return offset >= kPortSc && port < kPorts ? port_status_[port] | kAlwaysOne : 0xffff;
    }
  }
}

void Uhci::write_word(unsigned offset, u16 value) {
  switch (offset) {
    case kUsbCmd: return write_command(value);
    case kUsbSts: status_ &= static_cast<u16>(~(value & 0x1f)); return update_irq();
    case kUsbIntr: interrupts_ = value & 0x0f; return update_irq();
    case kFrNum:
      if (status_ & kHalted) frame_number_ = value & 0x7ff;
      return;
    case kFrBase: frame_base_ = (frame_base_ & 0xffff'0000) | (value & 0xf000); return;
    case kFrBase + 2: frame_base_ = (frame_base_ & 0xffff) | u32{value} << 16; return;
    case kSofMod: sof_modify_ = value & 0x7f; return;
    default: {
      const unsigned port = (offset - kPortSc) / 2;
      if (offset >= kPortSc && port < kPorts) write_port(port, value);
    }
  }
}

void Uhci::write_command(u16 value) {
  if (value & kHostReset) return reset_controller();
  if (value & kGlobalReset) {
    for (unsigned port = 0; port < kPorts; port++)
      if (UsbDevice* device = bus_.device(port)) device->bus_reset();
    reset_controller();
    command_ = kGlobalReset;
    return;
  }
  const bool was_running = command_ & kRun;
  command_ = value & kCommandBits;
  if ((command_ & kRun) && !was_running) {
    status_ &= static_cast<u16>(~kHalted);
    timer_.arm(time_.now_ns() + kFrameNs);
  } else if (!(command_ & kRun)) {
    status_ |= kHalted;
    timer_.cancel();
  }
}

void Uhci::write_port(unsigned port, u16 value) {
  u16& status = port_status_[port];
  UsbDevice* device = bus_.device(port);
  if ((value & kPortReset) && !(status & kPortReset) && device) device->bus_reset();
  status &= static_cast<u16>(~(value & kPortChanges));
  status = merge<u16>(status, value, kPortWritable);
  if (!device || (status & kPortReset)) status &= static_cast<u16>(~kEnabled);
}

void Uhci::update_irq() {
  const bool complete =
      (status_ & kUsbInt) && (((pending_ & kPendingComplete) && (interrupts_ & kIntComplete)) ||
                              ((pending_ & kPendingShort) && (interrupts_ & kIntShort)));
  if (!(status_ & kUsbInt)) pending_ = 0;
  set_intx(complete || ((status_ & kErrorInt) && (interrupts_ & kIntTimeout)) ||
           ((status_ & kResume) && (interrupts_ & kIntResume)) ||
           (status_ & (kHostError | kProcessError)));
}

// The schedule

bool Uhci::read32(u32 at, u32& value) const {
  std::array<std::byte, 4> bytes;
  if (dma_read({at}, bytes) != AccessStatus::Ok) return false;
  value = load_le<u32>(bytes);
  return true;
}

bool Uhci::write32(u32 at, u32 value) {
  std::array<std::byte, 4> bytes;
  store_le<u32>(bytes, 0, value);
  return dma_write({at}, bytes) == AccessStatus::Ok;
}

// A schedule that is not in RAM stops the controller.
void Uhci::fail_host() {
  status_ |= kHostError | kHalted;
  command_ &= static_cast<u16>(~kRun);
  timer_.cancel();
}

void Uhci::frame() {
  run_schedule();
  frame_number_ = (frame_number_ + 1) & 0x7ff;
  // Frames that a busy host missed are not made up for.
  if (command_ & kRun) timer_.arm(time_.now_ns() + kFrameNs);
  update_irq();
}

void Uhci::run_schedule() {
  u32 link = 0;
  if (!read32(frame_base_ + 4 * (frame_number_ & 0x3ff), link)) return fail_host();
  u32 bytes = 0;
  for (unsigned element = 0; element < kMaxElements && !(link & kTerminate); element++) {
    const u32 at = link & ~0xfu;
    if (!(link & kQueue)) {
      if (run_transfer(at, &link) == Outcome::Bad) return fail_host();
      continue;
    }
    // A queue: its head says what comes beside it, its element what is to be done.
    u32 head = 0, first = 0;
    if (!read32(at, head) || !read32(at + 4, first)) return fail_host();
    link = head;
    while (!(first & kTerminate) && !(first & kQueue) && element < kMaxElements &&
           bytes < kMaxBytes) {
      u32 next = 0;
      const Outcome outcome = run_transfer(first & ~0xfu, &next);
      if (outcome == Outcome::Bad) return fail_host();
      if (outcome != Outcome::Done) break;
      if (!write32(at + 4, next)) return fail_host();
      const bool deeper = next & kDepthFirst;
      first = next;
      element++;
      bytes += 64;
      if (!deeper) break;
    }
    if (!(first & kTerminate) && (first & kQueue)) link = first;
  }
}

// Runs a transfer descriptor if it is active; next is what it links to.
Uhci::Outcome Uhci::run_transfer(u32 at, u32* next) {
  std::array<std::byte, 16> raw;
  if (dma_read({at}, raw) != AccessStatus::Ok) return Outcome::Bad;
  Transfer td{.link = load_le<u32>(raw, 0),
              .control = load_le<u32>(raw, 4),
              .token = load_le<u32>(raw, 8),
              .buffer = load_le<u32>(raw, 12)};
  *next = td.link;
  if (!(td.control & kActive)) return Outcome::Waits;
  const Outcome outcome = execute(td);
  if (outcome == Outcome::Bad) return outcome;
  trace(kTransfer, td.pid(), td.address(), td.endpoint(), td.length(), td.control);
  if (!write32(at + 4, td.control)) return Outcome::Bad;
  if (!(td.control & kActive)) {
    if (td.control & kComplete) {
      status_ |= kUsbInt;
      pending_ |= kPendingComplete;
    }
    if (td.control & (kStalled | kTimeoutError)) status_ |= kErrorInt;
  }
  return outcome;
}

UsbDevice* Uhci::device_at(u8 address) const {
  for (unsigned port = 0; port < kPorts; port++) {
    UsbDevice* device = bus_.device(port);
    if (!device || !(port_status_[port] & kEnabled) || (port_status_[port] & kSuspend)) continue;
    if (UsbDevice* found = device->find(address)) return found;
  }
  return nullptr;
}

Uhci::Outcome Uhci::execute(Transfer& td) {
  UsbDevice* device = device_at(td.address());
  const u32 length = td.length();
  if (td.pid() != kPidIn && td.pid() != kPidOut && td.pid() != kPidSetup) {
    status_ |= kProcessError;
    return Outcome::Bad;
  }
  if (!device) {
    // Nobody answers: given up after as many tries as the descriptor has left, all at once.
    td.control = (td.control & ~(kActive | kErrorCount | kActualLength)) | kTimeoutError |
                 kStalled | kActualLength;
    return Outcome::Failed;
  }
  std::array<std::byte, 2048> buffer;
  const Bytes data = Bytes(buffer).first(length);
  UsbAnswer answer;
  if (td.pid() == kPidIn) {
    answer = device->in(td.endpoint(), data);
    if (answer.status == UsbStatus::Ack && answer.length > 0 &&
        dma_write({td.buffer}, data.first(answer.length)) != AccessStatus::Ok)
      return Outcome::Bad;
  } else {
    if (length > 0 && dma_read({td.buffer}, data) != AccessStatus::Ok) return Outcome::Bad;
    answer = td.pid() == kPidSetup ? device->setup(data) : device->out(td.endpoint(), data);
  }
  switch (answer.status) {
    case UsbStatus::Nak: td.control |= kNak; return Outcome::Waits;
    case UsbStatus::Stall:
      td.control = (td.control & ~(kActive | kActualLength)) | kStalled | kActualLength;
      return Outcome::Failed;
    case UsbStatus::Ack: break;
  }
  const bool is_short = td.pid() == kPidIn && answer.length < length;
  td.control = (td.control & ~(kActive | kActualLength | kNak)) |
               ((static_cast<u32>(answer.length) - 1) & kActualLength);
  if (is_short && (td.control & kShortDetect)) {
    status_ |= kUsbInt;
    pending_ |= kPendingShort;
    return Outcome::Failed;  // the queue stays where it is
  }
  return Outcome::Done;
}

}  // namespace menura
