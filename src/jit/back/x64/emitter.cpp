#include "jit/back/x64/emitter.h"

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "base/bits.h"
#include "base/check.h"
#include "jit/back/x64/assembler.h"
#include "jit/back/x64/values.h"
#include "jit/ir/tables.h"

namespace menura::x64 {

Routines write_routines(const Layout& layout, u8* at, size_t room, const Callees& callees);

namespace {

using ir::ExitReason;
using ir::Op;
using ir::Opcode;
using Xbyak::Label;
using Xbyak::Reg64;

constexpr u64 kPageMask = 0xfff;
constexpr auto kNear = Xbyak::CodeGenerator::T_NEAR;
const void* address(const u8* routine) { return routine; }
constexpr size_t kMaxOpBytes = 192;  // of one operation, its cold part apart
// How far apart accesses may be that one check serves, in bytes: what reaches over the end of a page
// goes a longer way.
constexpr i64 kReach = 256;

// Emits one block: the hot part in order, then the cold parts.
class BlockWriter {
 public:
  BlockWriter(Assembler& assembler, const ir::Block& block, size_t room, const Routines& routines,
              u64 origin)
      : a_(assembler),
        l_(assembler.layout()),
        b_(block),
        routines_(routines),
        room_(room),
        origin_(origin) {
    cold_.reserve(2 * block.pcs.size() + 8);
    out_.sites.reserve(2 * block.pcs.size());
  }

  Compiled write() {
    entries();
    for (const Op& op : b_.ops) {
      if (!fits()) return {};
      emit(op);
      if (b_.keeps_pointers) values_.pass(b_, op);
    }
    for (Cold& cold : cold_) {
      if (!fits()) return {};
      emit(cold);
    }
    out_.code = static_cast<u32>(a_.getSize());
    for (Cold& cold : cold_) {
      if (!fits()) return {};
      if (cold.kind == Cold::Foreign) emit_foreign(cold);
    }
    ensure(Xbyak::GetError() == Xbyak::ERR_NONE, "the assembler took all of a block");
    out_.size = static_cast<u32>(a_.getSize());
    return std::move(out_);
  }

 private:
  // Whether there is room for another operation.
  bool fits() const { return a_.getSize() + kMaxOpBytes <= room_; }

  // A part emitted behind the block.
  struct Cold {
    enum Kind : u8 {
      SlowLoad,
      SlowStore,
      Leave,
      LeaveLive,
      Link,
      Far,
      Rare,
      RareTsc,
      Foreign
    } kind;
    u8 jumps = 0;
    std::array<u32, 2> fields{};  // displacements of the jumps to it
    u32 back = 0;                 // where it goes on
    size_t description = 0;       // of Rare: a Foreign, as index
    u64 pc = 0;
    u64 info = 0;
    u16 insn = 0;
    u16 size = 0;
    bool flags_saved = false;
    bool shared = false;  // the check serves several accesses
  };
  // Host memory that later accesses of the block use as well.
  struct Known {
    Values::Place place;     // of what the pointer was made for
    i64 begin = 0, end = 0;  // of what it is good for, as places
    bool valid = false, store = false;
    bool saved = false;  // in the vCPU block
    unsigned left = 0;   // accesses to come
  };
  enum class Flags : u8 { Host, Saved, Both };  // where the guest's are

  // Good until the next one is made.
  Cold& cold(Cold::Kind kind) {
    Cold& c = cold_.emplace_back();
    c.kind = kind;
    return c;
  }
  void displacement_to(Cold& c) {
    c.fields[c.jumps++] = here();
    a_.dd(0);
  }
  void jump_to(Cold& c) {
    a_.db(0xe9);
    displacement_to(c);
  }
  enum Condition : unsigned { AboveOrEqual = 3, NotEqual = 5, Above = 7 };  // or any other of x86's
  void jump_if(unsigned condition, Cold& c) {
    a_.db(0x0f);
    a_.db(static_cast<int>(0x80 | condition));
    displacement_to(c);
  }
  void arrive(Cold& c) {
    for (const u32 field : std::span(c.fields).first(c.jumps))
      a_.rewrite(field, static_cast<u32>(here() - (field + 4)), 4);
  }
  void go_back(const Cold& c) { a_.jmp(address(a_.getCode() + c.back), kNear); }

  u32 here() const { return static_cast<u32>(a_.getSize()); }

