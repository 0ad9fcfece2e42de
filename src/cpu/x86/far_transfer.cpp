#include "cpu/x86/far_transfer.h"

#include <array>

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/stack.h"
#include "cpu/x86/task.h"

namespace menura::x86 {

namespace {

enum class Kind : u8 { Jump, Call };

struct Transfer {
  FarPointer to;
  Kind kind;
  unsigned size;  // bytes of what a CALL pushes
  u64 next_rip;
};

OrFault<void> push_return(const State& s, StackCursor& stack, const Transfer& t) {
  TRY(stack.push(s.seg[Cs].selector, t.size));
  return stack.push(t.next_rip, t.size);
}

// Outside of protected mode.
OrFault<void> transfer_real(State& s, CpuBus& bus, const Transfer& t) {
  if (t.to.offset > s.seg[Cs].limit) return general_protection();
  if (t.kind == Kind::Call) {
    StackCursor stack(s, bus);
    TRY(push_return(s, stack, t));
    stack.commit(s);
  }
  load_real_segment(s, Cs, t.to.selector);
  s.rip = t.to.offset;
  return {};
}

bool targets_64bit(const State& s, const Descriptor& d) {
  return s.long_mode_active() && d.long_mode();
}

OrFault<void> check_offset(const State& s, const Descriptor& d, u64 offset) {
  if (targets_64bit(s, d) ? !canonical(s, offset) : offset > d.limit()) return general_protection();
  return {};
}

OrFault<void> transfer_direct(State& s, CpuBus& bus, const Transfer& t, Descriptor d) {
  const u16 selector = t.to.selector;
  const Fault bad = general_protection(selector_code(selector));
  const u8 cpl = s.cpl(), rpl = selector & 3;
  if (d.conforming() ? d.dpl() > cpl : rpl > cpl || d.dpl() != cpl) return bad;
  if (targets_64bit(s, d) && d.db()) return bad;
  if (!d.present()) return not_present(selector_code(selector));
  TRY(check_offset(s, d, t.to.offset));
  StackCursor stack(s, bus);
  if (t.kind == Kind::Call) TRY(push_return(s, stack, t));
  TRY(mark_accessed(bus, d));
  if (t.kind == Kind::Call) stack.commit(s);
  set_code_segment(s, d, selector, cpl);
  s.rip = t.to.offset;
  return {};
}

// A JMP or CALL through a call gate: the selector of the gate, and the gate.
class GateTransfer {
 public:
  GateTransfer(State& state, CpuBus& bus, const Descriptor& gate, Kind kind, u64 next_rip)
      : s_(state),
        bus_(bus),
        gate_(gate),
        kind_(kind),
        next_rip_(next_rip),
        word_(state.long_mode_active()   ? 8
              : gate.type() == kCallGate ? 4
                                         : 2),
        offset_(gate.offset() & low_mask(8 * word_)) {}

  OrFault<void> run() {
    Descriptor d = TRY(find_code());
    TRY(check_offset(s_, d, offset_));
    const u8 level = d.conforming() ? s_.cpl() : d.dpl();
    if (kind_ == Kind::Jump)
      TRY(mark_accessed(bus_, d));
    else if (level == s_.cpl())
      TRY(call_same_level(d));
    else if (s_.long_mode_active())
      TRY(call_inner_level64(d, level));
    else
      TRY(call_inner_level(d, level));
    set_code_segment(s_, d, gate_.target(), level);
    s_.rip = offset_;
    return {};
  }

 private:
  OrFault<Descriptor> find_code() {
    const u16 selector = gate_.target();
    if (null_selector(selector)) return general_protection();
    const Fault bad = general_protection(selector_code(selector));
    const Descriptor d = TRY(read_descriptor(s_, bus_, selector, bad));
    const bool exact = kind_ == Kind::Jump && !d.conforming();
    if (!d.code() || d.dpl() > s_.cpl() || (exact && d.dpl() != s_.cpl())) return bad;
    if (s_.long_mode_active() && (!d.long_mode() || d.db())) return bad;
    if (!d.present()) return not_present(selector_code(selector));
    return d;
  }

  OrFault<void> call_same_level(Descriptor& d) {
    // 64-bit gates leave for 64-bit mode even from a compatibility-mode caller.
    StackCursor stack = s_.long_mode_active() ? StackCursor(s_, bus_,
                                                            {.segment = s_.seg[Ss],
                                                             .pointer = s_.gpr[Rsp],
                                                             .cpl = s_.cpl(),
                                                             .long_stack = true})
                                              : StackCursor(s_, bus_);
    TRY(stack.push(s_.seg[Cs].selector, word_));
    TRY(stack.push(next_rip_, word_));
    TRY(mark_accessed(bus_, d));
    stack.commit(s_);
    return {};
  }

