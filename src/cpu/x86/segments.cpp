#include "cpu/x86/segments.h"

#include <algorithm>

#include "base/bits.h"
#include "cpu/x86/paging.h"

namespace menura::x86 {

namespace {

// Type bits of code and data segments.
constexpr u16 kAccessed = 1, kWritable = 2, kReadableCode = 2, kExpandDown = 4, kCode = 8;
constexpr u64 kAccessedInMemory = u64{1} << 40;
constexpr u64 kBusyInMemory = u64{2} << 40;
constexpr u64 kUpperTypeMask = 0x1f00;  // of a 16-byte descriptor's upper half: must be 0

Fault address_fault(SegReg seg) { return seg == Ss ? stack_fault() : general_protection(); }

bool inside_limit(const Segment& s, u64 offset, u64 size) {
  const u64 last = offset + size - 1;
  const bool expand_down = (s.attributes & (kCode | kExpandDown)) == kExpandDown;
  if (!expand_down) return last <= s.limit;
  return offset > s.limit && last <= (s.db() ? 0xffff'ffffu : 0xffffu);
}

bool type_allows(const Segment& s, PageAccess access) {
  if (s.unusable) return false;
  const bool code = s.attributes & kCode;
  if (access == PageAccess::Write) return !code && (s.attributes & kWritable);
  return !code || (s.attributes & kReadableCode);
}

OrFault<u64> canonical_linear(const State& s, SegReg seg, u64 offset, u64 size) {
  const u64 linear = offset + (seg == Fs || seg == Gs ? s.seg[seg].base : 0);
  if (!canonical(s, linear) || !canonical(s, linear + size - 1)) return address_fault(seg);
  return linear;
}

}  // namespace

OrFault<u64> segment_linear(const State& s, SegReg seg, u64 offset, u64 size, PageAccess access) {
  const Segment& segment = s.seg[seg];
  if (s.code64()) {
    if (size == 0) return offset + (seg == Fs || seg == Gs ? segment.base : 0);
    return canonical_linear(s, seg, offset, size);
  }
  if (size != 0) {
    if (protected_mode(s) && !type_allows(segment, access)) return address_fault(seg);
    if (!inside_limit(segment, offset, size)) return address_fault(seg);
  }
  return (segment.base + offset) & 0xffff'ffff;
}

OrFault<u64> code_linear(const State& s, u64 rip, u64 size) {
  if (s.code64()) return canonical_linear(s, Cs, rip, size);
  // No type counts: whatever is in CS is code. A data type there (after reset) is never expand-down.
  if (rip + size - 1 > s.seg[Cs].limit) return general_protection();
  return (s.seg[Cs].base + rip) & 0xffff'ffff;
}

OrFault<Descriptor> read_descriptor(const State& s, CpuBus& bus, u16 selector, Fault outside) {
  const bool local = selector & 4;
  const u64 base = local ? s.ldtr.base : s.gdtr.base;
  const u64 limit = local ? s.ldtr.limit : s.gdtr.limit;
  const u64 at = selector & ~7u;
  if ((local && s.ldtr.unusable) || at + 7 > limit) return outside;
  Descriptor d;
  d.address = base + at;
  d.low = TRY(bus.load(d.address, 8, Privilege::Supervisor));
  return d;
}

OrFault<void> read_upper(const State& s, CpuBus& bus, u16 selector, Descriptor& d, Fault bad) {
  if (!s.long_mode_active()) return {};
  const u64 limit = selector & 4 ? s.ldtr.limit : s.gdtr.limit;
  if ((selector & ~7u) + 15 > limit) return bad;
  const u64 upper = TRY(bus.load(d.address + 8, 8, Privilege::Supervisor));
  if (upper >> 32 & kUpperTypeMask) return bad;
  d.high = upper & 0xffff'ffff;
  return {};
}

OrFault<void> mark_accessed(CpuBus& bus, Descriptor& d) {
  if (d.attributes() & kAccessed) return {};
  d.low |= kAccessedInMemory;
  return bus.store(d.address + 5, 1, d.low >> 40 & 0xff, Privilege::Supervisor);
}

void load_real_segment(State& s, SegReg seg, u16 selector) {
  Segment& r = s.seg[seg];
  r.selector = selector;
  r.base = u64{selector} << 4;
  r.unusable = false;
  if (v86_mode(s)) {
    r.limit = 0xffff;
    r.attributes = 0xf3;
  } else {
    r.attributes = static_cast<u16>((r.attributes & 0xf000) | 0x93);
  }
}

void set_code_segment(State& s, const Descriptor& d, u16 selector, u8 cpl) {
  s.seg[Cs] = d.segment(static_cast<u16>(selector_code(selector) | cpl));
}

Segment null_stack_segment(u16 selector, u8 cpl) {
  return {.selector = selector,
          .attributes = static_cast<u16>(0xc093 | cpl << 5),
          .limit = 0xffff'ffff,
          .unusable = true};
}

namespace {

OrFault<void> check_stack_load(const State& s, const Descriptor& d, u16 selector) {
  const u8 cpl = s.cpl();
  if ((selector & 3) != cpl || d.dpl() != cpl || !d.writable_data())
    return general_protection(selector_code(selector));
  if (!d.present()) return stack_fault(selector_code(selector));
  return {};
}

OrFault<void> check_data_load(const State& s, const Descriptor& d, u16 selector) {
  const u8 weakest = std::max<u8>(s.cpl(), selector & 3);
  const bool any_level = d.code() && d.conforming();
  if (!d.readable() || (!any_level && d.dpl() < weakest))
    return general_protection(selector_code(selector));
  if (!d.present()) return not_present(selector_code(selector));
  return {};
}

}  // namespace

OrFault<void> load_segment(State& s, CpuBus& bus, SegReg seg, u16 selector) {
  if (!protected_mode(s)) {
    load_real_segment(s, seg, selector);
    return {};
  }
  if (null_selector(selector)) {
    if (seg == Ss) {
      if (!s.code64() || s.cpl() == 3 || (selector & 3) != s.cpl()) return general_protection();
      s.seg[Ss] = null_stack_segment(selector, s.cpl());
    } else {
      s.seg[seg] = null_segment(selector);
    }
    return {};
  }
  const Fault outside = general_protection(selector_code(selector));
  Descriptor d = TRY(read_descriptor(s, bus, selector, outside));
  TRY(seg == Ss ? check_stack_load(s, d, selector) : check_data_load(s, d, selector));
  TRY(mark_accessed(bus, d));
  s.seg[seg] = d.segment(selector);
  return {};
}

OrFault<void> load_ldtr(State& s, CpuBus& bus, u16 selector) {
  if (null_selector(selector)) {
    s.ldtr = null_segment(selector);
    return {};
  }
  const Fault bad = general_protection(selector_code(selector));
  if (selector & 4) return bad;
  Descriptor d = TRY(read_descriptor(s, bus, selector, bad));
  if (d.code_or_data() || d.type() != kLdt) return bad;
  if (!d.present()) return not_present(selector_code(selector));
  TRY(read_upper(s, bus, selector, d, bad));
  if (s.long_mode_active() && !canonical(s, d.base())) return bad;
  s.ldtr = d.segment(selector);
  return {};
}

OrFault<void> load_tr(State& s, CpuBus& bus, u16 selector) {
  if (null_selector(selector)) return general_protection();
  const Fault bad = general_protection(selector_code(selector));
  if (selector & 4) return bad;
  Descriptor d = TRY(read_descriptor(s, bus, selector, bad));
  const bool available = d.type() == kTss || (d.type() == kTss16 && !s.long_mode_active());
  if (d.code_or_data() || !available) return bad;
  if (!d.present()) return not_present(selector_code(selector));
  TRY(read_upper(s, bus, selector, d, bad));
  if (s.long_mode_active() && !canonical(s, d.base())) return bad;
  d.low |= kBusyInMemory;
  TRY(bus.store(d.address + 5, 1, d.low >> 40 & 0xff, Privilege::Supervisor));
  s.tr = d.segment(selector);
  return {};
}

namespace {

// Which system descriptors LAR and LSL know: SDM vol. 2, tables 3-51 and 3-54.
bool query_knows(const State& s, const Descriptor& d, Query query) {
  if (d.code_or_data()) return true;
  const bool long_mode = s.long_mode_active();
  switch (d.type()) {
    case kLdt:
    case kTss:
    case kTssBusy: return true;
    case kTss16:
    case kTss16Busy: return !long_mode;
    case kCallGate16:
    case kTaskGate: return query == Query::AccessRights && !long_mode;
    case kCallGate: return query == Query::AccessRights;
    default: return false;
  }
}

}  // namespace

OrFault<std::optional<Descriptor>> query_descriptor(const State& s, CpuBus& bus, u16 selector,
                                                    Query query) {
  using Answer = std::optional<Descriptor>;
  if (null_selector(selector)) return Answer{};
  const Fault outside = general_protection(selector_code(selector));
  OrFault<Descriptor> found = read_descriptor(s, bus, selector, outside);
  if (!found) {
    if (found.error() == outside) return Answer{};
    return found.error();
  }
  const Descriptor d = *found;
  const bool any_level = d.code() && d.conforming();
  if (!any_level && d.dpl() < std::max<u8>(s.cpl(), selector & 3)) return Answer{};
  switch (query) {
    case Query::AccessRights:
    case Query::Limit: return query_knows(s, d, query) ? Answer{d} : Answer{};
    case Query::ReadAccess: return d.readable() ? Answer{d} : Answer{};
    case Query::WriteAccess: return d.writable_data() ? Answer{d} : Answer{};
  }
  unreachable();
}

void drop_inner_segments(State& s) {
  for (SegReg r : {Es, Ds, Fs, Gs}) {
    Segment& segment = s.seg[r];
    const bool conforming_code = (segment.attributes & 0x1c) == 0x1c;
    if (!segment.unusable && segment.dpl() < s.cpl() && !conforming_code) {
      // A base that a 64-bit guest put there by MSR stays.
      segment.selector = 0;
      segment.attributes = 0;
      segment.unusable = true;
    }
  }
}

}  // namespace menura::x86
