#include "accel/kvm/kvm_state.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace menura::kvm {

using x86::Segment;
using x86::State;
using x86::TableRegister;

kvm_regs to_regs(const State& s) {
  const auto& g = s.gpr;
  kvm_regs r{};
  r.rax = g[x86::Rax], r.rbx = g[x86::Rbx], r.rcx = g[x86::Rcx], r.rdx = g[x86::Rdx];
  r.rsi = g[x86::Rsi], r.rdi = g[x86::Rdi], r.rsp = g[x86::Rsp], r.rbp = g[x86::Rbp];
  r.r8 = g[8], r.r9 = g[9], r.r10 = g[10], r.r11 = g[11];
  r.r12 = g[12], r.r13 = g[13], r.r14 = g[14], r.r15 = g[15];
  r.rip = s.rip;
  r.rflags = s.rflags;
  return r;
}

void from_regs(State& s, const kvm_regs& r) {
  s.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
           r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  s.rip = r.rip;
  s.rflags = r.rflags;
}

namespace {

kvm_segment to_segment(const Segment& s) {
  kvm_segment k{};
  k.base = s.base;
  k.limit = s.limit;
  k.selector = s.selector;
  k.type = s.type();
  k.s = s.code_or_data();
  k.dpl = s.dpl();
  k.present = s.present();
  k.avl = (s.attributes >> 12) & 1;
  k.l = s.long_mode();
  k.db = s.db();
  k.g = s.granular();
  k.unusable = s.unusable;
  return k;
}

Segment from_segment(const kvm_segment& k) {
  return {.selector = k.selector,
          .attributes = static_cast<u16>((k.type & 15) | (k.s & 1) << 4 | (k.dpl & 3) << 5 |
                                         (k.present & 1) << 7 | (k.avl & 1) << 12 |
                                         (k.l & 1) << 13 | (k.db & 1) << 14 | (k.g & 1) << 15),
          .limit = k.limit,
          .base = k.base,
          .unusable = k.unusable != 0};
}

// kvm_sregs and kvm_sregs2 share all of this.
template <class Sregs>
Sregs to_common(const State& s) {
  Sregs k{};
  k.cs = to_segment(s.seg[x86::Cs]);
  k.ds = to_segment(s.seg[x86::Ds]);
  k.es = to_segment(s.seg[x86::Es]);
  k.fs = to_segment(s.seg[x86::Fs]);
  k.gs = to_segment(s.seg[x86::Gs]);
  k.ss = to_segment(s.seg[x86::Ss]);
  k.tr = to_segment(s.tr);
  k.ldt = to_segment(s.ldtr);
  k.gdt = {.base = s.gdtr.base, .limit = s.gdtr.limit, .padding = {}};
  k.idt = {.base = s.idtr.base, .limit = s.idtr.limit, .padding = {}};
  k.cr0 = s.cr0, k.cr2 = s.cr2, k.cr3 = s.cr3, k.cr4 = s.cr4, k.cr8 = s.cr8;
  k.efer = s.efer;
  k.apic_base = s.apic_base;
  return k;
}

template <class Sregs>
void from_common(State& s, const Sregs& k) {
  s.seg[x86::Cs] = from_segment(k.cs);
  s.seg[x86::Ds] = from_segment(k.ds);
  s.seg[x86::Es] = from_segment(k.es);
  s.seg[x86::Fs] = from_segment(k.fs);
  s.seg[x86::Gs] = from_segment(k.gs);
  s.seg[x86::Ss] = from_segment(k.ss);
  s.tr = from_segment(k.tr);
  s.ldtr = from_segment(k.ldt);
  s.gdtr = {.base = k.gdt.base, .limit = k.gdt.limit};
  s.idtr = {.base = k.idt.base, .limit = k.idt.limit};
  s.cr0 = k.cr0, s.cr2 = k.cr2, s.cr3 = k.cr3, s.cr4 = k.cr4, s.cr8 = k.cr8;
  s.efer = k.efer;
  s.apic_base = k.apic_base;
}

}  // namespace

