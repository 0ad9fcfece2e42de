#include "cpu/x86/delivery.h"

#include <array>
#include <optional>

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"

namespace menura::x86 {

namespace {

constexpr u32 kExternal = 1, kFromIdt = 2;

// One attempt to enter a handler.
class Entry {
 public:
  Entry(State& state, CpuBus& bus, u8 vector, EventKind kind, std::optional<u32> error)
      : s_(state), bus_(bus), vector_(vector), kind_(kind), error_(error) {}

  OrFault<void> enter() {
    if (real_mode(s_)) return enter_real();
    return s_.long_mode_active() ? enter_long() : enter_legacy();
  }

 private:
  u32 external() const { return kind_ == EventKind::Software ? 0 : kExternal; }
  Fault idt_fault() const { return general_protection(vector_ * 8u + kFromIdt + external()); }

  u64 pushed_flags() const {
    // RF lets a restarted instruction pass its own breakpoint.
    u64 flags = s_.rflags | 2;
    if (kind_ == EventKind::Fault && vector_ != kDb) flags |= kRf;
    return flags;
  }

  OrFault<void> enter_real() {
    const u64 at = vector_ * 4u;
    if (at + 3 > s_.idtr.limit) return general_protection();
    const u64 target = TRY(bus_.load(s_.idtr.base + at, 4, Privilege::Supervisor));
    const u16 words[3] = {static_cast<u16>(s_.rip), s_.seg[Cs].selector,
                          static_cast<u16>(s_.rflags)};
    const u64 sp = (s_.gpr[Rsp] - 6) & 0xffff;
    const u64 linear = TRY(segment_linear(s_, Ss, sp, 6, PageAccess::Write));
    TRY(bus_.write(linear, bytes_of(words), Privilege::Supervisor));
    s_.gpr[Rsp] = (s_.gpr[Rsp] & ~u64{0xffff}) | sp;
    s_.rflags &= ~static_cast<u64>(kIf | kTf | kAc | kRf);
    load_real_segment(s_, Cs, static_cast<u16>(target >> 16));
    s_.rip = target & 0xffff;
    return {};
  }

  struct Gate {
    u16 selector;
    u64 offset;
    u8 type;
    u8 ist;
    bool wide;  // 32- or 64-bit
  };

  OrFault<Gate> read_gate() {
    const unsigned size = s_.long_mode_active() ? 16 : 8;
    const u64 at = vector_ * size;
    if (at + size - 1 > s_.idtr.limit) return idt_fault();
    const u64 low = TRY(bus_.load(s_.idtr.base + at, 8, Privilege::Supervisor));
    u64 high = 0;
    if (size == 16) high = TRY(bus_.load(s_.idtr.base + at + 8, 8, Privilege::Supervisor));
    Gate g{.selector = static_cast<u16>(low >> 16),
           .offset = (low & 0xffff) | (low >> 48) << 16 | high << 32,
           .type = static_cast<u8>(low >> 40 & 31),
           .ist = static_cast<u8>(low >> 32 & 7),
           .wide = (low >> 43 & 1) != 0};
    const bool long_mode = s_.long_mode_active();
    const bool interrupt_or_trap =
        g.type == 14 || g.type == 15 || (!long_mode && (g.type == 6 || g.type == 7));
    // A task gate (5) would need hardware task switching, which is not implemented.
    if (!interrupt_or_trap) return idt_fault();
    if (kind_ == EventKind::Software && (low >> 45 & 3) < s_.cpl())
      return general_protection(vector_ * 8u + kFromIdt);
    if (!(low >> 47 & 1)) return not_present(vector_ * 8u + kFromIdt + external());
    if (!g.wide) g.offset &= 0xffff;
    return g;
  }

  OrFault<Descriptor> read_code(const Gate& g) {
    const u32 code = (g.selector & ~3u) + external();
    if ((g.selector & ~3u) == 0) return general_protection(external());
    Descriptor d = TRY(read_descriptor(s_, bus_, g.selector, general_protection(code)));
    if (!d.code() || d.dpl() > s_.cpl()) return general_protection(code);
    if (s_.long_mode_active() && (!d.long_mode() || (d.attributes() & 0x4000)))
      return general_protection(code);
    if (!d.present()) return not_present(code);
    return d;
  }