  void entries() {
    compare_target();
    if (!starts_saved()) {
      a_.jne(address(routines_.miss));
      out_.entry_saved = here();
      if (b_.ops.front().flags_live) a_.restore_flags(a_.t1);
      out_.entry = here();
      return;
    }
    Label begin;
    a_.je(begin);
    a_.jmp(address(routines_.miss));
    out_.entry = here();
    a_.save_flags(a_.t1);
    a_.L(begin);
    out_.entry_saved = here();
    flags_ = Flags::Saved;
  }

  // Whether the flags that a block is entered with are wanted saved before they are wanted in the host's.
  bool starts_saved() const {
    for (const Op& op : b_.ops) {
      if (op.flags_live == 0) return false;
      switch (op.code) {
        case Opcode::LeaveIf:
        case Opcode::Branch:
        case Opcode::BranchCx:
        case Opcode::Jump: return false;
        case Opcode::Native:
          if (b_.natives[op.native].flags) return false;
          break;
        case Opcode::JumpTarget:
        case Opcode::Exit: return true;
        default:
          if (ir::has_effect(op.code, 'C')) return true;
      }
    }
    return false;
  }

  // r10 == pc? The first instruction has 5 bytes at least, for whoever replaces it by a jump.
  void compare_target() {
    const bool short_form = b_.key.pc + 128 < 256;
    if (!short_form && sign_extend(b_.key.pc, 32) == static_cast<i64>(b_.key.pc)) {
      a_.cmp(a_.t0, static_cast<u32>(b_.key.pc));
    } else {
      a_.mov(a_.t1, b_.key.pc);
      a_.cmp(a_.t0, a_.t1);
    }
  }

  // Before anything that destroys the host's flags.
  void save_flags(const Op& op, const Reg64& free) {
    if (op.flags_live == 0)
      flags_ = Flags::Host;  // nobody asks
    else if (flags_ == Flags::Host)
      save_flags(free);
  }
  void save_flags(const Reg64& free) {
    a_.save_flags(free);
    flags_ = Flags::Both;
  }
  void lose_host_flags() {
    if (flags_ == Flags::Both) flags_ = Flags::Saved;
  }
  void need_host_flags() {
    if (flags_ != Flags::Saved) return;
    const bool t0_free = p_.kind == Pointer::None || p_.kind == Pointer::InT1;
    if (t0_free)
      a_.restore_flags(a_.t0);
    else
      a_.restore_flags_without_register();
    flags_ = Flags::Both;
  }

  // Before r11 is used for anything else.
  void lose_t1() {
    if (!in_t1_) return;
    Known& known = *in_t1_;
    in_t1_ = nullptr;
    if (known.left == 0) known.valid = known.saved;
    if (known.left == 0 || known.saved) return;
    a_.mov(saved_pointer(known), a_.t1);
    known.saved = true;
  }
  void forget_pointers() {
    in_t1_ = nullptr;
    for (Known& known : known_) known.valid = false;
  }
  Xbyak::Address saved_pointer(const Known& known) {
    return a_.field(l_.pointers + 8 * static_cast<u32>(&known - known_.data()));
  }
  Xbyak::RegExp pointed() const { return a_.at(p_); }

