// FXSAVE, XSAVE and their kin: x87, SSE and AVX state in memory. Spec: Intel SDM vol. 1 §10.5, §13.
#include <array>
#include <cstring>

#include "base/bits.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

constexpr u64 kX87 = 1, kSse = 2, kAvx = 4;
constexpr size_t kLegacy = 512, kHeader = 64, kAvxAt = 576, kArea = 832;
constexpr u32 kMxcsrMask = 0xffff;
constexpr u16 kDefaultFcw = 0x37f;
constexpr u32 kDefaultMxcsr = 0x1f80;

using Area = std::array<std::byte, kArea>;

size_t xmm_count(const Executor& x) { return x.bits64() ? 16 : 8; }

void put_x87(const cpu::State& s, Area& a) {
  const Bytes to(a);
  store_le<u16>(to, 0, s.x87.fcw);
  store_le<u16>(to, 2, s.x87.fsw);
  store_le<u16>(to, 4, s.x87.ftw);
  store_le<u16>(to, 6, s.x87.fop);
  store_le<u64>(to, 8, s.x87.fip);
  store_le<u64>(to, 16, s.x87.fdp);
  for (unsigned k = 0; k < 8; k++) std::memcpy(a.data() + 32 + 16 * k, s.x87.st[k].data(), 10);
}

void get_x87(cpu::State& s, const Area& a) {
  const ConstBytes from(a);
  s.x87.fcw = load_le<u16>(from, 0);
  s.x87.fsw = load_le<u16>(from, 2);
  s.x87.ftw = static_cast<u8>(load_le<u16>(from, 4));
  s.x87.fop = load_le<u16>(from, 6);
  s.x87.fip = load_le<u64>(from, 8);
  s.x87.fdp = load_le<u64>(from, 16);
  for (unsigned k = 0; k < 8; k++) std::memcpy(s.x87.st[k].data(), a.data() + 32 + 16 * k, 10);
}

void put_mxcsr(const cpu::State& s, Area& a) {
  store_le<u32>(Bytes(a), 24, s.mxcsr);
  store_le<u32>(Bytes(a), 28, kMxcsrMask);
}

void put_xmm(const Executor& x, Area& a) {
  for (size_t k = 0; k < xmm_count(x); k++)
    std::memcpy(a.data() + 160 + 16 * k, x.s.vec[k].qwords.data(), 16);
}
void get_xmm(Executor& x, const Area& a) {
  for (size_t k = 0; k < xmm_count(x); k++)
    std::memcpy(x.s.vec[k].qwords.data(), a.data() + 160 + 16 * k, 16);
}
void put_ymm(const Executor& x, Area& a) {
  for (size_t k = 0; k < xmm_count(x); k++)
    std::memcpy(a.data() + kAvxAt + 16 * k, &x.s.vec[k].qwords[2], 16);
}
void get_ymm(Executor& x, const Area& a) {
  for (size_t k = 0; k < xmm_count(x); k++)
    std::memcpy(&x.s.vec[k].qwords[2], a.data() + kAvxAt + 16 * k, 16);
}

OrFault<u64> area_address(Executor& x, size_t size, u64 alignment, PageAccess access) {
  const u64 at = TRY(x.address(static_cast<unsigned>(size), access));
  if (at & (alignment - 1)) return cpu::general_protection();
  return at;
}

Outcome fxsave(Executor& x) {
  const u64 at = TRY(area_address(x, kLegacy, 16, PageAccess::Write));
  x.bus.sync_fpu();
  Area a{};
  put_x87(x.s, a);
  put_mxcsr(x.s, a);
  put_xmm(x, a);
  // Bytes 464 to 511 belong to software.
  TRY(x.bus.write(at, ConstBytes(a).first(160 + 16 * xmm_count(x)), Privilege::Current));
  return x.done();
}

Outcome fxrstor(Executor& x) {
  const u64 at = TRY(area_address(x, kLegacy, 16, PageAccess::Read));
  Area a{};
  TRY(x.bus.read(at, Bytes(a).first(kLegacy), Privilege::Current));
  const u32 mxcsr = load_le<u32>(ConstBytes(a), 24);
  if (mxcsr & ~kMxcsrMask) return cpu::general_protection();
  get_x87(x.s, a);
  x.s.mxcsr = mxcsr;
  get_xmm(x, a);
  x.bus.fpu_changed();
  return x.done();
}

