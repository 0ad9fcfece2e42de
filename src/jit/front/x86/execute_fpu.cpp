// x87 environments and FXSAVE areas; Intel SDM vol. 1 §8.1.10 and §10.5.
#include <algorithm>

#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

constexpr unsigned kRegisters = 8;
constexpr u16 kExceptions = 0x3f, kSummaryAndBusy = 0x8080;
constexpr size_t kLongEnvironment = 28, kShortEnvironment = 14;

unsigned top(u16 fsw) { return fsw >> 11 & 7; }

// A register's two-bit tag: what is in it.
unsigned tag(const std::array<u8, 10>& reg) {
  enum { Valid, Zero, Special };
  const u64 significand = load_raw<u64>(reg.data());
  const unsigned exponent = load_raw<u16>(reg.data() + 8) & 0x7fff;
  if (exponent == 0) return significand == 0 ? Zero : Special;
  if (exponent == 0x7fff) return Special;
  return test_bit(significand, 63) ? Valid : Special;
}

u16 full_tags(const x86::X87State& f) {
  constexpr unsigned kEmpty = 3;
  unsigned tags = 0;
  for (unsigned i = 0; i < kRegisters; i++) {
    const unsigned t = test_bit(u32{f.ftw}, i) ? tag(f.st[(i - top(f.fsw)) & 7]) : kEmpty;
    tags |= t << (2 * i);
  }
  return static_cast<u16>(tags);
}

u8 abridged_tags(u16 tags) {
  unsigned present = 0;
  for (unsigned i = 0; i < kRegisters; i++)
    if ((tags >> (2 * i) & 3) != 3) present |= 1u << i;
  return static_cast<u8>(present);
}

// A new TOP renames the registers, which stay where they are.
void turn_to(x86::X87State& f, u16 fsw) {
  std::rotate(f.st.begin(), f.st.begin() + ((top(fsw) - top(f.fsw)) & 7), f.st.end());
  f.fsw = fsw;
}

void summarize(x86::X87State& f) {
  const bool pending = f.fsw & ~f.fcw & kExceptions;
  f.fsw = static_cast<u16>(pending ? f.fsw | kSummaryAndBusy : f.fsw & ~kSummaryAndBusy);
}

bool real_format(const Execution& x) { return !x86::protected_mode(x.s); }

