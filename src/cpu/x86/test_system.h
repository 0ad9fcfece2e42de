// TestSystem: a CPU in a mode of choice, with GDT, IDT, TSS and stacks in a FlatBus, for tests.
//
// Owner: a test. Threads: the test's. Spec: Intel SDM vol. 3 figures 3-8, 6-2, 6-8, 8-2, 8-11.
// Example: `TestSystem t = TestSystem::protected32(3); t.define(0x40, gate(0x08, 0x5000, 0xec));`
#pragma once

#include <initializer_list>
#include <vector>

#include "cpu/x86/segments.h"
#include "cpu/x86/test_bus.h"

namespace menura::x86 {

// A segment descriptor; `limit` is raw, `attributes` as Segment has them.
constexpr u64 descriptor(u32 base, u32 limit, u16 attributes) {
  return (limit & 0xffff) | u64{base & 0xff'ffff} << 16 | u64{attributes & 0xffu} << 40 |
         u64{limit >> 16 & 15} << 48 | u64{attributes >> 12 & 15u} << 52 | u64{base >> 24} << 56;
}

// The (lower half of a) gate; `access` is its byte of type, DPL and P.
constexpr u64 gate(u16 selector, u64 offset, u8 access, u8 low_bits = 0) {
  return (offset & 0xffff) | u64{selector} << 16 | u64{low_bits} << 32 | u64{access} << 40 |
         (offset >> 16 & 0xffff) << 48;
}

struct TestSystem {
  static constexpr u64 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000;
  static constexpr u64 kStack0 = 0x8000, kStack1 = 0xa000, kOuterStack = 0x9000;
  // Selectors: flat 32-bit segments of level 0, 3 and 1, the TSS, 64-bit code of level 0 and 3.
  static constexpr u16 kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x18, kData3 = 0x20, kCode1 = 0x28,
                       kData1 = 0x30, kTr = 0x38, kCode64 = 0x48, kCode64User = 0x50, kFree = 0x60;

  static TestSystem protected32(u8 cpl) {
    TestSystem t;
    t.s.cr0 |= kCr0Pe;
    t.s.gpr[Rsp] = kOuterStack;
    t.s.rip = 0x4000;
    t.set_level(cpl);
    t.s.tr = {.selector = kTr, .attributes = 0x8b, .limit = 0x67, .base = kTss};
    t.bus.put(kTss + 4, 4, kStack0);
    t.bus.put(kTss + 8, 4, kData0);
    t.bus.put(kTss + 12, 4, kStack1);
    t.bus.put(kTss + 16, 4, kData1 | 1);
    return t;
  }

  static TestSystem long64(u8 cpl) {
    TestSystem t = protected32(cpl);
    t.s.efer = kEferLme | kEferLma | kEferSce;
    t.s.cr0 |= kCr0Pg;
    t.s.cr4 |= kCr4Pae;
    const u16 code = cpl == 3 ? kCode64User | 3 : kCode64;
    t.s.seg[Cs] = Descriptor{.low = t.bus.get(kGdt + (code & ~7u), 8)}.segment(code);
    for (unsigned i = 0; i < 3; ++i) t.bus.put(kTss + 4 + 8 * i, 8, kStack0 + 0x1000 * i);
    return t;
  }

  static TestSystem real() {
    TestSystem t;
    t.s.gpr[Rsp] = 0x100;
    t.s.idtr = {.base = 0, .limit = 0x3ff};
    load_real_segment(t.s, Cs, 0x400);
    load_real_segment(t.s, Ss, 0x800);
    t.s.rip = 0x10;
    return t;
  }

  static TestSystem v86(u8 iopl_value) {
    TestSystem t = protected32(0);
    t.s.rflags |= kVm | u64{iopl_value} << 12;
    for (SegReg r : {Es, Cs, Ss, Ds, Fs, Gs})
      load_real_segment(t.s, r, static_cast<u16>(0x400 + r));
    t.s.gpr[Rsp] = 0x100;
    t.s.rip = 0x10;
    return t;
  }

  void set_level(u8 cpl) {
    const u16 code = cpl == 0 ? kCode0 : cpl == 1 ? kCode1 | 1 : kCode3 | 3;
    const u16 stack = cpl == 0 ? kData0 : cpl == 1 ? kData1 | 1 : kData3 | 3;
    s.seg[Cs] = Descriptor{.low = bus.get(kGdt + (code & ~7u), 8)}.segment(code);
    s.seg[Ss] = Descriptor{.low = bus.get(kGdt + (stack & ~7u), 8)}.segment(stack);
  }
  void define(u16 selector, u64 value) { bus.put(kGdt + (selector & ~7u), 8, value); }
  void define_gate(u8 vector, u64 value) { bus.put(kIdt + vector * 8u, 8, value); }
  void define_gate64(u8 vector, u64 value, u64 upper = 0) {
    bus.put(kIdt + vector * 16u, 8, value);
    bus.put(kIdt + vector * 16u + 8, 8, upper);
  }

  // What lies on the stack from the lowest address up, in words of `size` bytes.
  std::vector<u64> stack(size_t count, unsigned size) const {
    const u64 mask = s.code64() ? ~u64{0} : s.seg[Ss].db() ? 0xffff'ffff : 0xffff;
    const u64 base = s.code64() ? 0 : s.seg[Ss].base;
    std::vector<u64> words;
    for (size_t i = 0; i < count; ++i)
      words.push_back(bus.get(base + ((s.gpr[Rsp] + i * size) & mask), size));
    return words;
  }
  void put_stack(std::initializer_list<u64> words, unsigned size) {
    const u64 base = s.code64() ? 0 : s.seg[Ss].base;
    u64 at = base + s.gpr[Rsp];
    for (u64 word : words) {
      bus.put(at, size, word);
      at += size;
    }
  }

  State s;
  FlatBus bus;

 private:
  TestSystem() {
    s.reset(State::ResetCause::PowerOn, 0, true);
    s.gdtr = {.base = kGdt, .limit = 0xff};
    s.idtr = {.base = kIdt, .limit = 0xfff};
    s.ldtr = null_segment();
    define(kCode0, descriptor(0, 0xf'ffff, 0xc09b));
    define(kData0, descriptor(0, 0xf'ffff, 0xc093));
    define(kCode3, descriptor(0, 0xf'ffff, 0xc0fb));
    define(kData3, descriptor(0, 0xf'ffff, 0xc0f3));
    define(kCode1, descriptor(0, 0xf'ffff, 0xc0bb));
    define(kData1, descriptor(0, 0xf'ffff, 0xc0b3));
    define(kTr, descriptor(kTss, 0x67, 0x008b));
    define(kCode64, descriptor(0, 0xf'ffff, 0xa09b));
    define(kCode64User, descriptor(0, 0xf'ffff, 0xa0fb));
    bus.leaves[{0, 0}] = {.ebx = 0x6874'7541};  // "Auth"
  }
};

}  // namespace menura::x86
