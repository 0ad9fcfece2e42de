#include "cpu/x86/msr.h"

#include <algorithm>

#include "base/bits.h"
#include "cpu/x86/control.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/paging.h"

namespace menura::x86 {

namespace {

// Registers with side effects.
constexpr u32 kTsc = 0x10, kApicBase = 0x1b, kTscAdjust = 0x3b, kTscDeadline = 0x6e0,
              kX2apicFirst = 0x800, kX2apicLast = 0x8ff, kEferIndex = 0xc000'0080;

// What must be there for a register to exist.
enum class Need : u8 {
  Nothing,
  Amd,
  Intel,
  Sep,
  Mtrr,
  Mce,
  McgCtl,
  Pat,
  SpecCtrl,
  PredCmd,
  Xsaves,
  Syscall,
  LongMode,
  Rdtscp
};

bool met(const State& s, CpuBus& bus, Need need) {
  constexpr auto kEax = &CpuidLeaf::eax, kEbx = &CpuidLeaf::ebx, kEdx = &CpuidLeaf::edx;
  switch (need) {
    case Need::Nothing: return true;
    case Need::Amd: return is_amd(bus);
    case Need::Intel: return !is_amd(bus);
    case Need::Sep: return has(bus, {1, 0, kEdx, 11});
    case Need::Mtrr: return has(bus, {1, 0, kEdx, 12});
    case Need::Mce: return has(bus, {1, 0, kEdx, 14});
    case Need::McgCtl: return s.mcg_cap & bit(8);
    case Need::Pat: return has(bus, {1, 0, kEdx, 16});
    case Need::SpecCtrl: {
      constexpr u32 kIbrsStibpSsbd = 1u << 14 | 1u << 15 | 1u << 24;
      const u32 amd = bus.cpuid(0x8000'0008, 0).ebx;
      return has(bus, {7, 0, kEdx, 26}) || (amd & kIbrsStibpSsbd);
    }
    case Need::PredCmd: return has(bus, {7, 0, kEdx, 26}) || has(bus, {0x8000'0008, 0, kEbx, 12});
    case Need::Xsaves: return has(bus, {0xd, 1, kEax, 3});
    case Need::Syscall: return has(bus, {0x8000'0001, 0, kEdx, 11});
    case Need::LongMode: return has(bus, {0x8000'0001, 0, kEdx, 29});
    case Need::Rdtscp: return has(bus, {0x8000'0001, 0, kEdx, 27});
  }
  unreachable();
}

// What becomes of bits that a row does not list as writable.
enum class Others : u8 { Fault, Keep };

using Slot = u64* (*)(State&, u32 number);
using Check = bool (*)(const State&, const CpuBus&, u64 value);

// One register, or `count` alike in a row. Without a slot it reads as `fixed`, and writes that pass
// go nowhere.
struct Row {
  u32 first, count;
  const char* name;
  Need need = Need::Nothing;
  Slot slot = nullptr;
  u64 writable = ~u64{0};
  Others others = Others::Fault;
  Check check = nullptr;
  u64 fixed = 0;
};

template <u64 State::*Member>
u64* word(State& s, u32) {
  return &(s.*Member);
}
template <SegReg Seg>
u64* base(State& s, u32) {
  return &s.seg[Seg].base;
}
u64* mtrr_variable(State& s, u32 n) { return n & 1 ? &s.mtrr.mask[n / 2] : &s.mtrr.base[n / 2]; }
template <u32 From>
u64* mtrr_fixed(State& s, u32 n) {
  return &s.mtrr.fixed[From + n];
}
u64* mtrr_def_type(State& s, u32) { return &s.mtrr.def_type; }
u64* machine_check(State& s, u32 n) { return n < 4 * (s.mcg_cap & 0xff) ? &s.mce[n] : nullptr; }

bool memory_type(u64 type) { return type <= 6 && type != 2 && type != 3; }
bool all_types(u64 value, bool (*valid)(u64)) {
  for (unsigned i = 0; i < 8; ++i)
    if (!valid(value >> (8 * i) & 0xff)) return false;
  return true;
}

bool check_canonical(const State& s, const CpuBus&, u64 value) { return canonical(s, value); }
bool check_pat(const State&, const CpuBus&, u64 value) {
  return all_types(value, [](u64 type) { return type == 7 || memory_type(type); });
}
bool check_mtrr_fixed(const State&, const CpuBus&, u64 value) {
  return all_types(value, memory_type);
}
bool check_def_type(const State&, const CpuBus&, u64 value) { return memory_type(value & 0xff); }
bool check_physical(const State&, const CpuBus& bus, u64 value) {
  return !(value & ~low_mask(bus.physical_bits()));
}

constexpr u64 kMiscEnableWritable = bit(0) | bit(3) | bit(18) | bit(23) | bit(34);
constexpr u64 kNone = 0;
constexpr u64 kMtrrCap = 0x500 | Mtrrs::kVariable;  // write-combining, fixed ranges
// Revision 1, where Intel (upper half) and where AMD looks for it.
constexpr u64 kMicrocode = u64{1} << 32 | 1;
constexpr u64 kLfenceSerializes = bit(1);

// Sorted by index. Registers that reset to 0 and that no CPUID bit announces read as 0 and ignore
// writes; what CPUID could announce and does not is missing: #GP.
constexpr Row kRows[] = {
    {0x17, 1, "IA32_PLATFORM_ID", Need::Intel, nullptr, kNone},
    {0x2a, 1, "EBL_CR_POWERON", Need::Intel, nullptr, kNone, Others::Keep},
    {0x48, 1, "IA32_SPEC_CTRL", Need::SpecCtrl, word<&State::spec_ctrl>, 0x87},
    {0x49, 1, "IA32_PRED_CMD", Need::PredCmd, nullptr, 1},
    {0x8b, 1, "IA32_BIOS_SIGN_ID", Need::Nothing, nullptr, kNone, Others::Keep, nullptr,
     kMicrocode},
    {0xfe, 1, "IA32_MTRRCAP", Need::Mtrr, nullptr, kNone, Others::Fault, nullptr, kMtrrCap},
    {0x174, 1, "IA32_SYSENTER_CS", Need::Sep, word<&State::sysenter_cs>},
    {0x175, 1, "IA32_SYSENTER_ESP", Need::Sep, word<&State::sysenter_esp>, ~u64{0}, Others::Fault,
     check_canonical},
    {0x176, 1, "IA32_SYSENTER_EIP", Need::Sep, word<&State::sysenter_eip>, ~u64{0}, Others::Fault,
     check_canonical},
    {0x179, 1, "IA32_MCG_CAP", Need::Mce, word<&State::mcg_cap>, kNone, Others::Keep},
    {0x17a, 1, "IA32_MCG_STATUS", Need::Mce, word<&State::mcg_status>, 7},
    {0x17b, 1, "IA32_MCG_CTL", Need::McgCtl, word<&State::mcg_ctl>},
    {0x1a0, 1, "IA32_MISC_ENABLE", Need::Nothing, word<&State::misc_enable>, kMiscEnableWritable,
     Others::Keep},
    {0x1d9, 1, "IA32_DEBUGCTL", Need::Nothing, nullptr, kNone, Others::Keep},
    {0x1db, 4, "LASTBRANCH and LASTINT", Need::Nothing, nullptr, kNone, Others::Keep},
    {0x200, 2 * Mtrrs::kVariable, "IA32_MTRR_PHYS", Need::Mtrr, mtrr_variable, ~u64{0},
     Others::Fault, check_physical},
    {0x250, 1, "IA32_MTRR_FIX64K", Need::Mtrr, mtrr_fixed<0>, ~u64{0}, Others::Fault,
     check_mtrr_fixed},
    {0x258, 2, "IA32_MTRR_FIX16K", Need::Mtrr, mtrr_fixed<1>, ~u64{0}, Others::Fault,
     check_mtrr_fixed},
    {0x268, 8, "IA32_MTRR_FIX4K", Need::Mtrr, mtrr_fixed<3>, ~u64{0}, Others::Fault,
     check_mtrr_fixed},
    {0x277, 1, "IA32_PAT", Need::Pat, word<&State::pat>, ~u64{0}, Others::Fault, check_pat},
    {0x2ff, 1, "IA32_MTRR_DEF_TYPE", Need::Mtrr, mtrr_def_type, 0xcff, Others::Fault,
     check_def_type},
    {0x400, 4 * kMceBanks, "IA32_MCi", Need::Mce, machine_check},
    {0xda0, 1, "IA32_XSS", Need::Xsaves, word<&State::xss>, kNone},
    {0xc000'0081, 1, "STAR", Need::Syscall, word<&State::star>},
    {0xc000'0082, 1, "LSTAR", Need::LongMode, word<&State::lstar>, ~u64{0}, Others::Fault,
     check_canonical},
    {0xc000'0083, 1, "CSTAR", Need::LongMode, word<&State::cstar>, ~u64{0}, Others::Fault,
     check_canonical},
    {0xc000'0084, 1, "FMASK", Need::LongMode, word<&State::fmask>, 0xffff'ffff},
    {0xc000'0100, 1, "FS_BASE", Need::LongMode, base<Fs>, ~u64{0}, Others::Fault, check_canonical},
    {0xc000'0101, 1, "GS_BASE", Need::LongMode, base<Gs>, ~u64{0}, Others::Fault, check_canonical},
    {0xc000'0102, 1, "KERNEL_GS_BASE", Need::LongMode, word<&State::kernel_gs_base>, ~u64{0},
     Others::Fault, check_canonical},
    {0xc000'0103, 1, "TSC_AUX", Need::Rdtscp, word<&State::tsc_aux>, 0xffff'ffff},
    {0xc001'0000, 8, "PERF_CTL and PERF_CTR", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0010, 1, "SYSCFG", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0015, 1, "HWCR", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0016, 4, "IORR", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'001a, 1, "TOP_MEM", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'001d, 1, "TOP_MEM2", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'001f, 1, "NB_CFG1", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0055, 1, "INTERRUPT_PENDING", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0058, 1, "MMIO_CONFIG_BASE", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0061, 11, "PSTATE", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'0111, 1, "SMBASE", Need::Amd, word<&State::smbase>, kNone, Others::Keep},
    {0xc001'0112, 2, "SMM_ADDR and SMM_MASK", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'1020, 4, "LS_CFG to DC_CFG", Need::Amd, nullptr, kNone, Others::Keep},
    {0xc001'1029, 1, "DE_CFG", Need::Amd, nullptr, kNone, Others::Keep, nullptr, kLfenceSerializes},
    {0xc001'102a, 1, "BU_CFG2", Need::Amd, nullptr, kNone, Others::Keep},
};

consteval bool rows_ascend() {
  u32 next = 0;
  for (const Row& row : kRows) {
    if (row.first < next) return false;
    next = row.first + row.count;
  }
  return true;
}
static_assert(rows_ascend());

const Row* find_row(const State& s, CpuBus& bus, u32 index) {
  const Row* after = std::upper_bound(std::begin(kRows), std::end(kRows), index,
                                      [](u32 i, const Row& row) { return i < row.first; });
  if (after == std::begin(kRows)) return nullptr;
  const Row* row = after - 1;
  return index - row->first < row->count && met(s, bus, row->need) ? row : nullptr;
}

bool of_apic(u32 index) {
  return index == kApicBase || index == kTscDeadline ||
         (index >= kX2apicFirst && index <= kX2apicLast);
}

bool has_tsc_adjust(CpuBus& bus) { return has(bus, {7, 0, &CpuidLeaf::ebx, 1}); }

// MCi_STATUS takes 0 only: machine checks are not made up by software.
bool is_status(u32 index) {
  return index >= 0x400 && index < 0x400 + 4 * kMceBanks && index % 4 == 1;
}

}  // namespace

OrFault<u64> read_msr(State& s, CpuBus& bus, u32 index) {
  if (of_apic(index)) {
    if (const std::optional<u64> value = bus.apic_msr(index)) return *value;
    return general_protection();
  }
  if (index == kTsc) return bus.tsc();
  if (index == kEferIndex) return s.efer;
  if (index == kTscAdjust && has_tsc_adjust(bus)) return s.tsc_adjust;
  const Row* row = find_row(s, bus, index);
  if (!row) return general_protection();
  if (!row->slot) return row->fixed;
  if (const u64* at = row->slot(s, index - row->first)) return *at;
  return general_protection();
}

OrFault<void> write_msr(State& s, CpuBus& bus, u32 index, u64 value) {
  if (of_apic(index)) {
    if (!bus.set_apic_msr(index, value)) return general_protection();
    return {};
  }
  if (index == kEferIndex) return write_efer(s, bus, value);
  if (index == kTsc) {
    // SDM vol. 3 §18.17.3: the adjustment moves along.
    if (has_tsc_adjust(bus)) s.tsc_adjust += value - bus.tsc();
    bus.set_tsc(value);
    return {};
  }
  if (index == kTscAdjust && has_tsc_adjust(bus)) {
    bus.set_tsc(bus.tsc() + value - s.tsc_adjust);
    s.tsc_adjust = value;
    return {};
  }
  const Row* row = find_row(s, bus, index);
  if (!row) return general_protection();
  if (row->others == Others::Fault && (value & ~row->writable)) return general_protection();
  if (row->check && !row->check(s, bus, value)) return general_protection();
  if (!row->slot) return {};
  u64* at = row->slot(s, index - row->first);
  if (!at || (is_status(index) && value != 0)) return general_protection();
  *at = merge(*at, value, row->writable);
  return {};
}

}  // namespace menura::x86
