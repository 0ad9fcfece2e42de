#include "cpu/x86/task.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/stack.h"

namespace menura::x86 {

namespace {

constexpr u64 kBusyInMemory = u64{2} << 40;
constexpr u64 kDr7Local = 0x155;  // L0-L3 and LE: cleared by a task switch
constexpr u32 kIoMapBase = 0x66;
constexpr u32 kLeastLimitWithIoMap = 0x67;

// Offsets of a TSS's fields; SDM vol. 3 figures 8-2 and 8-10.
struct Shape {
  unsigned word;  // bytes of each field
  u16 cr3;        // 0: none
  u16 rip, flags, gpr, selectors;
  size_t selector_count;  // ES CS SS DS, FS GS
  u16 ldt;
  u32 least_limit;
};
constexpr Shape kShape16{2, 0, 0x0e, 0x10, 0x12, 0x22, 4, 0x2a, 0x2b};
constexpr Shape kShape32{4, 0x1c, 0x20, 0x24, 0x28, 0x48, 6, 0x60, 0x67};

const Shape& shape_of(u8 type) { return type & 8 ? kShape32 : kShape16; }

// What a TSS holds of a task.
struct Task {
  u64 cr3 = 0, rip = 0, flags = 0;
  std::array<u64, 8> gpr{};
  std::array<u16, kSegCount> selectors{};
  u16 ldt = 0;
};

class Switch {
 public:
  Switch(State& state, CpuBus& bus, const TaskRequest& request)
      : s_(state), bus_(bus), r_(request), ext_(request.external ? 1 : 0) {}

  OrFault<void> run() {
    Descriptor to = TRY(find_target());
    const Shape& from_shape = shape_of(s_.tr.type());
    const Shape& to_shape = shape_of(to.type());
    if (to.limit() < to_shape.least_limit) return invalid_tss(code(r_.selector));
    if (s_.tr.unusable || s_.tr.limit < from_shape.least_limit)
      return invalid_tss(code(s_.tr.selector));
    TRY(bus_.probe(s_.tr.base, from_shape.least_limit + 1, PageAccess::Write,
                   Privilege::Supervisor));
    TRY(bus_.probe(to.base(), to_shape.least_limit + 1,
                   nests() ? PageAccess::Write : PageAccess::Read, Privilege::Supervisor));
    Task task = TRY(load_task(to.base(), to_shape));
    TRY(leave_old(from_shape));
    TRY(enter_new(to, task));
    // From here on faults belong to the new task, and are told on its stack, if it has one.
    const OrFault<void> ldt = load_ldt(task.ldt);
    const OrFault<void> segments = load_segments(task);
    if (!ldt) return ldt.error();
    if (!segments) return segments.error();
    if (r_.error_code) TRY(push_error(to_shape.word));
    if (s_.rip > s_.seg[Cs].limit) return general_protection(ext_);
    return trap_if_asked(to_shape);
  }

 private:
  u32 code(u16 selector) const { return selector_code(selector) | ext_; }
  bool nests() const { return r_.kind == TaskSwitch::Call || r_.kind == TaskSwitch::Event; }

  // The TSS descriptor, with the checks of SDM vol. 3 table 8-1.
  OrFault<Descriptor> find_target() {
    const bool back = r_.kind == TaskSwitch::Return;
    const Fault bad = back ? invalid_tss(code(r_.selector)) : general_protection(code(r_.selector));
    if (null_selector(r_.selector)) return back ? invalid_tss(ext_) : general_protection(ext_);
    if (r_.selector & 4) return bad;
    Descriptor d = TRY(read_descriptor(s_, bus_, r_.selector, bad));
    const bool busy = d.type() == kTssBusy || d.type() == kTss16Busy;
    const bool available = d.type() == kTss || d.type() == kTss16;
    if (d.code_or_data() || !(back ? busy : available)) return bad;
    if (!d.present()) return not_present(code(r_.selector));
    return d;
  }

  OrFault<Task> load_task(u64 base, const Shape& shape) {
    const auto field = [&](u64 at, unsigned size) {
      return bus_.load(base + at, size, Privilege::Supervisor);
    };
    Task t;
    if (shape.cr3) t.cr3 = TRY(field(shape.cr3, 4));
    t.rip = TRY(field(shape.rip, shape.word));
    t.flags = TRY(field(shape.flags, shape.word));
    for (size_t i = 0; i < t.gpr.size(); ++i)
      t.gpr[i] = TRY(field(shape.gpr + i * shape.word, shape.word));
    for (size_t i = 0; i < shape.selector_count; ++i)
      t.selectors[i] = static_cast<u16>(TRY(field(shape.selectors + i * shape.word, 2)));
    t.ldt = static_cast<u16>(TRY(field(shape.ldt, 2)));
    return t;
  }

