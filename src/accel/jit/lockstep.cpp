#include "accel/jit/lockstep.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "accel/jit/jit_log.h"
#include "accel/jit/jit_vcpu.h"
#include "base/format.h"
#include "jit/back/x64/disassemble.h"
#include "state/tree.h"

namespace menura::engine {

void Journal::begin() {
  stores_.clear();
  bytes_.clear();
  active_ = true;
}

void Journal::note(void* host, u64 physical, u64 size) {
  if (!active_) return;
  u8* at = static_cast<u8*>(host);
  stores_.push_back({at, physical, size, bytes_.size()});
  bytes_.insert(bytes_.end(), at, at + size);
}

std::vector<Written> Journal::bytes(bool old) const {
  std::map<u8*, Written> found;
  for (const Store& s : stores_)
    for (u64 i = 0; i < s.size; i++)
      found.try_emplace(s.host + i,
                        Written{s.host + i, s.physical + i, old ? bytes_[s.old + i] : s.host[i]});
  std::vector<Written> list;
  for (const auto& [at, written] : found) list.push_back(written);
  return list;
}

std::vector<Written> Journal::now() const { return bytes(false); }
std::vector<Written> Journal::before() const { return bytes(true); }

void Journal::undo() {
  for (auto s = stores_.rbegin(); s != stores_.rend(); ++s)
    std::memcpy(s->host, bytes_.data() + s->old, s->size);
}

namespace {

std::string memory_differences(const Run& translated, const Run& stepped,
                               const std::vector<Written>& original) {
  struct Values {
    u64 physical;
    std::optional<u8> translated, stepped;
  };
  std::map<u8*, Values> all;
  for (const Written& w : original) all[w.host] = {w.physical, w.value, w.value};
  for (const Written& w : stepped.memory) all[w.host].stepped = w.value;
  for (const Written& w : translated.memory) {
    Values& v = all[w.host];
    v.physical = w.physical;
    v.translated = w.value;
  }
  std::string text;
  for (const auto& [at, v] : all) {
    // Written by the block alone, and undone: what stands there now is the old value.
    const u8 other = v.stepped.value_or(*at);
    if (v.translated == other) continue;
    text += format("  memory {:#x}: {:#04x} translated, {:#04x} stepped\n", v.physical,
                   *v.translated, other);
  }
  return text;
}

}  // namespace

std::string differences(const Run& translated, const Run& stepped,
                        const std::vector<Written>& original, u64 flags) {
  x86::State left = translated.state, right = stepped.state;
  const u64 dead = x86::kArithmeticFlags & ~flags;
  left.rflags = (left.rflags & ~dead) | (right.rflags & dead);
  left.interrupt_shadow = right.interrupt_shadow;  // a block's next instruction is part of it
  std::string text;
  if (!(left == right))
    for (const StateDifference& d : compare(save_state(left), save_state(right)))
      text += format("  {}: {} translated, {} stepped\n", d.path, d.left, d.right);
  return text + memory_differences(translated, stepped, original);
}

namespace {

// Status flags as the front end counts them, as RFLAGS does.
u64 status_flags(u8 flags) {
  constexpr u64 kBits[] = {x86::kCf, x86::kPf, x86::kAf, x86::kZf, x86::kSf, x86::kOf};
  u64 mask = 0;
  for (unsigned i = 0; i < 6; i++)
    if (flags >> i & 1) mask |= kBits[i];
  return mask;
}

}  // namespace

// The status flags that an instruction among the first `count` leaves undefined: with what others
// left there, which translated code does not always keep.
u64 JitVcpu::flags_undefined(const TranslatedBlock& block, size_t count) const {
  const auto mode = static_cast<jit::x86::Mode>(block.key.mode & jit::x86::mode_bit::kCodeSize);
  const jit::x86::Decoder decoder{mode, author_.features};
  u8 undefined = 0;
  for (size_t i = 0; i < count; i++) {
    const std::span<const u8> code{block.guest};
    const jit::x86::Row& row =
        jit::x86::row_of(decoder.decode(code.subspan(block.pcs[i] - block.key.pc)));
    const bool sometimes = row.attributes & jit::x86::attr::kCountedFlags;
    if (!sometimes) undefined &= static_cast<u8>(~row.flags.written);
    undefined |= row.flags.undefined;
  }
  return status_flags(undefined);
}

// A block that is left in the middle need not know the flags that nobody reads before they are
// written: decision 004.
u64 JitVcpu::flags_wanted(const TranslatedBlock& block, u64 pc) {
  ir::Block& ir = author_.ir;
  const jit::x86::Around around{.page =
                                    reinterpret_cast<const u8*>(block.key.physical & ~u64{4095})};
  jit::x86::translate(ir, block.key, block.guest, author_.features,
                      static_cast<unsigned>(block.pcs.size() - 1), around);
  opt::flags_liveness(ir, options_.passes.flags);
  if (ir.ops.back().code == ir::Opcode::Jump && pc == ir.ops.back().imm)
    return status_flags(ir.flags_wanted);
  for (const ir::Op& op : ir.ops)
    if (op.code == ir::Opcode::Insn && op.imm == pc) return status_flags(op.flags_live);
  return x86::kArithmeticFlags;
}

// How many of its instructions a block has executed, at most, that was left for this reason.
std::optional<size_t> JitVcpu::executed(const TranslatedBlock& block, ir::ExitReason reason) const {
  if (reason == ir::ExitReason::Next) return block.pcs.size() - 1;
  const auto at = std::find(block.pcs.begin(), block.pcs.end(), s_.rip);
  if (at == block.pcs.end()) return std::nullopt;
  return static_cast<size_t>(at - block.pcs.begin());
}

// The same instructions, one at a time, up to where a branch leaves the block: how many. None: they
// went another way.
std::optional<size_t> JitVcpu::step_through(const TranslatedBlock& block, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (s_.rip != block.pcs[i]) return i;
    if (step()) return std::nullopt;
  }
  return count;
}