  u8 new_level(const Descriptor& d) const { return d.conforming() ? s_.cpl() : d.dpl(); }

  void enter_handler(const Gate& g, Descriptor& d, u8 level) {
    s_.rflags &= ~static_cast<u64>(kTf | kNt | kRf | kVm);
    if (!(g.type & 1)) s_.rflags &= ~static_cast<u64>(kIf);
    set_code_segment(s_, d, g.selector, level);
    s_.rip = g.offset;
  }

  OrFault<void> enter_long() {
    const Gate g = TRY(read_gate());
    Descriptor d = TRY(read_code(g));
    const u8 level = new_level(d);
    u64 stack = s_.gpr[Rsp];
    if (g.ist)
      stack = TRY(tss_stack64(28 + 8 * g.ist));
    else if (level < s_.cpl())
      stack = TRY(tss_stack64(4 + 8 * level));
    stack &= ~u64{15};
    std::array<u64, 6> frame{};
    unsigned count = 0;
    if (error_) frame[count++] = *error_;
    for (u64 word :
         {s_.rip, u64{s_.seg[Cs].selector}, pushed_flags(), s_.gpr[Rsp], u64{s_.seg[Ss].selector}})
      frame[count++] = word;
    const u64 bottom = stack - 8 * count;
    if (!canonical(s_, bottom) || !canonical(s_, stack - 1)) return stack_fault(external());
    TRY(bus_.write(bottom, bytes_of(std::span(frame).first(count)),
                   level == 3 ? Privilege::User : Privilege::Supervisor));
    TRY(mark_accessed(bus_, d));
    if (level < s_.cpl()) s_.seg[Ss] = null_stack_segment(level, level);
    s_.gpr[Rsp] = bottom;
    enter_handler(g, d, level);
    return {};
  }

  OrFault<u64> tss_stack64(u64 at) {
    if (at + 7 > s_.tr.limit) return invalid_tss((s_.tr.selector & ~3u) + external());
    const u64 stack = TRY(bus_.load(s_.tr.base + at, 8, Privilege::Supervisor));
    if (!canonical(s_, stack)) return stack_fault(external());
    return stack;
  }

  struct InnerStack {
    Segment segment;
    u64 pointer;
  };

  OrFault<InnerStack> tss_stack(u8 level) {
    const bool wide = s_.tr.type() & 8;
    const u64 at = wide ? 4 + 8u * level : 2 + 4u * level;
    const u32 tss = (s_.tr.selector & ~3u) + external();
    if (at + (wide ? 5 : 3) > s_.tr.limit) return invalid_tss(tss);
    const u64 pointer = TRY(bus_.load(s_.tr.base + at, wide ? 4 : 2, Privilege::Supervisor));
    const u16 selector = static_cast<u16>(
        TRY(bus_.load(s_.tr.base + at + (wide ? 4 : 2), 2, Privilege::Supervisor)));
    const u32 code = (selector & ~3u) + external();
    if ((selector & ~3u) == 0) return invalid_tss(external());
    Descriptor d = TRY(read_descriptor(s_, bus_, selector, invalid_tss(code)));
    if ((selector & 3) != level || d.dpl() != level || !d.code_or_data() || d.code() ||
        !(d.type() & 2))
      return invalid_tss(code);
    if (!d.present()) return stack_fault(code);
    TRY(mark_accessed(bus_, d));
    return InnerStack{d.segment(selector), pointer};
  }

