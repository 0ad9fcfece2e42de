// x86::State: the whole architectural state of one x86 CPU, as one plain described struct. It is
// the JIT's register file, KVM's exchange format, and the debugger's and the snapshot's view.
//
// Owner: the vCPU (or a caller's copy). Threads: a value; touched only by the thread that runs the
// vCPU, or while it is stopped. Source: Intel SDM vol. 1 and 3, AMD APM vol. 2.
#pragma once

#include <array>

#include "base/types.h"
#include "cpu/x86/registers.h"
#include "state/visitor.h"

namespace menura::x86 {

// A segment register with its hidden part. `attributes` holds descriptor bits 8-15 in bits 0-7
// (type, S, DPL, P) and bits 20-23 in bits 12-15 (AVL, L, D/B, G); `limit` is in bytes, scaled.
// `unusable` is VMX's sense: loaded with a null selector.
struct Segment {
  u16 selector = 0;
  u16 attributes = 0;
  u32 limit = 0;
  u64 base = 0;
  bool unusable = false;

  u8 type() const { return attributes & 0xf; }
  bool code_or_data() const { return attributes & 0x10; }
  u8 dpl() const { return (attributes >> 5) & 3; }
  bool present() const { return attributes & 0x80; }
  bool long_mode() const { return attributes & 0x2000; }
  bool db() const { return attributes & 0x4000; }
  bool granular() const { return attributes & 0x8000; }
  void describe(StateVisitor& v);
  bool operator==(const Segment&) const = default;
};

struct TableRegister {  // GDTR, IDTR
  u64 base = 0;
  u16 limit = 0;
  void describe(StateVisitor& v);
  bool operator==(const TableRegister&) const = default;
};

struct X87State {
  u16 fcw = 0x40;
  u16 fsw = 0;
  u8 ftw = 0;  // abridged, one bit a register in physical order: 1 = not empty (FXSAVE form)
  u16 fop = 0;
  u64 fip = 0;
  u64 fdp = 0;
  std::array<std::array<u8, 10>, 8> st{};  // st[i] is ST(i), 80-bit little-endian
  void describe(StateVisitor& v);
  bool operator==(const X87State&) const = default;
};

struct VectorRegister {  // YMM; the low half is XMM
  std::array<u64, 4> qwords{};
  void describe(StateVisitor& v);
  bool operator==(const VectorRegister&) const = default;
};

// AVX-512: the registers beyond the YMM ones (XSAVE components 5, 6 and 7).
struct Avx512State {
  std::array<u64, 8> opmask{};
  std::array<VectorRegister, kVectorCount> zmm_high{};  // bits 511:256 of ZMM0-ZMM15
  std::array<std::array<u64, 8>, 16> zmm16{};           // ZMM16-ZMM31
  void describe(StateVisitor& v);
  bool operator==(const Avx512State&) const = default;
};

// An event on its way into the guest.
struct PendingEvent {
  bool valid = false;
  u8 vector = 0;
  bool is_exception = false;  // else an external or software interrupt
  bool is_software = false;
  bool has_error_code = false;
  u32 error_code = 0;
  void describe(StateVisitor& v);
  bool operator==(const PendingEvent&) const = default;
};

// Variable and fixed MTRRs; Intel SDM vol. 3 §12.11.
struct Mtrrs {
  static constexpr size_t kVariable = 8;
  static constexpr size_t kFixed = 11;
  u64 def_type = 0;
  std::array<u64, kFixed> fixed{};
  std::array<u64, kVariable> base{};
  std::array<u64, kVariable> mask{};
  void describe(StateVisitor& v);
  bool operator==(const Mtrrs&) const = default;
};

// What the CPU does when told to run: as KVM_MP_STATE names it.
enum class Activity : u8 { Running, WaitForSipi, InitReceived, Halted };

inline constexpr size_t kMceBanks = 10;

struct State {
  std::array<u64, kGprCount> gpr{};
  u64 rip = 0;
  u64 rflags = kRflagsAlwaysOne;
  std::array<Segment, kSegCount> seg{};
  Segment ldtr;
  Segment tr;
  TableRegister gdtr;
  TableRegister idtr;
  u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0;
  std::array<u64, 4> dr{};
  u64 dr6 = 0, dr7 = 0;
  u64 efer = 0;
  u64 xcr0 = 1;

  X87State x87;
  u32 mxcsr = 0x1f80;
  std::array<VectorRegister, kVectorCount> vec{};
  Avx512State avx512;
  u32 pkru = 0;

  // MSRs that are not shadowed above.
  u64 tsc = 0;  // the guest's TSC when the state was taken
  u64 tsc_adjust = 0, tsc_aux = 0, tsc_deadline = 0;
  u64 apic_base = 0;
  u64 pat = 0;
  u64 star = 0, lstar = 0, cstar = 0, fmask = 0, kernel_gs_base = 0;
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 misc_enable = 0, feature_control = 0, spec_ctrl = 0, xss = 0;
  u64 smbase = 0;
  Mtrrs mtrr;
  u64 mcg_cap = 0, mcg_status = 0, mcg_ctl = 0;
  std::array<u64, 4 * kMceBanks> mce{};  // CTL, STATUS, ADDR, MISC of each bank
  // kvmclock and its kin.
  u64 kvm_system_time = 0, kvm_wall_clock = 0, kvm_async_pf = 0, kvm_steal_time = 0, kvm_pv_eoi = 0,
      kvm_poll_control = 1;

  // Events and inhibitions.
  PendingEvent event;
  bool interrupt_shadow = false;  // after STI or a load of SS
  bool nmi_pending = false;
  bool nmi_injected = false;  // its delivery had begun (blocked already) and must be finished
  bool nmi_blocked = false;
  bool smi_pending = false;
  bool in_smm = false;
  Activity activity = Activity::Running;
  u8 sipi_vector = 0;

  // As the SDM's table 10-1 says; INIT leaves the FPU, vector registers, MTRRs, machine checks, TSC
  // and most MSRs alone. EFER follows the APM's table 14-1 (0 after either).
  enum class ResetCause { PowerOn, Init };
  // cpu_signature is CPUID.1:EAX, found in EDX after reset. The bootstrap processor runs, the
  // others wait for SIPI.
  void reset(ResetCause cause, u32 cpu_signature, bool bootstrap);

  bool long_mode_active() const { return efer & kEferLma; }
  bool code64() const { return long_mode_active() && seg[Cs].long_mode(); }
  u8 cpl() const { return seg[Ss].dpl(); }
  void describe(StateVisitor& v);
  bool operator==(const State&) const = default;
};

// For `info registers` and error reports.
std::string print_registers(const State& state);
// Without x87 and vector registers.
std::string print_general_registers(const State& state);

}  // namespace menura::x86
