#include <algorithm>

#include "accel/kvm/kvm_chips.h"

namespace menura {

namespace {

// KVM's read and write states: which byte comes next (of a word: the low one, the high one).
enum ByteState : u8 { kNone = 0, kLow = 1, kHigh = 2, kWordLow = 3, kWordHigh = 4 };
// The mode of a channel that no control word has reached.
constexpr u8 kNoMode = 0xff;

u8 byte_state(const PitCounterState& s, bool high_next) {
  return s.access != 3 ? s.access : static_cast<u8>(high_next ? kWordHigh : kWordLow);
}

}  // namespace

kvm_pit_channel_state to_kernel(const PitCounterState& s) {
  kvm_pit_channel_state k{};
  k.count = s.initial != 0 ? s.initial : 0x1'0000;
  k.latched_count = s.output_latch;
  k.count_latched = s.latched_bytes;  // 1, 2, 3: the low byte, the high one, first low then high
  k.status_latched = s.status_latched;
  k.status = s.status_latch;
  k.read_state = byte_state(s, s.high_byte_next_out);
  k.write_state = byte_state(s, s.high_byte_next_in);
  k.write_latch = s.low_byte_in;
  k.rw_mode = s.access;
  k.mode = s.initial != 0 ? s.mode : kNoMode;
  k.bcd = s.bcd;
  k.gate = s.gate;
  return k;
}

PitCounterState from_kernel(const kvm_pit_channel_state& k, i64 age_ns, i64 now_tick) {
  PitCounterState s;
  s.gate = k.gate != 0;
  if (k.mode == kNoMode) return s;
  s.mode = k.mode & 7;
  s.access = k.rw_mode >= 1 && k.rw_mode <= 3 ? k.rw_mode : u8{3};
  s.bcd = k.bcd != 0;
  s.count_register = static_cast<u16>(k.count);
  s.null_count = false;
  s.count_written = true;
  s.high_byte_next_in = k.write_state == kWordHigh;
  s.low_byte_in = k.write_latch;
  s.high_byte_next_out = k.read_state == kWordHigh;
  s.latched_bytes = k.count_latched == kWordHigh ? u8{kHigh} : k.count_latched;
  s.output_latch = k.latched_count;
  s.status_latched = k.status_latched != 0;
  s.status_latch = k.status;
  s.initial = std::clamp<u32>(k.count, 1, 0x1'0000);
  s.counting = s.gate;
  s.elapsed = pit_tick_at(std::max<i64>(age_ns, 0));
  s.since = s.counting ? now_tick - s.elapsed : now_tick;
  s.driven = now_tick;
  return s;
}

void KvmPit::reset(ResetKind) {
  state_ = {};
  state_.counters[2].gate = false;  // port 61h holds it low
  if (Result<void> done = restored(); !done) vm_.fail_machine(std::move(done.error()));
}

void KvmPit::describe(StateVisitor& v) {
  if (!v.loading()) {
    kvm_pit_state2 k{};
    if (auto done = vm_.fd().require(KVM_GET_PIT2, &k, "Reading the PIT"); !done)
      v.fail(std::move(done.error()));
    const i64 now = tape_.host_clock_ns();  // the kernel dates counts by the same clock
    for (size_t i = 0; i < 3; i++)
      state_.counters[i] = from_kernel(k.channels[i], now - k.channels[i].count_load_time,
                                       pit_tick_at(time_.now_ns()));
    state_.speaker_on = k.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
  }
  v.field("state", state_);
}

IrqStatus KvmPit::set_irq(unsigned, bool level) {
  replaced_ = level;
  kvm_pit_state2 k{};
  if (auto got = vm_.fd().require(KVM_GET_PIT2, &k, "Reading the PIT"); !got)
    return vm_.fail_machine(std::move(got.error())), IrqStatus::Ignored;
  k.flags =
      replaced_ ? k.flags | KVM_PIT_FLAGS_HPET_LEGACY : k.flags & ~u32{KVM_PIT_FLAGS_HPET_LEGACY};
  if (auto set = vm_.fd().require(KVM_SET_PIT2, &k, "Letting the HPET replace the PIT"); !set)
    return vm_.fail_machine(std::move(set.error())), IrqStatus::Ignored;
  return IrqStatus::Delivered;
}

Result<void> KvmPit::restored() {
  kvm_pit_state2 k{};
  for (size_t i = 0; i < 3; i++) {
    TRY(state_.counters[i].check());
    k.channels[i] = to_kernel(state_.counters[i]);
  }
  if (state_.speaker_on) k.flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
  if (replaced_) k.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
  TRY(vm_.fd().require(KVM_SET_PIT2, &k, "Setting the PIT"));
  return {};
}

}  // namespace menura
