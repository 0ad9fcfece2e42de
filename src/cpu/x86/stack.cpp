#include "cpu/x86/stack.h"

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"

namespace menura::x86 {

unsigned stack_width(const State& s) { return s.code64() ? 8 : s.seg[Ss].db() ? 4 : 2; }

StackCursor::StackCursor(const State& s, CpuBus& bus)
    : state_(s),
      bus_(bus),
      segment_(s.seg[Ss]),
      pointer_(s.gpr[Rsp]),
      width_(stack_width(s)),
      privilege_(Privilege::Current) {
  pointer_ = wrapped(pointer_);
}

StackCursor::StackCursor(const State& s, CpuBus& bus, const Target& target)
    : state_(s),
      bus_(bus),
      segment_(target.segment),
      pointer_(target.pointer),
      width_(target.long_stack     ? 8
             : target.segment.db() ? 4
                                   : 2),
      privilege_(target.cpl == 3 ? Privilege::User : Privilege::Supervisor),
      error_code_(target.error_code) {
  pointer_ = wrapped(pointer_);
}

u64 StackCursor::wrapped(u64 pointer) const { return pointer & low_mask(8 * width_); }

u64 StackCursor::rsp(u64 old_rsp) const {
  return width_ == 2 ? with_bits(old_rsp, 15, 0, pointer_) : pointer_;
}

OrFault<u64> StackCursor::linear(u64 offset, unsigned size) const {
  if (width_ == 8) {
    if (!canonical(state_, offset) || !canonical(state_, offset + size - 1))
      return stack_fault(error_code_);
    return offset;
  }
  // The checks of an ordinary access, with the segment of this stack; it is writable data.
  const bool usable = real_mode(state_) || !segment_.unusable;
  const bool expand_down = (segment_.attributes & 0xc) == 4;
  const u64 last = offset + size - 1;
  const bool inside = expand_down ? offset > segment_.limit && last <= low_mask(8 * width_)
                                  : last <= segment_.limit;
  if (!usable || !inside) return stack_fault(error_code_);
  return (segment_.base + offset) & 0xffff'ffff;
}

OrFault<void> StackCursor::push(u64 value, unsigned size) {
  const u64 below = wrapped(pointer_ - size);
  const u64 at = TRY(linear(below, size));
  TRY(bus_.store(at, size, value & low_mask(8 * size), privilege_));
  pointer_ = below;
  return {};
}

OrFault<void> StackCursor::check_push(unsigned size) const {
  const u64 at = TRY(linear(wrapped(pointer_ - size), size));
  return bus_.probe(at, size, PageAccess::Write, privilege_);
}

OrFault<u64> StackCursor::pop(unsigned size) {
  const u64 at = TRY(linear(pointer_, size));
  const u64 value = TRY(bus_.load(at, size, privilege_));
  pointer_ = wrapped(pointer_ + size);
  return value;
}

}  // namespace menura::x86