Exit JitVcpu::disagree(const TranslatedBlock& block, const x86::State& before, size_t count,
                       const std::string& how) {
  const u8* host = block.code;
  failure_ = format(
      "the block at {:#x} and its instructions executed one by one disagree after {} of {}\n{}"
      "Guest code\n{}Host code\n{}Before the block\n{}",
      block.key.pc, count, block.pcs.size() - 1, how,
      print_guest_code(block.key, block.pcs, block.guest),
      x64::disassemble({host, block.size}, reinterpret_cast<u64>(code_.cache().executable(host))),
      x86::print_registers(before));
  return Exit::Failed;
}

// A block, alone; and again by steps, over the memory that it found. What the steps say holds.
std::optional<Exit> JitVcpu::lockstep_turn() {
  const TranslatedBlock* block = block_at(s_.rip);
  if (!block) return step();
  if (code_.generation() != generation_) return std::nullopt;
  // A device may write between the two runs what both read: it will not do so each time.
  constexpr int kAttempts = 3;
  sync_x87();
  const x86::State before = s_;
  ir::ExitReason reason{};
  for (int attempt = 1;; attempt++) {
    journal_.begin();
    enter(code_.cache().executable(block->checked));
    reason = static_cast<ir::ExitReason>(block_->exit_info & 0xff);
    sync_x87();
    const std::optional<size_t> count = executed(*block, reason);
    Run translated{s_, journal_.now()};
    journal_.undo();
    s_ = before;
    load_x87();
    mode_changed();
    if (!count)
      return disagree(*block, before, 0, format("  left at {:#x}\n", translated.state.rip));
    journal_.begin();
    const u64 dropped = code_.dropped();
    const std::optional<size_t> same = step_through(*block, *count);
    const bool same_way = same && (reason == ir::ExitReason::Next || *same == *count);
    sync_x87();
    journal_.end();
    // It wrote to its own code: what is gone cannot be asked again.
    if (code_.dropped() != dropped) return std::nullopt;
    const Run stepped{s_, journal_.now()};
    // An instruction that trapped has left its sticky flags; its step, which follows, sets them too.
    constexpr u32 kSticky = 0x3f;
    if (reason == ir::ExitReason::Step)
      translated.state.mxcsr =
          (translated.state.mxcsr & ~kSticky) | (stepped.state.mxcsr & kSticky);
    std::string how = differences(translated, stepped, journal_.before(), x86::kArithmeticFlags);
    if (!how.empty()) {  // seldom: which flags count is found out only then
      u64 flags = x86::kArithmeticFlags & ~flags_undefined(*block, same.value_or(*count));
      if (reason != ir::ExitReason::Next || same == *count)
        flags &= flags_wanted(*block, translated.state.rip);
      how = differences(translated, stepped, journal_.before(), flags);
    }
    if (!same_way && how.empty()) how = "  the steps left the block's way\n";
    if (how.empty()) {
      statistics_.compared++;
      statistics_.compared_instructions += *count;
      break;
    }
    if (attempt == kAttempts) return disagree(*block, before, *count, how);
    journal_.undo();
    s_ = before;
    load_x87();
    mode_changed();
  }
  if (reason == ir::ExitReason::Step || reason == ir::ExitReason::Apart) return step();
  return std::nullopt;
}

}  // namespace menura::engine
