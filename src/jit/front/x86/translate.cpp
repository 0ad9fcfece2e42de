#include "jit/front/x86/translate.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/bits.h"

namespace menura::jit::x86 {

namespace {

using ir::ExitReason;
using ir::Opcode;

constexpr u8 kRspNumber = menura::x86::Rsp, kRbpNumber = menura::x86::Rbp,
             kRcxNumber = menura::x86::Rcx;
// Forward branches that one block goes past.
constexpr unsigned kSideExits = 4;
// Instructions behind its end that are asked which flags they want.
constexpr unsigned kLookAhead = 8;

// Whether a count that may leave the flags alone is known not to.
bool counts(const Insn& insn) {
  switch (insn.mnemonic) {
    case Mnemonic::Shl:
    case Mnemonic::Shr:
    case Mnemonic::Sar: return insn.imm_at != 0 && (insn.imm & 31) != 0;
    default: return false;
  }
}

u8 flags_killed(const Insn& insn, const Row& row) {
  if ((row.attributes & attr::kCountedFlags) && !counts(insn)) return 0;
  return (row.flags.written | row.flags.undefined) & flag::kStatus;
}

// Whether it is of interest what is wanted behind the end: something on the way there destroys it.
bool end_matters(const ir::Block& block) {
  for (auto op = block.ops.rbegin(); op != block.ops.rend(); ++op) {
    if (op->flags_written == flag::kStatus || (op->flags_read & flag::kStatus) == flag::kStatus)
      return false;
    if (op->code == Opcode::CheckLoad || op->code == Opcode::CheckStore) return true;
  }
  return false;
}

// The status flags that are wanted by the code which a block goes on at, if that lies in its page.
void look_ahead(ir::Block& block, const Decoder& decoder, const u8* page) {
  const u64 base = block.key.code_base, to = block.ops.back().imm + base;
  if ((to ^ (block.key.pc + base)) > 4095) return;
  ir::Ahead& ahead = block.ahead;
  const u64 offset = to & 4095;
  const size_t there = std::min<size_t>(4096 - offset, ahead.bytes.size());
  std::memcpy(ahead.bytes.data(), page + offset, there);
  const std::span<const u8> code = std::span(ahead.bytes).first(there);
  u8 wanted = 0, unknown = flag::kStatus;
  size_t at = 0;
  for (unsigned n = 0; n < kLookAhead && unknown && at < there; ++n) {
    const Insn insn = decoder.decode(code.subspan(at));
    if (insn.status != Status::Ok) break;
    const Row& row = row_of(insn);
    const bool stack = insn.mnemonic == Mnemonic::Push || insn.mnemonic == Mnemonic::Pop;
    if (!stack && lowering(row) != Lowering::Native) break;
    wanted |= row.flags.read & unknown;
    if (!stack) unknown &= static_cast<u8>(~flags_killed(insn, row));
    at += insn.length;
  }
  wanted |= unknown;
  if (wanted == flag::kStatus) return;
  block.flags_wanted = wanted;
  ahead.physical = reinterpret_cast<u64>(page) + offset;
  ahead.size = static_cast<u8>(at);
}

class Translator {
 public:
  Translator(ir::Block& block, u32 mode) : b_(block), mode_(mode) {}

  // Says one instruction; the block is ended when it does not simply fall through.
  // `last`: another block goes on behind it.
  void say(const Insn& insn, u64 pc, u64 next, bool last) {
    last_ = last;
    insn_ = &insn;
    pc_ = pc;
    next_ = next;
    row_ = &row_of(insn);
    if (mode_ & mode_bit::kStepwise) return b_.exit(ExitReason::Step, pc_);
    if (!unit_enabled()) return step();
    if (lowering(*row_) == Lowering::Native) return native();
    if ((mode_ & mode_bit::kCpl0) && privileged()) return;
    if (row_->control() != Control::None && leaves_segment()) return step();
    switch (row_->control()) {
      case Control::Jump: return b_.jump(target());
      case Control::Branch: return branch();
      case Control::Call: return call(target());
      case Control::CallIndirect: return call_indirect();
      case Control::JumpIndirect: return jump_indirect();
      case Control::Return: return ret();
      case Control::None: break;
      default: return step();
    }
    switch (insn.mnemonic) {
      case Mnemonic::Push: return push();
      case Mnemonic::Pop: return pop();
      case Mnemonic::Leave: return leave();
      case Mnemonic::Pushf: return push_flags();
      case Mnemonic::Movs: return repeat(Opcode::RepeatMove);
      case Mnemonic::Stos: return repeat(Opcode::RepeatStore);
      case Mnemonic::Rdtsc:
      case Mnemonic::Rdtscp: return read_tsc();
      default: return step();
    }
  }