  OrFault<void> set_busy(u16 selector, bool busy) {
    Descriptor d = TRY(read_descriptor(s_, bus_, selector, invalid_tss(code(selector))));
    d.low = busy ? d.low | kBusyInMemory : d.low & ~kBusyInMemory;
    return bus_.store(d.address + 5, 1, d.low >> 40 & 0xff, Privilege::Supervisor);
  }

  OrFault<void> leave_old(const Shape& shape) {
    const auto save = [&](u64 at, unsigned size, u64 value) {
      return bus_.store(s_.tr.base + at, size, value & low_mask(8 * size), Privilege::Supervisor);
    };
    if (!nests()) TRY(set_busy(s_.tr.selector, false));
    const u64 flags = r_.kind == TaskSwitch::Return ? s_.rflags & ~u64{kNt} : s_.rflags;
    TRY(save(shape.rip, shape.word, r_.saved_rip));
    TRY(save(shape.flags, shape.word, flags));
    for (size_t i = 0; i < 8; ++i) TRY(save(shape.gpr + i * shape.word, shape.word, s_.gpr[i]));
    for (size_t i = 0; i < shape.selector_count; ++i)
      TRY(save(shape.selectors + i * shape.word, 2, s_.seg[i].selector));
    return {};
  }

  OrFault<void> enter_new(Descriptor& to, const Task& task) {
    if (nests()) TRY(bus_.store(to.base(), 2, s_.tr.selector, Privilege::Supervisor));
    if (r_.kind != TaskSwitch::Return) {
      TRY(set_busy(r_.selector, true));
      to.low |= kBusyInMemory;
    }
    s_.tr = to.segment(r_.selector);
    s_.cr0 |= kCr0Ts;
    s_.dr7 &= ~kDr7Local;
    if ((s_.cr0 & kCr0Pg) && shape_of(to.type()).cr3) {
      s_.cr3 = task.cr3;
      bus_.flush_tlb(TlbScope::NonGlobal, 0);
    }
    constexpr u64 kKnown =
        kArithmeticFlags | kTf | kIf | kDf | kIopl | kNt | kRf | kVm | kAc | kVif | kVip | kId;
    s_.rip = task.rip;
    s_.rflags = (task.flags & kKnown) | kRflagsAlwaysOne | (nests() ? u64{kNt} : 0);
    std::ranges::copy(task.gpr, s_.gpr.begin());
    // Until their descriptors are loaded, the selectors alone are there; SS carries the CPL.
    for (size_t i = 0; i < kSegCount; ++i) s_.seg[i] = null_segment(task.selectors[i]);
    s_.seg[Ss] = null_stack_segment(task.selectors[Ss], task.selectors[Cs] & 3);
    s_.ldtr = null_segment(task.ldt);
    return {};
  }

  // The T bit of a 32-bit TSS: a debug exception in front of the task's first instruction.
  OrFault<void> trap_if_asked(const Shape& shape) {
    constexpr u64 kTrapAt = 100, kTaskSwitched = 1u << 15;
    if (!shape.cr3) return {};
    if (!(TRY(bus_.load(s_.tr.base + kTrapAt, 2, Privilege::Supervisor)) & 1)) return {};
    s_.dr6 |= kTaskSwitched;
    return Fault{.vector = kDb};
  }

  OrFault<void> load_ldt(u16 selector) {
    if (null_selector(selector)) return {};
    const Fault bad = invalid_tss(code(selector));
    if (selector & 4) return bad;
    const Descriptor d = TRY(read_descriptor(s_, bus_, selector, bad));
    if (d.code_or_data() || d.type() != kLdt || !d.present()) return bad;
    s_.ldtr = d.segment(selector);
    return {};
  }

  OrFault<void> load_segments(const Task& task) {
    if (v86_mode(s_)) {
      for (size_t i = 0; i < kSegCount; ++i)
        load_real_segment(s_, static_cast<SegReg>(i), task.selectors[i]);
      return {};
    }
    const OrFault<void> code = load_one(Cs, task.selectors[Cs]);
    const OrFault<void> stack = load_one(Ss, task.selectors[Ss]);
    if (!code) return code.error();
    if (!stack) return stack.error();
    for (SegReg r : {Ds, Es, Fs, Gs})
      if (!null_selector(task.selectors[r])) TRY(load_one(r, task.selectors[r]));
    return {};
  }

