#include "cpu/x86/delivery.h"

#include <array>
#include <optional>

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/stack.h"
#include "cpu/x86/task.h"

namespace menura::x86 {

namespace {

// Low bits of error codes: SDM vol. 3 §6.13.
constexpr u32 kExt = 1, kIdt = 2;
constexpr u64 kDr7Gd = u64{1} << 13;
constexpr u64 kDr6Breakpoints = 0xf;

struct Event {
  u8 vector = 0;
  bool software = false;     // INT n, INT3, INTO: EXT is 0 and the gate's DPL counts
  bool checks_dpl = false;   // all of these but INT1
  bool restartable = false;  // a fault: RF is set in the pushed flags
  std::optional<u32> error_code;
  u64 rip = 0;  // pushed
};

// One attempt to enter a handler.
class Entry {
 public:
  Entry(State& state, CpuBus& bus, const Event& event)
      : s_(state), bus_(bus), e_(event), ext_(event.software ? 0 : kExt) {}

  OrFault<void> enter() {
    if (real_mode(s_)) return enter_by_ivt(s_.idtr.base, s_.idtr.limit);
    TRY(read_gate());
    if (gate_.type() == kTaskGate) return enter_task();
    TRY(read_code());
    return s_.long_mode_active() ? enter_long() : enter_legacy();
  }

  // Through an interrupt vector table: in real mode, and in virtual-8086 mode as VME allows.
  OrFault<void> enter_by_ivt(u64 table, u64 limit) {
    const u64 at = e_.vector * 4u;
    if (at + 3 > limit) return general_protection(idt_code());
    const u64 target = TRY(bus_.load(table + at, 4, Privilege::Current));
    StackCursor stack(s_, bus_);
    TRY(stack.push(ivt_flags(), 2));
    TRY(stack.push(s_.seg[Cs].selector, 2));
    TRY(stack.push(e_.rip, 2));
    stack.commit(s_);
    const bool virtual_if = v86_mode(s_) && iopl(s_) < 3;
    s_.rflags &= ~static_cast<u64>(kTf | (virtual_if ? kVif : kIf));
    if (!v86_mode(s_)) s_.rflags &= ~static_cast<u64>(kAc | kRf);
    load_real_segment(s_, Cs, static_cast<u16>(target >> 16));
    s_.rip = target & 0xffff;
    return {};
  }

 private:
  u32 idt_code() const { return e_.vector * 8u | kIdt | ext_; }
  u32 selector_error(u16 selector) const { return selector_code(selector) | ext_; }

  u64 pushed_flags() const { return s_.rflags | (e_.restartable ? u64{kRf} : 0); }

  // VME shows VIF in the place of IF, and IOPL 3, to a task with less.
  u64 ivt_flags() const {
    if (!v86_mode(s_) || iopl(s_) == 3) return s_.rflags;
    const u64 flags = s_.rflags | kIopl;
    return s_.rflags & kVif ? flags | kIf : flags & ~u64{kIf};
  }

  OrFault<void> read_gate() {
    const bool long_mode = s_.long_mode_active();
    const unsigned size = long_mode ? 16 : 8;
    const u64 at = e_.vector * size;
    if (at + size - 1 > s_.idtr.limit) return general_protection(idt_code());
    gate_.low = TRY(bus_.load(s_.idtr.base + at, 8, Privilege::Supervisor));
    if (long_mode)
      gate_.high = TRY(bus_.load(s_.idtr.base + at + 8, 8, Privilege::Supervisor)) & 0xffff'ffff;
    if (!known_gate(long_mode)) return general_protection(idt_code());
    if (e_.checks_dpl && gate_.dpl() < s_.cpl()) return general_protection(idt_code());
    if (!gate_.present()) return not_present(idt_code());
    return {};
  }

  bool known_gate(bool long_mode) const {
    if (gate_.code_or_data()) return false;
    switch (gate_.type()) {
      case kInterruptGate:
      case kTrapGate: return true;
      case kTaskGate:
      case kInterruptGate16:
      case kTrapGate16: return !long_mode;
      default: return false;
    }
  }

