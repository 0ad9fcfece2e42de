#include "hw/testdev/edu.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1234,
                                .device = 0x11e8,
                                .class_code = 0x00ff00,
                                .revision = 0x10,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};

enum : u64 {
  kIdentification = 0x00,
  kLiveness = 0x04,
  kFactorial = 0x08,
  kStatus = 0x20,
  kInterruptStatus = 0x24,
  kInterruptRaise = 0x60,
  kInterruptAcknowledge = 0x64,
  kDmaSource = 0x80,
  kDmaDestination = 0x88,
  kDmaCount = 0x90,
  kDmaCommand = 0x98
};
constexpr u32 kVersion10 = 0x0100'00ed;
constexpr u32 kComputing = 0x01, kWantsInterrupt = 0x80;  // of the status
constexpr u32 kFactorialDone = 0x001, kDmaDone = 0x100;   // of the interrupt status
constexpr u32 kRun = 0x01, kFromDevice = 0x02, kDmaInterrupt = 0x04;
constexpr u64 kBufferAt = 0x4'0000;
constexpr i64 kFactorialTime = 1 * kNsPerMs, kDmaTime = 100 * kNsPerMs;

}  // namespace

void EduConfig::describe(PropertyVisitor& p) {
  p.field("dma_mask", dma_mask, "which bits of an address its DMA engine has");
}

// From 80h on registers are 64 bits wide; below, accesses of other sizes than 4 have no effect.
Edu::Edu(std::string id, const EduConfig& config, TimerQueue& time, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      config_(config),
      time_(time),
      registers_(Region::mmio(
          "edu", 1 * MiB, window_,
          {.valid_min = 4, .valid_unaligned = false, .handler_min = 4, .handler_max = 8})),
      factorial_timer_(time, [this] { end_factorial(); }),
      dma_timer_(time, [this] { end_dma(); }) {
  add_bar(0, BarKind::Memory32, registers_).value();
  set_interrupt_pin(IntxPin::A);
}

Edu::~Edu() = default;

u64 Edu::read(Access access) {
  if (access.offset < kDmaSource && access.size != 4) return ~u64{0};
  switch (access.offset) {
    case kIdentification: return kVersion10;
    case kLiveness: return liveness_;
    case kFactorial: return factorial_;
    case kStatus: return status_;
    case kInterruptStatus: return interrupts_;
    case kDmaSource: return source_;
    case kDmaDestination: return destination_;
    case kDmaCount: return count_;
    case kDmaCommand: return command_;
    default: return ~u64{0};
  }
}

void Edu::write(Access access, u64 value) {
  if (access.offset < kDmaSource && access.size != 4) return;
  const bool busy = (command_ & kRun) != 0;
  switch (access.offset) {
    case kLiveness: liveness_ = ~static_cast<u32>(value); return;
    case kFactorial: return start_factorial(static_cast<u32>(value));
    case kStatus: status_ = merge(status_, static_cast<u32>(value), kWantsInterrupt); return;
    case kInterruptRaise: return raise(static_cast<u32>(value));
    case kInterruptAcknowledge:
      interrupts_ &= ~static_cast<u32>(value);
      return set_intx(interrupts_ != 0);
    case kDmaSource:
      if (!busy) source_ = value;
      return;
    case kDmaDestination:
      if (!busy) destination_ = value;
      return;
    case kDmaCount:
      if (!busy) count_ = value;
      return;
    case kDmaCommand:
      if (busy || (value & kRun) == 0) return;
      command_ = static_cast<u32>(value) & (kRun | kFromDevice | kDmaInterrupt);
      return dma_timer_.arm(time_.now_ns() + kDmaTime);
    default: return;
  }
}

// A number given while another is at work is not taken.
void Edu::start_factorial(u32 number) {
  if ((status_ & kComputing) != 0) return;
  factorial_ = number;
  status_ |= kComputing;
  factorial_timer_.arm(time_.now_ns() + kFactorialTime);
}

// Modulo 2^32, from 34 on it is 0.
void Edu::end_factorial() {
  u32 product = 1;
  for (u32 n = factorial_; n > 1 && product != 0; n--) product *= n;
  factorial_ = product;
  status_ &= ~kComputing;
  if ((status_ & kWantsInterrupt) != 0) raise(kFactorialDone);
}

void Edu::end_dma() {
  (void)transfer();
  const bool wanted = (command_ & kDmaInterrupt) != 0;
  command_ &= ~kRun;
  if (wanted) raise(kDmaDone);
}

bool Edu::transfer() {
  const bool from_device = (command_ & kFromDevice) != 0;
  const u64 here = (from_device ? source_ : destination_) - kBufferAt;
  const GuestAddr there{(from_device ? destination_ : source_) & config_.dma_mask};
  if (here > buffer_.size() || count_ > buffer_.size() - here) return false;
  const Bytes bytes = Bytes(buffer_).subspan(here, count_);
  return (from_device ? dma_write(there, bytes) : dma_read(there, bytes)) == AccessStatus::Ok;
}

void Edu::raise(u32 reasons) {
  interrupts_ |= reasons;
  if (interrupts_ == 0) return;
  if (msi_.enabled())
    (void)msi_.notify(0);
  else
    set_intx(true);
}

void Edu::reset_chip(ResetKind) {
  factorial_timer_.cancel();
  dma_timer_.cancel();
  liveness_ = factorial_ = status_ = interrupts_ = command_ = 0;
  source_ = destination_ = count_ = 0;
  buffer_.fill(std::byte{0});
}

void Edu::describe_chip(StateVisitor& v) {
  v.field("liveness", liveness_);
  v.field("factorial", factorial_);
  v.field("status", status_);
  v.field("interrupts", interrupts_);
  v.field("source", source_);
  v.field("destination", destination_);
  v.field("count", count_);
  v.field("command", command_);
  v.field("buffer", buffer_);
  v.field("factorial_timer", factorial_timer_);
  v.field("dma_timer", dma_timer_);
}

}  // namespace menura