  OrFault<void> call_inner_level64(Descriptor& d, u8 level) {
    const u64 pointer = TRY(inner_stack64(s_, bus_, level, 0, 0));
    StackCursor stack(s_, bus_, {.pointer = pointer, .cpl = level, .long_stack = true});
    for (u64 value : {u64{s_.seg[Ss].selector}, s_.gpr[Rsp], u64{s_.seg[Cs].selector}, next_rip_})
      TRY(stack.push(value, word_));
    TRY(mark_accessed(bus_, d));
    s_.seg[Ss] = null_stack_segment(level, level);
    s_.gpr[Rsp] = stack.pointer();
    return {};
  }

  OrFault<void> call_inner_level(Descriptor& d, u8 level) {
    const InnerStack inner = TRY(inner_stack(s_, bus_, level, 0));
    StackCursor stack(s_, bus_,
                      {.segment = inner.segment,
                       .pointer = inner.pointer,
                       .cpl = level,
                       .error_code = selector_code(inner.segment.selector)});
    TRY(stack.push(s_.seg[Ss].selector, word_));
    TRY(stack.push(s_.gpr[Rsp], word_));
    TRY(copy_parameters(stack));
    TRY(stack.push(s_.seg[Cs].selector, word_));
    TRY(stack.push(next_rip_, word_));
    TRY(mark_accessed(bus_, d));
    s_.seg[Ss] = inner.segment;
    stack.commit(s_);
    return {};
  }

  // The caller's parameters, the one pushed first first.
  OrFault<void> copy_parameters(StackCursor& to) {
    std::array<u64, 31> values{};
    StackCursor from(s_, bus_);
    const unsigned count = gate_.parameters();
    for (unsigned i = 0; i < count; ++i) values[i] = TRY(from.pop(word_));
    for (unsigned i = count; i-- > 0;) TRY(to.push(values[i], word_));
    return {};
  }

  // Wiring
  State& s_;
  CpuBus& bus_;
  // Configuration
  const Descriptor& gate_;
  const Kind kind_;
  const u64 next_rip_;
  const unsigned word_;  // bytes of what is pushed
  const u64 offset_;
};

OrFault<void> transfer_system(State& s, CpuBus& bus, const Transfer& t, Descriptor d) {
  const u16 selector = t.to.selector;
  const Fault bad = general_protection(selector_code(selector));
  const bool long_mode = s.long_mode_active();
  const bool call_gate = d.type() == kCallGate || (d.type() == kCallGate16 && !long_mode);
  const bool task_gate = d.type() == kTaskGate && !long_mode;
  const bool task = (d.type() == kTss || d.type() == kTss16) && !long_mode;
  if (!call_gate && !task_gate && !task) return bad;
  if (d.dpl() < s.cpl() || d.dpl() < (selector & 3)) return bad;
  if (!d.present()) return not_present(selector_code(selector));
  if (call_gate) {
    TRY(read_upper(s, bus, selector, d, bad));
    return GateTransfer(s, bus, d, t.kind, t.next_rip).run();
  }
  return switch_task(s, bus,
                     {.selector = task_gate ? d.target() : selector,
                      .kind = t.kind == Kind::Jump ? TaskSwitch::Jump : TaskSwitch::Call,
                      .saved_rip = t.next_rip});
}

OrFault<void> transfer(State& s, CpuBus& bus, const Transfer& t) {
  if (!protected_mode(s)) return transfer_real(s, bus, t);
  if (null_selector(t.to.selector)) return general_protection();
  const Fault bad = general_protection(selector_code(t.to.selector));
  const Descriptor d = TRY(read_descriptor(s, bus, t.to.selector, bad));
  if (d.code()) return transfer_direct(s, bus, t, d);
  if (d.code_or_data()) return bad;
  return transfer_system(s, bus, t, d);
}

}  // namespace

OrFault<void> far_jump(State& s, CpuBus& bus, FarPointer to, unsigned operand_size, u64 next_rip) {
  return transfer(s, bus, {to, Kind::Jump, operand_size, next_rip});
}

OrFault<void> far_call(State& s, CpuBus& bus, FarPointer to, unsigned operand_size, u64 next_rip) {
  return transfer(s, bus, {to, Kind::Call, operand_size, next_rip});
}

}  // namespace menura::x86