 private:
  bool unit_enabled() const {
    switch (unit(*row_)) {
      case Unit::Integer: return true;
      case Unit::X87:
      case Unit::Mmx: return mode_ & mode_bit::kX87;
      case Unit::Sse: return mode_ & mode_bit::kSse;
      case Unit::Avx: return mode_ & mode_bit::kAvx;
    }
    return false;
  }

  bool bits64() const { return (mode_ & mode_bit::kCodeSize) == static_cast<u32>(Mode::Bits64); }
  // A transfer that may lead beyond CS's limit, which it must notice itself.
  bool leaves_segment() const { return (mode_ & mode_bit::kShortCode) && insn_->operand_size != 2; }

  // Left to the engine: everything that has no better translation. The block goes on behind what
  // seldom changes the mode or the mapping.
  void step() {
    if (!describable()) return b_.exit(ExitReason::Step, pc_);
    b_.step(pc_, description());
    if (!goes_on()) b_.jump(next_);
  }
  ir::Foreign description() const {
    ir::Foreign d;
    static_assert(sizeof(Insn) <= sizeof d.bytes && std::is_trivially_copyable_v<Insn>);
    std::memcpy(d.bytes.data(), insn_, sizeof *insn_);
    return d;
  }
  // Else the engine fetches it, as a debugger's breakpoint must be.
  bool describable() const {
    return !last_ && unit_enabled() && unit(*row_) == Unit::Integer &&
           insn_->mnemonic != Mnemonic::Int3;
  }
  bool goes_on() const {
    if (row_->control() == Control::None) return true;
    switch (insn_->mnemonic) {
      case Mnemonic::Popf:
      case Mnemonic::Sti:
      case Mnemonic::Swapgs:
      case Mnemonic::Wrfsbase:
      case Mnemonic::Wrgsbase:
      case Mnemonic::Wrmsr: return true;
      default: return false;
    }
  }

  // At CPL 0: what changes little enough to be done here.
  bool privileged() {
    switch (insn_->mnemonic) {
      case Mnemonic::Cli: b_.add(Opcode::ClearInterrupts).imm = pc_; return true;
      case Mnemonic::Sti:
        if (last_) return false;  // the next instruction could be interrupted
        b_.rarely_foreign(Opcode::SetInterrupts, pc_, description());
        return true;
      case Mnemonic::Swapgs: b_.add(Opcode::SwapGs); return true;
      case Mnemonic::Clac:
      case Mnemonic::Stac:
        b_.add(Opcode::SetAccess).taken = insn_->mnemonic == Mnemonic::Stac;
        return true;
      default: return false;
    }
  }

  void read_tsc() {
    const bool more = insn_->mnemonic == Mnemonic::Rdtscp;
    b_.rarely_foreign(Opcode::ReadTsc, pc_, description()).taken = more;
  }

  void push_flags() {
    if (!bits64() || insn_->operand_size != 8) return step();
    b_.add(Opcode::StashFlags).flags_read = flag::kStatus;
    check_stack(Opcode::CheckStore, 8, kRspNumber, -8);
    sized(Opcode::StoreStash, 8);
    move_stack(-8);
  }

  // REP MOVS and STOS, where addresses are linear.
  void repeat(Opcode code) {
    const Insn& insn = *insn_;
    const bool based = insn.segment == Segment::Fs || insn.segment == Segment::Gs;
    if (!bits64() || insn.address_size != 8 || based || !insn.has(seen::kRep | seen::kRepne))
      return step();
    const unsigned size = operand(insn, 0).size;
    b_.rarely_foreign(code, pc_, description()).size = static_cast<u8>(size);
  }

  u8 read_flags() const { return row_->flags.read & flag::kStatus; }
  u8 killed_flags() const { return flags_killed(*insn_, *row_); }

