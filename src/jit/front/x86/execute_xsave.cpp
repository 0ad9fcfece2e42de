// The XSAVE family: standard and compacted areas; Intel SDM vol. 1 chapter 13. Where components lie
// and how large they are is what CPUID leaf 0Dh tells the guest.
#include <algorithm>
#include <optional>

#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

enum Component : unsigned { kX87, kSse, kAvx, kPkru = 9, kComponents = 63 };
constexpr u64 kX87Bit = bit(kX87), kSseBit = bit(kSse), kAvxBit = bit(kAvx), kPkruBit = bit(kPkru);
constexpr u64 kCompacted = bit(63);
constexpr u64 kHeaderAt = 512, kExtendedAt = 576, kAreaAlignment = 64;
constexpr u32 kMxcsrReset = 0x1f80;
constexpr size_t kAvxBytes = 256;

bool is(const Execution& x, Mnemonic narrow, Mnemonic wide) {
  return x.insn.mnemonic == narrow || x.insn.mnemonic == wide;
}
bool wide(const Execution& x) { return x.insn.rex & 8; }

OrFault<void> check_enabled(const Execution& x) {
  if (!(x.s.cr4 & x86::kCr4Osxsave)) return x86::undefined_opcode();
  if (x.s.cr0 & x86::kCr0Ts) return x86::device_not_available();
  return {};
}

// The components asked for that the OS enabled.
u64 requested(const Execution& x, bool supervisor) {
  const u64 mask = x.gpr(x86::Rdx, 4) << 32 | x.gpr(x86::Rax, 4);
  return mask & (x.s.xcr0 | (supervisor ? x.s.xss : 0));
}

// Where component `which` (from 2 on) begins; `compacted` holds XCOMP_BV, or 0 for the standard form.
u64 offset_of(Execution& x, unsigned which, u64 compacted) {
  if (compacted == 0) return x.bus.cpuid(0xd, which).ebx;
  constexpr u32 kAligned = 2;
  u64 at = kExtendedAt;
  for (unsigned i = 2; i <= which; i++) {
    if (!test_bit(compacted, i)) continue;
    const x86::CpuidLeaf leaf = x.bus.cpuid(0xd, i);
    if (leaf.ecx & kAligned) at = align_up(at, kAreaAlignment);
    if (i == which) return at;
    at += leaf.eax;
  }
  return at;
}

u64 area_size(Execution& x, u64 components, u64 compacted) {
  u64 size = kExtendedAt;
  for (unsigned i = 2; i < kComponents; i++)
    if (test_bit(components, i))
      size = std::max<u64>(size, offset_of(x, i, compacted) + x.bus.cpuid(0xd, i).eax);
  return size;
}

// Components that are not as at reset.
u64 in_use(const Execution& x) {
  const x86::X87State& f = x.s.x87;
  u64 used = 0;
  if (f.fcw != 0x37f || f.fsw != 0 || f.ftw != 0 || f.fip != 0 || f.fdp != 0) used |= kX87Bit;
  for (unsigned i = 0; i < vector_count(x); i++) {
    const auto& q = x.s.vec[i].qwords;
    if (q[0] | q[1]) used |= kSseBit;
    if (q[2] | q[3]) used |= kAvxBit;
  }
  if (x.s.pkru != 0) used |= kPkruBit;
  return used;
}

std::array<std::byte, kAvxBytes> avx_image(const Execution& x) {
  std::array<std::byte, kAvxBytes> image{};
  for (unsigned i = 0; i < vector_count(x); i++)
    std::memcpy(image.data() + 16 * i, x.s.vec[i].qwords.data() + 2, 16);
  return image;
}

// Writes the components; the area was probed.
OrFault<void> write_components(Execution& x, u64 at, u64 components, u64 compacted) {
  std::array<std::byte, kLegacyArea> area{};
  const auto put = [&](u64 offset, ConstBytes from) {
    return x.bus.write(at + offset, from, Privilege::Current);
  };
  const ConstBytes image = area;
  if (components & kX87Bit) {
    save_x87(x, area, wide(x));
    TRY(put(0, image.first(kMxcsrAt)));
    TRY(put(kX87At, image.subspan(kX87At, kXmmAt - kX87At)));
  }
  if (components & kSseBit) {
    save_xmm(x, area);
    TRY(put(kXmmAt, image.subspan(kXmmAt, 16 * vector_count(x))));
  }
  if (components & kAvxBit)
    TRY(put(offset_of(x, kAvx, compacted), ConstBytes(avx_image(x)).first(16 * vector_count(x))));
  if (components & kPkruBit)
    TRY(put(offset_of(x, kPkru, compacted), bytes_of(std::array{x.s.pkru, u32{0}})));
  return {};
}

// What XRSTOR has read before it changes anything.
struct Restored {
  std::array<std::byte, kLegacyArea> legacy{};
  std::array<std::byte, kAvxBytes> avx{};
  u32 pkru = 0;
};

OrFault<Restored> read_components(Execution& x, u64 at, u64 components, u64 compacted) {
  Restored r;
  const auto get = [&](u64 offset, Bytes to) {
    return x.bus.read(at + offset, to, Privilege::Current);
  };
  TRY(get(0, r.legacy));
  if (components & kAvxBit)
    TRY(get(offset_of(x, kAvx, compacted), Bytes(r.avx).first(16 * vector_count(x))));
  if (components & kPkruBit) {
    const u64 linear = at + offset_of(x, kPkru, compacted);
    r.pkru = static_cast<u32>(TRY(x.bus.load(linear, 4, Privilege::Current)));
  }
  return r;
}