  void emit(const Op& op) {
    if (Values::forgets(op.code)) forget_pointers();
    switch (op.code) {
      case Opcode::Insn:
        p_ = {};
        if (op.poll) poll(op);
        break;
      case Opcode::CheckCode: check_code(op); break;
      case Opcode::CheckLoad: check(op, l_.load_table, Cold::SlowLoad); break;
      case Opcode::CheckStore: check(op, l_.store_table, Cold::SlowStore); break;
      case Opcode::Pointer:
        a_.mov(a_.t0, a_.field(l_.pointer));
        p_ = {Pointer::InT0};
        break;
      case Opcode::Native: native(op); break;
      case Opcode::Lea: lea(op); break;
      case Opcode::StoreImm: store_immediate(op); break;
      case Opcode::StashReg:
        read_register(op.reg, 8);
        a_.mov(a_.field(l_.stash), a_.t0);
        break;
      case Opcode::StashMem:
        load_pointed(op.size);
        a_.mov(a_.field(l_.stash), a_.t0);
        break;
      case Opcode::LoadStash: load_stash(op); break;
      case Opcode::StoreStash:
        a_.lea(a_.t0, a_.ptr[pointed()]);
        lose_t1();
        a_.mov(a_.t1, a_.field(l_.stash));
        store_t1(op.size);
        break;
      case Opcode::TargetReg: read_register(op.reg, op.size); break;
      case Opcode::TargetMem: load_pointed(op.size); break;
      case Opcode::TargetStash: zero_extended(a_.t0, l_.stash, op.size); break;
      case Opcode::Step: step(op); break;
      case Opcode::ClearInterrupts:
        leave_flags(op);
        a_.and_(a_.byte[a_.rsp + (l_.rflags + 1)], static_cast<u32>(~2));
        break;
      case Opcode::SetInterrupts: set_interrupts(op); break;
      case Opcode::SwapGs: swap_gs(); break;
      case Opcode::SetAccess: set_access(op); break;
      case Opcode::ReadTsc: read_tsc(op); break;
      case Opcode::StashFlags: stash_flags(op); break;
      case Opcode::RepeatMove: repeat(op, routines_.repeat_move); break;
      case Opcode::RepeatStore: repeat(op, routines_.repeat_store); break;
      case Opcode::Jump: jump(op.imm); break;
      case Opcode::LeaveIf: leave_if(op); break;
      case Opcode::Branch:
        leave_if(op);
        jump(op.imm);
        break;
      case Opcode::BranchCx: branch_cx(op); break;
      case Opcode::JumpTarget:
        if (flags_ == Flags::Host) save_flags(a_.t1);
        a_.mov(a_.r11d, ir::kJumpMask);
        a_.pext(a_.t1, a_.t0, a_.t1);
        a_.gs();
        a_.jmp(a_.ptr[a_.t1 * 8 + l_.jumps]);
        break;
      case Opcode::Exit:
        if (static_cast<ExitReason>(op.condition) == ExitReason::Step) {
          last_step(op);
          break;
        }
        leave(op.imm, exit_info(static_cast<ExitReason>(op.condition)), flags_ != Flags::Host);
        break;
      case Opcode::Count: unreachable();
    }
  }

  void poll(const Op& op) {
    const bool live = op.flags_live != 0 && flags_ == Flags::Host;
    Cold& c = cold(live ? Cold::LeaveLive : Cold::Leave);
    c.pc = op.imm;
    c.info = exit_info(ExitReason::Poll);
    c.flags_saved = flags_ != Flags::Host;
    if (!live) {
      a_.cmp(a_.field32(l_.poll), 0);
      jump_if(NotEqual, c);
      lose_host_flags();
      return;
    }
    // Without touching flags: through the count register.
    Label quiet;
    a_.mov(a_.t0, a_.rcx);
    a_.mov(a_.ecx, a_.field32(l_.poll));
    a_.jrcxz(quiet);
    jump_to(c);
    a_.L(quiet);
    a_.mov(a_.rcx, a_.t0);
  }

  // The register that holds a guest register now: its own, or `scratch` after a load.
  Reg64 reading(unsigned guest, const Reg64& scratch) {
    if (is_pinned(guest)) return a_.host(guest);
    a_.mov(scratch, a_.home(guest));
    return scratch;
  }

  // to = the address without its segment's base. Uses r10 and r11 when base or index need them.
  void effective(const ir::Address& x, const Reg64& to) {
    const bool wide = x.size == 8;
    if (x.base == ir::kNone && x.index == ir::kNone) {
      a_.mov(to, static_cast<u64>(x.disp) & low_mask(8 * x.size));
      return;
    }
    if (wide && x.index == ir::kNone && x.disp == 0) {
      const Reg64 base = reading(x.base, to);
      if (base.getIdx() != to.getIdx()) a_.mov(to, base);
      return;
    }
    const size_t disp = static_cast<size_t>(x.disp);
    Xbyak::RegExp e =
        x.base == ir::kNone ? Xbyak::RegExp(disp) : Xbyak::RegExp(reading(x.base, a_.t0)) + disp;
    if (x.index != ir::kNone && !is_pinned(x.index)) lose_t1();
    if (x.index != ir::kNone) e = e + Xbyak::RegExp(reading(x.index, a_.t1), 1 << x.scale);
    if (wide)
      a_.lea(to, a_.ptr[e]);
    else
      a_.lea(to.cvt32(), a_.ptr[e]);
    if (x.size == 2) a_.movzx(to.cvt32(), to.cvt16());
  }