  OrFault<void> enter_task() {
    return switch_task(s_, bus_,
                       {.selector = gate_.target(),
                        .kind = TaskSwitch::Event,
                        .saved_rip = e_.rip,
                        .external = ext_ != 0,
                        .error_code = e_.error_code});
  }

  OrFault<void> read_code() {
    const u16 selector = gate_.target();
    if (null_selector(selector)) return general_protection(ext_);
    const Fault bad = general_protection(selector_error(selector));
    code_ = TRY(read_descriptor(s_, bus_, selector, bad));
    if (!code_.code() || code_.dpl() > s_.cpl()) return bad;
    if (s_.long_mode_active() && (!code_.long_mode() || code_.db())) return bad;
    if (v86_mode(s_) && (code_.conforming() || code_.dpl() != 0)) return bad;
    if (!code_.present()) return not_present(selector_error(selector));
    level_ = code_.conforming() ? s_.cpl() : code_.dpl();
    return {};
  }

  // What interrupt and trap gates do in common, behind the stack.
  void enter_handler(u64 offset) {
    s_.rflags &= ~static_cast<u64>(kTf | kNt | kRf | kVm);
    const bool interrupt_gate = !(gate_.type() & 1);
    if (interrupt_gate) s_.rflags &= ~u64{kIf};
    set_code_segment(s_, code_, gate_.target(), level_);
    s_.rip = offset;
  }

  OrFault<void> enter_long() {
    const bool inner = level_ < s_.cpl();
    const u64 offset = gate_.offset();
    if (!canonical(s_, offset)) return general_protection(ext_);
    u64 pointer = s_.gpr[Rsp];
    if (inner || gate_.ist()) pointer = TRY(inner_stack64(s_, bus_, level_, gate_.ist(), ext_));
    StackCursor stack(s_, bus_,
                      {.pointer = align_down<u64>(pointer, 16),
                       .cpl = level_,
                       .long_stack = true,
                       .error_code = ext_});
    for (u64 value :
         {u64{s_.seg[Ss].selector}, s_.gpr[Rsp], pushed_flags(), u64{s_.seg[Cs].selector}, e_.rip})
      TRY(stack.push(value, 8));
    if (e_.error_code) TRY(stack.push(*e_.error_code, 8));
    TRY(mark_accessed(bus_, code_));
    if (inner) s_.seg[Ss] = null_stack_segment(level_, level_);
    s_.gpr[Rsp] = stack.pointer();
    enter_handler(offset);
    return {};
  }

  OrFault<void> push_frame(StackCursor& stack, unsigned size, bool inner) {
    if (v86_mode(s_))
      for (SegReg r : {Gs, Fs, Ds, Es}) TRY(stack.push(s_.seg[r].selector, size));
    if (inner) {
      TRY(stack.push(s_.seg[Ss].selector, size));
      TRY(stack.push(s_.gpr[Rsp], size));
    }
    TRY(stack.push(pushed_flags(), size));
    TRY(stack.push(s_.seg[Cs].selector, size));
    TRY(stack.push(e_.rip, size));
    if (e_.error_code) TRY(stack.push(*e_.error_code, size));
    return {};
  }

  OrFault<void> enter_legacy() {
    const bool inner = level_ < s_.cpl();
    const unsigned size = gate_.type() & 8 ? 4 : 2;
    const u64 offset = gate_.offset() & low_mask(8 * size);
    if (offset > code_.limit()) return general_protection(ext_);
    StackCursor::Target target{
        .segment = s_.seg[Ss], .pointer = s_.gpr[Rsp], .cpl = level_, .error_code = ext_};
    if (inner) {
      const InnerStack to = TRY(inner_stack(s_, bus_, level_, ext_));
      target.segment = to.segment;
      target.pointer = to.pointer;
      target.error_code = selector_error(to.segment.selector);
    }
    StackCursor stack(s_, bus_, target);
    TRY(push_frame(stack, size, inner));
    TRY(mark_accessed(bus_, code_));
    if (inner) s_.seg[Ss] = target.segment;
    stack.commit(s_);
    if (v86_mode(s_))
      for (SegReg r : {Gs, Fs, Ds, Es}) s_.seg[r] = null_segment();
    enter_handler(offset);
    return {};
  }

