#include <cstring>

#include "jit/front/x86/insn.h"
#include "jit/front/x86/tables.h"

namespace menura::jit::x86 {
namespace {

// The decoder reads this far without asking whether bytes are left: 15 bytes of prefixes and opcode, then ModRM,
// SIB, disp32 and the longest immediate.
constexpr unsigned kWindow = 32;

enum class Kind : u8 { Opcode, Segment, OperandSize, AddressSize, Lock, Rep, Rex };

struct PrefixKinds {
  Kind kinds[2][256] = {};  // outside, inside 64-bit mode
  constexpr PrefixKinds() {
    for (auto& mode : kinds) {
      for (u8 byte : {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65}) mode[byte] = Kind::Segment;
      mode[0x66] = Kind::OperandSize;
      mode[0x67] = Kind::AddressSize;
      mode[0xF0] = Kind::Lock;
      mode[0xF2] = mode[0xF3] = Kind::Rep;
    }
    for (unsigned byte = 0x40; byte < 0x50; ++byte) kinds[1][byte] = Kind::Rex;
  }
};
constexpr PrefixKinds kPrefixKinds;

constexpr Segment segment_of_prefix(u8 byte) {
  return byte >= 0x64 ? static_cast<Segment>(byte - 0x60) : static_cast<Segment>(byte >> 3 & 3);
}

// Values of the prefix selector, the same as VEX.pp.
enum : u8 { kPlain, k66, kF3, kF2 };

constexpr u8 kRexW = 8, kRexR = 4, kRexX = 2, kRexB = 1;

u16 load16(const u8* p) {
  u16 value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
u32 load32(const u8* p) {
  u32 value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
u64 load64(const u8* p) {
  u64 value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
i64 sign8(u8 value) { return static_cast<i8>(value); }
i64 sign16(u16 value) { return static_cast<i16>(value); }
i64 sign32(u32 value) { return static_cast<i32>(value); }

struct Address16 {
  u8 base, index;
};
constexpr Address16 kAddress16[8] = {{3, 6},           {3, 7},           {5, 6},
                                     {5, 7},           {6, kNoRegister}, {7, kNoRegister},
                                     {5, kNoRegister}, {3, kNoRegister}};

// One decoding in progress. The steps run in the order of the bytes; each returns false for #UD.
class Decoding {
 public:
  Decoding(Mode mode, FeatureSet offered, const u8* start, Insn& insn)
      : mode_(mode), offered_(offered), start_(start), at_(start), insn_(insn) {}

  bool run() {
    if (!prefixes()) return true;  // too long; the caller sees it by consumed()
    if (!opcode()) return false;
    insn_.row = select(selector_);
    if (insn_.row == 0 || !gate()) return false;
    const Form& form = kTables.forms[insn_.row];
    insn_.mnemonic = form.mnemonic;
    sizes(form);
    if (slot_->modrm && !operands(form)) return false;
    immediates(form);
    return legal(form);
  }

  unsigned consumed() const { return static_cast<unsigned>(at_ - start_); }

 private:
  bool is64() const { return mode_ == Mode::Bits64; }

  bool prefixes() {
    const auto& kinds = kPrefixKinds.kinds[is64()];
    for (;; ++at_) {
      u8 byte = *at_;
      Kind kind = kinds[byte];
      if (kind == Kind::Opcode) return true;
      if (consumed() == kMaxLength) return ++at_, false;
      if (kind == Kind::Rex) {
        insn_.rex = byte & 15;
        insn_.seen |= seen::kRex;
        continue;
      }
      // A REX that does not stand right before the opcode has no effect.
      insn_.rex = 0;
      insn_.seen &= static_cast<u16>(~seen::kRex);
      legacy_prefix(kind, byte);
    }
  }

  void legacy_prefix(Kind kind, u8 byte) {
    switch (kind) {
      case Kind::Segment:
        if (!is64() || byte >= 0x64) insn_.override_segment = segment_of_prefix(byte);
        break;
      case Kind::OperandSize: insn_.seen |= seen::kOperandSize; break;
      case Kind::AddressSize: insn_.seen |= seen::kAddressSize; break;
      case Kind::Lock: insn_.seen |= seen::kLock; break;
      case Kind::Rep:
        // Of several the last counts.
        insn_.seen = static_cast<u16>((insn_.seen & ~(seen::kRep | seen::kRepne)) |
                                      (byte == 0xF3 ? seen::kRep : seen::kRepne));
        break;
      case Kind::Opcode:
      case Kind::Rex: break;
    }
  }

  bool opcode() {
    selector_ = insn_.has(seen::kRep)           ? kF3
                : insn_.has(seen::kRepne)       ? kF2
                : insn_.has(seen::kOperandSize) ? k66
                                                : kPlain;
    u8 byte = *at_++;
    Map map = Map::One;
    if (byte == 0x0F) {
      map = Map::Two;
      byte = *at_++;
      if (byte == 0x38 || byte == 0x3A) {
        map = byte == 0x38 ? Map::Three38 : Map::Three3A;
        byte = *at_++;
      }
    } else if ((byte == 0xC4 || byte == 0xC5) && (is64() || *at_ >= 0xC0)) {
      if (!vex(byte == 0xC4, map)) return false;
      byte = *at_++;
    } else if (byte == 0x62 && (is64() || *at_ >= 0xC0)) {
      if (!is64()) ++at_;  // the byte that told EVEX from BOUND
      return false;
    }
    insn_.opcode = byte;
    insn_.opcode_at = static_cast<u8>(consumed() - 1);
    slot_ = &kTables.slots[static_cast<unsigned>(map)][byte];
    if (slot_->modrm) {
      insn_.modrm_at = static_cast<u8>(consumed());
      insn_.modrm = *at_++;
      insn_.seen |= seen::kModrm;
    }
    return true;
  }

  bool vex(bool three_bytes, Map& map) {
    constexpr u16 kForbidden =
        seen::kRex | seen::kLock | seen::kRep | seen::kRepne | seen::kOperandSize;
    u8 first = *at_++;
    u8 last = first;
    unsigned number = 1;
    u8 rex = first & 0x80 ? 0 : kRexR;
    if (three_bytes) {
      last = *at_++;
      number = first & 31;
      rex = static_cast<u8>((~first >> 5 & 7) | (last & 0x80 ? kRexW : 0));
    }
    if (insn_.has(kForbidden) || number < 1 || number > 3) return false;
    map = static_cast<Map>(static_cast<unsigned>(Map::Vex1) + number - 1);
    insn_.rex = is64() ? rex : rex & kRexW;
    // The register has three bits outside 64-bit mode; a form without it still wants all four set.
    vvvv_given_ = (last & 0x78) != 0x78;
    insn_.vvvv = ~last >> 3 & (is64() ? 15 : 7);
    insn_.vector_size = last & 4 ? 32 : 16;
    insn_.seen |= seen::kVex;
    selector_ = last & 3;
    return true;
  }

  u16 select(u8 prefix) const {
    if (slot_->shape == 0) return kTables.leaves[slot_->base];
    const Shape& shape = kTables.shapes[slot_->shape];
    u8 modrm = insn_.modrm;
    unsigned leaf = slot_->base + prefix * shape.prefix + (modrm >> 3 & 7) * shape.reg +
                    (modrm >= 0xC0) * shape.mod + (modrm & 7) * shape.rm +
                    (insn_.rex >> 3) * shape.w + (insn_.vector_size == 32) * shape.l +
                    is64() * shape.mode + (insn_.rex & kRexB) * shape.b;
    return kTables.leaves[leaf];
  }

  // A feature the CPU lacks makes #UD, except where an older CPU ignores F3.
  bool gate() {
    const Form* form = &kTables.forms[insn_.row];
    if (!offered_.covers(form->needed) && (form->attributes & attr::kPrefixFallback) != 0) {
      insn_.row = select(insn_.has(seen::kOperandSize) ? k66 : kPlain);
      form = &kTables.forms[insn_.row];
    }
    if (!offered_.covers(form->needed)) return false;
    bool needs_avx2 = (form->attributes & attr::kYmmIsAvx2) != 0 && insn_.vector_size == 32;
    return !needs_avx2 || offered_.has(Feature::Avx2);
  }

  void sizes(const Form& form) {
    bool wide = (insn_.rex & kRexW) != 0;
    bool o66 = insn_.has(seen::kOperandSize);
    bool a67 = insn_.has(seen::kAddressSize);
    if (is64()) {
      bool default64 = (form.attributes & (attr::kDefault64 | attr::kNativeSize)) != 0;
      insn_.operand_size = wide || (default64 && !o66) ? 8 : o66 ? 2 : 4;
      insn_.address_size = a67 ? 4 : 8;
    } else {
      bool default16 = mode_ == Mode::Bits16;
      insn_.operand_size = o66 == default16 ? 4 : 2;
      insn_.address_size = a67 == default16 ? 4 : 2;
    }
    if ((form.attributes & attr::kNativeSize) != 0) insn_.operand_size = is64() ? 8 : 4;
    if (insn_.has(seen::kVex))
      insn_.operand_size = wide && is64() ? 8 : 4;
    else
      insn_.vector_size = 16;
    insn_.segment = insn_.override_segment == Segment::None ? Segment::Ds : insn_.override_segment;
    insn_.rm = static_cast<u8>((insn_.opcode & 7) | (insn_.rex & kRexB) << 3);
  }

  bool operands(const Form& form) {
    u8 modrm = insn_.modrm;
    insn_.reg = static_cast<u8>((modrm >> 3 & 7) | (insn_.rex & kRexR) << 1);
    insn_.rm = static_cast<u8>((modrm & 7) | (insn_.rex & kRexB) << 3);
    if (modrm >= 0xC0 || form.ignores_mod) return true;
    insn_.seen |= seen::kMemory;
    if (form.vsib && (insn_.address_size == 2 || (modrm & 7) != 4)) return false;
    if (insn_.address_size == 2)
      address16();
    else
      address32(form.vsib);
    return true;
  }

  void default_segment() {
    bool stack = insn_.base == 4 || insn_.base == 5;
    if (stack && insn_.override_segment == Segment::None) insn_.segment = Segment::Ss;
  }

  void address16() {
    unsigned mod = insn_.modrm >> 6;
    Address16 form = kAddress16[insn_.modrm & 7];
    bool absolute = mod == 0 && (insn_.modrm & 7) == 6;
    if (!absolute) {
      insn_.base = form.base;
      insn_.index = form.index;
      default_segment();
    }
    displacement(absolute || mod == 2 ? 2 : mod);
  }

  void address32(bool vsib) {
    unsigned mod = insn_.modrm >> 6;
    unsigned low = insn_.modrm & 7;
    u8 base = insn_.rm;
    if (low == 4) {
      u8 sib = *at_++;
      insn_.seen |= seen::kSib;
      insn_.scale = sib >> 6;
      u8 index = static_cast<u8>((sib >> 3 & 7) | (insn_.rex & kRexX) << 2);
      if (index != 4 || vsib) insn_.index = index;
      if (vsib) insn_.seen |= seen::kVsib;
      low = sib & 7;
      base = static_cast<u8>(low | (insn_.rex & kRexB) << 3);
    } else if (low == 5 && mod == 0 && is64()) {
      insn_.seen |= seen::kRipRelative;
    }
    bool no_base = low == 5 && mod == 0;
    if (!no_base) {
      insn_.base = base;
      default_segment();
    }
    displacement(no_base || mod == 2 ? 4 : mod);
  }

  void displacement(unsigned bytes) {
    if (bytes == 1)
      insn_.disp = sign8(*at_);
    else if (bytes == 2)
      insn_.disp = sign16(load16(at_));
    else if (bytes == 4)
      insn_.disp = sign32(load32(at_));
    at_ += bytes;
  }

  void immediates(const Form& form) {
    if (form.tail == Tail::None) return;
    insn_.imm_at = static_cast<u8>(consumed());
    switch (form.tail) {
      case Tail::None: break;
      case Tail::One: immediate(1, form); break;
      case Tail::Two: immediate(2, form); break;
      case Tail::Three:
        immediate(2, form);
        insn_.imm2 = *at_++;
        break;
      case Tail::OneAndOne:
        immediate(1, form);
        insn_.imm2 = *at_++;
        break;
      case Tail::Zero2or4: immediate(insn_.operand_size == 2 ? 2 : 4, form); break;
      case Tail::Full2to8: immediate(insn_.operand_size, form); break;
      case Tail::FarPointer:
        immediate(insn_.operand_size == 2 ? 2 : 4, form);
        insn_.imm2 = load16(at_);
        at_ += 2;
        break;
      case Tail::Moffs:
        insn_.disp = static_cast<i64>(unsigned_value(insn_.address_size));
        at_ += insn_.address_size;
        insn_.seen |= seen::kMemory;
        break;
    }
  }

  u64 unsigned_value(unsigned bytes) const {
    return bytes == 1 ? *at_ : bytes == 2 ? load16(at_) : bytes == 4 ? load32(at_) : load64(at_);
  }

  void immediate(unsigned bytes, const Form& form) {
    u64 value = unsigned_value(bytes);
    unsigned unused = 64 - bytes * 8;
    insn_.imm = form.immediate_signed
                    ? static_cast<u64>(static_cast<i64>(value << unused) >> unused)
                    : value;
    at_ += bytes;
  }

  bool legal(const Form& form) const {
    if (insn_.has(seen::kLock) && ((form.attributes & attr::kLock) == 0 || !insn_.is_memory()))
      return false;
    if (form.vvvv_unused && vvvv_given_) return false;
    // CR0, CR2, CR3, CR4 and CR8 exist; no debug register beyond 7 does.
    if (form.control_register) return (0x11D >> insn_.reg & 1) != 0;
    if (form.ignores_mod) return insn_.reg < 8;
    if ((form.attributes & attr::kDistinct) != 0)
      return insn_.reg != insn_.index && insn_.reg != insn_.vvvv && insn_.index != insn_.vvvv;
    return true;
  }

  // Configuration
  Mode mode_;
  FeatureSet offered_;
  // State
  const u8* start_;
  const u8* at_;
  const Slot* slot_ = nullptr;
  Insn& insn_;
  u8 selector_ = kPlain;
  bool vvvv_given_ = false;
};

}  // namespace

Insn Decoder::decode(std::span<const u8> code) const {
  Insn insn;
  insn.mode = mode_;
  u8 window[kWindow];
  const u8* start = code.data();
  if (code.size() < kWindow) {
    std::memset(window, 0, sizeof window);
    if (!code.empty()) std::memcpy(window, code.data(), code.size());
    start = window;
  }
  Decoding decoding(mode_, offered_, start, insn);
  bool valid = decoding.run();
  unsigned consumed = decoding.consumed();
  if (consumed > code.size() && code.size() < kMaxLength)
    insn.status = Status::NeedMore;
  else if (consumed > kMaxLength)
    insn.status = Status::TooLong;
  else if (valid) {
    insn.status = Status::Ok;
    insn.length = static_cast<u8>(consumed);
  }
  return insn;
}

}  // namespace menura::jit::x86