kvm_sregs2 to_sregs2(const State& s) { return to_common<kvm_sregs2>(s); }

void from_sregs2(State& s, const kvm_sregs2& k) { from_common(s, k); }

kvm_sregs to_sregs(const State& s) {
  kvm_sregs k = to_common<kvm_sregs>(s);
  if (s.event.valid && !s.event.is_exception && !s.event.is_software)
    k.interrupt_bitmap[s.event.vector / 64] |= u64{1} << (s.event.vector % 64);
  return k;
}

void from_sregs(State& s, const kvm_sregs& k) { from_common(s, k); }

kvm_fpu to_fpu(const State& s) {
  kvm_fpu f{};
  f.fcw = s.x87.fcw;
  f.fsw = s.x87.fsw;
  f.ftwx = s.x87.ftw;
  f.last_opcode = s.x87.fop;
  f.last_ip = s.x87.fip;
  f.last_dp = s.x87.fdp;
  f.mxcsr = s.mxcsr;
  for (size_t i = 0; i < 8; i++) std::ranges::copy(s.x87.st[i], f.fpr[i]);
  for (size_t i = 0; i < x86::kVectorCount; i++)
    std::memcpy(f.xmm[i], s.vec[i].qwords.data(), sizeof f.xmm[i]);
  return f;
}

void from_fpu(State& s, const kvm_fpu& f) {
  s.x87 = {.fcw = f.fcw,
           .fsw = f.fsw,
           .ftw = f.ftwx,
           .fop = f.last_opcode,
           .fip = f.last_ip,
           .fdp = f.last_dp};
  s.mxcsr = f.mxcsr;
  for (size_t i = 0; i < 8; i++) std::copy_n(f.fpr[i], s.x87.st[i].size(), s.x87.st[i].begin());
  for (size_t i = 0; i < x86::kVectorCount; i++)
    std::memcpy(s.vec[i].qwords.data(), f.xmm[i], sizeof f.xmm[i]);
}

namespace {

// XSAVE components and the offsets of the legacy area, SDM vol. 1 §13.4.1 and table 10-2.
enum Component : unsigned {
  kX87 = 0,
  kSse = 1,
  kAvx = 2,
  kOpmask = 5,
  kZmmHigh = 6,
  kZmm16 = 7,
  kPkru = 9
};
constexpr size_t kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kFip = 8, kFdp = 16, kMxcsr = 24, kSt = 32,
                 kXmm = 160, kXstateBv = 512;
constexpr u16 kInitialFcw = 0x37f;

class AreaWriter {
 public:
  explicit AreaWriter(Bytes area) : area_(area) {}
  // Marks the component present if it is not in its initial configuration.
  void mark(Component component, bool used) {
    if (used) store_le<u64>(area_, kXstateBv, load_le<u64>(area_, kXstateBv) | u64{1} << component);
  }
  void put(size_t at, const void* from, size_t size) {
    std::memcpy(area_.subspan(at, size).data(), from, size);
  }

 private:
  Bytes area_;
};

void put_legacy(const State& s, Bytes area, AreaWriter& out) {
  store_le<u16>(area, kFcw, s.x87.fcw);
  store_le<u16>(area, kFsw, s.x87.fsw);
  store_le<u16>(area, kFtw, s.x87.ftw);
  store_le<u16>(area, kFop, s.x87.fop);
  store_le<u64>(area, kFip, s.x87.fip);
  store_le<u64>(area, kFdp, s.x87.fdp);
  store_le<u32>(area, kMxcsr, s.mxcsr);
  for (size_t i = 0; i < 8; i++) out.put(kSt + 16 * i, s.x87.st[i].data(), s.x87.st[i].size());
  x86::X87State initial;
  initial.fcw = kInitialFcw;
  out.mark(kX87, s.x87 != initial);
  bool xmm_used = false;
  for (size_t i = 0; i < x86::kVectorCount; i++) {
    out.put(kXmm + 16 * i, s.vec[i].qwords.data(), 16);
    xmm_used |= (s.vec[i].qwords[0] | s.vec[i].qwords[1]) != 0;
  }
  // MXCSR is only loaded with SSE or AVX marked.
  out.mark(kSse, xmm_used || s.mxcsr != 0x1f80);
}

}  // namespace

