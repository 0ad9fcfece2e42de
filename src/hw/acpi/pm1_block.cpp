#include "hw/acpi/pm1_block.h"

#include "base/bits.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kApmc, "pm1.apmc", "command {:#x}");
TRACE_EVENT(kSleep, "pm1.sleep", "type {}");

// PMSTS and PMEN.
constexpr u16 kTimerOverflow = 1 << 0;
constexpr u16 kBusMaster = 1 << 4;
constexpr u16 kGlobal = 1 << 5;
constexpr u16 kPowerButton = 1 << 8;
constexpr u16 kSleepButton = 1 << 9;
constexpr u16 kRtc = 1 << 10;
constexpr u16 kPowerButtonOverride = 1 << 11;
constexpr u16 kResume = 1 << 15;
constexpr u16 kStatusBits = kTimerOverflow | kBusMaster | kGlobal | kPowerButton | kSleepButton |
                            kRtc | kPowerButtonOverride | kResume;
constexpr u16 kEnableBits = kTimerOverflow | kGlobal | kPowerButton | kSleepButton | kRtc;
// PMCNTRL.
constexpr u16 kSciEn = 1 << 0;
constexpr u16 kBusMasterReload = 1 << 1;
constexpr u16 kSusTypes = 7 << 10;
constexpr u16 kSusEn = 1 << 13;

constexpr RegisterTable<Pm1Reg, static_cast<size_t>(Pm1Reg::kCount)> kRegs{{{
    {Pm1Reg::PmSts, 0x00, 2, "pmsts"},
    {Pm1Reg::PmEn, 0x02, 2, "pmen", 0, kEnableBits},
    {Pm1Reg::PmCntrl, 0x04, 2, "pmcntrl", 0, kSciEn | kBusMasterReload | kSusTypes},
    {Pm1Reg::PmTmr, 0x08, 4, "pmtmr"},
}}};

}  // namespace

Pm1Block::Pm1Block(Wiring wiring, const SleepConfig& config)
    : config_(config),
      wiring_(std::move(wiring)),
      apm_region_(Region::mmio("apm", 2, apm_window_, {.handler_max = 1})),
      regs_(kRegs),
      timer_(wiring_.time, [this] { wiring_.changed(); }) {}

u16 Pm1Block::status() const {
  return static_cast<u16>(regs_.get(Pm1Reg::PmSts)) | (timer_.overflowed() ? kTimerOverflow : 0);
}

void Pm1Block::set_status(u16 bits) {
  regs_.set(Pm1Reg::PmSts, regs_.get(Pm1Reg::PmSts) | bits);
  wiring_.changed();
}

bool Pm1Block::sci_enabled() const { return (regs_.get(Pm1Reg::PmCntrl) & kSciEn) != 0; }

bool Pm1Block::pending() const { return (status() & regs_.get(Pm1Reg::PmEn)) != 0; }

bool Pm1Block::rtc_wakes() const { return (regs_.get(Pm1Reg::PmEn) & kRtc) != 0; }

void Pm1Block::press_power_button() { set_status(kPowerButton); }

void Pm1Block::press_sleep_button() { set_status(kSleepButton); }

void Pm1Block::woken(WakeReason reason) {
  u16 status = kResume;
  switch (reason) {
    case WakeReason::Other: break;
    case WakeReason::PowerButton: status |= kPowerButton; break;
    case WakeReason::SleepButton: status |= kSleepButton; break;
    case WakeReason::Rtc: status |= kRtc; break;
  }
  set_status(status);
}

u64 Pm1Block::read(Access access) {
  return regs_.read(access, [this](Pm1Reg reg) -> u64 {
    if (reg == Pm1Reg::PmSts) return status();
    if (reg == Pm1Reg::PmTmr) return timer_.value();
    return regs_.get(reg);
  });
}

void Pm1Block::write(Access access, u64 value) {
  regs_.write(access, value,
              [this](Pm1Reg reg, u64 merged, u64 mask) { written(reg, merged, mask); });
}

void Pm1Block::written(Pm1Reg reg, u64 value, u64 mask) {
  const u64 ones = value & mask;
  switch (reg) {
    case Pm1Reg::PmSts:
      regs_.set(reg, regs_.get(reg) & ~(ones & kStatusBits));
      if ((ones & kTimerOverflow) != 0) timer_.clear_overflow();
      break;
    case Pm1Reg::PmEn:
      regs_.set_writable(reg, value, mask);
      timer_.watch((regs_.get(reg) & kTimerOverflow) != 0);
      break;
    case Pm1Reg::PmCntrl: write_control(value, mask); break;
    case Pm1Reg::PmTmr: break;  // read-only
    case Pm1Reg::kCount: unreachable();
  }
}

// Always on where no SMI could turn it on.
void Pm1Block::set_acpi_mode(bool on) {
  const u64 control = regs_.get(Pm1Reg::PmCntrl);
  regs_.set(Pm1Reg::PmCntrl, on || !wiring_.smm ? control | kSciEn : control & ~u64{kSciEn});
}

void Pm1Block::write_control(u64 value, u64 mask) {
  regs_.set_writable(Pm1Reg::PmCntrl, value, mask);
  set_acpi_mode(sci_enabled());
  if ((value & mask & kSusEn) == 0) return;
  const unsigned type = static_cast<unsigned>(bits(regs_.get(Pm1Reg::PmCntrl), 12, 10));
  trace(kSleep, type);
  if (type == 0) wiring_.on_sleep(SleepState::S5);
  if (type == 1 && !config_.disable_s3) wiring_.on_sleep(SleepState::S3);
  if (type == 2 && !config_.disable_s4) wiring_.on_sleep(SleepState::S4);
}

void Pm1Block::write_apm(Access access, u64 value) {
  if (access.offset != 0) {
    apms_ = static_cast<u8>(value);
    return;
  }
  apmc_ = static_cast<u8>(value);
  trace(kApmc, apmc_);
  if (apmc_ == kAcpiEnable) set_acpi_mode(true);
  if (apmc_ == kAcpiDisable) set_acpi_mode(false);
  wiring_.changed();
  if (wiring_.apm_written) wiring_.apm_written();
}

void Pm1Block::reset() {
  regs_.reset();
  set_acpi_mode(false);
  timer_.reset();
  apmc_ = apms_ = 0;
}

void Pm1Block::describe(StateVisitor& v) {
  v.field("registers", regs_);
  v.field("timer", timer_);
  v.field("apmc", apmc_);
  v.field("apms", apms_);
}

}  // namespace menura