  // Before an operation that destroys the host's flags.
  void leave_flags(const Op& op) {
    save_flags(op, a_.t0);
    lose_host_flags();
  }
  // Where the engine executes the operation's instruction and comes back. The flags are left.
  Cold& rarely(Cold::Kind kind, const Op& op) {
    cold(Cold::Foreign).info = op.native;
    Cold& c = cold(kind);
    c.description = cold_.size() - 2;
    c.pc = op.imm;
    return c;
  }

  void set_interrupts(const Op& op) {
    leave_flags(op);
    Cold& c = rarely(Cold::Rare, op);
    a_.cmp(a_.field32(l_.interrupt), 0);
    jump_if(NotEqual, c);
    a_.or_(a_.byte[a_.rsp + (l_.rflags + 1)], 2);
    c.back = here();
  }

  void swap_gs() {
    constexpr u32 kGs = 5;
    const u32 base = l_.segment_base + l_.segment_stride * kGs;
    a_.mov(a_.t0, a_.field(base));
    a_.mov(a_.t1, a_.field(l_.kernel_gs));
    a_.mov(a_.field(base), a_.t1);
    a_.mov(a_.field(l_.kernel_gs), a_.t0);
  }

  void set_access(const Op& op) {
    leave_flags(op);
    const Xbyak::Address flags = a_.byte[a_.rsp + (l_.rflags + 2)];
    if (op.taken)
      a_.or_(flags, 4);
    else
      a_.and_(flags, static_cast<u32>(~4));
    a_.mov(a_.t0, a_.field(l_.contexts + (op.taken ? 8 : 0)));
    for (int byte : {0xf3, 0x49, 0x0f, 0xae, 0xda}) a_.db(byte);  // wrgsbase r10
  }

  void read_tsc(const Op& op) {
    leave_flags(op);
    Cold& c = rarely(Cold::RareTsc, op);
    a_.mov(a_.t0, a_.rax);
    a_.mov(a_.t1, a_.rdx);
    if (op.taken) a_.lfence();  // RDTSCP waits for the instructions before it
    a_.rdtsc();
    a_.shl(a_.rdx, 32);
    a_.or_(a_.rax, a_.rdx);
    a_.cmp(a_.rax, a_.field(l_.tsc_until));
    jump_if(AboveOrEqual, c);
    a_.add(a_.rax, a_.field(l_.tsc_offset));
    a_.mov(a_.rdx, a_.rax);
    a_.shr(a_.rdx, 32);
    a_.mov(a_.eax, a_.eax);
    if (op.taken) a_.mov(a_.ecx, a_.field32(l_.tsc_aux));
    c.back = here();
  }

  void stash_flags(const Op& op) {
    leave_flags(op);
    lose_t1();
    a_.movzx(a_.r10d, a_.field16(l_.flags));
    a_.mov(a_.r11d, a_.r10d);
    a_.shr(a_.r10d, 8);
    a_.and_(a_.r10d, 0xd5);
    a_.and_(a_.r11d, 1);
    a_.shl(a_.r11d, 11);
    a_.or_(a_.r10d, a_.r11d);
    a_.mov(a_.r11d, a_.field32(l_.rflags));
    constexpr u32 kStatusVmRf = 0x8d5 | 0x3'0000;
    a_.and_(a_.r11d, ~kStatusVmRf);
    a_.or_(a_.r10d, a_.r11d);
    a_.mov(a_.field(l_.stash), a_.t0);
  }

  void repeat(const Op& op, const std::array<const u8*, 4>& routines) {
    leave_flags(op);
    Cold& c = rarely(Cold::Rare, op);
    a_.call(address(routines[static_cast<size_t>(std::countr_zero(op.size))]));
    a_.test(a_.rcx, a_.rcx);
    jump_if(NotEqual, c);
    c.back = here();
  }

  // stash = how far the bit is from the address, in bytes.
  void bit_distance(const Op& op) {
    const Reg64 from = reading(op.reg, a_.t1);
    if (op.size == 8 && from.getIdx() != a_.t1.getIdx()) a_.mov(a_.t1, from);
    if (op.size == 4) a_.movsxd(a_.t1, from.cvt32());
    if (op.size == 2) a_.movsx(a_.t1, from.cvt16());
    const int unit = std::countr_zero(op.size);
    a_.sar(a_.t1, unit + 3);
    a_.shl(a_.t1, unit);
    a_.mov(a_.field(l_.stash), a_.t1);
  }

