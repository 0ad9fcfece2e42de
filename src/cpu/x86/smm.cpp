#include "cpu/x86/smm.h"

#include <array>

#include "base/bits.h"
#include "cpu/x86/paging.h"

namespace menura::x86 {

namespace {

// The AMD64 save-state map: APM vol. 2 table 10-1, offsets from SMBASE.
enum Offset : u32 {
  kSegments = 0xfe00,  // ES CS SS DS FS GS, 16 bytes each
  kGdtr = 0xfe60,
  kLdtr = 0xfe70,
  kIdtr = 0xfe80,
  kTr = 0xfe90,
  kRipOfIo = 0xfec0,  // I/O restart: none
  kAutoHalt = 0xfec9,
  kNmiMask = 0xfeca,
  kEferAt = 0xfed0,
  kRevision = 0xfefc,
  kSmbase = 0xff00,
  kCr4At = 0xff48,
  kCr3At = 0xff50,
  kCr0At = 0xff58,
  kDr7At = 0xff60,
  kDr6At = 0xff68,
  kRflagsAt = 0xff70,
  kRipAt = 0xff78,
  kGprEnd = 0xfff8,  // RAX; the others lie below it in the order of their numbers
};
// I/O restart and SMBASE relocation are not and are there: bit 17; the map's number is 64h.
constexpr u32 kRevisionId = 0x0002'0064;
constexpr u32 kEntry = 0x8000;
constexpr u16 kSmmData = 0x8093;

class SaveMap {
 public:
  SaveMap(PhysicalBus& memory, u64 smbase) : memory_(memory), base_(smbase) {}

  u64 get(u32 at, unsigned size) const {
    return memory_.load_physical(GuestAddr{base_ + at}, size);
  }
  void put(u32 at, unsigned size, u64 value) {
    memory_.store_physical(GuestAddr{base_ + at}, size, value);
  }

  // The 12-bit form of the attributes that the map holds: type, S, DPL, P, AVL, L, D, G.
  void put_segment(u32 at, const Segment& s) {
    const u16 packed = static_cast<u16>((s.attributes & 0xff) | (s.attributes >> 4 & 0xf00));
    put(at, 2, s.selector);
    put(at + 2, 2, s.unusable ? 0 : packed);
    put(at + 4, 4, s.limit);
    put(at + 8, 8, s.base);
  }
  Segment get_segment(u32 at) const {
    const u64 packed = get(at + 2, 2);
    return {.selector = static_cast<u16>(get(at, 2)),
            .attributes = static_cast<u16>((packed & 0xff) | (packed & 0xf00) << 4),
            .limit = static_cast<u32>(get(at + 4, 4)),
            .base = get(at + 8, 8),
            .unusable = !(packed & 0x80)};
  }
  void put_table(u32 at, const TableRegister& t) {
    put(at + 4, 4, t.limit);
    put(at + 8, 8, t.base);
  }
  TableRegister get_table(u32 at) const {
    return {.base = get(at + 8, 8), .limit = static_cast<u16>(get(at + 4, 4))};
  }

 private:
  PhysicalBus& memory_;
  const u64 base_;
};

u32 gpr_offset(size_t number) { return kGprEnd - 8 * static_cast<u32>(number); }

void save(const State& s, SaveMap& map) {
  for (u32 i = 0; i < kSegCount; ++i) map.put_segment(kSegments + 16 * i, s.seg[i]);
  // The CPL is SS's DPL, which a null selector must not lose.
  if (s.seg[Ss].unusable) map.put(kSegments + 16 * Ss + 2, 2, s.cpl() << 5);
  map.put_segment(kLdtr, s.ldtr);
  map.put_segment(kTr, s.tr);
  map.put_table(kGdtr, s.gdtr);
  map.put_table(kIdtr, s.idtr);
  map.put(kAutoHalt, 1, s.activity == Activity::Halted);
  map.put(kNmiMask, 1, s.nmi_blocked);
  map.put(kEferAt, 8, s.efer);
  map.put(kRevision, 4, kRevisionId);
  map.put(kSmbase, 4, s.smbase);
  map.put(kCr4At, 8, s.cr4);
  map.put(kCr3At, 8, s.cr3);
  map.put(kCr0At, 8, s.cr0);
  map.put(kDr7At, 8, s.dr7);
  map.put(kDr6At, 8, s.dr6);
  map.put(kRflagsAt, 8, s.rflags);
  map.put(kRipAt, 8, s.rip);
  for (size_t i = 0; i < kGprCount; ++i) map.put(gpr_offset(i), 8, s.gpr[i]);
}

// The combinations of modes that no sequence of instructions can reach.
bool possible(const State& s) {
  const bool paging = s.cr0 & kCr0Pg, lma = s.efer & kEferLma;
  if (paging && !(s.cr0 & kCr0Pe)) return false;
  if ((s.cr0 & kCr0Nw) && !(s.cr0 & kCr0Cd)) return false;
  if (lma != (paging && (s.efer & kEferLme))) return false;
  if (lma && !(s.cr4 & kCr4Pae)) return false;
  return s.cr0 >> 32 == 0 && s.dr6 >> 32 == 0 && s.dr7 >> 32 == 0 && canonical(s, s.rip);
}

void load(State& s, const SaveMap& map) {
  for (u32 i = 0; i < kSegCount; ++i) s.seg[i] = map.get_segment(kSegments + 16 * i);
  s.ldtr = map.get_segment(kLdtr);
  s.tr = map.get_segment(kTr);
  s.gdtr = map.get_table(kGdtr);
  s.idtr = map.get_table(kIdtr);
  s.efer = map.get(kEferAt, 8);
  s.cr4 = map.get(kCr4At, 8);
  s.cr3 = map.get(kCr3At, 8);
  s.cr0 = map.get(kCr0At, 8);
  s.dr7 = map.get(kDr7At, 8);
  s.dr6 = map.get(kDr6At, 8);
  s.rflags = map.get(kRflagsAt, 8) | kRflagsAlwaysOne;
  s.rip = map.get(kRipAt, 8);
  for (size_t i = 0; i < kGprCount; ++i) s.gpr[i] = map.get(gpr_offset(i), 8);
  s.smbase = map.get(kSmbase, 4);
  s.nmi_blocked = map.get(kNmiMask, 1) & 1;
  s.activity = map.get(kAutoHalt, 1) & 1 ? Activity::Halted : Activity::Running;
}

}  // namespace

void enter_smm(State& s, CpuBus& bus) {
  // First, so that the bus shows SMRAM.
  s.in_smm = true;
  SaveMap map(bus, s.smbase);
  save(s, map);
  s.smi_pending = false;
  s.nmi_blocked = true;
  s.interrupt_shadow = false;
  s.activity = Activity::Running;
  s.rflags = kRflagsAlwaysOne;
  s.rip = kEntry;
  s.cr0 &= ~static_cast<u64>(kCr0Pe | kCr0Em | kCr0Ts | kCr0Pg);
  s.cr4 = 0;
  s.efer = 0;
  s.dr7 = 0x400;
  s.seg.fill({.attributes = kSmmData, .limit = 0xffff'ffff});
  s.seg[Cs].selector = static_cast<u16>(s.smbase >> 4);
  s.seg[Cs].base = s.smbase;
  bus.flush_tlb(TlbScope::All, 0);
}

bool resume_from_smm(State& s, CpuBus& bus) {
  State back = s;
  load(back, SaveMap(bus, s.smbase));
  if (!possible(back)) return false;
  back.in_smm = false;
  s = back;
  bus.flush_tlb(TlbScope::All, 0);
  return true;
}

}  // namespace menura::x86
