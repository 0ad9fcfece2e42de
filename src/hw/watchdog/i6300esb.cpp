#include "hw/watchdog/i6300esb.h"

#include "base/trace.h"
#include "base/units.h"

namespace menura {

namespace {

TRACE_EVENT(kStart, "i6300esb.start", "stage {} for {} ns");
TRACE_EVENT(kTimeout, "i6300esb.timeout", "the second stage is over");

constexpr PciIdentity kIdentity{.vendor = 0x8086, .device = 0x25ab, .class_code = 0x088000};

constexpr unsigned kConfigRegister = 0x60;
constexpr u16 kFastClock = 1 << 2;       // WDT_PRE_SEL: 1 MHz rather than 1 kHz
constexpr u16 kOutputDisabled = 1 << 5;  // WDT_OUTPUT
constexpr unsigned kLockRegister = 0x68;
constexpr u8 kLocked = 1 << 0;
constexpr u8 kEnable = 1 << 1;
constexpr u8 kFreeRunning = 1 << 2;

constexpr ConfigRegister kConfig[] = {
    {.offset = kConfigRegister, .size = 2, .name = "wdtcfg", .writable = 0x27},
    {.offset = kLockRegister, .name = "wdtlock", .writable = kLocked | kEnable | kFreeRunning},
};

// In the register block.
constexpr u64 kPreload1 = 0x0, kPreload2 = 0x4, kInterruptStatus = 0x8, kReload = 0xc;
constexpr u32 kPreloadMask = 0xf'ffff;
constexpr u16 kReloadNow = 1 << 8;
constexpr u16 kTimeoutFlag = 1 << 9;
constexpr u64 kUnlockFirst = 0x80, kUnlockSecond = 0x86;

// The preload stands in the upper bits of a counter of PCI clocks.
constexpr i64 kPciClockHz = 33'333'333;
constexpr unsigned kSlowShift = 15, kFastShift = 5;

}  // namespace

std::span<const std::string_view> enum_names(I6300Esb::Stage) {
  static constexpr std::string_view kNames[] = {"first", "second"};
  return kNames;
}
std::span<const std::string_view> enum_names(I6300Esb::Unlock) {
  static constexpr std::string_view kNames[] = {"locked", "one-of-two", "open"};
  return kNames;
}

I6300Esb::I6300Esb(std::string id, TimerQueue& time, std::function<void()> on_timeout)
    : PciFunction(std::move(id), kIdentity),
      time_(time),
      on_timeout_(std::move(on_timeout)),
      registers_(Region::mmio("i6300esb", 16, *this, {.handler_max = 4})),
      timer_(time, [this] { expired(); }) {
  config().define(kConfig);
  ensure(bool(add_bar(0, BarKind::Memory32, registers_)), "16 bytes are a BAR");
}

bool I6300Esb::enabled() const { return (config().get8(kLockRegister) & kEnable) != 0; }
bool I6300Esb::free_running() const { return (config().get8(kLockRegister) & kFreeRunning) != 0; }

void I6300Esb::config_written(unsigned, unsigned) {
  // Once locked, only a reset opens the register again.
  if (lock_ & kLocked) config().set(kLockRegister, 1, lock_);
  const u8 before = std::exchange(lock_, config().get8(kLockRegister));
  if (!enabled()) return timer_.cancel();
  if (!(before & kEnable)) start(Stage::First);
}

void I6300Esb::reset_chip(ResetKind kind) {
  timer_.cancel();
  preload_[0] = preload_[1] = kPreloadMask;
  unlock_ = Unlock::Locked;
  stage_ = Stage::First;
  stage_one_over_ = false;
  lock_ = 0;
  if (kind == ResetKind::PowerOn) timed_out_ = false;
}

void I6300Esb::describe_chip(StateVisitor& v) {
  v.field("preload", preload_);
  v.field("unlock", unlock_);
  v.field("stage", stage_);
  v.field("stage_one_over", stage_one_over_);
  v.field("timed_out", timed_out_);
  v.field("lock", lock_);
  v.field("timer", timer_);
}

void I6300Esb::start(Stage stage) {
  stage_ = stage;
  const bool fast = (config().get16(kConfigRegister) & kFastClock) != 0;
  const i64 clocks = i64{preload_[static_cast<size_t>(stage)]} << (fast ? kFastShift : kSlowShift);
  const i64 ns = clocks * (kNsPerSecond / 1000) / (kPciClockHz / 1000);
  trace(kStart, static_cast<int>(stage) + 1, ns);
  timer_.arm(time_.now_ns() + ns);
}

void I6300Esb::expired() {
  if (stage_ == Stage::First) {
    stage_one_over_ = true;
    return start(free_running() ? Stage::First : Stage::Second);
  }
  trace(kTimeout);
  timed_out_ = true;
  if ((config().get16(kConfigRegister) & kOutputDisabled) == 0) on_timeout_();
}

u64 I6300Esb::read(Access access) {
  switch (access.offset & ~u64{3}) {
    case kInterruptStatus: return u64{stage_one_over_} >> (8 * (access.offset & 3));
    case kReload: return (timed_out_ ? kTimeoutFlag : 0) >> (8 * (access.offset & 3));
    default: return 0;  // the preload registers are for writing
  }
}

void I6300Esb::write_reload(u16 value) {
  if (value & kReloadNow && enabled()) start(Stage::First);
  if (value & kTimeoutFlag) timed_out_ = false;
}

void I6300Esb::write(Access access, u64 value) {
  if (access.offset == kReload && value == kUnlockFirst) {
    unlock_ = Unlock::OneOfTwo;
    return;
  }
  if (access.offset == kReload && value == kUnlockSecond && unlock_ == Unlock::OneOfTwo) {
    unlock_ = Unlock::Open;
    return;
  }
  if (access.offset == kInterruptStatus) {
    if (value & 1) stage_one_over_ = false;
    return;
  }
  if (std::exchange(unlock_, Unlock::Locked) != Unlock::Open) return;
  if (access.offset == kPreload1 && access.size == 4)
    preload_[0] = static_cast<u32>(value) & kPreloadMask;
  else if (access.offset == kPreload2 && access.size == 4)
    preload_[1] = static_cast<u32>(value) & kPreloadMask;
  else if (access.offset == kReload)
    write_reload(static_cast<u16>(value));
}

}  // namespace menura