  // r10 = offset into the segment. The flags are saved.
  void limit(const Op& op, u32 ends) {
    a_.lea(a_.t1, a_.ptr[a_.t0 + op.size]);
    a_.cmp(a_.t1, a_.field(ends + 8 * op.address.segment));
    Cold& c = cold(Cold::Leave);
    c.pc = b_.pcs[op.insn];
    c.info = exit_info(ExitReason::Step);
    c.flags_saved = true;
    jump_if(Above, c);
  }

  // Uses a pointer that the block keeps, if it is good for the access.
  bool known_pointer(const Op& op, const Values::Place& place, bool store) {
    for (Known& known : known_) {
      const bool inside = place.at >= known.begin && place.at + op.size <= known.end;
      if (!known.valid || !inside || (store && !known.store)) continue;
      if (!Values::same(place, known.place)) continue;
      const bool here = in_t1_ == &known;
      if (!here) a_.mov(a_.t0, saved_pointer(known));
      p_ = {here ? Pointer::InT1 : Pointer::InT0, static_cast<i32>(place.at - known.begin)};
      known.left -= known.left != 0;
      return true;
    }
    return false;
  }

  // A pointer for the access and for those behind it that it can serve; null: there is none.
  Known* new_pointer(const Op& op, const Values::Place& place, bool store) {
    Known found{.place = place, .begin = place.at, .end = place.at + op.size, .store = store};
    Values values = values_;
    for (const Op* later = &op + 1; later != b_.ops.data() + b_.ops.size(); ++later) {
      if (Values::forgets(later->code)) break;
      const bool serves =
          later->code == Opcode::CheckLoad || (store && later->code == Opcode::CheckStore);
      if (serves && Values::follows(*later)) {
        const Values::Place other = values.place(later->address);
        const i64 begin = std::min(found.begin, other.at);
        const i64 end = std::max(found.end, other.at + later->size);
        if (Values::same(place, other) && end - begin <= kReach) {
          found.begin = begin;
          found.end = end;
          found.left++;
        }
      }
      values.pass(b_, *later);
    }
    if (found.left == 0) return nullptr;
    found.valid = true;
    for (Known& known : known_)
      if (!known.valid || known.left == 0) return &(known = found);
    return &(known_[next_known_++ % known_.size()] = found);
  }

  void check(const Op& op, u32 table, Cold::Kind kind) {
    const bool store = kind == Cold::SlowStore;
    const bool follows = b_.keeps_pointers && Values::follows(op);
    const Values::Place place = follows ? values_.place(op.address) : Values::Place{};
    if (follows && known_pointer(op, place, store)) return;
    save_flags(op, a_.t0);
    lose_t1();
    Known* const known = follows ? new_pointer(op, place, store) : nullptr;
    ir::Address x = op.address;
    u16 size = op.size;
    if (known) {
      x.disp -= place.at - known->begin;
      size = static_cast<u16>(known->end - known->begin);
    }
    const bool of_bit = op.reg != ir::kNone;
    if (of_bit) bit_distance(op);
    effective(x, a_.t0);
    if (of_bit) a_.add(a_.t0, a_.field(l_.stash));
    if (x.limited) limit(op, kind == Cold::SlowLoad ? l_.read_ends : l_.write_ends);
    if (x.segment != ir::kNone) {
      a_.mov(a_.t1, a_.field(l_.segment_base + l_.segment_stride * x.segment));
      if (x.wrap == 8)
        a_.lea(a_.t0, a_.ptr[a_.t0 + a_.t1]);
      else
        a_.lea(a_.r10d, a_.ptr[a_.t0 + a_.t1]);
    }
    const bool plain = !of_bit && x.segment == ir::kNone && x.size == 8 && x.disp == 0 &&
                       x.index == ir::kNone && x.base != ir::kNone && is_pinned(x.base);
    a_.rorx(a_.t1, plain ? a_.host(x.base) : a_.t0, 8);
    and_tlb_mask();
    a_.gs();
    a_.sub(a_.t0, a_.ptr[a_.t1 + table]);
    a_.cmp(a_.t0, static_cast<u32>(4096 - size));
    Cold& c = cold(kind);
    c.size = size;
    c.insn = op.insn;
    c.shared = known != nullptr;
    lose_host_flags();
    jump_if(Above, c);
    a_.gs();
    a_.mov(a_.t1, a_.ptr[a_.t1 + table + 8]);
    c.back = here();
    // The instruction adds it again.
    if (of_bit) a_.sub(a_.t0, a_.field(l_.stash));
    p_ = {Pointer::Sum};
    if (!known) return;
    a_.add(a_.t1, a_.t0);
    in_t1_ = known;
    p_ = {Pointer::InT1, static_cast<i32>(place.at - known->begin)};
  }

