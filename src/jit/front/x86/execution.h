// Execution: one instruction on its way through execute(), with its operands; and the functions, one
// a kind of instruction, that execute() chooses from. Private to the room.
//
// Owner: execute(). Threads: the vCPU's. Spec: Intel SDM vol. 2. Example:
//   Outcome lahf(Execution& x) { x.set_gpr(...); return Outcome::Done; }
#pragma once

#include "base/bits.h"
#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/stack.h"
#include "cpu/x86/state.h"
#include "jit/front/x86/execute.h"
#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

using x86::CpuBus;
using x86::OrFault;
using x86::PageAccess;
using x86::Privilege;

// Where the address of segment-relative memory is formed; the two enumerations count alike.
inline x86::SegReg segment_register(Segment segment) { return static_cast<x86::SegReg>(segment); }

struct Execution {
  x86::State& s;
  const Insn& insn;
  CpuBus& bus;
  u64 next;  // RIP when the instruction is done: behind it, or where it jumps to

  u64 gpr(unsigned number, unsigned size) const { return s.gpr[number] & low_mask(8 * size); }
  // As the architecture writes them: 1 and 2 bytes keep the rest, 4 clear the upper half.
  void set_gpr(unsigned number, unsigned size, u64 value);
  // A general register as an operand.
  u64 get(const Operand& o) const;
  void set(const Operand& o, u64 value);

  // Operand `which`: general register, memory of up to 8 bytes, or immediate.
  OrFault<u64> read(unsigned which);
  OrFault<void> write(unsigned which, u64 value);

  // Linear address of the memory operand.
  OrFault<u64> address(unsigned size, PageAccess access) const {
    return operand_address(s, insn, size, access);
  }

  void set_flags(u64 mask, u64 value) { s.rflags = (s.rflags & ~mask) | (value & mask); }
  bool code64() const { return insn.mode == Mode::Bits64; }
  // The operand size as prefixes give it, where attr::kNativeSize hides it.
  bool operand16() const {
    return insn.mode != Mode::Bits64 && (insn.mode == Mode::Bits16) != insn.has(seen::kOperandSize);
  }
};

// Status flags of left - right in `size` bytes.
u64 flags_of_subtraction(u64 left, u64 right, unsigned size);

// One a row of execute.cpp's list. What they return counts as Outcome says; `next` becomes RIP unless
// the instruction faulted or repeats.
using Handler = Outcome (*)(Execution&);

// execute_branch.cpp
Outcome jump(Execution&);
Outcome branch(Execution&);
Outcome count_branch(Execution&);
Outcome call(Execution&);
Outcome ret(Execution&);
Outcome jump_far(Execution&);
Outcome call_far(Execution&);
Outcome ret_far(Execution&);
Outcome iret(Execution&);
Outcome interrupt(Execution&);
Outcome into(Execution&);
Outcome bound(Execution&);
Outcome undefined(Execution&);

// execute_stack.cpp
Outcome push(Execution&);
Outcome pop(Execution&);
Outcome push_all(Execution&);
Outcome pop_all(Execution&);
Outcome push_flags(Execution&);
Outcome pop_flags(Execution&);
Outcome enter(Execution&);
Outcome leave(Execution&);

// execute_string.cpp
Outcome move_string(Execution&);
Outcome store_string(Execution&);
Outcome load_string(Execution&);
Outcome compare_string(Execution&);
Outcome scan_string(Execution&);
Outcome input_string(Execution&);
Outcome output_string(Execution&);

// execute_legacy.cpp
Outcome decimal_adjust(Execution&);
Outcome ascii_adjust(Execution&);
Outcome ascii_multiply(Execution&);
Outcome ascii_divide(Execution&);
Outcome set_al_on_carry(Execution&);
Outcome translate_byte(Execution&);
Outcome direction(Execution&);
Outcome input(Execution&);
Outcome output(Execution&);
Outcome random_number(Execution&);

// execute_segment.cpp
Outcome store_table(Execution&);
Outcome load_table(Execution&);
Outcome store_selector(Execution&);
Outcome load_system_segment(Execution&);
Outcome query_segment(Execution&);
Outcome verify_segment(Execution&);
Outcome adjust_rpl(Execution&);
Outcome load_far_pointer(Execution&);
Outcome segment_base(Execution&);
Outcome swapgs(Execution&);
// MOV with a segment, control or debug register.
Outcome move_system(Execution&);

// execute_system.cpp
Outcome machine_status(Execution&);
Outcome clear_ts(Execution&);
Outcome interrupt_flag(Execution&);
Outcome access_check_flag(Execution&);
Outcome halt(Execution&);
Outcome monitor(Execution&);
Outcome system_call(Execution&);
Outcome resume(Execution&);
Outcome model_register(Execution&);
Outcome time_stamp(Execution&);
Outcome performance_counter(Execution&);
Outcome processor_id(Execution&);
Outcome identify(Execution&);
Outcome extended_control(Execution&);
Outcome protection_keys(Execution&);
Outcome invalidate_page(Execution&);
Outcome invalidate_context(Execution&);
Outcome nothing(Execution&);
Outcome relax(Execution&);
Outcome flush_line(Execution&);
Outcome clear_line(Execution&);

// execute_fpu.cpp
Outcome save_environment(Execution&);
Outcome load_environment(Execution&);
Outcome fxsave(Execution&);
Outcome fxrstor(Execution&);
// execute_xsave.cpp
Outcome xsave(Execution&);
Outcome xrstor(Execution&);
// Bytes that XSAVE needs for the components; `compact`: XSAVEC.
u32 xsave_size(Execution&, u64 components, bool compact);

// execute_masked.cpp
Outcome store_masked_bytes(Execution&);
Outcome move_masked(Execution&);
Outcome gather(Execution&);

// Parts of an FXSAVE or XSAVE area, from its start: x87 (component 0) and XMM (component 1). `wide`:
// REX.W, 64-bit instruction pointers. MXCSR stands for itself.
inline constexpr size_t kMxcsrAt = 24, kX87At = 32, kXmmAt = 160, kLegacyArea = 416;
inline constexpr u32 kMxcsrMask = 0xffff;
void save_x87(const Execution& x, Bytes area, bool wide);
void load_x87(Execution& x, ConstBytes area, bool wide);
void save_xmm(const Execution& x, Bytes area);
void load_xmm(Execution& x, ConstBytes area);
// The registers as FNINIT leaves them.
void clear_x87(Execution& x);
// XMM and YMM registers that the mode knows: 8 or 16.
inline unsigned vector_count(const Execution& x) { return x.code64() ? 16 : 8; }

}  // namespace menura::jit::x86
