#include "hw/serial/uart16550.h"

#include <algorithm>

#include "base/units.h"

namespace menura {

namespace {

// Register offsets.
enum : u64 { kRbrThr, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScr };

// Line status.
enum : u8 {
  kDataReady = 0x01,
  kOverrun = 0x02,
  kBreak = 0x10,
  kThre = 0x20,
  kTemt = 0x40,
  kFifoError = 0x80
};
constexpr u8 kLineErrors = 0x1e;

// Interrupt enables, and identification codes in falling priority.
enum : u8 { kEnableReceived = 1, kEnableThre = 2, kEnableLine = 4, kEnableModem = 8 };
enum : u8 {
  kIirLine = 0x06,
  kIirReceived = 0x04,
  kIirTimeout = 0x0c,
  kIirThre = 0x02,
  kIirModem = 0x00,
  kIirNone = 0x01
};

// Modem status: the delta bits below, the inputs above.
enum : u8 { kCts = 0x10, kDsr = 0x20, kRi = 0x40, kDcd = 0x80 };

constexpr u32 kClockHz = 1'843'200;

}  // namespace

void Uart16550::Received::describe(StateVisitor& v) {
  v.field("value", value);
  v.field("line_errors", line_errors);
}

Uart16550::Uart16550(std::string id, TimerQueue& time, IrqLine irq, Chardev* chardev)
    : Device(std::move(id)),
      ports_(Region::mmio("serial", 8, *this, {.handler_min = 1, .handler_max = 1})),
      time_(time),
      irq_(irq),
      chardev_(chardev),
      timeout_(time, [this] {
        timeout_interrupt_ = !rx_.empty();
        update_irq();
      }) {
  if (chardev_) chardev_->attach(this);
  reset(ResetKind::PowerOn);
}

Uart16550::~Uart16550() {
  if (chardev_) chardev_->attach(nullptr);
}

void Uart16550::reset(ResetKind) {
  ier_ = fcr_ = lcr_ = mcr_ = scr_ = lsr_ = 0;
  msr_ = chardev_ ? kCts | kDsr | kDcd : 0;
  divisor_ = 12;  // 9600 baud; the data sheet leaves it undefined
  rx_.clear();
  tx_.clear();
  thr_interrupt_ = timeout_interrupt_ = false;
  timeout_.cancel();
  update_irq();
}

void Uart16550::describe(StateVisitor& v) {
  v.field("ier", ier_);
  v.field("fcr", fcr_);
  v.field("lcr", lcr_);
  v.field("mcr", mcr_);
  v.field("scr", scr_);
  v.field("lsr", lsr_);
  v.field("msr", msr_);
  v.field("divisor", divisor_);
  v.field("rx", rx_);
  v.field("tx", tx_);
  v.field("thr_interrupt", thr_interrupt_);
  v.field("timeout_interrupt", timeout_interrupt_);
  v.field("timeout", timeout_);
}

Result<void> Uart16550::restored() {
  if (rx_.size() > kFifoSize || tx_.size() > kFifoSize)
    return fail(Errc::Corrupt, "Serial port '{}' has more than {} bytes in a FIFO", id(),
                kFifoSize);
  irq_.import(pending_interrupt() != kIirNone && (mcr_ & 8));
  return {};
}

u64 Uart16550::read(Access access) {
  switch (access.offset) {
    case kRbrThr: return divisor_latch() ? divisor_ & 0xff : read_rbr();
    case kIer: return divisor_latch() ? divisor_ >> 8 : ier_;
    case kIirFcr: return read_iir();
    case kLcr: return lcr_;
    case kMcr: return mcr_;
    case kLsr: return read_lsr();
    case kMsr: return read_msr();
    case kScr: return scr_;
    default: return 0xff;
  }
}

void Uart16550::write(Access access, u64 wide) {
  const u8 value = static_cast<u8>(wide);
  switch (access.offset) {
    case kRbrThr:
      if (divisor_latch())
        divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
      else
        write_thr(value);
      return;
    case kIer:
      if (divisor_latch())
        divisor_ = static_cast<u16>((divisor_ & 0x00ff) | (value << 8));
      else
        write_ier(value);
      return;
    case kIirFcr: return write_fcr(value);
    case kLcr: lcr_ = value; return;
    case kMcr: return write_mcr(value);
    case kScr: scr_ = value; return;
    default: return;  // LSR and MSR are for reading (the data sheet reserves writes for its tests)
  }
}

u8 Uart16550::read_rbr() {
  if (rx_.empty()) return 0;
  const u8 value = rx_.front().value;
  rx_.erase(rx_.begin());
  timeout_interrupt_ = false;
  if (rx_.empty()) {
    lsr_ &= static_cast<u8>(~kDataReady);
    timeout_.cancel();
  } else {
    lsr_ |= rx_.front().line_errors;
    if (fifo_enabled()) timeout_.arm(time_.now_ns() + 4 * character_ns());
  }
  update_irq();
  if (chardev_ && !loopback()) chardev_->accept_input();
  return value;
}

// Reading acknowledges THRE only when THRE is what is reported.
u8 Uart16550::read_iir() {
  const u8 pending = pending_interrupt();
  if (pending == kIirThre) {
    thr_interrupt_ = false;
    update_irq();
  }
  return static_cast<u8>(pending | (fifo_enabled() ? 0xc0 : 0));
}

u8 Uart16550::read_lsr() {
  u8 status = lsr_;
  if (tx_.empty()) status |= kThre | kTemt;
  const bool error_waits =
      std::ranges::any_of(rx_, [](const Received& r) { return r.line_errors; });
  if (fifo_enabled() && error_waits) status |= kFifoError;
  if (lsr_ & kLineErrors) {
    lsr_ &= static_cast<u8>(~kLineErrors);
    if (!rx_.empty()) rx_.front().line_errors = 0;
    update_irq();
  }
  return status;
}

u8 Uart16550::read_msr() {
  const u8 status = msr_;
  msr_ &= 0xf0;
  update_irq();
  return status;
}

void Uart16550::write_thr(u8 value) {
  thr_interrupt_ = false;
  if (loopback()) {
    push_received(value, 0);
    thr_interrupt_ = true;
    update_irq();
    return;
  }
  const size_t capacity = fifo_enabled() ? kFifoSize : 1;
  if (tx_.size() >= capacity) tx_.pop_back();  // the character before it is lost
  tx_.push_back(value);
  transmit();
}

// Offers what waits; the chardev calls writable() when it can take more.
void Uart16550::transmit() {
  if (!tx_.empty()) {
    const size_t taken = chardev_ ? chardev_->write(bytes_of(tx_)) : tx_.size();
    tx_.erase(tx_.begin(), tx_.begin() + static_cast<ptrdiff_t>(taken));
    if (tx_.empty()) thr_interrupt_ = true;
  }
  update_irq();
}

void Uart16550::write_ier(u8 value) {
  const bool thre_enabled = (value & kEnableThre) && !(ier_ & kEnableThre);
  ier_ = value & 0x0f;
  if (thre_enabled && tx_.empty()) thr_interrupt_ = true;
  update_irq();
}

void Uart16550::write_fcr(u8 value) {
  const bool toggled = (value ^ fcr_) & 1;
  if (toggled || ((value & 1) && (value & 2))) {
    rx_.clear();
    lsr_ &= static_cast<u8>(~kDataReady);
    timeout_interrupt_ = false;
    timeout_.cancel();
  }
  if (toggled || ((value & 1) && (value & 4))) {
    if (!tx_.empty()) thr_interrupt_ = true;
    tx_.clear();
  }
  fcr_ = (value & 1) ? value & 0xc9 : 0;
  update_irq();
  if (chardev_) chardev_->accept_input();
}

void Uart16550::write_mcr(u8 value) {
  const bool was_looping = loopback();
  mcr_ = value & 0x1f;
  if (loopback()) {
    u8 inputs = 0;
    if (mcr_ & 1) inputs |= kDsr;
    if (mcr_ & 2) inputs |= kCts;
    if (mcr_ & 4) inputs |= kRi;
    if (mcr_ & 8) inputs |= kDcd;
    set_modem_inputs(inputs);
  } else if (was_looping) {
    set_modem_inputs(chardev_ ? kCts | kDsr | kDcd : 0);
  }
  update_irq();
}

// A change of an input sets its delta bit; the ring indicator's only at its trailing edge.
void Uart16550::set_modem_inputs(u8 inputs) {
  u8 changed = (msr_ ^ inputs) & 0xf0;
  if (inputs & kRi) changed &= static_cast<u8>(~kRi);
  msr_ = static_cast<u8>(inputs | (msr_ & 0x0f) | (changed >> 4));
}

size_t Uart16550::room() {
  if (loopback()) return 0;
  const size_t capacity = fifo_enabled() ? kFifoSize : 1;
  return capacity - std::min(rx_.size(), capacity);
}

void Uart16550::receive(ConstBytes bytes) {
  for (const std::byte b : bytes) push_received(static_cast<u8>(b), 0);
  update_irq();
}

void Uart16550::event(CharEvent event) {
  if (event == CharEvent::Break && !loopback()) {
    push_received(0, kBreak);
    update_irq();
  }
}

void Uart16550::push_received(u8 value, u8 line_errors) {
  const size_t capacity = fifo_enabled() ? kFifoSize : 1;
  if (rx_.size() >= capacity) {
    lsr_ |= kOverrun;
    if (fifo_enabled()) return;  // the FIFO keeps its content; without it the new one replaces
    rx_.clear();
  }
  rx_.push_back({value, line_errors});
  lsr_ |= kDataReady;
  if (rx_.size() == 1) lsr_ |= line_errors;
  if (fifo_enabled()) timeout_.arm(time_.now_ns() + 4 * character_ns());
}

size_t Uart16550::trigger_level() const {
  constexpr size_t kLevels[] = {1, 4, 8, 14};
  return fifo_enabled() ? kLevels[fcr_ >> 6] : 1;
}

// Start bit, data, parity, stop.
i64 Uart16550::character_ns() const {
  const i64 bit_count = 1 + (5 + (lcr_ & 3)) + ((lcr_ & 8) ? 1 : 0) + ((lcr_ & 4) ? 2 : 1);
  const i64 divisor = divisor_ ? divisor_ : 65536;
  return bit_count * divisor * 16 * kNsPerSecond / kClockHz;
}

u8 Uart16550::pending_interrupt() const {
  if ((ier_ & kEnableLine) && (lsr_ & kLineErrors)) return kIirLine;
  if ((ier_ & kEnableReceived) && rx_.size() >= trigger_level()) return kIirReceived;
  if ((ier_ & kEnableReceived) && timeout_interrupt_) return kIirTimeout;
  if ((ier_ & kEnableThre) && thr_interrupt_) return kIirThre;
  if ((ier_ & kEnableModem) && (msr_ & 0x0f)) return kIirModem;
  return kIirNone;
}

// On a PC the OUT2 output gates the interrupt.
void Uart16550::update_irq() {
  const bool level = pending_interrupt() != kIirNone && (mcr_ & 8) && !loopback();
  if (level != irq_.level()) irq_.set(level);
}

}  // namespace menura
