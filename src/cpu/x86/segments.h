// Segmentation: linear addresses through segments, descriptors, and loads of segment registers.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §3.4, §5.2-5.7; vol. 2 MOV, LLDT, LTR.
// A fault leaves the state as it was (accessed bits in memory aside). Example:
//   u64 linear = TRY(segment_linear(state, Ss, offset, 4, PageAccess::Write));
//   TRY(load_segment(state, bus, Ds, selector));
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

inline bool real_mode(const State& s) { return !(s.cr0 & kCr0Pe); }
inline bool v86_mode(const State& s) { return (s.rflags & kVm) != 0; }
inline bool protected_mode(const State& s) { return !real_mode(s) && !v86_mode(s); }
inline u8 iopl(const State& s) { return (s.rflags >> 12) & 3; }

// The linear address of an access of `size` bytes at an offset that the caller has cut to its
// address size. Checks limit, type and canonical form: #SS(0) for SS, else #GP(0). A size of 0 is
// an address alone, unchecked.
OrFault<u64> segment_linear(const State& state, SegReg seg, u64 offset, u64 size,
                            PageAccess access);

// The same for fetching the instruction bytes at RIP: #GP(0).
OrFault<u64> code_linear(const State& state, u64 rip, u64 size);

// The selector's part of an error code.
constexpr u32 selector_code(u16 selector) { return selector & ~3u; }
constexpr bool null_selector(u16 selector) { return (selector & ~3u) == 0; }

// System descriptor types; SDM vol. 3 table 3-2.
enum SystemType : u8 {
  kTss16 = 1,
  kLdt = 2,
  kTss16Busy = 3,
  kCallGate16 = 4,
  kTaskGate = 5,
  kInterruptGate16 = 6,
  kTrapGate16 = 7,
  kTss = 9,  // 32-bit, 64-bit in long mode, as are the following
  kTssBusy = 11,
  kCallGate = 12,
  kInterruptGate = 14,
  kTrapGate = 15,
};

// A segment descriptor, or a gate: then offset(), target() and their kin count.
struct Descriptor {
  u64 low = 0;
  u64 high = 0;     // of 16-byte descriptors in long mode
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
  bool writable_data() const { return (attributes() & 0x1a) == 0x12; }
  bool readable() const { return (attributes() & 0x18) == 0x10 || (attributes() & 0x1a) == 0x1a; }
  u8 dpl() const { return attributes() >> 5 & 3; }
  bool present() const { return attributes() & 0x80; }
  bool long_mode() const { return attributes() & 0x2000; }
  bool db() const { return attributes() & 0x4000; }

  u16 target() const { return static_cast<u16>(low >> 16); }
  u64 offset() const { return (low & 0xffff) | (low >> 48) << 16 | high << 32; }
  u8 parameters() const { return low >> 32 & 31; }
  u8 ist() const { return low >> 32 & 7; }

  Segment segment(u16 selector) const {
    return {.selector = selector, .attributes = attributes(), .limit = limit(), .base = base()};
  }
};

// The descriptor of a selector that is not null, from GDT or LDT; `outside` when it lies beyond the
// table. Its second half is read by read_upper().
OrFault<Descriptor> read_descriptor(const State& state, CpuBus& bus, u16 selector, Fault outside);
// The upper 8 bytes that LDT, TSS and call gate descriptors have in long mode; `bad` when they lie
// outside the table or are malformed. Does nothing outside of long mode.
OrFault<void> read_upper(const State& state, CpuBus& bus, u16 selector, Descriptor& descriptor,
                         Fault bad);
// Sets the accessed bit of a code or data descriptor, in memory and here.
OrFault<void> mark_accessed(CpuBus& bus, Descriptor& descriptor);

// MOV, POP, LDS and their kin to ES, SS, DS, FS or GS, in any mode. The shadow behind a load of SS
// is the caller's.
OrFault<void> load_segment(State& state, CpuBus& bus, SegReg seg, u16 selector);
// As real and virtual-8086 mode do, CS as well: base and selector, limits stay in real mode.
void load_real_segment(State& state, SegReg seg, u16 selector);
// LLDT and LTR; the caller has checked mode and CPL.
OrFault<void> load_ldtr(State& state, CpuBus& bus, u16 selector);
OrFault<void> load_tr(State& state, CpuBus& bus, u16 selector);

// The descriptor that LAR, LSL, VERR and VERW may look at from this CPL and RPL, or nothing: ZF=0.
enum class Query : u8 { AccessRights, Limit, ReadAccess, WriteAccess };
OrFault<std::optional<Descriptor>> query_descriptor(const State& state, CpuBus& bus, u16 selector,
                                                    Query query);

// CS of a checked descriptor, at a privilege level.
void set_code_segment(State& state, const Descriptor& descriptor, u16 selector, u8 cpl);
// SS with a null selector at a privilege level, as 64-bit mode has it.
Segment null_stack_segment(u16 selector, u8 cpl);
// A segment register holding a null selector.
inline Segment null_segment(u16 selector = 0) { return {.selector = selector, .unusable = true}; }
// On a return to an outer level: data segments that the CPL in `state` may not use become null.
void drop_inner_segments(State& state);

}  // namespace menura::x86