  void native() {
    const Insn& insn = *insn_;
    constexpr u32 kOutside = attr::kMasked | attr::kDistinct;
    if (row_->attributes & kOutside || insn.has(seen::kVsib)) return step();
    if (insn.is_memory()) {
      const bool string = row_->attributes & attr::kBitString;
      if (string && (!bits64() || insn.address_size != 8)) return step();
      if (insn.mnemonic == Mnemonic::Lea) return lea();
      const MemoryUse use = memory_use(*row_);
      if (use == MemoryUse::None || use == MemoryUse::AddressOnly) return;  // hints
      const unsigned size = memory_size(insn);
      if (size == 0 || size > 128) return step();
      // CS is no place to write to, flat as it may be.
      if (!bits64() && insn.segment == Segment::Cs && use != MemoryUse::Load) return step();
      b_.check(use == MemoryUse::Load ? Opcode::CheckLoad : Opcode::CheckStore,
               static_cast<u8>(size), native_address(insn, next_, mode_));
      if (string) b_.ops.back().reg = insn.reg;
    }
    b_.native(native_template(insn), read_flags(), killed_flags());
  }

  void lea() {
    ir::Op& op = b_.add(Opcode::Lea);
    op.reg = insn_->reg;
    op.size = insn_->operand_size;
    op.address = native_address(*insn_, next_, mode_);
    op.address.segment = ir::kNone;
  }

  // Near targets are truncated to the operand size.
  u64 target() const {
    const u64 to = next_ + insn_->imm;
    return insn_->operand_size == 8 ? to : to & low_mask(8 * insn_->operand_size);
  }

  void branch() {
    const Insn& insn = *insn_;
    if (insn.mnemonic == Mnemonic::Loope || insn.mnemonic == Mnemonic::Loopne) return step();
    if (insn.mnemonic == Mnemonic::Loop || insn.mnemonic == Mnemonic::Jcxz) {
      if (insn.address_size == 2) return step();
      if (insn.mnemonic == Mnemonic::Loop)
        move_register(kRcxNumber, kRcxNumber, -1, insn.address_size);
      const bool on_zero = insn.mnemonic == Mnemonic::Jcxz;
      ir::Op& op = b_.add(Opcode::BranchCx);
      op.size = insn.address_size;
      op.taken = on_zero ? target() : next_;
      op.imm = on_zero ? next_ : target();
      return;
    }
    const bool goes_on = !last_ && target() > pc_ && side_exits_ < kSideExits;
    side_exits_ += goes_on;
    ir::Op& op = b_.add(goes_on ? Opcode::LeaveIf : Opcode::Branch);
    op.condition = insn.opcode & 15;
    // Where a branch leaves the block's middle, all may be wanted: DEC keeps CF for whoever is there.
    op.flags_read = goes_on ? flag::kStatus : read_flags();
    op.taken = target();
    op.imm = next_;
  }

  // reg = base + disp, without flags.
  void move_register(u8 reg, u8 base, i64 disp, unsigned size) {
    ir::Op& op = b_.add(Opcode::Lea);
    op.reg = reg;
    op.size = static_cast<u8>(size);
    op.address = {.disp = disp, .base = base, .size = static_cast<u8>(size)};
  }

  unsigned stack_size() const { return 1u << (mode_ >> mode_bit::kStackShift & 3); }
  u8 stack_segment() const {
    const bool flat = (mode_ & mode_bit::kFlat) || stack_size() == 8;
    return flat ? ir::kNone : static_cast<u8>(menura::x86::Ss);
  }
  void check_stack(Opcode check, unsigned bytes, u8 base, i64 disp) {
    b_.check(check, static_cast<u8>(bytes),
             {.disp = disp,
              .base = base,
              .size = static_cast<u8>(stack_size()),
              .segment = stack_segment(),
              .limited = stack_segment() != ir::kNone,
              .wrap = static_cast<u8>(stack_size() == 8 ? 8 : 4)});
  }
  void move_stack(i64 by) { move_register(kRspNumber, kRspNumber, by, stack_size()); }

  void sized(Opcode code, unsigned bytes, u8 reg = ir::kNone) {
    ir::Op& op = b_.add(code);
    op.size = static_cast<u8>(bytes);
    op.reg = reg;
  }

