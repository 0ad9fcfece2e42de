#include "cpu/x86/segments.h"

#include <algorithm>

#include "base/bits.h"
#include "cpu/x86/paging.h"

namespace menura::x86 {

namespace {

constexpr u16 kAccessed = 1, kWritableOrReadable = 2, kExpandDown = 4, kCode = 8;

Fault address_fault(SegReg seg) { return seg == Ss ? stack_fault() : general_protection(); }

bool inside_limit(const Segment& s, u64 offset, u64 size) {
  const u64 last = offset + size - 1;
  const bool down = (s.attributes & (kCode | kExpandDown)) == kExpandDown;
  if (!down) return last <= s.limit;
  return offset > s.limit && last <= (s.db() ? 0xffff'ffffull : 0xffffull);
}

}  // namespace

OrFault<u64> segment_linear(const State& s, SegReg seg, u64 offset, u64 size, PageAccess access) {
  const Segment& segment = s.seg[seg];
  if (s.code64()) {
    const u64 linear = offset + (seg == Fs || seg == Gs ? segment.base : 0);
    if (!canonical(s, linear) || !canonical(s, linear + size - 1)) return address_fault(seg);
    return linear;
  }
  if (protected_mode(s)) {
    if (segment.unusable) return address_fault(seg);
    const u16 a = segment.attributes;
    const bool bad = access == PageAccess::Write
                         ? (a & (kCode | kWritableOrReadable)) != kWritableOrReadable
                         : (a & (kCode | kWritableOrReadable)) == kCode;
    if (bad && access != PageAccess::Fetch) return address_fault(seg);
  }
  if (!inside_limit(segment, offset, size)) return address_fault(seg);
  return (segment.base + offset) & 0xffff'ffff;
}

OrFault<Descriptor> read_descriptor(State& s, CpuBus& bus, u16 selector, Fault outside,
                                    bool system) {
  const bool local = selector & 4;
  const u64 base = local ? s.ldtr.base : s.gdtr.base;
  const u64 limit = local ? s.ldtr.limit : s.gdtr.limit;
  const bool wide = system && s.long_mode_active();
  const u64 at = selector & ~7u;
  if ((local && s.ldtr.unusable) || at + (wide ? 15 : 7) > limit) return outside;
  Descriptor d;
  d.address = base + at;
  d.low = TRY(bus.load(d.address, 8, Privilege::Supervisor));
  if (wide) d.high = TRY(bus.load(d.address + 8, 8, Privilege::Supervisor)) & 0xffff'ffff;
  return d;
}

OrFault<void> mark_accessed(CpuBus& bus, Descriptor& d) {
  if (d.attributes() & kAccessed) return {};
  d.low |= u64{1} << 40;
  return bus.store(d.address + 5, 1, d.low >> 40 & 0xff, Privilege::Supervisor);
}

void load_real_segment(State& s, SegReg seg, u16 selector) {
  Segment& r = s.seg[seg];
  r.selector = selector;
  r.base = static_cast<u64>(selector) << 4;
  r.unusable = false;
  if (v86_mode(s)) {
    r.limit = 0xffff;
    r.attributes = 0xf3;
  } else if (seg == Cs) {
    r.attributes = (r.attributes & 0xff00) | 0x9b;
  } else {
    r.attributes = (r.attributes & 0xff00) | 0x93;
  }
}

void set_null_stack(State& s, u8 cpl) {
  s.seg[Ss] = {.selector = cpl,
               .attributes = static_cast<u16>(cpl << 5 | 0x93),
               .limit = 0xffff'ffff,
               .unusable = true};
}

OrFault<void> load_segment(State& s, CpuBus& bus, SegReg seg, u16 selector) {
  if (!protected_mode(s)) {
    load_real_segment(s, seg, selector);
    return {};
  }
  const u8 cpl = s.cpl(), rpl = selector & 3;
  if ((selector & ~3u) == 0) {
    if (seg == Ss) {
      if (!s.code64() || cpl == 3 || rpl != cpl) return general_protection();
      set_null_stack(s, cpl);
      s.seg[Ss].selector = selector;
      return {};
    }
    s.seg[seg] = {.selector = selector, .unusable = true};
    return {};
  }
  const u32 code = selector & ~3u;
  Descriptor d = TRY(read_descriptor(s, bus, selector, general_protection(code)));
  if (!d.code_or_data()) return general_protection(code);
  if (seg == Ss) {
    if (rpl != cpl || d.dpl() != cpl || d.code() || !(d.type() & kWritableOrReadable))
      return general_protection(code);
    if (!d.present()) return stack_fault(code);
  } else {
    if (d.code() && !(d.type() & kWritableOrReadable)) return general_protection(code);
    const bool checked = !d.code() || !d.conforming();
    if (checked && d.dpl() < std::max(cpl, rpl)) return general_protection(code);
    if (!d.present()) return not_present(code);
  }
  TRY(mark_accessed(bus, d));
  s.seg[seg] = d.segment(selector);
  return {};
}

OrFault<void> load_ldtr(State& s, CpuBus& bus, u16 selector) {
  if ((selector & ~3u) == 0) {
    s.ldtr = {.selector = selector, .unusable = true};
    return {};
  }
  const u32 code = selector & ~3u;
  if (selector & 4) return general_protection(code);
  const Descriptor d = TRY(read_descriptor(s, bus, selector, general_protection(code), true));
  if (d.code_or_data() || d.type() != 2) return general_protection(code);
  if (!d.present()) return not_present(code);
  s.ldtr = d.segment(selector);
  return {};
}

OrFault<void> load_tr(State& s, CpuBus& bus, u16 selector) {
  const u32 code = selector & ~3u;
  if (code == 0) return general_protection();
  if (selector & 4) return general_protection(code);
  Descriptor d = TRY(read_descriptor(s, bus, selector, general_protection(code), true));
  const bool available = d.type() == 9 || (d.type() == 1 && !s.long_mode_active());
  if (d.code_or_data() || !available) return general_protection(code);
  if (!d.present()) return not_present(code);
  d.low |= u64{2} << 40;  // busy
  TRY(bus.store(d.address + 5, 1, d.low >> 40 & 0xff, Privilege::Supervisor));
  s.tr = d.segment(selector);
  return {};
}

void set_code_segment(State& s, const Descriptor& d, u16 selector, u8 cpl) {
  s.seg[Cs] = d.segment(static_cast<u16>((selector & ~3u) | cpl));
}

void drop_inner_segments(State& s) {
  for (SegReg r : {Es, Ds, Fs, Gs}) {
    Segment& segment = s.seg[r];
    const bool conforming_code = (segment.attributes & 0x1c) == 0x1c;
    if (!segment.unusable && segment.dpl() < s.cpl() && !conforming_code)
      segment = {.selector = 0,
                 .base = s.long_mode_active() && (r == Fs || r == Gs) ? segment.base : 0,
                 .unusable = true};
  }
}

}  // namespace menura::x86
