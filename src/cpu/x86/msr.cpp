#include "cpu/x86/msr.h"

#include <algorithm>
#include <array>

#include "cpu/x86/control.h"
#include "cpu/x86/paging.h"

namespace menura::x86 {

namespace {

enum Msr : u32 {
  kTsc = 0x10,
  kApicBase = 0x1b,
  kFeatureControl = 0x3a,
  kTscAdjust = 0x3b,
  kSpecCtrl = 0x48,
  kPredCmd = 0x49,
  kMicrocode = 0x8b,
  kMtrrCap = 0xfe,
  kSysenterCs = 0x174,
  kSysenterEsp = 0x175,
  kSysenterEip = 0x176,
  kMcgCap = 0x179,
  kMcgStatus = 0x17a,
  kMcgCtl = 0x17b,
  kMiscEnable = 0x1a0,
  kMtrrVariable = 0x200,
  kPat = 0x277,
  kMtrrDefType = 0x2ff,
  kMce = 0x400,
  kTscDeadline = 0x6e0,
  kX2apic = 0x800,
  kXss = 0xda0,
  kEfer = 0xc000'0080,
  kStar,
  kLstar,
  kCstar,
  kFmask,
  kFsBase = 0xc000'0100,
  kGsBase,
  kKernelGsBase,
  kTscAux,
};

constexpr std::array<u32, Mtrrs::kFixed> kMtrrFixed{0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                    0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

// Read as 0, writes ignored: microcode and platform registers that systems touch unasked.
constexpr std::array<u32, 23> kIgnored{
    0x17,        0x2a,        0x33,        0x34,        0x79,        0xce,
    0xcd,        0x119,       0x140,       0x1a2,       0x606,       0x611,
    0xc000'0104, 0xc001'0010, 0xc001'0015, 0xc001'001f, 0xc001'0055, 0xc001'0058,
    0xc001'0112, 0xc001'0113, 0xc001'1022, 0xc001'1029, 0xc001'102a};
// Performance counters and their selectors: there are none (CPUID says so), but firmware probes.
bool is_counter(u32 index) {
  return (index >= 0xc1 && index <= 0xc8) || (index >= 0x186 && index <= 0x18d) ||
         (index >= 0xc001'0000 && index <= 0xc001'0007) ||
         (index >= 0xc001'0200 && index <= 0xc001'020b);
}

// A register that is one word of State, if index is one.
u64* plain(State& s, u32 index) {
  switch (index) {
    case kFeatureControl: return &s.feature_control;
    case kSpecCtrl: return &s.spec_ctrl;
    case kSysenterCs: return &s.sysenter_cs;
    case kMcgStatus: return &s.mcg_status;
    case kMcgCtl: return &s.mcg_ctl;
    case kMiscEnable: return &s.misc_enable;
    case kMtrrDefType: return &s.mtrr.def_type;
    case kStar: return &s.star;
    case kFmask: return &s.fmask;
    case kTscAux: return &s.tsc_aux;
    default: break;
  }
  if (index >= kMtrrVariable && index < kMtrrVariable + 2 * Mtrrs::kVariable) {
    const size_t n = (index - kMtrrVariable) / 2;
    return index & 1 ? &s.mtrr.mask[n] : &s.mtrr.base[n];
  }
  for (size_t n = 0; n < Mtrrs::kFixed; n++)
    if (kMtrrFixed[n] == index) return &s.mtrr.fixed[n];
  if (index >= kMce && index < kMce + s.mce.size()) return &s.mce[index - kMce];
  return nullptr;
}

// A register that must hold a canonical address.
u64* address(State& s, u32 index) {
  switch (index) {
    case kSysenterEsp: return &s.sysenter_esp;
    case kSysenterEip: return &s.sysenter_eip;
    case kLstar: return &s.lstar;
    case kCstar: return &s.cstar;
    case kFsBase: return &s.seg[Fs].base;
    case kGsBase: return &s.seg[Gs].base;
    case kKernelGsBase: return &s.kernel_gs_base;
    default: return nullptr;
  }
}

bool of_apic(u32 index) {
  return index == kApicBase || index == kTscDeadline ||
         (index >= kX2apic && index < kX2apic + 0x100);
}

bool ignored(u32 index) {
  return is_counter(index) || std::ranges::find(kIgnored, index) != kIgnored.end();
}

bool valid_pat(u64 value) {
  for (unsigned n = 0; n < 8; n++) {
    const u8 type = static_cast<u8>(value >> (8 * n));
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

}  // namespace

OrFault<u64> read_msr(State& s, CpuBus& bus, u32 index) {
  if (of_apic(index)) {
    if (const std::optional<u64> value = bus.apic_msr(index)) return *value;
    return general_protection();
  }
  if (const u64* word = plain(s, index)) return *word;
  if (const u64* word = address(s, index)) return *word;
  switch (index) {
    case kTsc: return bus.tsc();
    case kTscAdjust: return s.tsc_adjust;
    case kMicrocode: return u64{0x100'0000} << 32;
    case kMtrrCap: return u64{0x500 | Mtrrs::kVariable};  // write-combining, fixed ranges
    case kMcgCap: return s.mcg_cap;
    case kPat: return s.pat;
    case kXss: return s.xss;
    case kEfer: return s.efer;
    default: break;
  }
  if (ignored(index)) return u64{0};
  return general_protection();
}

OrFault<void> write_msr(State& s, CpuBus& bus, u32 index, u64 value) {
  if (of_apic(index)) {
    if (!bus.set_apic_msr(index, value)) return general_protection();
    return {};
  }
  if (u64* word = plain(s, index)) {
    *word = value;
    return {};
  }
  if (u64* word = address(s, index)) {
    if (!canonical(s, value)) return general_protection();
    *word = value;
    return {};
  }
  switch (index) {
    case kTsc: bus.set_tsc(value); return {};
    case kTscAdjust:
      bus.set_tsc(bus.tsc() + value - s.tsc_adjust);
      s.tsc_adjust = value;
      return {};
    case kMicrocode:
    case kPredCmd: return {};
    case kPat:
      if (!valid_pat(value)) return general_protection();
      s.pat = value;
      return {};
    case kXss:
      if (value) return general_protection();
      return {};
    case kEfer: return write_efer(s, bus, value);
    default: break;
  }
  if (ignored(index)) return {};
  return general_protection();
}

}  // namespace menura::x86
