#include "hw/timer/hpet.h"

#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"
#include "base/units.h"

namespace menura {

TRACE_EVENT(kHpetMatch, "hpet.match", "timer {}");

namespace {

constexpr RegisterTable<HpetReg, 4> kRegisters{{{
    {HpetReg::Capabilities, 0x00, 8, "capabilities", 0x0098'9680'8086'a001, 0},
    {HpetReg::Configuration, 0x10, 8, "configuration", 0, 3},
    {HpetReg::Status, 0x20, 8, "status", 0, 0xffff'ffff},
    {HpetReg::Counter, 0xf0, 8, "counter", 0, ~u64{0}},
}}};
static_assert(kRegisters[0].reset >> 32 == Hpet::kPeriodNs * 1'000'000, "the period in fs");

constexpr RegisterTable<HpetTimerReg, 3> kTimerRegisters{{{
    {HpetTimerReg::Configuration, 0x00, 8, "configuration", 0x30, 0x7f4e},
    {HpetTimerReg::Comparator, 0x08, 8, "comparator", ~u64{0}, ~u64{0}},
    {HpetTimerReg::FsbRoute, 0x10, 8, "fsb_route", 0, ~u64{0}},
}}};

constexpr u64 kFirstTimer = 0x100;
constexpr u64 kTimerStride = 0x20;

// General configuration.
constexpr u64 kEnable = 1 << 0;
constexpr u64 kLegacyReplacement = 1 << 1;
// Timer configuration.
constexpr u64 kLevel = 1 << 1;
constexpr u64 kInterrupt = 1 << 2;
constexpr u64 kPeriodic = 1 << 3;
constexpr u64 kSetValue = 1 << 6;
constexpr u64 k32Bit = 1 << 8;
constexpr unsigned kRouteLow = 9, kRouteHigh = 13;
constexpr u64 kFsbEnable = 1 << 14;
constexpr u64 kFsbCapable = 1 << 15;

constexpr i64 kShortestPeriodNs = 10'000;

}  // namespace

Hpet::Comparator::Comparator(Hpet& hpet, unsigned number)
    : index(number),
      timer(hpet.time_, [&hpet, this] { hpet.matched(*this); }),
      regs(kTimerRegisters),
      lost(LostTickPolicy::Delay, hpet.time_, owed,
           [&hpet, this] { return hpet.send_edge(*this); }) {}

void Hpet::Comparator::describe(StateVisitor& v) {
  regs.describe(v);
  v.field("period", period);
  v.field("owed", owed);
  v.field("timer", timer);
}

bool Hpet::Comparator::narrow() const { return config() & k32Bit; }
bool Hpet::Comparator::periodic() const { return config() & kPeriodic; }
u64 Hpet::Comparator::mask() const { return narrow() ? low_mask(32) : ~u64{0}; }

Hpet::Hpet(std::string id, Config config, TimerQueue& time, IrqSink& gsi, MsiSink* msi,
           IrqLine legacy_active)
    : Device(std::move(id)),
      config_(config),
      time_(time),
      msi_(msi),
      legacy_active_(legacy_active),
      registers_(Region::mmio("hpet", 0x400, *this,
                              {.valid_min = 4, .valid_unaligned = false, .handler_max = 8})),
      regs_(kRegisters) {
  ensure(config.timers >= 3 && config.timers <= 32, "an HPET has 3 to 32 timers");
  ensure(!config.fsb || msi != nullptr, "messages need an interrupt controller");
  for (unsigned i = 0; i < lines_.size(); i++) lines_[i] = IrqLine{gsi, i};
  for (unsigned i = 0; i < config.timers; i++) comparators_.emplace_back(*this, i);
}

void Hpet::reset(ResetKind) {
  regs_.reset();
  counter_base_ = 0;
  for (Comparator& c : comparators_) {
    c.regs.reset();
    c.period = 0;
    c.lost.forget();
    c.timer.cancel();
  }
  legacy_active_.set(false);
  update_lines();
}

void Hpet::describe(StateVisitor& v) {
  regs_.describe(v);
  v.field("counter_base", counter_base_);
  v.field("inputs", inputs_);
  for (Comparator& c : comparators_) v.field(fmt::format("timer{}", c.index), c);
}

Result<void> Hpet::restored() {
  for (Comparator& c : comparators_) {
    if ((c.config() & kFsbEnable) && !config_.fsb)
      return fail(Errc::Corrupt, "HPET timer {} sends messages, which this one cannot", c.index);
    c.lost.restored(tick_period_ns(c));
  }
  legacy_active_.set(legacy());  // a kernel's PIT only knows by this line
  for (unsigned gsi = 0; gsi < lines_.size(); gsi++) lines_[gsi].import(wanted(gsi));
  return {};
}

// Ticks of a faster comparator are no time that a guest keeps.
i64 Hpet::tick_period_ns(const Comparator& c) const {
  const u64 shortest = kShortestPeriodNs / kPeriodNs;
  const bool ticks = c.periodic() && c.period >= shortest && c.period <= bit(40);
  return ticks ? static_cast<i64>(c.period) * kPeriodNs : 0;
}

bool Hpet::enabled() const { return regs_.get(HpetReg::Configuration) & kEnable; }

bool Hpet::legacy() const {
  constexpr u64 kBoth = kEnable | kLegacyReplacement;
  return (regs_.get(HpetReg::Configuration) & kBoth) == kBoth;
}

u64 Hpet::counter() const {
  if (!enabled()) return regs_.get(HpetReg::Counter);
  return static_cast<u64>(time_.now_ns() / kPeriodNs) + static_cast<u64>(counter_base_);
}

IrqStatus Hpet::set_irq(unsigned input, bool level) {
  if (input >= inputs_.size()) return IrqStatus::Ignored;
  inputs_[input] = level;
  if (legacy()) return IrqStatus::Ignored;
  return lines_[input == kPitInput ? 0 : 8].set(level);
}

unsigned Hpet::route(const Comparator& c) const {
  if (legacy() && c.index < 2) return c.index == 0 ? 0 : 8;
  return static_cast<unsigned>(bits(c.config(), kRouteHigh, kRouteLow));
}

bool Hpet::holds(const Comparator& c) const {
  constexpr u64 kAsserting = kLevel | kInterrupt;
  return enabled() && (c.config() & (kAsserting | kFsbEnable)) == kAsserting &&
         test_bit(regs_.get(HpetReg::Status), c.index);
}

bool Hpet::wanted(unsigned gsi) const {
  if (!legacy() && ((gsi == 0 && inputs_[kPitInput]) || (gsi == 8 && inputs_[kRtcInput])))
    return true;
  return std::ranges::any_of(comparators_,
                             [&](const Comparator& c) { return holds(c) && route(c) == gsi; });
}

void Hpet::update_lines() {
  for (unsigned gsi = 0; gsi < lines_.size(); gsi++)
    if (const bool level = wanted(gsi); level != lines_[gsi].level()) lines_[gsi].set(level);
}

void Hpet::arm_all() {
  for (Comparator& c : comparators_) arm(c);
}

// A comparator matches when the counter comes to its value: one that is passed waits for a whole
// turn of the counter.
void Hpet::arm(Comparator& c) {
  c.timer.cancel();
  if (!enabled()) return;
  const u64 now = counter();
  u64 ticks = (c.regs.get(HpetTimerReg::Comparator) - now) & c.mask();
  if (ticks == 0) ticks = c.narrow() ? bit(32) : ~u64{0};
  // Beyond 2^62 ns lies no match that anybody will see.
  if (ticks > bit(58)) return;
  const i64 now_tick = time_.now_ns() / kPeriodNs;
  i64 deadline = (now_tick + static_cast<i64>(ticks)) * kPeriodNs;
  const bool hasty = c.periodic() && c.period * kPeriodNs < kShortestPeriodNs;
  if (hasty) deadline = std::max(deadline, time_.now_ns() + kShortestPeriodNs);
  c.timer.arm(deadline);
}

void Hpet::matched(Comparator& c) {
  trace(kHpetMatch, c.index);
  u64 due = 1;
  if (c.periodic() && c.period != 0) {
    // The next value ahead.
    const u64 value = c.regs.get(HpetTimerReg::Comparator);
    const u64 late = (counter() - value) & c.mask();
    due += late / c.period;
    c.regs.set(HpetTimerReg::Comparator, (value + due * c.period) & c.mask());
  }
  arm(c);
  if ((c.config() & (kLevel | kFsbEnable)) == kLevel) {
    regs_.set(HpetReg::Status, regs_.get(HpetReg::Status) | bit(c.index));
    update_lines();
  } else if (c.config() & kInterrupt) {
    const IrqStatus status = send_edge(c);
    if (const i64 period = tick_period_ns(c)) c.lost.ticked(static_cast<i64>(due), status, period);
  }
}

IrqStatus Hpet::send_edge(Comparator& c) {
  if (c.config() & kFsbEnable) {
    const u64 message = c.regs.get(HpetTimerReg::FsbRoute);
    return msi_->send_msi({.address = message >> 32, .data = static_cast<u32>(message)});
  }
  const IrqStatus status = lines_[route(c)].pulse();
  update_lines();  // another comparator may hold the line
  return status;
}

void Hpet::tick_taken() {
  Comparator& c = comparators_[0];
  if (!legacy() || c.config() & kFsbEnable) return;
  if (c.timer.deadline() <= time_.now_ns()) matched(c);
  c.lost.taken();
}

u64 Hpet::read(Access access) {
  if (access.offset >= kFirstTimer) {
    const u64 index = (access.offset - kFirstTimer) / kTimerStride;
    return index < comparators_.size() ? read_timer(comparators_[index], access) : 0;
  }
  return regs_.read(access, [&](HpetReg reg) {
    if (reg == HpetReg::Counter) return counter();
    const u64 value = regs_.get(reg);
    return reg == HpetReg::Capabilities ? value | u64{config_.timers - 1} << 8 : value;
  });
}

u64 Hpet::read_timer(const Comparator& c, Access access) const {
  return c.regs.read({access.offset % kTimerStride, access.size}, [&](HpetTimerReg reg) {
    const u64 value = c.regs.get(reg);
    if (reg == HpetTimerReg::Comparator) return value & c.mask();
    if (reg == HpetTimerReg::FsbRoute) return value;
    return (value & ~kSetValue) | u64{config_.routes} << 32 | (config_.fsb ? kFsbCapable : 0);
  });
}

void Hpet::write(Access access, u64 value) {
  if (access.offset >= kFirstTimer) {
    const u64 index = (access.offset - kFirstTimer) / kTimerStride;
    if (index < comparators_.size()) write_timer(comparators_[index], access, value);
    return;
  }
  regs_.write(access, value, [&](HpetReg reg, u64 merged, u64 mask) {
    switch (reg) {
      case HpetReg::Capabilities: return;
      case HpetReg::Configuration: return write_configuration(merged, mask);
      case HpetReg::Status:
        regs_.set(reg, regs_.get(reg) & ~(merged & mask));
        return update_lines();
      case HpetReg::Counter: {
        // Meant to be written while halted; a running one goes on from there.
        const u64 fresh = merge(counter(), merged, mask);
        regs_.set(reg, fresh);
        counter_base_ = static_cast<i64>(fresh - static_cast<u64>(time_.now_ns() / kPeriodNs));
        return arm_all();
      }
      case HpetReg::kCount: return;
    }
  });
}

void Hpet::write_configuration(u64 value, u64 mask) {
  const bool was_enabled = enabled();
  const u64 present = counter();
  regs_.set_writable(HpetReg::Configuration, value, mask);
  if (enabled() && !was_enabled)
    counter_base_ = static_cast<i64>(present - static_cast<u64>(time_.now_ns() / kPeriodNs));
  if (!enabled()) regs_.set(HpetReg::Counter, present);
  if (enabled() != was_enabled) {
    for (Comparator& c : comparators_) c.lost.forget();
    arm_all();
  }
  if (legacy_active_.level() != legacy()) legacy_active_.set(legacy());
  update_lines();
}

void Hpet::write_timer(Comparator& c, Access access, u64 value) {
  c.regs.write({access.offset % kTimerStride, access.size}, value,
               [&](HpetTimerReg reg, u64 merged, u64 mask) {
                 switch (reg) {
                   case HpetTimerReg::Configuration: return write_timer_config(c, merged, mask);
                   case HpetTimerReg::Comparator: return write_comparator(c, merged, mask);
                   case HpetTimerReg::FsbRoute: c.regs.set(reg, merged); return;
                   case HpetTimerReg::kCount: return;
                 }
               });
}

void Hpet::write_timer_config(Comparator& c, u64 value, u64 mask) {
  const u64 old = c.config();
  // A route that the board does not offer is not taken.
  if (!test_bit(config_.routes, static_cast<unsigned>(bits(value, kRouteHigh, kRouteLow))))
    value = with_bits(value, kRouteHigh, kRouteLow, bits(old, kRouteHigh, kRouteLow));
  if (!config_.fsb) value &= ~kFsbEnable;
  c.regs.set_writable(HpetTimerReg::Configuration, value, mask);
  // An edge-triggered timer has no status.
  if (!(c.config() & kLevel))
    regs_.set(HpetReg::Status, regs_.get(HpetReg::Status) & ~bit(c.index));
  if (old != c.config()) c.lost.forget();
  if (((old ^ c.config()) & (k32Bit | kPeriodic)) != 0) arm(c);
  update_lines();
}

// Periodic (§2.3.9.2.2): the value last written is the period; only after VAL_SET, which clears
// itself, is it also the next match.
void Hpet::write_comparator(Comparator& c, u64 value, u64 mask) {
  c.lost.forget();
  if (c.periodic()) c.period = merge(c.period, value, mask) & c.mask();
  if (!c.periodic() || (c.config() & kSetValue)) {
    c.regs.set(HpetTimerReg::Comparator, value & c.mask());
    c.regs.set(HpetTimerReg::Configuration, c.config() & ~kSetValue);
  }
  arm(c);
}

}  // namespace menura