  void check_code(const Op& op) {
    save_flags(op, a_.t0);
    Cold& c = cold(Cold::Leave);
    c.pc = b_.pcs[op.insn];
    c.info = exit_info(ExitReason::Step);
    c.flags_saved = true;
    const u32 entry = l_.code_pages + ir::code_page_index(op.imm) * sizeof(ir::CodePage);
    for (const auto& [value, field] : {std::pair{op.imm, 0u}, std::pair{op.taken, 8u}}) {
      a_.mov(a_.t0, value);
      // cmp r10, gs:[disp32], which Xbyak cannot say
      for (int byte : {0x65, 0x4c, 0x3b, 0x14, 0x25}) a_.db(byte);
      a_.dd(entry + field);
      jump_if(NotEqual, c);
    }
    lose_host_flags();
  }

  // and r11d, gs:[tlb_mask], which Xbyak cannot say
  void and_tlb_mask() {
    for (int byte : {0x65, 0x44, 0x23, 0x1c, 0x25}) a_.db(byte);
    a_.dd(l_.tlb_mask);
  }

  void native(const Op& op) {
    const ir::Native& n = b_.natives[op.native];
    const u8 live_after = (&op + 1)->flags_live;
    if (n.flags && (op.flags_read | (live_after & ~op.flags_written))) need_host_flags();
    const bool memory = n.rm.kind == ir::Operand::Memory;
    const unsigned moved = not_pinned(n.reg) + not_pinned(n.rm) + not_pinned(n.vvvv);
    if (memory ? p_.kind == Pointer::InT0 && moved : moved > 1) lose_t1();
    const Assembler::Placed placed = a_.native(n, p_);
    if (n.may_trap || memory)
      out_.sites.push_back({.offset = placed.offset,
                            .insn = op.insn,
                            .flags_saved = flags_ != Flags::Host,
                            .borrowed = placed.borrowed});
    if (n.flags) flags_ = Flags::Host;
  }

  static unsigned not_pinned(const ir::Operand& o) {
    return o.kind == ir::Operand::General && !is_pinned(o.number);
  }

  void lea(const Op& op) {
    const ir::Address& x = op.address;
    const bool direct =
        is_pinned(op.reg) && op.size != 2 && x.size >= op.size && x.base != ir::kNone;
    if (direct) {
      Reg64 to = a_.host(op.reg);
      if (op.size == 4) {
        ir::Address narrow = x;
        narrow.size = 4;
        return effective(narrow, to);
      }
      return effective(x, to);
    }
    // r10 may hold the target of a jump while the stack pointer moves.
    const bool keeps_t0 = x.base == ir::kNone || is_pinned(x.base);
    const Reg64 to = keeps_t0 ? a_.t1 : a_.t0;
    if (keeps_t0) lose_t1();
    effective(x, to);
    write_register(op.reg, op.size, to);
  }

  void write_register(unsigned guest, unsigned size, const Reg64& from) {
    if (is_pinned(guest)) {
      const Reg64 to = a_.host(guest);
      if (size == 8) a_.mov(to, from);
      if (size == 4) a_.mov(to.cvt32(), from.cvt32());
      if (size == 2) a_.mov(to.cvt16(), from.cvt16());
      return;
    }
    if (size == 2) {
      a_.mov(a_.word[a_.rsp + (l_.gpr + 8 * guest)], from.cvt16());
      return;
    }
    if (size == 4) a_.mov(from.cvt32(), from.cvt32());
    a_.mov(a_.home(guest), from);
  }

  // r10 = register, zero-extended from size.
  void read_register(unsigned guest, unsigned size) {
    const Reg64 from = reading(guest, a_.t0);
    if (size == 8 && from.getIdx() != a_.t0.getIdx()) a_.mov(a_.t0, from);
    if (size == 4) a_.mov(a_.r10d, from.cvt32());
    if (size == 2) a_.movzx(a_.r10d, from.cvt16());
  }

  void load_pointed(unsigned size) {
    if (size == 8) a_.mov(a_.t0, a_.ptr[pointed()]);
    if (size == 4) a_.mov(a_.r10d, a_.ptr[pointed()]);
    if (size == 2) a_.movzx(a_.r10d, a_.word[pointed()]);
  }

