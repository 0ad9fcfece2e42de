// One guest instruction outside of translated blocks: what translated code could not do, and tier 0.
#include <x86intrin.h>

#include "accel/jit/jit_vcpu.h"
#include "base/bits.h"
#include "cpu/x86/segments.h"

namespace menura::engine {

using jit::x86::attr::kBitString;
using x86::OrFault;
using x86::PageAccess;
using x86::Privilege;

namespace {

constexpr u64 kSingleStep = 1u << 14;  // DR6.BS
constexpr size_t kMaxOperand = 128;

// Intel SDM vol. 3 §9.3, as far as the translator does not make them itself.
bool is_serializing(jit::x86::Mnemonic m) {
  using M = jit::x86::Mnemonic;
  switch (m) {
    case M::Cpuid:
    case M::Iret:
    case M::Rsm:
    case M::Mov:  // to a control or debug register
    case M::Wrmsr:
    case M::Invd:
    case M::Invlpg:
    case M::Invpcid:
    case M::Wbinvd:
    case M::Lgdt:
    case M::Lidt:
    case M::Lldt:
    case M::Ltr:
    case M::Lmsw: return true;
    default: return false;
  }
}

// To memory in two pages: the host cannot do it in one go. XCHG locks by itself.
bool is_atomic(const Insn& insn) {
  return insn.has(jit::x86::seen::kLock) || insn.mnemonic == jit::x86::Mnemonic::Xchg;
}

// SIGFPE stands for all three.
u8 arithmetic_fault(jit::x86::Unit unit) {
  switch (unit) {
    case jit::x86::Unit::Integer: return x86::kDe;
    case jit::x86::Unit::X87:
    case jit::x86::Unit::Mmx: return x86::kMf;
    case jit::x86::Unit::Sse:
    case jit::x86::Unit::Avx: return x86::kXm;
  }
  return x86::kDe;
}

bool interrupts_itself(const Insn& insn, u64 rflags) {
  using jit::x86::Mnemonic;
  if (insn.mnemonic == Mnemonic::Into) return rflags & x86::kOf;
  return insn.mnemonic == Mnemonic::Int || insn.mnemonic == Mnemonic::Int3 ||
         insn.mnemonic == Mnemonic::Int1;
}

// CVTPI2PS and CVTPI2PD turn to MMX only for a register.
bool looks_for_x87_exceptions(const Insn& insn) {
  using jit::x86::Mnemonic;
  const bool converts = insn.mnemonic == Mnemonic::Cvtpi2ps || insn.mnemonic == Mnemonic::Cvtpi2pd;
  if (converts && insn.is_memory()) return false;
  return jit::x86::waits_for_x87(jit::x86::row_of(insn));
}

// The guest's x87 state is the host's while the vCPU runs.
bool x87_exception_pending() {
  constexpr u16 kErrorSummary = 1u << 7;
  u16 status;
  asm volatile("fnstsw %0" : "=a"(status));
  return status & kErrorSummary;
}

}  // namespace

std::optional<Exit> JitVcpu::step() {
  statistics_.steps++;
  if (const u64 hit = instruction_breakpoint()) {
    s_.rflags |= x86::kRf;
    return deliver({.vector = x86::kDb}, hit);
  }
  const bool traced = s_.rflags & x86::kTf, had_rf = s_.rflags & x86::kRf;
  OrFault<Fetched*> fetched = fetch();
  if (!fetched) return deliver(fetched.error());
  stepping_ = *fetched;
  const Insn* insn = &stepping_->insn;
  if (debug_.software_breakpoints && insn->mnemonic == jit::x86::Mnemonic::Int3) return Exit::Debug;
  statistics_.stepped[static_cast<size_t>(insn->mnemonic)]++;
  if (OrFault<void> unit = jit::x86::check_unit(s_, *insn); !unit) return deliver(unit.error());
  if (stepping_->checks_x87 && x87_exception_pending()) return deliver({.vector = x86::kMf});
  if (stepping_->lowering == jit::x86::Lowering::Native)
    return finish_step(*insn, resumed(step_native(*insn), had_rf), traced);
  // Delivery clears TF before a step of a software interrupt would be seen.
  const bool trap = traced && !interrupts_itself(*insn, s_.rflags);
  return finish_step(*insn, resumed(execute_foreign(*insn), had_rf), trap);
}

std::optional<Exit> JitVcpu::step(const Insn& insn) {
  // A native instruction's thunk is found by its bytes.
  if (jit::x86::lowering(jit::x86::row_of(insn)) == jit::x86::Lowering::Native) return step();
  statistics_.steps++;
  statistics_.stepped[static_cast<size_t>(insn.mnemonic)]++;
  const bool traced = s_.rflags & x86::kTf;
  return finish_step(insn, execute_foreign(insn), traced);
}

Outcome JitVcpu::execute_foreign(const Insn& insn) {
  const Outcome outcome = jit::x86::execute(s_, insn, mmu_);
  if (is_serializing(insn.mnemonic)) code_.serialize();
  // For a while translated code reads the counter by itself: a timer is seen late by that at most.
  constexpr u64 kTicks = 1 << 16;
  const bool reads_tsc =
      insn.mnemonic == jit::x86::Mnemonic::Rdtsc || insn.mnemonic == jit::x86::Mnemonic::Rdtscp;
  if (reads_tsc && outcome.what == Outcome::Done && !options_.lockstep)
    block_->tsc_until = __rdtsc() + kTicks;
  return outcome;
}

// RF lets one instruction pass its breakpoint.
Outcome JitVcpu::resumed(const Outcome& outcome, bool had_rf) {
  const bool passed = outcome.what == Outcome::Done || outcome.what == Outcome::Trapped;
  if (had_rf && passed) s_.rflags &= ~u64{x86::kRf};
  return outcome;
}

std::optional<Exit> JitVcpu::finish_step(const Insn& insn, const Outcome& outcome, bool traced) {
  using jit::x86::Mnemonic;
  // Behind a load of SS traps wait for the next instruction, whose own step covers this one's.
  const bool held =
      outcome.what == Outcome::Done && s_.interrupt_shadow && insn.mnemonic != Mnemonic::Sti;
  const u64 watched = held ? 0 : mmu_.take_watched();
  // AMD APM vol. 3, SYSCALL: the TF that it leaves counts, not the one it found.
  if (insn.mnemonic == Mnemonic::Syscall || insn.mnemonic == Mnemonic::Sysret)
    traced = s_.rflags & x86::kTf;
  switch (outcome.what) {
    case Outcome::Faulted:
    case Outcome::Trapped: return deliver(outcome.fault);
    case Outcome::Shutdown: return Exit::Reset;
    case Outcome::Native: unreachable("an instruction that nobody executes");
    case Outcome::Done:
    case Outcome::Repeat:
    case Outcome::Halted: break;
  }
  mode_changed();
  if (mmu_.take_device_access()) forget_written();
  // Also between the elements of a repeated string instruction, which then does one at a time.
  const u64 traps = watched | (traced && !held ? kSingleStep : 0);
  if (traps) return deliver({.vector = x86::kDb}, traps);
  return std::nullopt;
}

// The bits of DR6 for instruction breakpoints at rip (Intel SDM vol. 3 §18.3.1.1).
u64 JitVcpu::instruction_breakpoint() const {
  if (!(s_.dr7 & 0xff) || (s_.rflags & x86::kRf)) return 0;
  const u64 at = s_.code64() ? s_.rip : (s_.rip + s_.seg[x86::Cs].base) & 0xffff'ffff;
  u64 hit = 0;
  for (unsigned i = 0; i < 4; i++)
    if ((s_.dr7 >> (2 * i) & 3) && (s_.dr7 >> (16 + 4 * i) & 3) == 0 && s_.dr[i] == at)
      hit |= u64{1} << i;
  return hit;
}

// The instruction at rip, which may reach into the next page.
OrFault<JitVcpu::Fetched*> JitVcpu::fetch() {
  TRY(x86::code_linear(s_, s_.rip, 1));
  const u64 linear = linear_of(s_.rip);
  const std::span<const u8> code = TRY(mmu_.code_at(linear));
  if (code.empty()) return fetch_anew(code, linear);
  Fetched& known = fetched_[reinterpret_cast<u64>(code.data()) % kFetched];
  const bool same = known.at == code.data() &&
                    known.code_size == (mode_key_.mode & jit::x86::mode_bit::kCodeSize);
  if (same && TRY(still_there(known, code))) return &known;
  return fetch_anew(code, linear);
}

OrFault<bool> JitVcpu::still_there(const Fetched& known, std::span<const u8> code) {
  const size_t length = known.insn.length, here = std::min<size_t>(code.size(), length);
  if (std::memcmp(code.data(), known.bytes.data(), here) != 0) return false;
  if (here == length) return true;
  TRY(x86::code_linear(s_, s_.rip + here, 1));
  const std::span<const u8> rest = TRY(mmu_.code_at(linear_of(s_.rip + here)));
  return !rest.empty() && std::memcmp(rest.data(), known.bytes.data() + here, length - here) == 0;
}

OrFault<JitVcpu::Fetched*> JitVcpu::fetch_anew(std::span<const u8> code, u64 linear) {
  const u32 code_size = mode_key_.mode & jit::x86::mode_bit::kCodeSize;
  const jit::x86::Decoder decoder{static_cast<jit::x86::Mode>(code_size), author_.features};
  Fetched& slot = fetched_[code.empty() ? kFetched : reinterpret_cast<u64>(code.data()) % kFetched];
  slot = {};
  const u8* const at = code.empty() ? nullptr : code.data();
  size_t have = 0;
  for (;;) {
    size_t more = std::min(code.size(), jit::x86::kMaxLength - have);
    if (!code.empty()) {
      std::memcpy(slot.bytes.data() + have, code.data(), more);
    } else {  // code in a device: byte by byte
      TRY(mmu_.read(linear, writable_bytes_of(slot.bytes).subspan(have, 1), Privilege::Current));
      more = 1;
    }
    have += more;
    const Insn insn = decoder.decode(std::span(slot.bytes).first(have));
    switch (insn.status) {
      case jit::x86::Status::Ok:
        for (size_t i = insn.length; i < slot.bytes.size(); i++) slot.bytes[i] = 0;
        slot.at = at;
        slot.code_size = code_size;
        slot.insn = insn;
        slot.lowering = jit::x86::lowering(jit::x86::row_of(insn));
        slot.checks_x87 = looks_for_x87_exceptions(insn);
        return &slot;
      case jit::x86::Status::NeedMore:
        if (have == jit::x86::kMaxLength) return x86::general_protection();
        break;
      case jit::x86::Status::TooLong: return x86::general_protection();
      case jit::x86::Status::Invalid: return x86::undefined_opcode();
    }
    TRY(x86::code_linear(s_, s_.rip + have, 1));
    linear = linear_of(s_.rip + have);
    code = TRY(mmu_.code_at(linear));
  }
}

Outcome JitVcpu::step_native(const Insn& insn) {
  u64 next = s_.rip + insn.length;
  if (!s_.code64()) next &= 0xffff'ffff;
  s_.interrupt_shadow = false;
  if (OrFault<void> done = run_native(insn); !done) return done.error();
  s_.rip = next;
  return Outcome::Done;
}

OrFault<void> JitVcpu::run_native(const Insn& insn) {
  if (!insn.is_memory()) return run_thunk(insn, nullptr);
  if (insn.mnemonic == jit::x86::Mnemonic::Lea) {
    const u64 value = jit::x86::effective_address(s_, insn);
    const u64 keep = insn.operand_size == 2 ? ~u64{0xffff} : 0;
    s_.gpr[insn.reg] = (s_.gpr[insn.reg] & keep) | (value & low_mask(8 * insn.operand_size));
    return {};
  }
  const jit::x86::MemoryUse use = jit::x86::memory_use(jit::x86::row_of(insn));
  if (use == jit::x86::MemoryUse::None || use == jit::x86::MemoryUse::AddressOnly) return {};
  return run_with_memory(insn);
}

OrFault<void> JitVcpu::run_with_memory(const Insn& insn) {
  const jit::x86::Row& row = jit::x86::row_of(insn);
  const jit::x86::MemoryUse use = jit::x86::memory_use(row);
  const unsigned size = jit::x86::memory_size(insn);
  ensure(size != 0 && size <= kMaxOperand, "a native instruction's memory operand has a size");
  u64 beyond = 0;  // what the instruction itself adds to its address
  if (row.attributes & kBitString) {
    const i64 bit = sign_extend(s_.gpr[insn.reg], 8 * size);
    beyond = static_cast<u64>((bit >> std::countr_zero(8 * size)) * static_cast<i64>(size));
  }
  const PageAccess access = use == jit::x86::MemoryUse::Load ? PageAccess::Read : PageAccess::Write;
  const u64 offset =
      (jit::x86::effective_address(s_, insn) + beyond) & low_mask(8 * insn.address_size);
  const x86::SegReg segment = static_cast<x86::SegReg>(insn.segment);
  const u64 base = s_.code64() && segment < x86::Fs ? 0 : s_.seg[segment].base;
  // AMD's order: alignment, then the segment.
  if ((base + offset) % jit::x86::alignment(row, size)) return x86::general_protection();
  const u64 linear = TRY(x86::segment_linear(s_, segment, offset, size, access));
  TRY(mmu_.check_alignment(linear, size, Privilege::Current));
  if (void* host = TRY(mmu_.direct(linear, size, access))) {
    TRY(run_thunk(insn, static_cast<u8*>(host) - beyond));
    if (access == PageAccess::Write) mmu_.wrote(host, size);
    return {};
  }
  const bool two_pages = (linear & 4095) + size > 4096;
  if (!two_pages || !is_atomic(insn)) return run_on_copy(insn, linear, beyond);
  const jit::Safepoints::Exclusive alone(code_.safepoints(), author_.member);
  return run_on_copy(insn, linear, beyond);
}

// Devices, read-only memory, or two pages: through a copy, aligned as the operand itself.
OrFault<void> JitVcpu::run_on_copy(const Insn& insn, u64 linear, u64 beyond) {
  const jit::x86::Row& row = jit::x86::row_of(insn);
  const jit::x86::MemoryUse use = jit::x86::memory_use(row);
  const unsigned size = jit::x86::memory_size(insn);
  const PageAccess access = use == jit::x86::MemoryUse::Load ? PageAccess::Read : PageAccess::Write;
  alignas(64) std::array<std::byte, 64 + kMaxOperand> copy{};
  const Bytes operand = std::span(copy).subspan(linear & 63, size);
  if (access == PageAccess::Write) TRY(mmu_.probe(linear, size, access, Privilege::Current));
  // An x87 store with an unmasked exception stores nothing.
  const bool keeps = jit::x86::unit(row) == jit::x86::Unit::X87;
  if (use != jit::x86::MemoryUse::Store || keeps)
    TRY(mmu_.read(linear, operand, Privilege::Current));
  TRY(run_thunk(insn, operand.data() - beyond));
  if (access == PageAccess::Write) return mmu_.write(linear, operand, Privilege::Current);
  return {};
}

size_t JitVcpu::BytesHash::operator()(const BytesKey& key) const {
  return static_cast<size_t>(
      (load_raw<u64>(key.bytes.data()) ^ load_raw<u64>(key.bytes.data() + 8) * 0x9e3779b97f4a7c15) *
          0xc2b2ae3d27d4eb4f >>
      7);
}

const JitVcpu::Thunk& JitVcpu::thunk_of(const Insn& insn) {
  if (stepping_->thunk) return *stepping_->thunk;
  BytesKey key{stepping_->bytes};
  key.bytes[15] = static_cast<u8>(mode_key_.mode & jit::x86::mode_bit::kCodeSize);
  auto found = thunks_.find(key);
  if (found != thunks_.end()) return *(stepping_->thunk = &found->second);
  ir::Block& b = thunk_ir_;
  b.begin({});
  b.insn(0);
  if (insn.is_memory()) b.add(ir::Opcode::Pointer);
  b.native(jit::x86::native_template(insn), 0, 0);
  b.exit(ir::ExitReason::Done, 0);
  opt::flags_liveness(b, true);
  const auto compile = [&] {
    return code_.emitter().compile(b, thunk_room_.at, thunk_room_.room(), code_.routines(), 0);
  };
  x64::Compiled code = compile();
  if (code.size == 0) {  // full: nobody but this vCPU, which is here, runs any of them
    thunks_.clear();
    for (Fetched& f : fetched_) f.thunk = nullptr;
    const std::span<u8> room = code_.thunk_room(config_.index);
    thunk_room_ = {room.data(), room.data() + room.size()};
    code = compile();
    ensure(code.size != 0, "a thunk fits into empty room");
  }
  const Thunk thunk{thunk_room_.at, thunk_room_.at + code.entry, std::move(code.sites)};
  thunk_room_.commit(code.size);
  return *(stepping_->thunk = &thunks_.emplace(key, thunk).first->second);
}

OrFault<void> JitVcpu::run_thunk(const Insn& insn, void* pointer) {
  const Thunk& thunk = thunk_of(insn);
  block_->pointer = reinterpret_cast<u64>(pointer);
  running_thunk_ = &thunk;
  trapped_vector_ = -1;
  enter(code_.cache().executable(thunk.entry));
  running_thunk_ = nullptr;
  if (trapped_vector_ < 0) return {};
  if (trapped_vector_ == x86::kGp) return x86::general_protection();
  if (trapped_vector_ != x86::kDe) return x86::Fault{.vector = static_cast<u8>(trapped_vector_)};
  const u8 vector = arithmetic_fault(jit::x86::unit(jit::x86::row_of(insn)));
  // An operating system that does not know of SIMD exceptions gets another.
  if (vector == x86::kXm && !(s_.cr4 & x86::kCr4Osxmmexcpt)) return x86::undefined_opcode();
  return x86::Fault{.vector = vector};
}

}  // namespace menura::engine