// Selectors are 0, as CPUID's deprecation of FCS and FDS allows.
void write_environment(const Execution& x, Bytes image) {
  const x86::X87State& f = x.s.x87;
  const bool wide = image.size() == kLongEnvironment;
  u32 words[7] = {f.fcw, f.fsw, full_tags(f), static_cast<u32>(f.fip), 0, static_cast<u32>(f.fdp),
                  0};
  if (wide && !real_format(x)) words[4] = u32{f.fop} << 16;
  if (real_format(x)) {
    const unsigned high = wide ? 0xffff : 0xf;
    words[4] = (words[3] >> 16 & high) << 12 | (f.fop & 0x7ff);
    words[6] = (words[5] >> 16 & high) << 12;
    words[3] &= 0xffff;
    words[5] &= 0xffff;
  }
  for (size_t i = 0; i < 7; i++) {
    if (!wide) {
      store_le(image, 2 * i, static_cast<u16>(words[i]));
      continue;
    }
    // Reserved halves read as ones.
    const bool reserved = i < 3 || (real_format(x) && (i == 3 || i == 5)) || i == 6;
    store_le(image, 4 * i, words[i] | (reserved && words[i] <= 0xffff ? 0xffff'0000 : 0));
  }
}

void read_environment(Execution& x, ConstBytes image) {
  x86::X87State& f = x.s.x87;
  const bool wide = image.size() == kLongEnvironment;
  u32 words[7];
  for (size_t i = 0; i < 7; i++)
    words[i] = wide ? load_le<u32>(image, 4 * i) : load_le<u16>(image, 2 * i);
  f.fcw = static_cast<u16>((words[0] & 0x1f7f) | 0x40);
  turn_to(f, static_cast<u16>(words[1]));
  f.ftw = abridged_tags(static_cast<u16>(words[2]));
  f.fip = words[3];
  f.fdp = words[5];
  f.fop = static_cast<u16>(wide && !real_format(x) ? words[4] >> 16 & 0x7ff : 0);
  if (real_format(x)) {
    f.fop = words[4] & 0x7ff;
    f.fip = (words[3] & 0xffff) | (words[4] >> 12 & 0xffff) << 16;
    f.fdp = (words[5] & 0xffff) | (words[6] >> 12 & 0xffff) << 16;
  }
  summarize(f);
}

size_t environment_size(const Execution& x) {
  return x.insn.operand_size == 2 ? kShortEnvironment : kLongEnvironment;
}

// The address of an FXSAVE area. AMD's order: alignment, then the segment.
OrFault<u64> area_address(const Execution& x, PageAccess access) {
  const x86::SegReg segment = segment_register(x.insn.segment);
  const u64 base = x.code64() && segment < x86::Fs ? 0 : x.s.seg[segment].base;
  if ((base + effective_address(x.s, x.insn)) % 16) return x86::general_protection();
  return x.address(512, access);
}

// In 64-bit mode at CPL 0 EFER.FFXSR leaves the XMM registers out.
bool fast(const Execution& x) {
  return (x.s.efer & x86::kEferFfxsr) && x.code64() && x.s.cpl() == 0;
}

}  // namespace

void clear_x87(Execution& x) {
  x86::X87State& f = x.s.x87;
  turn_to(f, 0);
  f.fcw = 0x37f;
  f.ftw = 0;
  f.fop = 0;
  f.fip = f.fdp = 0;
}

// FNSTENV, FNSAVE
Outcome save_environment(Execution& x) {
  x.bus.sync_fpu();
  std::array<std::byte, kLongEnvironment + 80> image{};
  const size_t head = environment_size(x);
  const bool whole = x.insn.mnemonic == Mnemonic::Fnsave;
  write_environment(x, std::span(image).first(head));
  for (unsigned i = 0; i < kRegisters; i++)
    std::memcpy(image.data() + head + 10 * i, x.s.x87.st[i].data(), 10);
  const size_t size = whole ? head + 80 : head;
  TRY(x.bus.write(TRY(x.address(static_cast<unsigned>(size), PageAccess::Write)),
                  std::span(image).first(size), Privilege::Current));
  if (whole) {
    clear_x87(x);
  } else {
    x.s.x87.fcw |= kExceptions;
    summarize(x.s.x87);
  }
  x.bus.fpu_changed();
  return Outcome::Done;
}

// FLDENV, FRSTOR
Outcome load_environment(Execution& x) {
  x.bus.sync_fpu();
  std::array<std::byte, kLongEnvironment + 80> image{};
  const size_t head = environment_size(x);
  const bool whole = x.insn.mnemonic == Mnemonic::Frstor;
  const size_t size = whole ? head + 80 : head;
  TRY(x.bus.read(TRY(x.address(static_cast<unsigned>(size), PageAccess::Read)),
                 std::span(image).first(size), Privilege::Current));
  read_environment(x, std::span(image).first(head));
  if (whole)
    for (unsigned i = 0; i < kRegisters; i++)
      std::memcpy(x.s.x87.st[i].data(), image.data() + head + 10 * i, 10);
  x.bus.fpu_changed();
  return Outcome::Done;
}

void save_x87(const Execution& x, Bytes area, bool wide) {
  const x86::X87State& f = x.s.x87;
  store_le(area, 0, f.fcw);
  store_le(area, 2, f.fsw);
  store_le(area, 4, u16{f.ftw});
  store_le(area, 6, f.fop);
  store_le(area, 8, wide ? f.fip : f.fip & 0xffff'ffff);
  store_le(area, 16, wide ? f.fdp : f.fdp & 0xffff'ffff);
  for (unsigned i = 0; i < kRegisters; i++) {
    std::memset(area.data() + kX87At + 16 * i, 0, 16);
    std::memcpy(area.data() + kX87At + 16 * i, f.st[i].data(), 10);
  }
}

void load_x87(Execution& x, ConstBytes area, bool wide) {
  x86::X87State& f = x.s.x87;
  f.fcw = static_cast<u16>((load_le<u16>(area, 0) & 0x1f7f) | 0x40);
  f.fsw = load_le<u16>(area, 2);
  f.ftw = static_cast<u8>(area[4]);
  f.fop = load_le<u16>(area, 6) & 0x7ff;
  f.fip = wide ? load_le<u64>(area, 8) : load_le<u32>(area, 8);
  f.fdp = wide ? load_le<u64>(area, 16) : load_le<u32>(area, 16);
  for (unsigned i = 0; i < kRegisters; i++)
    std::memcpy(f.st[i].data(), area.data() + kX87At + 16 * i, 10);
  summarize(f);
}

void save_xmm(const Execution& x, Bytes area) {
  for (unsigned i = 0; i < vector_count(x); i++)
    std::memcpy(area.data() + kXmmAt + 16 * i, x.s.vec[i].qwords.data(), 16);
}

void load_xmm(Execution& x, ConstBytes area) {
  for (unsigned i = 0; i < vector_count(x); i++)
    std::memcpy(x.s.vec[i].qwords.data(), area.data() + kXmmAt + 16 * i, 16);
}

Outcome fxsave(Execution& x) {
  const u64 at = TRY(area_address(x, PageAccess::Write));
  x.bus.sync_fpu();
  std::array<std::byte, kLegacyArea> area{};
  save_x87(x, area, x.insn.mnemonic == Mnemonic::Fxsave64);
  store_le(Bytes(area), kMxcsrAt, x.s.mxcsr);
  store_le(Bytes(area), kMxcsrAt + 4, kMxcsrMask);
  save_xmm(x, area);
  const size_t size = fast(x) ? kXmmAt : kXmmAt + 16 * vector_count(x);
  TRY(x.bus.probe(at, 512, PageAccess::Write, Privilege::Current));
  TRY(x.bus.write(at, std::span(area).first(size), Privilege::Current));
  return Outcome::Done;
}

Outcome fxrstor(Execution& x) {
  const u64 at = TRY(area_address(x, PageAccess::Read));
  std::array<std::byte, 512> area;
  TRY(x.bus.read(at, area, Privilege::Current));
  const u32 mxcsr = load_le<u32>(area, kMxcsrAt);
  if (mxcsr & ~kMxcsrMask) return x86::general_protection();
  x.bus.sync_fpu();
  load_x87(x, area, x.insn.mnemonic == Mnemonic::Fxrstor64);
  x.s.mxcsr = mxcsr;
  if (!fast(x)) load_xmm(x, area);
  x.bus.fpu_changed();
  return Outcome::Done;
}

}  // namespace menura::jit::x86