  // Wiring
  State& s_;
  CpuBus& bus_;
  const Event& e_;
  // State
  const u32 ext_;
  Descriptor gate_, code_;
  u8 level_ = 0;
};

// Classes of SDM vol. 3 table 6-4.
bool contributory(u8 vector) { return vector == kDe || (vector >= kTs && vector <= kGp); }

bool makes_double_fault(u8 first, u8 second) {
  if (contributory(first)) return contributory(second);
  return first == kPfault && (contributory(second) || second == kPfault);
}

// Everything but debug traps, INT3, INTO and the aborts.
bool restartable(u8 vector) {
  return vector != kDb && vector != kBp && vector != kOfTrap && vector != kDfault &&
         vector != kMc && vector != kNmi;
}

void note(State& s, const Fault& f, u64 dr6_bits) {
  if (f.vector == kPfault) s.cr2 = f.cr2;
  if (f.vector == kDb) {
    if (dr6_bits) s.dr6 = (s.dr6 & ~kDr6Breakpoints) | dr6_bits;
    s.dr7 &= ~kDr7Gd;
  }
}

Event exception(const State& s, const Fault& f) {
  Event e{.vector = f.vector, .restartable = restartable(f.vector), .rip = s.rip};
  if (f.has_error_code && !real_mode(s)) e.error_code = f.error_code;
  return e;
}

}  // namespace

Delivery deliver_fault(State& s, CpuBus& bus, const Fault& fault, u64 dr6_bits) {
  s.interrupt_shadow = false;
  Fault f = fault;
  // Each round either ends or comes nearer to a double fault; benign exceptions cannot be raised by
  // a delivery, so two page faults or contributory ones make one.
  for (;;) {
    note(s, f, dr6_bits);
    const Event event = exception(s, f);
    OrFault<void> done = Entry(s, bus, event).enter();
    if (done) return Delivery::Done;
    const Fault next = done.error();
    if (f.vector == kDfault) return Delivery::Shutdown;
    if (makes_double_fault(f.vector, next.vector)) {
      if (next.vector == kPfault) s.cr2 = next.cr2;
      f = {kDfault, true, 0};
    } else {
      f = next;
    }
  }
}

Delivery deliver_external(State& s, CpuBus& bus, u8 vector) {
  s.interrupt_shadow = false;
  const Event event{.vector = vector, .rip = s.rip};
  OrFault<void> done = Entry(s, bus, event).enter();
  return done ? Delivery::Done : deliver_fault(s, bus, done.error());
}

Delivery deliver_nmi(State& s, CpuBus& bus) {
  s.nmi_blocked = true;
  return deliver_external(s, bus, kNmi);
}

namespace {

constexpr u32 kIoMapBase = 0x66;
constexpr u32 kRedirectionBytes = 32;  // the VME bitmap ends where the I/O map begins

// Whether VME sends INT n of virtual-8086 mode to the handlers of its own table.
OrFault<bool> redirected(const State& s, CpuBus& bus, u8 vector) {
  if (!(s.cr4 & kCr4Vme) || s.tr.limit < kIoMapBase + 1) return false;
  const u64 map = TRY(bus.load(s.tr.base + kIoMapBase, 2, Privilege::Supervisor));
  const u64 at = map - kRedirectionBytes + vector / 8;
  if (map < kRedirectionBytes || at > s.tr.limit) return false;
  const u64 bits = TRY(bus.load(s.tr.base + at, 1, Privilege::Supervisor));
  return !(bits >> (vector & 7) & 1);
}

}  // namespace

OrFault<void> deliver_software(State& s, CpuBus& bus, u8 vector, u64 next_rip,
                               SoftwareInterrupt kind) {
  const bool int1 = kind == SoftwareInterrupt::Int1;
  const Event event{.vector = vector, .software = !int1, .checks_dpl = !int1, .rip = next_rip};
  if (v86_mode(s) && kind == SoftwareInterrupt::IntN) {
    if (TRY(redirected(s, bus, vector))) return Entry(s, bus, event).enter_by_ivt(0, 0xffff);
    if (iopl(s) < 3) return general_protection();
  }
  return Entry(s, bus, event).enter();
}

}  // namespace menura::x86