  OrFault<void> enter_legacy() {
    if (v86_mode(s_) && kind_ == EventKind::Software && vector_ != kBp && vector_ != kOfTrap &&
        iopl(s_) < 3)
      return general_protection();
    const Gate g = TRY(read_gate());
    Descriptor d = TRY(read_code(g));
    const bool from_v86 = v86_mode(s_);
    const u8 level = new_level(d);
    if (from_v86 && level != 0) return general_protection((g.selector & ~3u) + external());
    const bool inner = level < s_.cpl();
    InnerStack stack{s_.seg[Ss], s_.gpr[Rsp]};
    if (inner) stack = TRY(tss_stack(level));
    std::array<u32, 10> words{};
    unsigned count = 0;
    auto put = [&](u64 word) { words[count++] = static_cast<u32>(word); };
    if (error_) put(*error_);
    put(s_.rip);
    put(s_.seg[Cs].selector);
    put(pushed_flags());
    if (inner) {
      put(s_.gpr[Rsp]);
      put(s_.seg[Ss].selector);
    }
    if (from_v86)
      for (SegReg r : {Es, Ds, Fs, Gs}) put(s_.seg[r].selector);
    TRY(push_words(stack, std::span(words).first(count), g.wide));
    TRY(mark_accessed(bus_, d));
    const bool big = stack.segment.db();
    s_.gpr[Rsp] = big ? stack.pointer : (s_.gpr[Rsp] & ~u64{0xffff}) | (stack.pointer & 0xffff);
    if (inner) s_.seg[Ss] = stack.segment;
    if (from_v86)
      for (SegReg r : {Es, Ds, Fs, Gs}) s_.seg[r] = {.unusable = true};
    enter_handler(g, d, level);
    return {};
  }

  // Lowest word first in `words`; moves the pointer.
  OrFault<void> push_words(InnerStack& stack, std::span<const u32> words, bool wide) {
    const unsigned size = wide ? 4 : 2;
    const u64 mask = stack.segment.db() ? 0xffff'ffff : 0xffff;
    const u64 bottom = (stack.pointer - size * words.size()) & mask;
    State view = s_;
    view.seg[Ss] = stack.segment;
    view.rflags &= ~static_cast<u64>(kVm);
    const u64 linear =
        TRY(segment_linear(view, Ss, bottom, size * words.size(), PageAccess::Write));
    const Privilege as = stack.segment.dpl() == 3 ? Privilege::User : Privilege::Supervisor;
    if (wide) {
      TRY(bus_.write(linear, std::as_bytes(words), as));
    } else {
      std::array<u16, 10> narrow{};
      for (size_t i = 0; i < words.size(); i++) narrow[i] = static_cast<u16>(words[i]);
      TRY(bus_.write(linear, bytes_of(std::span(narrow).first(words.size())), as));
    }
    stack.pointer = bottom;
    return {};
  }

  State& s_;
  CpuBus& bus_;
  const u8 vector_;
  const EventKind kind_;
  const std::optional<u32> error_;
};

bool contributory(u8 vector) {
  return vector == kDe || (vector >= kTs && vector <= kGp) || vector == 21;
}

bool makes_double_fault(u8 first, u8 second) {
  if (contributory(first)) return contributory(second);
  return first == kPfault && (contributory(second) || second == kPfault);
}

void note_fault(State& s, const Fault& f, u64 dr6_bits) {
  if (f.vector == kPfault) s.cr2 = f.cr2;
  if (f.vector == kDb) {
    s.dr6 = (s.dr6 & ~u64{15}) | dr6_bits;
    s.dr7 &= ~u64{0x2000};  // GD
  }
}

// Delivers a fault that may become a double fault, and a shutdown at last.
Delivery deliver_chain(State& s, CpuBus& bus, Fault f, u64 dr6_bits) {
  for (;;) {
    note_fault(s, f, dr6_bits);
    const std::optional<u32> error =
        f.has_error_code && !real_mode(s) ? std::optional(f.error_code) : std::nullopt;
    OrFault<void> done = Entry(s, bus, f.vector, EventKind::Fault, error).enter();
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

}  // namespace

Delivery deliver_fault(State& s, CpuBus& bus, const Fault& fault, u64 dr6_bits) {
  s.interrupt_shadow = false;
  return deliver_chain(s, bus, fault, dr6_bits);
}

Delivery deliver_external(State& s, CpuBus& bus, u8 vector) {
  OrFault<void> done = Entry(s, bus, vector, EventKind::External, {}).enter();
  return done ? Delivery::Done : deliver_chain(s, bus, done.error(), 0);
}

Delivery deliver_nmi(State& s, CpuBus& bus) {
  s.nmi_blocked = true;
  return deliver_external(s, bus, kNmi);
}

OrFault<void> software_interrupt(State& s, CpuBus& bus, u8 vector, u64 next_rip) {
  const u64 rip = s.rip;
  s.rip = next_rip;
  OrFault<void> done = Entry(s, bus, vector, EventKind::Software, {}).enter();
  if (!done) s.rip = rip;
  return done;
}

}  // namespace menura::x86
