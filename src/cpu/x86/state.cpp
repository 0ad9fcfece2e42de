#include "cpu/x86/state.h"

namespace menura::x86 {

namespace {

constexpr u16 kPresentData = 0x93;  // read/write, accessed
constexpr u16 kPresentLdt = 0x82;   // LDT
constexpr u16 kPresentTss = 0x8b;   // 32-bit TSS, busy
constexpr u64 kPatAtReset = 0x0007'0406'0007'0406;
constexpr u64 kApicBaseAtReset = 0xfee0'0000 | 1u << 11;  // enabled
constexpr u64 kApicBaseBsp = 1u << 8;
constexpr u64 kMiscEnableAtReset = 1u << 0 | 1u << 11 | 1u << 12;  // fast strings; no BTS, no PEBS
constexpr u64 kMcgCtlPresent = 1u << 8;
constexpr u64 kSmbaseAtReset = 0x3'0000;

// The part of the table that is alike after power-on and INIT.
void reset_common(State& s, u32 cpu_signature, bool bootstrap) {
  s.gpr.fill(0);
  s.gpr[Rdx] = cpu_signature;
  s.rip = 0xfff0;
  s.rflags = kRflagsAlwaysOne;
  s.seg.fill({.selector = 0, .attributes = kPresentData, .limit = 0xffff});
  s.seg[Cs].selector = 0xf000;
  s.seg[Cs].base = 0xffff'0000;
  s.ldtr = {.selector = 0, .attributes = kPresentLdt, .limit = 0xffff};
  s.tr = {.selector = 0, .attributes = kPresentTss, .limit = 0xffff};
  s.gdtr = {.base = 0, .limit = 0xffff};
  s.idtr = {.base = 0, .limit = 0xffff};
  s.cr2 = s.cr3 = s.cr4 = s.cr8 = 0;
  s.dr.fill(0);
  s.dr6 = 0xffff'0ff0;
  s.dr7 = 0x400;
  s.efer = 0;
  s.event = {};
  s.interrupt_shadow = false;
  s.nmi_pending = s.nmi_injected = s.nmi_blocked = s.smi_pending = false;
  s.sipi_vector = 0;
  s.activity = bootstrap ? Activity::Running : Activity::WaitForSipi;
  // The paravirtual MSRs name guest memory that a restarted CPU must not write any more.
  s.kvm_system_time = s.kvm_wall_clock = 0;
  s.kvm_async_pf = s.kvm_steal_time = s.kvm_pv_eoi = 0;
  s.kvm_poll_control = 1;
}

void reset_power_on(State& s, bool bootstrap) {
  s.x87.ftw = 0xff;  // tag word 5555h: eight times +0.0
  s.pat = kPatAtReset;
  s.apic_base = kApicBaseAtReset | (bootstrap ? kApicBaseBsp : 0);
  s.misc_enable = kMiscEnableAtReset;
  s.smbase = kSmbaseAtReset;
  if (s.mcg_cap & kMcgCtlPresent) s.mcg_ctl = ~u64{0};
  for (size_t bank = 0; bank < std::min<size_t>(s.mcg_cap & 0xff, kMceBanks); bank++)
    s.mce[4 * bank] = ~u64{0};
}

}  // namespace

void State::reset(ResetCause cause, u32 cpu_signature, bool bootstrap) {
  if (cause == ResetCause::PowerOn) {
    State fresh;
    fresh.mcg_cap = mcg_cap;  // what the CPU is, not what it did
    reset_power_on(fresh, bootstrap);
    *this = fresh;
    cr0 = kCr0Cd | kCr0Nw | kCr0Et;
  } else {
    cr0 = (cr0 & (kCr0Cd | kCr0Nw)) | kCr0Et;
  }
  reset_common(*this, cpu_signature, bootstrap);
}

void Segment::describe(StateVisitor& v) {
  v.field("selector", selector);
  v.field("attributes", attributes);
  v.field("limit", limit);
  v.field("base", base);
  v.field("unusable", unusable);
}

void TableRegister::describe(StateVisitor& v) {
  v.field("base", base);
  v.field("limit", limit);
}

void X87State::describe(StateVisitor& v) {
  v.field("fcw", fcw);
  v.field("fsw", fsw);
  v.field("ftw", ftw);
  v.field("fop", fop);
  v.field("fip", fip);
  v.field("fdp", fdp);
  v.field("st", st);
}

void VectorRegister::describe(StateVisitor& v) { v.field("qwords", qwords); }

void Avx512State::describe(StateVisitor& v) {
  v.field("opmask", opmask);
  v.field("zmm_high", zmm_high);
  v.field("zmm16", zmm16);
}

void PendingEvent::describe(StateVisitor& v) {
  v.field("valid", valid);
  v.field("vector", vector);
  v.field("is_exception", is_exception);
  v.field("is_software", is_software);
  v.field("has_error_code", has_error_code);
  v.field("error_code", error_code);
}

void Mtrrs::describe(StateVisitor& v) {
  v.field("def_type", def_type);
  v.field("fixed", fixed);
  v.field("base", base);
  v.field("mask", mask);
}

namespace {

void describe_registers(State& s, StateVisitor& v) {
  v.field("gpr", s.gpr);
  v.field("rip", s.rip);
  v.field("rflags", s.rflags);
  v.field("seg", s.seg);
  v.field("ldtr", s.ldtr);
  v.field("tr", s.tr);
  v.field("gdtr", s.gdtr);
  v.field("idtr", s.idtr);
  v.field("cr0", s.cr0);
  v.field("cr2", s.cr2);
  v.field("cr3", s.cr3);
  v.field("cr4", s.cr4);
  v.field("cr8", s.cr8);
  v.field("dr", s.dr);
  v.field("dr6", s.dr6);
  v.field("dr7", s.dr7);
  v.field("efer", s.efer);
  v.field("xcr0", s.xcr0);
  v.field("x87", s.x87);
  v.field("mxcsr", s.mxcsr);
  v.field("vec", s.vec);
  v.field("avx512", s.avx512);
  v.field("pkru", s.pkru);
}

void describe_msrs(State& s, StateVisitor& v) {
  v.field("tsc", s.tsc);
  v.field("tsc_adjust", s.tsc_adjust);
  v.field("tsc_aux", s.tsc_aux);
  v.field("tsc_deadline", s.tsc_deadline);
  v.field("apic_base", s.apic_base);
  v.field("pat", s.pat);
  v.field("star", s.star);
  v.field("lstar", s.lstar);
  v.field("cstar", s.cstar);
  v.field("fmask", s.fmask);
  v.field("kernel_gs_base", s.kernel_gs_base);
  v.field("sysenter_cs", s.sysenter_cs);
  v.field("sysenter_esp", s.sysenter_esp);
  v.field("sysenter_eip", s.sysenter_eip);
  v.field("misc_enable", s.misc_enable);
  v.field("feature_control", s.feature_control);
  v.field("spec_ctrl", s.spec_ctrl);
  v.field("xss", s.xss);
  v.field("smbase", s.smbase);
  v.field("mtrr", s.mtrr);
  v.field("mcg_cap", s.mcg_cap);
  v.field("mcg_status", s.mcg_status);
  v.field("mcg_ctl", s.mcg_ctl);
  v.field("mce", s.mce);
  v.field("kvm_system_time", s.kvm_system_time);
  v.field("kvm_wall_clock", s.kvm_wall_clock);
  v.field("kvm_async_pf", s.kvm_async_pf);
  v.field("kvm_steal_time", s.kvm_steal_time);
  v.field("kvm_pv_eoi", s.kvm_pv_eoi);
  v.field("kvm_poll_control", s.kvm_poll_control);
}

}  // namespace

void State::describe(StateVisitor& v) {
  describe_registers(*this, v);
  describe_msrs(*this, v);
  v.field("event", event);
  v.field("interrupt_shadow", interrupt_shadow);
  v.field("nmi_pending", nmi_pending);
  v.field("nmi_injected", nmi_injected);
  v.field("nmi_blocked", nmi_blocked);
  v.field("smi_pending", smi_pending);
  v.field("in_smm", in_smm);
  v.field("activity", activity);
  v.field("sipi_vector", sipi_vector);
}

}  // namespace menura::x86