  // mov [P], reg or mov reg, [P].
  void move(u8 reg, unsigned bytes, bool load) {
    ir::Native n{.opcode = static_cast<u8>(load ? 0x8b : 0x89), .modrm = true};
    n.operand16 = bytes == 2;
    n.wide = bytes == 8;
    n.reg = {.kind = ir::Operand::General,
             .number = reg,
             .bytes = static_cast<u8>(bytes),
             .read = !load,
             .written = load};
    n.rm = {.kind = ir::Operand::Memory, .read = load, .written = !load};
    n.general_used = static_cast<u16>(1u << reg);
    n.general_written = load ? n.general_used : 0;
    b_.native(n, 0, 0);
  }

  void store_immediate(unsigned bytes, u64 value) {
    sized(Opcode::StoreImm, bytes);
    b_.ops.back().imm = value & low_mask(8 * bytes);
  }

  void push() {
    const unsigned n = insn_->operand_size;
    const Operand o = operand(*insn_, 0);
    if (o.kind == OperandKind::Register && o.cls != RegClass::Gpr) return step();
    if (o.kind == OperandKind::Memory) {
      b_.check(Opcode::CheckLoad, static_cast<u8>(n), native_address(*insn_, next_, mode_));
      sized(Opcode::StashMem, n);
    }
    check_stack(Opcode::CheckStore, n, kRspNumber, -static_cast<i64>(n));
    if (o.kind == OperandKind::Register)
      move(o.number, n, false);
    else if (o.kind == OperandKind::Immediate)
      store_immediate(n, immediate(*insn_, 0));
    else
      sized(Opcode::StoreStash, n);
    move_stack(-static_cast<i64>(n));
  }

  void pop() {
    const unsigned n = insn_->operand_size;
    const Operand o = operand(*insn_, 0);
    if (o.kind != OperandKind::Register || o.cls != RegClass::Gpr) return step();
    if (o.number == kRspNumber && n != stack_size()) return step();
    check_stack(Opcode::CheckLoad, n, kRspNumber, 0);
    move(o.number, n, true);
    if (o.number != kRspNumber) move_stack(n);
  }

  void leave() {
    const unsigned n = insn_->operand_size;
    check_stack(Opcode::CheckLoad, n, kRbpNumber, 0);
    sized(Opcode::StashMem, n);
    move_register(kRspNumber, kRbpNumber, n, stack_size());
    sized(Opcode::LoadStash, n, kRbpNumber);
  }

  void push_return() {
    const unsigned n = insn_->operand_size;
    check_stack(Opcode::CheckStore, n, kRspNumber, -static_cast<i64>(n));
    store_immediate(n, next_);
    move_stack(-static_cast<i64>(n));
  }

  void call(u64 to) {
    push_return();
    b_.jump(to);
  }

  void call_indirect() {
    const unsigned n = insn_->operand_size;
    const Operand o = operand(*insn_, 0);
    if (o.kind == OperandKind::Register && o.number != kRspNumber) {
      push_return();
      sized(Opcode::TargetReg, n, o.number);
      b_.add(Opcode::JumpTarget);
      return;
    }
    if (o.kind == OperandKind::Register) {
      sized(Opcode::StashReg, n, o.number);
    } else {
      b_.check(Opcode::CheckLoad, static_cast<u8>(n), native_address(*insn_, next_, mode_));
      sized(Opcode::StashMem, n);
    }
    push_return();
    sized(Opcode::TargetStash, n);
    b_.add(Opcode::JumpTarget);
  }

  void jump_indirect() {
    const unsigned n = insn_->operand_size;
    const Operand o = operand(*insn_, 0);
    if (o.kind == OperandKind::Register) {
      sized(Opcode::TargetReg, n, o.number);
    } else {
      b_.check(Opcode::CheckLoad, static_cast<u8>(n), native_address(*insn_, next_, mode_));
      sized(Opcode::TargetMem, n);
    }
    b_.add(Opcode::JumpTarget);
  }

  void ret() {
    const unsigned n = insn_->operand_size;
    check_stack(Opcode::CheckLoad, n, kRspNumber, 0);
    sized(Opcode::TargetMem, n);
    move_stack(static_cast<i64>(n) +
               static_cast<i64>(insn_->opcode == 0xc2 ? insn_->imm & 0xffff : 0));
    b_.add(Opcode::JumpTarget);
  }