  static bool fits(const Descriptor& d, SegReg r, u8 cpl, u8 rpl) {
    if (r == Cs) return d.code() && (d.conforming() ? d.dpl() <= rpl : d.dpl() == rpl);
    if (r == Ss) return d.writable_data() && d.dpl() == cpl && rpl == cpl;
    return d.readable() && ((d.code() && d.conforming()) || d.dpl() >= std::max(cpl, rpl));
  }

  OrFault<void> load_one(SegReg r, u16 selector) {
    const Fault bad = invalid_tss(code(selector));
    if (null_selector(selector)) return bad;
    Descriptor d = TRY(read_descriptor(s_, bus_, selector, bad));
    if (!fits(d, r, s_.cpl(), selector & 3)) return bad;
    if (!d.present()) return r == Ss ? stack_fault(code(selector)) : not_present(code(selector));
    TRY(mark_accessed(bus_, d));
    s_.seg[r] = d.segment(selector);
    return {};
  }

  OrFault<void> push_error(unsigned size) {
    StackCursor stack(s_, bus_);
    TRY(stack.push(*r_.error_code, size));
    stack.commit(s_);
    return {};
  }

  // Wiring
  State& s_;
  CpuBus& bus_;
  const TaskRequest& r_;
  const u32 ext_;
};

}  // namespace

OrFault<void> switch_task(State& s, CpuBus& bus, const TaskRequest& request) {
  return Switch(s, bus, request).run();
}

OrFault<void> return_from_task(State& s, CpuBus& bus, u64 next_rip) {
  const u16 link = static_cast<u16>(TRY(bus.load(s.tr.base, 2, Privilege::Supervisor)));
  return switch_task(s, bus, {.selector = link, .kind = TaskSwitch::Return, .saved_rip = next_rip});
}

OrFault<InnerStack> inner_stack(const State& s, CpuBus& bus, u8 level, u32 ext) {
  const bool wide = s.tr.type() & 8;
  const unsigned size = wide ? 4 : 2;
  const u64 at = wide ? 4 + 8u * level : 2 + 4u * level;
  if (s.tr.unusable || at + size + 1 > s.tr.limit)
    return invalid_tss(selector_code(s.tr.selector) | ext);
  const u64 pointer = TRY(bus.load(s.tr.base + at, size, Privilege::Supervisor));
  const u16 selector =
      static_cast<u16>(TRY(bus.load(s.tr.base + at + size, 2, Privilege::Supervisor)));
  if (null_selector(selector)) return invalid_tss(ext);
  const u32 code = selector_code(selector) | ext;
  Descriptor d = TRY(read_descriptor(s, bus, selector, invalid_tss(code)));
  if ((selector & 3) != level || d.dpl() != level || !d.writable_data()) return invalid_tss(code);
  if (!d.present()) return stack_fault(code);
  TRY(mark_accessed(bus, d));
  return InnerStack{d.segment(selector), pointer};
}

OrFault<u64> inner_stack64(const State& s, CpuBus& bus, u8 level, u8 ist, u32 ext) {
  const u64 at = ist ? 28 + 8u * ist : 4 + 8u * level;
  if (at + 7 > s.tr.limit) return invalid_tss(selector_code(s.tr.selector) | ext);
  const u64 pointer = TRY(bus.load(s.tr.base + at, 8, Privilege::Supervisor));
  if (!canonical(s, pointer)) return stack_fault(ext);
  return pointer;
}

OrFault<void> check_io(const State& s, CpuBus& bus, u16 port, unsigned size) {
  if (real_mode(s) || (!v86_mode(s) && s.cpl() <= iopl(s))) return {};
  const bool has_map = (s.tr.type() & 8) && s.tr.limit >= kLeastLimitWithIoMap;
  if (s.tr.unusable || !has_map) return general_protection();
  const u64 map = TRY(bus.load(s.tr.base + kIoMapBase, 2, Privilege::Supervisor));
  // Two bytes are always read, so that a port range may straddle them.
  const u64 at = map + port / 8;
  if (at + 1 > s.tr.limit) return general_protection();
  const u64 denied = TRY(bus.load(s.tr.base + at, 2, Privilege::Supervisor));
  if (denied >> (port & 7) & low_mask(size)) return general_protection();
  return {};
}

}  // namespace menura::x86
