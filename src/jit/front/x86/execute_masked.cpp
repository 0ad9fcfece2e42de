// Vector accesses that touch only the elements a mask names: MASKMOV and gathers.
#include <algorithm>

#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

using Image = std::array<u8, 32>;

Image image_of(const Execution& x, unsigned reg) {
  Image image;
  std::memcpy(image.data(), x.s.vec[reg].qwords.data(), image.size());
  return image;
}

void set_image(Execution& x, unsigned reg, const Image& image) {
  std::memcpy(x.s.vec[reg].qwords.data(), image.data(), image.size());
}

u64 element(const Image& image, unsigned which, unsigned size) {
  u64 value = 0;
  std::memcpy(&value, image.data() + which * size, size);
  return value;
}

bool sign(const Image& mask, unsigned which, unsigned size) {
  return mask[which * size + size - 1] & 0x80;
}

// MMX registers have fixed places among the x87 registers, and using one resets TOP and all tags.
void enter_mmx(x86::X87State& f) {
  const unsigned top = f.fsw >> 11 & 7;
  std::rotate(f.st.begin(), f.st.begin() + ((8 - top) & 7), f.st.end());
  f.fsw &= static_cast<u16>(~0x3800u);
  f.ftw = 0xff;
}

Image mmx_image(const Execution& x, unsigned reg) {
  Image image{};
  std::memcpy(image.data(), x.s.x87.st[reg].data(), 8);
  return image;
}

struct Lanes {
  u64 offset;  // of lane 0 in the segment
  unsigned size, count;
};

OrFault<u64> lane_address(const Execution& x, const Lanes& lanes, unsigned i, PageAccess access) {
  const u64 offset = (lanes.offset + i * lanes.size) & low_mask(8 * x.insn.address_size);
  return x86::segment_linear(x.s, segment_register(x.insn.segment), offset, lanes.size, access);
}

// Stores the lanes whose mask is set: all of them or, on a fault, none.
OrFault<void> store_lanes(Execution& x, const Lanes& lanes, const Image& mask, const Image& from) {
  for (unsigned i = 0; i < lanes.count; i++) {
    if (!sign(mask, i, lanes.size)) continue;
    const u64 at = TRY(lane_address(x, lanes, i, PageAccess::Write));
    TRY(x.bus.probe(at, lanes.size, PageAccess::Write, Privilege::Current));
  }
  for (unsigned i = 0; i < lanes.count; i++) {
    if (!sign(mask, i, lanes.size)) continue;
    const u64 at = TRY(lane_address(x, lanes, i, PageAccess::Write));
    TRY(x.bus.store(at, lanes.size, element(from, i, lanes.size), Privilege::Current));
  }
  return {};
}

}  // namespace

// MASKMOVQ, MASKMOVDQU
Outcome store_masked_bytes(Execution& x) {
  x.bus.sync_fpu();
  const bool mmx = x.insn.mnemonic == Mnemonic::Maskmovq;
  const Operand from = operand(x.insn, 0), by = operand(x.insn, 1);
  const x86::X87State before = x.s.x87;
  if (mmx) enter_mmx(x.s.x87);
  const Image bytes = mmx ? mmx_image(x, from.number) : image_of(x, from.number);
  const Image mask = mmx ? mmx_image(x, by.number) : image_of(x, by.number);
  const Lanes lanes{x.gpr(x86::Rdi, x.insn.address_size), 1, mmx ? 8u : 16u};
  if (OrFault<void> done = store_lanes(x, lanes, mask, bytes); !done) {
    x.s.x87 = before;
    return done.error();
  }
  if (mmx) x.bus.fpu_changed();
  return Outcome::Done;
}

// VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ
Outcome move_masked(Execution& x) {
  x.bus.sync_fpu();
  const Operand first = operand(x.insn, 0), mask_register = operand(x.insn, 1);
  const bool dwords =
      x.insn.mnemonic == Mnemonic::Vmaskmovps || x.insn.mnemonic == Mnemonic::Vpmaskmovd;
  const unsigned size = dwords ? 4 : 8;
  const Lanes lanes{effective_address(x.s, x.insn), size, x.insn.vector_size / size};
  const Image mask = image_of(x, mask_register.number);
  if (first.kind == OperandKind::Memory) {
    TRY(store_lanes(x, lanes, mask, image_of(x, operand(x.insn, 2).number)));
    return Outcome::Done;
  }
  Image loaded{};
  for (unsigned i = 0; i < lanes.count; i++) {
    if (!sign(mask, i, size)) continue;
    const u64 at = TRY(lane_address(x, lanes, i, PageAccess::Read));
    const u64 value = TRY(x.bus.load(at, size, Privilege::Current));
    std::memcpy(loaded.data() + i * size, &value, size);
  }
  set_image(x, first.number, loaded);
  x.bus.fpu_changed();
  return Outcome::Done;
}

// VGATHERxxx, VPGATHERxx: elements that were read before a fault are done.
Outcome gather(Execution& x) {
  x.bus.sync_fpu();
  const Operand dest = operand(x.insn, 0), mask_register = operand(x.insn, 2);
  const unsigned size = (x.insn.rex & 8) ? 8 : 4, index_size = (x.insn.opcode & 1) ? 8 : 4;
  const unsigned count = x.insn.vector_size / std::max(size, index_size);
  const Image indices = image_of(x, x.insn.index);
  Image mask = image_of(x, mask_register.number), loaded = image_of(x, dest.number);
  const u64 base = effective_address(x.s, x.insn);
  std::optional<x86::Fault> fault;
  for (unsigned i = 0; i < count && !fault; i++) {
    if (sign(mask, i, size)) {
      const i64 index = sign_extend(element(indices, i, index_size), 8 * index_size);
      const u64 offset = base + (static_cast<u64>(index) << x.insn.scale);
      OrFault<u64> at = lane_address(x, {offset, size, 1}, 0, PageAccess::Read);
      OrFault<u64> value = at ? x.bus.load(*at, size, Privilege::Current) : at;
      if (!value)
        fault = value.error();
      else
        std::memcpy(loaded.data() + i * size, &*value, size);
    }
    if (!fault) std::memset(mask.data() + i * size, 0, size);
  }
  if (!fault) {
    std::fill(loaded.begin() + count * size, loaded.end(), u8{0});
    mask = {};
  }
  set_image(x, dest.number, loaded);
  set_image(x, mask_register.number, mask);
  x.bus.fpu_changed();
  if (fault) return *fault;
  return Outcome::Done;
}

}  // namespace menura::jit::x86