  ir::Block& b_;
  const u32 mode_;
  const Insn* insn_ = nullptr;
  const Row* row_ = nullptr;
  u64 pc_ = 0, next_ = 0;
  bool last_ = false;
  unsigned side_exits_ = 0;
};

// Whether no access through it can fail, stores through CS excepted.
bool flat(const menura::x86::Segment& s) {
  // Data, writable, not expand-down; or code, readable.
  const bool open = (s.type() & 0xe) == 2 || (s.type() & 0xa) == 0xa;
  return s.base == 0 && s.limit == 0xffff'ffff && open && !s.unusable;
}

bool flat(const menura::x86::State& s) {
  using namespace menura::x86;
  const auto data = [&](SegReg r) { return flat(s.seg[r]) && !(s.seg[r].type() & 8); };
  return data(Es) && flat(s.seg[Cs]) && data(Ss) && data(Ds);
}

bool stepwise(const menura::x86::State& s) {
  using namespace menura::x86;
  const u32 limit = s.seg[Cs].limit;
  if (!s.code64() && limit != 0xffff && limit != 0xffff'ffff) return true;
  if ((s.rflags & kAc) && (s.cr0 & kCr0Am) && s.cpl() == 3) return true;
  for (unsigned i = 0; i < 4; i++)
    if ((s.dr7 >> (2 * i) & 3) && (s.dr7 >> (16 + 4 * i) & 3) == 0) return true;
  return false;
}

}  // namespace

u32 mode_of(const menura::x86::State& s) {
  using namespace menura::x86;
  const bool bits64 = s.code64();
  const Mode code = bits64 ? Mode::Bits64 : s.seg[Cs].db() ? Mode::Bits32 : Mode::Bits16;
  u32 mode = static_cast<u32>(code);
  const bool user = s.cpl() == 3;
  if (user) mode |= mode_bit::kUser;
  if (bits64 || flat(s)) mode |= mode_bit::kFlat;
  mode |= (bits64 ? 3u : s.seg[Ss].db() ? 2u : 1u) << mode_bit::kStackShift;
  const bool x87 = !(s.cr0 & (kCr0Em | kCr0Ts));
  const bool protected_mode = (s.cr0 & kCr0Pe) && !(s.rflags & kVm);
  if (x87) mode |= mode_bit::kX87;
  if (x87 && (s.cr4 & kCr4Osfxsr)) mode |= mode_bit::kSse;
  if (!(s.cr0 & kCr0Ts) && (s.cr4 & kCr4Osxsave) && (s.xcr0 & 6) == 6 && protected_mode)
    mode |= mode_bit::kAvx;
  if (!bits64 && s.seg[Cs].limit == 0xffff) mode |= mode_bit::kShortCode;
  if (stepwise(s)) mode |= mode_bit::kStepwise;
  if (s.cpl() == 0) mode |= mode_bit::kCpl0;
  return mode;
}

void translate(ir::Block& block, const ir::Key& key, std::span<const u8> code, FeatureSet features,
               unsigned limit, const Around& around) {
  const u64 page_left = 4096 - (key.physical & 4095);
  const u64 end = around.next ? std::min<u64>(code.size(), page_left) : code.size();
  block.begin(key);
  const Decoder decoder{static_cast<Mode>(key.mode & mode_bit::kCodeSize), features};
  Translator translator(block, key.mode);
  u64 at = 0;
  for (unsigned n = 0; n < limit && at < end; ++n) {
    const Insn insn = decoder.decode(code.subspan(at));
    const u64 pc = key.pc + at;
    const bool good = insn.status == Status::Ok, crosses = good && at + insn.length > end;
    if ((crosses || insn.status == Status::NeedMore) && n > 0) break;
    block.insn(pc);
    if (!good) {
      block.exit(ExitReason::Step, pc);
      at = std::min<u64>(at + kMaxLength, end);  // what the decoder may have looked at
      break;
    }
    if (crosses) {
      ir::Op& check = block.add(Opcode::CheckCode);
      check.imm = around.next_linear;
      check.taken = reinterpret_cast<u64>(around.next);
    }
    at += insn.length;
    translator.say(insn, pc, key.pc + at, n + 1 == limit || at >= end);
    if (block.ended()) break;
  }
  block.bytes = at;
  block.pcs.push_back(key.pc + at);
  if (!block.ended()) block.jump(key.pc + at);
  if (around.page && block.ops.back().code == Opcode::Jump && end_matters(block))
    look_ahead(block, decoder, around.page);
}

}  // namespace menura::jit::x86
