// Far returns and IRET.
#include <array>

#include "base/bits.h"
#include "cpu/x86/far_transfer.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/stack.h"
#include "cpu/x86/task.h"

namespace menura::x86 {

namespace {

constexpr u64 kUserFlags = kArithmeticFlags | kTf | kDf | kNt;
constexpr u64 kWideUserFlags = kRf | kAc | kId;

struct Frame {
  u64 rip = 0, flags = 0, rsp = 0;
  u16 cs = 0, ss = 0;
};

OrFault<Descriptor> check_code(const State& s, CpuBus& bus, const Frame& f) {
  if (null_selector(f.cs)) return general_protection();
  const Fault bad = general_protection(selector_code(f.cs));
  const Descriptor d = TRY(read_descriptor(s, bus, f.cs, bad));
  const u8 rpl = f.cs & 3;
  if (!d.code() || rpl < s.cpl()) return bad;
  if (d.conforming() ? d.dpl() > rpl : d.dpl() != rpl) return bad;
  const bool to64 = s.long_mode_active() && d.long_mode();
  if (to64 && d.db()) return bad;
  if (!d.present()) return not_present(selector_code(f.cs));
  if (to64 ? !canonical(s, f.rip) : f.rip > d.limit()) return general_protection();
  return d;
}

OrFault<Segment> check_stack(const State& s, CpuBus& bus, const Frame& f, const Descriptor& code) {
  const u8 level = f.cs & 3;
  if (null_selector(f.ss)) {
    const bool to64 = s.long_mode_active() && code.long_mode();
    if (!to64 || level == 3 || (f.ss & 3) != level) return general_protection();
    return null_stack_segment(f.ss, level);
  }
  const Fault bad = general_protection(selector_code(f.ss));
  Descriptor d = TRY(read_descriptor(s, bus, f.ss, bad));
  if ((f.ss & 3) != level || d.dpl() != level || !d.writable_data()) return bad;
  if (!d.present()) return stack_fault(selector_code(f.ss));
  TRY(mark_accessed(bus, d));
  return d.segment(f.ss);
}

// RSP on the stack that is returned to.
void set_stack(State& s, const Segment& stack, u64 pointer, bool to64) {
  s.seg[Ss] = stack;
  u64& rsp = s.gpr[Rsp];
  rsp = to64 ? pointer : stack.db() ? pointer & 0xffff'ffff : with_bits(rsp, 15, 0, pointer);
}

OrFault<void> return_real(State& s, CpuBus& bus, unsigned size, u16 release) {
  StackCursor stack(s, bus);
  const u64 rip = TRY(stack.pop(size));
  const u16 cs = static_cast<u16>(TRY(stack.pop(size)));
  if (rip > s.seg[Cs].limit) return general_protection();
  stack.release(release);
  stack.commit(s);
  load_real_segment(s, Cs, cs);
  s.rip = rip;
  return {};
}

}  // namespace

OrFault<void> far_return(State& s, CpuBus& bus, unsigned size, u16 release) {
  if (!protected_mode(s)) return return_real(s, bus, size, release);
  StackCursor stack(s, bus);
  Frame f;
  f.rip = TRY(stack.pop(size));
  f.cs = static_cast<u16>(TRY(stack.pop(size)));
  Descriptor code = TRY(check_code(s, bus, f));
  stack.release(release);
  const u8 level = f.cs & 3;
  if (level == s.cpl()) {
    TRY(mark_accessed(bus, code));
    stack.commit(s);
    set_code_segment(s, code, f.cs, level);
    s.rip = f.rip;
    return {};
  }
  f.rsp = TRY(stack.pop(size));
  f.ss = static_cast<u16>(TRY(stack.pop(size)));
  const Segment outer = TRY(check_stack(s, bus, f, code));
  TRY(mark_accessed(bus, code));
  set_code_segment(s, code, f.cs, level);
  set_stack(s, outer, f.rsp + release, s.code64());
  drop_inner_segments(s);
  s.rip = f.rip;
  return {};
}

namespace {

class InterruptReturn {
 public:
  InterruptReturn(State& state, CpuBus& bus, unsigned size)
      : s_(state), bus_(bus), size_(size), stack_(state, bus) {}

