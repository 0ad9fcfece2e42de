// Segmentation: addresses through segments, descriptors, and loads of segment registers.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §3.4, §5.2-5.7; vol. 2 MOV, POP, LLDT, LTR.
// Example: `u64 linear = TRY(segment_linear(state, Ss, offset, 4, PageAccess::Write));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// Checks limit, type and canonical form of an access of `size` bytes (at least 1).
OrFault<u64> segment_linear(const State& state, SegReg seg, u64 offset, u64 size,
                            PageAccess access);

inline bool protected_mode(const State& s) { return (s.cr0 & kCr0Pe) && !(s.rflags & kVm); }
inline bool real_mode(const State& s) { return !(s.cr0 & kCr0Pe); }
inline bool v86_mode(const State& s) { return (s.rflags & kVm) != 0; }
inline u8 iopl(const State& s) { return (s.rflags >> 12) & 3; }

struct Descriptor {
  u64 low = 0;
  u64 high = 0;     // of 16-byte system descriptors in long mode
  u64 address = 0;  // where it lies

  u16 attributes() const { return static_cast<u16>((low >> 40) & 0xf0ff); }
  u64 base() const { return (low >> 16 & 0xff'ffff) | (low >> 56) << 24 | high << 32; }
  u32 limit() const {
    const u32 raw = static_cast<u32>((low & 0xffff) | (low >> 32 & 0xf'0000));
    return (attributes() & 0x8000) ? raw << 12 | 0xfff : raw;
  }
  u8 type() const { return attributes() & 15; }
  bool code_or_data() const { return attributes() & 0x10; }
  bool code() const { return (attributes() & 0x18) == 0x18; }
  bool conforming() const { return attributes() & 4; }
  u8 dpl() const { return attributes() >> 5 & 3; }
  bool present() const { return attributes() & 0x80; }
  bool long_mode() const { return attributes() & 0x2000; }
  Segment segment(u16 selector) const {
    return {.selector = selector, .attributes = attributes(), .limit = limit(), .base = base()};
  }
};

// From the GDT or LDT; `code` is the error code of the #GP (or #TS ...) when it lies outside.
OrFault<Descriptor> read_descriptor(State& state, CpuBus& bus, u16 selector, Fault outside,
                                    bool system = false);
// Sets the accessed bit of a code or data descriptor.
OrFault<void> mark_accessed(CpuBus& bus, Descriptor& descriptor);

// MOV, POP, LDS... to ES, SS, DS, FS, GS.
OrFault<void> load_segment(State& state, CpuBus& bus, SegReg seg, u16 selector);
// As real and virtual-8086 mode do.
void load_real_segment(State& state, SegReg seg, u16 selector);
OrFault<void> load_ldtr(State& state, CpuBus& bus, u16 selector);
OrFault<void> load_tr(State& state, CpuBus& bus, u16 selector);
// CS of a checked descriptor, at a privilege level.
void set_code_segment(State& state, const Descriptor& descriptor, u16 selector, u8 cpl);
// SS with a null selector, as 64-bit mode allows it.
void set_null_stack(State& state, u8 cpl);
// On a return to an outer level: data segments that the new CPL may not use become null.
void drop_inner_segments(State& state);

}  // namespace menura::x86