XsaveLayout XsaveLayout::of_host() {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  XsaveLayout layout;
  if (!__get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx)) return layout;
  const u64 present = eax | static_cast<u64>(edx) << 32;
  const auto offset = [&](unsigned component) -> u32 {
    if (!(present >> component & 1)) return 0;
    u32 size = 0, at = 0, c = 0, d = 0;
    __get_cpuid_count(0xd, component, &size, &at, &c, &d);
    return at;
  };
  layout.avx = offset(kAvx);
  layout.opmask = offset(kOpmask);
  layout.zmm_high = offset(kZmmHigh);
  layout.zmm16 = offset(kZmm16);
  layout.pkru = offset(kPkru);
  return layout;
}

void to_xsave(const State& s, const XsaveLayout& layout, Bytes area) {
  std::ranges::fill(area, std::byte{0});
  AreaWriter out(area);
  put_legacy(s, area, out);
  if (layout.avx != 0) {
    for (size_t i = 0; i < x86::kVectorCount; i++) {
      out.put(layout.avx + 16 * i, &s.vec[i].qwords[2], 16);
      out.mark(kAvx, (s.vec[i].qwords[2] | s.vec[i].qwords[3]) != 0);
    }
  }
  const x86::Avx512State unused;
  if (layout.opmask != 0) {
    out.put(layout.opmask, s.avx512.opmask.data(), sizeof s.avx512.opmask);
    out.mark(kOpmask, s.avx512.opmask != unused.opmask);
  }
  if (layout.zmm_high != 0) {
    out.put(layout.zmm_high, s.avx512.zmm_high.data(), sizeof s.avx512.zmm_high);
    out.mark(kZmmHigh, s.avx512.zmm_high != unused.zmm_high);
  }
  if (layout.zmm16 != 0) {
    out.put(layout.zmm16, s.avx512.zmm16.data(), sizeof s.avx512.zmm16);
    out.mark(kZmm16, s.avx512.zmm16 != unused.zmm16);
  }
  if (layout.pkru != 0) {
    store_le<u32>(area, layout.pkru, s.pkru);
    out.mark(kPkru, s.pkru != 0);
  }
}

void from_xsave(State& s, const XsaveLayout& layout, ConstBytes area) {
  s.x87 = {.fcw = load_le<u16>(area, kFcw),
           .fsw = load_le<u16>(area, kFsw),
           .ftw = static_cast<u8>(load_le<u16>(area, kFtw)),
           .fop = load_le<u16>(area, kFop),
           .fip = load_le<u64>(area, kFip),
           .fdp = load_le<u64>(area, kFdp)};
  s.mxcsr = load_le<u32>(area, kMxcsr);
  for (size_t i = 0; i < 8; i++)
    std::memcpy(s.x87.st[i].data(), area.subspan(kSt + 16 * i, 10).data(), 10);
  const u64 present = load_le<u64>(area, kXstateBv);
  const auto get = [&](Component component, size_t at, size_t skip, void* to, size_t size) {
    if (at != 0 && (present >> component & 1))
      std::memcpy(to, area.subspan(at + skip, size).data(), size);
  };
  for (size_t i = 0; i < x86::kVectorCount; i++) {
    s.vec[i] = {};
    std::memcpy(s.vec[i].qwords.data(), area.subspan(kXmm + 16 * i, 16).data(), 16);
    get(kAvx, layout.avx, 16 * i, &s.vec[i].qwords[2], 16);
  }
  s.avx512 = {};
  get(kOpmask, layout.opmask, 0, s.avx512.opmask.data(), sizeof s.avx512.opmask);
  get(kZmmHigh, layout.zmm_high, 0, s.avx512.zmm_high.data(), sizeof s.avx512.zmm_high);
  get(kZmm16, layout.zmm16, 0, s.avx512.zmm16.data(), sizeof s.avx512.zmm16);
  s.pkru = 0;
  get(kPkru, layout.pkru, 0, &s.pkru, sizeof s.pkru);
}