  OrFault<void> run() {
    f_.rip = TRY(stack_.pop(size_));
    f_.cs = static_cast<u16>(TRY(stack_.pop(size_)));
    f_.flags = TRY(stack_.pop(size_));
    if (real_mode(s_)) return to_real();
    if (v86_mode(s_)) return inside_v86();
    if (!s_.long_mode_active() && size_ == 4 && (f_.flags & kVm) && s_.cpl() == 0) return to_v86();
    return to_protected();
  }

 private:
  void set_flags(u64 mask) {
    if (size_ == 2) mask &= 0xffff;
    s_.rflags = merge(s_.rflags, f_.flags, mask) | kRflagsAlwaysOne;
  }

  OrFault<void> finish_real(u64 flags_mask) {
    if (f_.rip > s_.seg[Cs].limit) return general_protection();
    stack_.commit(s_);
    load_real_segment(s_, Cs, f_.cs);
    set_flags(flags_mask);
    s_.rip = f_.rip;
    return {};
  }

  OrFault<void> to_real() { return finish_real(kUserFlags | kWideUserFlags | kIf | kIopl); }

  OrFault<void> inside_v86() {
    if (iopl(s_) == 3) return finish_real(kUserFlags | kWideUserFlags | kIf);
    // With VME a 16-bit IRET works on VIF in the place of IF; SDM vol. 3 §21.3.
    if (!(s_.cr4 & kCr4Vme) || size_ != 2) return general_protection();
    if (((f_.flags & kIf) && (s_.rflags & kVip)) || (f_.flags & kTf)) return general_protection();
    TRY(finish_real(kUserFlags));
    s_.rflags = f_.flags & kIf ? s_.rflags | kVif : s_.rflags & ~u64{kVif};
    return {};
  }

  OrFault<void> to_v86() {
    if (f_.rip > 0xffff) return general_protection();
    f_.rsp = TRY(stack_.pop(4));
    f_.ss = static_cast<u16>(TRY(stack_.pop(4)));
    constexpr std::array kOrder{Es, Ds, Fs, Gs};
    std::array<u16, kOrder.size()> selectors{};
    for (u16& selector : selectors) selector = static_cast<u16>(TRY(stack_.pop(4)));
    set_flags(kUserFlags | kWideUserFlags | kIf | kIopl | kVm | kVif | kVip);
    for (size_t i = 0; i < kOrder.size(); ++i) load_real_segment(s_, kOrder[i], selectors[i]);
    load_real_segment(s_, Cs, f_.cs);
    load_real_segment(s_, Ss, f_.ss);
    s_.gpr[Rsp] = f_.rsp;
    s_.rip = f_.rip;
    return {};
  }

  OrFault<void> to_protected() {
    Descriptor code = TRY(check_code(s_, bus_, f_));
    const u8 cpl = s_.cpl(), level = f_.cs & 3;
    const bool pops_stack = s_.code64() || level > cpl;
    Segment outer;
    if (pops_stack) {
      f_.rsp = TRY(stack_.pop(size_));
      f_.ss = static_cast<u16>(TRY(stack_.pop(size_)));
      outer = TRY(check_stack(s_, bus_, f_, code));
    }
    TRY(mark_accessed(bus_, code));
    u64 mask = kUserFlags | kWideUserFlags;
    if (cpl <= iopl(s_)) mask |= kIf;
    if (cpl == 0) mask |= kIopl | kVif | kVip;
    set_flags(mask);
    set_code_segment(s_, code, f_.cs, level);
    s_.rip = f_.rip;
    if (!pops_stack) {
      stack_.commit(s_);
      return {};
    }
    set_stack(s_, outer, f_.rsp, s_.code64());
    if (level > cpl) drop_inner_segments(s_);
    return {};
  }

  // Wiring
  State& s_;
  CpuBus& bus_;
  // State
  const unsigned size_;
  StackCursor stack_;
  Frame f_;
};

}  // namespace

OrFault<void> interrupt_return(State& s, CpuBus& bus, unsigned size, u64 next_rip) {
  if (protected_mode(s) && (s.rflags & kNt)) {
    if (s.long_mode_active()) return general_protection();
    TRY(return_from_task(s, bus, next_rip));
  } else {
    TRY(InterruptReturn(s, bus, size).run());
  }
  s.nmi_blocked = false;
  return {};
}

}  // namespace menura::x86