OrFault<u64> requested(const Executor& x) {
  if (!(x.s.cr4 & cpu::kCr4Osxsave)) return cpu::undefined_opcode();
  if (x.s.cr0 & cpu::kCr0Ts) return cpu::device_not_available();
  return (x.gpr(cpu::Rax, 4) | x.gpr(cpu::Rdx, 4) << 32) & x.s.xcr0;
}

Outcome xsave(Executor& x, bool compact) {
  const u64 mask = TRY(requested(x));
  const size_t size = mask & kAvx ? kArea : kLegacy + kHeader;
  const u64 at = TRY(area_address(x, size, 64, PageAccess::Write));
  x.bus.sync_fpu();
  Area a{};
  // The parts not asked for stay as they are in memory: they are read first.
  TRY(x.bus.probe(at, size, PageAccess::Write, Privilege::Current));
  TRY(x.bus.read(at, Bytes(a).first(size), Privilege::Current));
  if (mask & kX87) put_x87(x.s, a);
  if (mask & (kSse | kAvx)) put_mxcsr(x.s, a);
  if (mask & kSse) put_xmm(x, a);
  if (mask & kAvx) put_ymm(x, a);
  const u64 old = load_le<u64>(ConstBytes(a), kLegacy);
  store_le<u64>(Bytes(a), kLegacy, compact ? mask : (old & ~mask) | mask);
  if (compact) store_le<u64>(Bytes(a), kLegacy + 8, u64{1} << 63 | mask);
  TRY(x.bus.write(at, ConstBytes(a).first(size), Privilege::Current));
  return x.done();
}

Outcome xrstor(Executor& x, bool compact_only) {
  const u64 mask = TRY(requested(x));
  const u64 at = TRY(area_address(x, kLegacy + kHeader, 64, PageAccess::Read));
  Area a{};
  TRY(x.bus.read(at, Bytes(a).first(kLegacy + kHeader), Privilege::Current));
  const u64 present = load_le<u64>(ConstBytes(a), kLegacy),
            layout = load_le<u64>(ConstBytes(a), kLegacy + 8);
  const bool compact = layout >> 63;
  if ((compact_only && !compact) || (present & ~x.s.xcr0)) return cpu::general_protection();
  const u64 held = layout & low_mask(63);
  if (compact ? (held & ~x.s.xcr0) || (present & ~held) : held != 0)
    return cpu::general_protection();
  if (mask & present & kAvx)
    TRY(x.bus.read(at + kAvxAt, Bytes(a).subspan(kAvxAt), Privilege::Current));
  const bool loads_mxcsr = compact ? (mask & present & kSse) : (mask & (kSse | kAvx));
  const u32 mxcsr = load_le<u32>(ConstBytes(a), 24);
  if (loads_mxcsr && (mxcsr & ~kMxcsrMask)) return cpu::general_protection();
  if (loads_mxcsr)
    x.s.mxcsr = mxcsr;
  else if (compact && (mask & kSse))
    x.s.mxcsr = kDefaultMxcsr;
  if (mask & kX87) {
    if (!(present & kX87))
      std::memset(a.data(), 0, 24), std::memset(a.data() + 32, 0, 128),
          store_le<u16>(Bytes(a), 0, kDefaultFcw);
    get_x87(x.s, a);
    x.bus.fpu_changed();
  }
  if (mask & kSse) {
    if (!(present & kSse)) std::memset(a.data() + 160, 0, 256);
    get_xmm(x, a);
  }
  if (mask & kAvx) get_ymm(x, a);  // zero when not present: the buffer is
  return x.done();
}

}  // namespace

Outcome execute_state(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Fxsave:
    case Mnemonic::Fxsave64: return fxsave(x);
    case Mnemonic::Fxrstor:
    case Mnemonic::Fxrstor64: return fxrstor(x);
    case Mnemonic::Xsave:
    case Mnemonic::Xsave64:
    case Mnemonic::Xsaveopt:
    case Mnemonic::Xsaveopt64: return xsave(x, false);
    case Mnemonic::Xsavec:
    case Mnemonic::Xsavec64: return xsave(x, true);
    case Mnemonic::Xrstor:
    case Mnemonic::Xrstor64: return xrstor(x, false);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