struct Header {
  u64 present = 0;    // XSTATE_BV
  u64 compacted = 0;  // XCOMP_BV
};

OrFault<Header> read_header(Execution& x, u64 at, bool supervisor) {
  std::array<u64, 8> words{};
  TRY(x.bus.read(at + kHeaderAt, std::as_writable_bytes(std::span(words)), Privilege::Current));
  const Header h{words[0], words[1]};
  const u64 known = x.s.xcr0 | (supervisor ? x.s.xss : 0);
  bool bad = (supervisor && !(h.compacted & kCompacted)) || (h.present & ~known);
  if (h.compacted & kCompacted) {
    const u64 held = h.compacted & ~kCompacted;
    bad |= (held & ~known) || (h.present & ~held);
    bad |= std::any_of(words.begin() + 2, words.end(), [](u64 word) { return word != 0; });
  } else {
    bad |= words[1] != 0 || words[2] != 0;
  }
  if (bad) return x86::general_protection();
  return h;
}

void apply(Execution& x, const Restored& r, u64 asked, u64 present) {
  if (asked & kX87Bit) {
    if (present & kX87Bit)
      load_x87(x, r.legacy, wide(x));
    else
      clear_x87(x), x.s.x87.st = {};
  }
  if (asked & kSseBit) {
    const Restored zeros;
    load_xmm(x, (present & kSseBit) ? r.legacy : zeros.legacy);
  }
  if (asked & kAvxBit)
    for (unsigned i = 0; i < vector_count(x); i++)
      std::memcpy(x.s.vec[i].qwords.data() + 2, r.avx.data() + 16 * i, 16);
  if (asked & kPkruBit) x.s.pkru = r.pkru;
}

}  // namespace

u32 xsave_size(Execution& x, u64 components, bool compact) {
  return static_cast<u32>(area_size(x, components, compact ? components | kCompacted : 0));
}

// XSAVE, XSAVEOPT, XSAVEC, XSAVES
Outcome xsave(Execution& x) {
  TRY(check_enabled(x));
  const bool supervisor = is(x, Mnemonic::Xsaves, Mnemonic::Xsaves64);
  const bool compact = supervisor || is(x, Mnemonic::Xsavec, Mnemonic::Xsavec64);
  const u64 asked = requested(x, supervisor);
  const u64 compacted = compact ? asked | kCompacted : 0;
  const u64 size = area_size(x, asked, compacted);
  const u64 at = TRY(x.address(static_cast<unsigned>(size), PageAccess::Write));
  if (at % kAreaAlignment) return x86::general_protection();
  TRY(x.bus.probe(at, size, PageAccess::Write, Privilege::Current));
  x.bus.sync_fpu();
  u64 used = in_use(x);
  if (compact && x.s.mxcsr != kMxcsrReset) used |= kSseBit;
  const bool all = is(x, Mnemonic::Xsave, Mnemonic::Xsave64);
  TRY(write_components(x, at, all ? asked : asked & used, compacted));
  const u64 with_mxcsr = compact ? asked & used & kSseBit : asked & (kSseBit | kAvxBit);
  if (with_mxcsr)
    TRY(x.bus.store(at + kMxcsrAt, 8, u64{kMxcsrMask} << 32 | x.s.mxcsr, Privilege::Current));
  u64 present = asked & used;
  if (compact)
    TRY(x.bus.store(at + kHeaderAt + 8, 8, compacted, Privilege::Current));
  else
    present |= TRY(x.bus.load(at + kHeaderAt, 8, Privilege::Current)) & ~asked;
  TRY(x.bus.store(at + kHeaderAt, 8, present, Privilege::Current));
  return Outcome::Done;
}

// XRSTOR, XRSTORS
Outcome xrstor(Execution& x) {
  TRY(check_enabled(x));
  const bool supervisor = is(x, Mnemonic::Xrstors, Mnemonic::Xrstors64);
  const u64 asked = requested(x, supervisor);
  const u64 at = TRY(x.address(kExtendedAt, PageAccess::Read));
  if (at % kAreaAlignment) return x86::general_protection();
  const Header header = TRY(read_header(x, at, supervisor));
  const bool compact = header.compacted & kCompacted;
  const u64 loads = asked & header.present;
  const Restored r = TRY(read_components(x, at, loads, compact ? header.compacted : 0));
  // The standard form loads MXCSR whenever SSE or AVX is asked for, present or not.
  std::optional<u32> mxcsr;
  if (compact ? (loads & kSseBit) : (asked & (kSseBit | kAvxBit)))
    mxcsr = load_le<u32>(r.legacy, kMxcsrAt);
  else if (asked & kSseBit)
    mxcsr = kMxcsrReset;
  if (mxcsr && (*mxcsr & ~kMxcsrMask)) return x86::general_protection();
  x.bus.sync_fpu();
  apply(x, r, asked, header.present);
  if (mxcsr) x.s.mxcsr = *mxcsr;
  x.bus.fpu_changed();
  return Outcome::Done;
}

}  // namespace menura::jit::x86