kvm_debugregs to_debugregs(const State& s) {
  kvm_debugregs k{};
  std::ranges::copy(s.dr, k.db);
  k.dr6 = s.dr6;
  k.dr7 = s.dr7;
  return k;
}

void from_debugregs(State& s, const kvm_debugregs& k) {
  std::ranges::copy(k.db, s.dr.begin());
  s.dr6 = k.dr6;
  s.dr7 = k.dr7;
}

kvm_vcpu_events to_events(const State& s, Smm smm) {
  kvm_vcpu_events k{};
  k.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
            KVM_VCPUEVENT_VALID_SHADOW;
  if (s.event.valid && s.event.is_exception) {
    k.exception.injected = 1;
    k.exception.nr = s.event.vector;
    k.exception.has_error_code = s.event.has_error_code;
    k.exception.error_code = s.event.error_code;
  } else if (s.event.valid) {
    k.interrupt.injected = 1;
    k.interrupt.nr = s.event.vector;
    k.interrupt.soft = s.event.is_software;
  }
  if (s.interrupt_shadow) k.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
  k.nmi.injected = s.nmi_injected;
  k.nmi.pending = s.nmi_pending;
  k.nmi.masked = s.nmi_blocked;
  k.sipi_vector = s.sipi_vector;
  if (smm == Smm::Present) {
    k.flags |= KVM_VCPUEVENT_VALID_SMM;
    k.smi.smm = s.in_smm;
    k.smi.pending = s.smi_pending;
    k.smi.smm_inside_nmi = s.in_smm && s.nmi_blocked;
  }
  return k;
}

void from_events(State& s, const kvm_vcpu_events& k) {
  s.event = {};
  // A pending exception (not yet given to the processor) is only told apart when asked for.
  if (k.exception.injected || k.exception.pending) {
    s.event = {.valid = true,
               .vector = k.exception.nr,
               .is_exception = true,
               .has_error_code = k.exception.has_error_code != 0,
               .error_code = k.exception.error_code};
  } else if (k.interrupt.injected) {
    s.event = {.valid = true, .vector = k.interrupt.nr, .is_software = k.interrupt.soft != 0};
  }
  s.interrupt_shadow = k.interrupt.shadow != 0;
  s.nmi_injected = k.nmi.injected != 0;
  s.nmi_pending = k.nmi.pending != 0;
  s.nmi_blocked = k.nmi.masked != 0;
  s.sipi_vector = static_cast<u8>(k.sipi_vector);
  const bool smm = k.flags & KVM_VCPUEVENT_VALID_SMM;
  s.in_smm = smm && k.smi.smm;
  s.smi_pending = smm && k.smi.pending;
}

u32 to_mp_state(x86::Activity activity) {
  switch (activity) {
    case x86::Activity::Running: return KVM_MP_STATE_RUNNABLE;
    // An AP fresh from power-on and one after INIT wait for the same message, but KVM hears SIPI
    // in the latter state only; firmware sends INIT first.
    case x86::Activity::WaitForSipi: return KVM_MP_STATE_UNINITIALIZED;
    case x86::Activity::InitReceived: return KVM_MP_STATE_INIT_RECEIVED;
    case x86::Activity::Halted: return KVM_MP_STATE_HALTED;
  }
  unreachable();
}

x86::Activity from_mp_state(u32 mp_state) {
  switch (mp_state) {
    case KVM_MP_STATE_UNINITIALIZED: return x86::Activity::WaitForSipi;
    case KVM_MP_STATE_INIT_RECEIVED: return x86::Activity::InitReceived;
    case KVM_MP_STATE_HALTED: return x86::Activity::Halted;
    default: return x86::Activity::Running;
  }
}

}  // namespace menura::kvm