  void zero_extended(const Reg64& to, u32 field, unsigned size) {
    if (size == 8) a_.mov(to, a_.field(field));
    if (size == 4) a_.mov(to.cvt32(), a_.field32(field));
    if (size == 2) a_.movzx(to.cvt32(), a_.field16(field));
  }

  void load_stash(const Op& op) {
    zero_extended(a_.t0, l_.stash, op.size);
    write_register(op.reg, op.size, a_.t0);
  }

  void store_immediate(const Op& op) {
    const i64 value = static_cast<i64>(op.imm);
    if (op.size == 8 && value == static_cast<i32>(value)) {
      a_.mov(a_.qword[pointed()], static_cast<size_t>(value));
      return;
    }
    if (op.size == 4) {
      a_.mov(a_.dword[pointed()], static_cast<u32>(value));
      return;
    }
    a_.lea(a_.t0, a_.ptr[pointed()]);
    lose_t1();
    a_.mov(a_.t1, op.imm);
    store_t1(op.size);
  }

  void store_t1(unsigned size) {
    if (size == 8) a_.mov(a_.ptr[a_.t0], a_.t1);
    if (size == 4) a_.mov(a_.ptr[a_.t0], a_.r11d);
    if (size == 2) a_.mov(a_.ptr[a_.t0], a_.r11w);
  }

  bool same_page(u64 target) const {
    return ((target + b_.key.code_base) ^ (b_.key.pc + b_.key.code_base)) <= kPageMask;
  }

  void call_step(u64 pc) {
    if (flags_ == Flags::Host) save_flags(a_.t0);
    a_.mov(a_.t0, pc);
    a_.call(address(routines_.step));
    flags_ = Flags::Saved;
  }
  void step(const Op& op) {
    Cold& c = cold(Cold::Foreign);
    c.info = op.native;
    lea_t1(c);
    call_step(op.imm);
  }
  // r11 = where the cold part lies.
  void lea_t1(Cold& c) {
    for (int byte : {0x4c, 0x8d, 0x1d}) a_.db(byte);
    displacement_to(c);
  }
  // Never comes back: the instruction must be fetched.
  void last_step(const Op& op) {
    if (flags_ == Flags::Host) save_flags(a_.t1);
    a_.mov(a_.r11d, 0);
    call_step(op.imm);
  }

  // Pads so that a displacement behind `opcode_bytes` lies in 8 aligned bytes: it is patched while
  // others run.
  void align_field(size_t opcode_bytes) {
    const u64 at = (reinterpret_cast<u64>(a_.getCurr()) + opcode_bytes) & 7;
    if (at > 4) a_.nop(8 - at);
  }

  void add_link(u32 field, u64 target) {
    const bool saved = flags_ == Flags::Saved;
    out_.links.push_back({.field = field, .stub = 0, .pc = target, .flags_saved = saved});
    Cold& c = cold(Cold::Link);
    c.flags_saved = saved;
    c.pc = target;
    c.info = out_.links.size() - 1;
  }

  void far_jump(u64 target, bool saved) {
    if (!saved) a_.save_flags(a_.t1);
    a_.mov(a_.t0, target);
    // jmp gs:[disp32], which Xbyak cannot say
    for (int byte : {0x65, 0xff, 0x24, 0x25}) a_.db(byte);
    a_.dd(l_.jumps + 8 * ir::jump_index(target));
  }

  void jump(u64 target) {
    if (!same_page(target)) return far_jump(target, flags_ != Flags::Host);
    align_field(1);
    a_.db(0xe9);
    add_link(static_cast<u32>(a_.getSize()), target);
    a_.dd(0);
  }

  void leave_if(const Op& op) {
    need_host_flags();
    if (same_page(op.taken)) {
      align_field(2);
      a_.db(0x0f);
      a_.db(0x80 | op.condition);
      add_link(static_cast<u32>(a_.getSize()), op.taken);
      a_.dd(0);
    } else {
      Cold& c = cold(Cold::Far);
      c.pc = op.taken;
      c.flags_saved = flags_ != Flags::Host;
      jump_if(op.condition, c);
    }
  }

  void branch_cx(const Op& op) {
    Label zero;
    if (op.size == 4)
      a_.jecxz(zero);
    else
      a_.jrcxz(zero);
    jump(op.imm);
    a_.L(zero);
    jump(op.taken);
  }

