#include "cpu/x86/control.h"

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"

namespace menura::x86 {

namespace {

constexpr u64 kCr0Known = kCr0Pe | kCr0Mp | kCr0Em | kCr0Ts | kCr0Et | kCr0Ne | kCr0Wp | kCr0Am |
                          kCr0Nw | kCr0Cd | kCr0Pg;
constexpr u64 kPdptePresent = 1;
constexpr u64 kPdpteReserved = 0x1e6;  // bits 1-2 and 5-8; those above MAXPHYADDR as well
constexpr u64 kPcidKeep = u64{1} << 63;

// Where one bit of CPUID says that a bit of CR4 exists.
struct Cr4Feature {
  u32 leaf;
  u32 CpuidLeaf::*in;
  unsigned number;
  u64 bits;
};
constexpr Cr4Feature kCr4Features[] = {
    {1, &CpuidLeaf::edx, 1, kCr4Vme | kCr4Pvi}, {1, &CpuidLeaf::edx, 2, kCr4De},
    {1, &CpuidLeaf::edx, 3, kCr4Pse},           {1, &CpuidLeaf::edx, 4, kCr4Tsd},
    {1, &CpuidLeaf::edx, 6, kCr4Pae},           {1, &CpuidLeaf::edx, 7, kCr4Mce},
    {1, &CpuidLeaf::edx, 13, kCr4Pge},          {1, &CpuidLeaf::edx, 24, kCr4Osfxsr},
    {1, &CpuidLeaf::edx, 25, kCr4Osxmmexcpt},   {1, &CpuidLeaf::ecx, 17, kCr4Pcide},
    {1, &CpuidLeaf::ecx, 26, kCr4Osxsave},      {7, &CpuidLeaf::ebx, 0, kCr4Fsgsbase},
    {7, &CpuidLeaf::ebx, 7, kCr4Smep},          {7, &CpuidLeaf::ebx, 20, kCr4Smap},
    {7, &CpuidLeaf::ecx, 2, kCr4Umip},          {7, &CpuidLeaf::ecx, 3, kCr4Pke},
    {7, &CpuidLeaf::ecx, 16, kCr4La57},
};

// With PAE outside of long mode, what loads the four PDPTEs checks them: SDM vol. 3 §4.4.1.
OrFault<void> check_pdptes(CpuBus& bus, u64 cr3) {
  const u64 reserved = kPdpteReserved | ~low_mask(bus.physical_bits());
  for (unsigned i = 0; i < 4; ++i) {
    const u64 entry = bus.load_physical(GuestAddr{(cr3 & 0xffff'ffe0) + 8 * i}, 8);
    if ((entry & kPdptePresent) && (entry & reserved)) return general_protection();
  }
  return {};
}

bool pae_without_long_mode(u64 cr0, u64 cr4, u64 efer) {
  return (cr0 & kCr0Pg) && (cr4 & kCr4Pae) && !(efer & kEferLme);
}

OrFault<void> write_cr0(State& s, CpuBus& bus, u64 value) {
  if (value >> 32) return general_protection();
  value = (value & kCr0Known) | kCr0Et;
  const bool paging = value & kCr0Pg, was_paging = s.cr0 & kCr0Pg;
  if (paging && !(value & kCr0Pe)) return general_protection();
  if ((value & kCr0Nw) && !(value & kCr0Cd)) return general_protection();
  u64 efer = s.efer;
  if (paging && !was_paging && (efer & kEferLme)) {
    // SDM vol. 3 §10.8.5: PAE first, from a 32-bit code segment, not with a 16-bit TSS.
    const bool tss16 = s.tr.type() == kTss16 || s.tr.type() == kTss16Busy;
    if (!(s.cr4 & kCr4Pae) || s.seg[Cs].long_mode() || tss16) return general_protection();
    efer |= kEferLma;
  }
  if (!paging && was_paging) {
    if (s.code64() || (s.cr4 & kCr4Pcide)) return general_protection();
    efer &= ~u64{kEferLma};
  }
  const u64 changed = value ^ s.cr0;
  if ((changed & (kCr0Pg | kCr0Cd | kCr0Nw)) && pae_without_long_mode(value, s.cr4, efer))
    TRY(check_pdptes(bus, s.cr3));
  s.cr0 = value;
  s.efer = efer;
  if (changed & (kCr0Pg | kCr0Wp | kCr0Pe)) bus.flush_tlb(TlbScope::All, 0);
  return {};
}

OrFault<void> write_cr3(State& s, CpuBus& bus, u64 value) {
  const bool pcids = s.cr4 & kCr4Pcide;
  const bool keep = pcids && (value & kPcidKeep);
  if (pcids) value &= ~kPcidKeep;
  if (s.long_mode_active() && (value & ~low_mask(bus.physical_bits()))) return general_protection();
  if (pae_without_long_mode(s.cr0, s.cr4, s.efer)) TRY(check_pdptes(bus, value));
  s.cr3 = value;
  if (!keep)
    bus.flush_tlb(pcids ? TlbScope::OnePcid : TlbScope::NonGlobal, static_cast<u16>(value & 0xfff));
  return {};
}

OrFault<void> write_cr4(State& s, CpuBus& bus, u64 value) {
  if (value & ~allowed_cr4(bus)) return general_protection();
  const u64 changed = value ^ s.cr4;
  if (s.long_mode_active() && (!(value & kCr4Pae) || (changed & kCr4La57)))
    return general_protection();
  if ((value & changed & kCr4Pcide) && (!s.long_mode_active() || (s.cr3 & 0xfff)))
    return general_protection();
  constexpr u64 kReloads = kCr4Pae | kCr4Pge | kCr4Pse | kCr4Smep;
  if ((changed & kReloads) && pae_without_long_mode(s.cr0, value, s.efer))
    TRY(check_pdptes(bus, s.cr3));
  s.cr4 = value;
  constexpr u64 kFlushes = kReloads | kCr4Pcide | kCr4Smap | kCr4Pke | kCr4La57;
  if (changed & kFlushes) bus.flush_tlb(TlbScope::All, 0);
  return {};
}

}  // namespace

u64 allowed_cr4(CpuBus& bus) {
  const CpuidLeaf leaf1 = bus.cpuid(1, 0), leaf7 = bus.cpuid(7, 0);
  u64 allowed = kCr4Pce;
  for (const Cr4Feature& f : kCr4Features)
    if ((f.leaf == 1 ? leaf1 : leaf7).*f.in >> f.number & 1) allowed |= f.bits;
  return allowed;
}

OrFault<u64> read_control(const State& s, CpuBus& bus, unsigned number) {
  switch (number) {
    case 0: return s.cr0;
    case 2: return s.cr2;
    case 3: return s.cr3;
    case 4: return s.cr4;
    case 8: return u64{bus.task_priority()};
    default: return undefined_opcode();
  }
}

OrFault<void> write_control(State& s, CpuBus& bus, unsigned number, u64 value) {
  if (!s.code64()) value &= 0xffff'ffff;
  switch (number) {
    case 0: return write_cr0(s, bus, value);
    case 2: s.cr2 = value; return {};
    case 3: return write_cr3(s, bus, value);
    case 4: return write_cr4(s, bus, value);
    case 8:
      if (value > 15) return general_protection();
      s.cr8 = value;
      bus.set_task_priority(static_cast<u8>(value));
      return {};
    default: return undefined_opcode();
  }
}

OrFault<void> load_machine_status(State& s, CpuBus& bus, u16 value) {
  constexpr u64 kCleared = kCr0Mp | kCr0Em | kCr0Ts, kSet = kCleared | kCr0Pe;
  return write_cr0(s, bus, (s.cr0 & ~kCleared) | (value & kSet));
}

void clear_task_switched(State& s) { s.cr0 &= ~u64{kCr0Ts}; }

OrFault<void> write_efer(State& s, CpuBus& bus, u64 value) {
  const u32 features = bus.cpuid(0x8000'0001, 0).edx;
  u64 allowed = 0;
  if (features & bit(11)) allowed |= kEferSce;
  if (features & bit(20)) allowed |= kEferNxe;
  if (features & bit(25)) allowed |= kEferFfxsr;
  if (features & bit(29)) allowed |= kEferLme | kEferLma;
  if (value & ~allowed) return general_protection();
  const u64 changed = value ^ s.efer;
  if ((s.cr0 & kCr0Pg) && (changed & kEferLme)) return general_protection();
  s.efer = merge<u64>(value, s.efer, kEferLma);
  if (changed & kEferNxe) bus.flush_tlb(TlbScope::All, 0);
  return {};
}

namespace {

constexpr u64 kDr7Gd = u64{1} << 13;

// DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE.
OrFault<unsigned> debug_number(State& s, unsigned number) {
  if (number > 7) return undefined_opcode();
  if (number == 4 || number == 5) {
    if (s.cr4 & kCr4De) return undefined_opcode();
    number += 2;
  }
  if (s.dr7 & kDr7Gd) {
    s.dr6 |= kDr6Bd;
    return Fault{kDb};
  }
  return number;
}

}  // namespace

OrFault<u64> read_debug(State& s, unsigned number) {
  number = TRY(debug_number(s, number));
  return number < 4 ? s.dr[number] : number == 6 ? s.dr6 : s.dr7;
}

OrFault<void> write_debug(State& s, unsigned number, u64 value) {
  number = TRY(debug_number(s, number));
  if (!s.code64()) value &= 0xffff'ffff;
  if (number < 4) {
    s.dr[number] = value;
    return {};
  }
  if (value >> 32) return general_protection();
  if (number == 6)
    s.dr6 = (value & 0xe00f) | 0xffff'0ff0;
  else
    s.dr7 = (value & 0xffff'23ff) | 0x400;
  return {};
}

namespace {

// XCR0: SDM vol. 1 §13.3.
constexpr u64 kXcrX87 = 1, kXcrSse = 2, kXcrAvx = 4, kXcrAvx512 = 0xe0;

bool valid_xcr0(u64 value, u64 offered) {
  if (!(value & kXcrX87) || (value & ~offered)) return false;
  if ((value & kXcrAvx) && !(value & kXcrSse)) return false;
  const u64 avx512 = value & kXcrAvx512;
  return avx512 == 0 || (avx512 == kXcrAvx512 && (value & kXcrAvx));
}

}  // namespace

OrFault<u64> read_xcr(const State& s, u32 index) {
  if (index > 1) return general_protection();
  return s.xcr0;  // XCR1: all that is enabled counts as in use
}

OrFault<void> write_xcr(State& s, CpuBus& bus, u32 index, u64 value) {
  const CpuidLeaf leaf = bus.cpuid(0xd, 0);
  if (index != 0 || !valid_xcr0(value, leaf.eax | u64{leaf.edx} << 32)) return general_protection();
  s.xcr0 = value;
  return {};
}

}  // namespace menura::x86