  void leave(u64 pc, u64 info, bool saved) {
    a_.mov(a_.t0, pc);
    a_.mov(a_.t1, info);
    a_.jmp(address(saved ? routines_.exit_saved : routines_.exit), kNear);
  }

  void emit(Cold& c) {
    if (c.kind == Cold::Foreign) return;  // data, behind all code
    arrive(c);
    switch (c.kind) {
      case Cold::SlowLoad: slow(c, l_.load_table, routines_.slow_load); break;
      case Cold::SlowStore: slow(c, l_.store_table, routines_.slow_store); break;
      case Cold::Foreign: break;
      case Cold::LeaveLive: a_.mov(a_.rcx, a_.t0); [[fallthrough]];
      case Cold::Leave: leave(c.pc, c.info, c.flags_saved); break;
      case Cold::Far: far_jump(c.pc, c.flags_saved); break;
      case Cold::RareTsc:
        a_.mov(a_.rax, a_.t0);
        a_.mov(a_.rdx, a_.t1);
        [[fallthrough]];
      case Cold::Rare:
        lea_t1(cold_[c.description]);
        a_.mov(a_.t0, c.pc);
        a_.call(address(routines_.step));
        go_back(c);
        break;
      case Cold::Link: {
        Link& link = out_.links[c.info];
        link.stub = static_cast<u32>(a_.getSize());
        a_.rewrite(link.field, static_cast<u32>(link.stub - (link.field + 4)), 4);
        leave(c.pc, exit_info(ExitReason::Next, origin_ + link.field), c.flags_saved);
        break;
      }
    }
  }

  void emit_foreign(Cold& c) {
    while (reinterpret_cast<u64>(a_.getCurr()) & 7) a_.db(0);
    arrive(c);
    for (std::byte byte : b_.foreigns[c.info].bytes) a_.db(static_cast<u8>(byte));
  }

  void slow(Cold& c, u32 table, const u8* routine) {
    a_.gs();
    a_.add(a_.t0, a_.ptr[a_.t1 + table]);
    if (c.shared) part(c);
    a_.mov(a_.r11d, c.size);
    a_.call(address(routine));
    out_.sites.push_back(
        {.offset = static_cast<u32>(a_.getSize()), .insn = c.insn, .flags_saved = true});
    go_back(c);
  }

  // Accesses in two pages: by a block that checks each of them. r10 = address.
  void part(const Cold& c) {
    Label one_page;
    a_.mov(a_.r11d, a_.r10d);
    a_.and_(a_.r11d, static_cast<u32>(kPageMask));
    a_.cmp(a_.r11d, 4096u - c.size);
    a_.jbe(one_page);
    align_field(1);
    a_.db(0xe9);
    const u32 field = here();
    a_.dd(0);
    const u64 pc = b_.pcs[c.insn];
    out_.links.push_back({.field = field, .stub = here(), .pc = pc, .flags_saved = true});
    leave(pc, exit_info(ExitReason::Apart, origin_ + field), true);
    a_.L(one_page);
  }

  using Pointer = Assembler::Pointer;

  Assembler& a_;
  const Layout& l_;
  const ir::Block& b_;
  const Routines& routines_;
  const size_t room_;
  const u64 origin_;
  Compiled out_;
  std::vector<Cold> cold_;
  Flags flags_ = Flags::Host;
  Pointer p_;
  Values values_;
  std::array<Known, kPointers> known_{};
  Known* in_t1_ = nullptr;  // whose pointer r11 holds
  size_t next_known_ = 0;
};

}  // namespace

Emitter::Emitter(const Layout& layout, const Callees& callees)
    : layout_(layout), callees_(callees) {}
Emitter::~Emitter() = default;

Routines Emitter::routines(u8* at, size_t room) {
  return write_routines(layout_, at, room, callees_);
}

Compiled Emitter::compile(const ir::Block& block, u8* at, size_t room, const Routines& routines,
                          u64 origin) {
  if (room < kMaxOpBytes) return {};
  // To make one takes as long as ten guest instructions.
  thread_local std::unique_ptr<Assembler> assembler;
  thread_local const Emitter* made_by = nullptr;
  if (made_by != this) assembler = std::make_unique<Assembler>(layout_, at, room);
  made_by = this;
  assembler->begin(at, room);
  return BlockWriter(*assembler, block, room, routines, origin).write();
}

}  // namespace menura::x64
