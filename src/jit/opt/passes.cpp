#include "jit/opt/passes.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace menura::opt {

namespace {

struct NamedPass {
  std::string_view name;
  bool PassSet::*runs;
};
constexpr NamedPass kPasses[] = {{"flags", &PassSet::flags}, {"pointers", &PassSet::pointers}};

bool shields_next(ir::Opcode code) {
  return code == ir::Opcode::Step || code == ir::Opcode::SetInterrupts;
}

bool may_close_a_loop(const ir::Block& block) {
  const ir::Op& end = block.ops.back();
  switch (end.code) {
    case ir::Opcode::JumpTarget: return true;
    case ir::Opcode::Jump: return end.imm <= block.key.pc;
    case ir::Opcode::Branch:
    case ir::Opcode::BranchCx: return end.imm <= block.key.pc || end.taken <= block.key.pc;
    default: return false;  // an exit to the run loop, which polls itself
  }
}

}  // namespace

Result<PassSet> parse_passes(std::string_view text) {
  PassSet set;
  if (text.empty()) return set;
  for (const std::string_view part : split(text, ':')) {
    if (part.size() < 2 || (part[0] != '-' && part[0] != '+'))
      return fail(Errc::InvalidArgument, "expected -PASS or +PASS, not '{}'", part);
    const std::string_view name = part.substr(1);
    std::vector<std::string_view> known{"all"};
    bool found = false;
    for (const NamedPass& pass : kPasses) {
      known.push_back(pass.name);
      if (name != "all" && name != pass.name) continue;
      set.*pass.runs = part[0] == '+';
      found = true;
    }
    if (!found)
      return fail(Errc::InvalidArgument, "there is no pass '{}'{}", name, suggestion(name, known));
  }
  return set;
}

void flags_liveness(ir::Block& block, bool enabled) {
  u8 live = enabled ? block.flags_wanted : ir::kAllFlags;
  for (auto op = block.ops.rbegin(); op != block.ops.rend(); ++op) {
    if (enabled) live = static_cast<u8>((live & ~op->flags_written) | op->flags_read);
    op->flags_live = live;
  }
}

void place_poll(ir::Block& block) {
  if (!may_close_a_loop(block)) return;
  ir::Op* last = nullptr;
  for (ir::Op& op : block.ops) {
    if (op.code != ir::Opcode::Insn) continue;
    // Behind a step, which polls itself, and STI the instruction may be protected from interrupts.
    if (&op != block.ops.data() && shields_next((&op - 1)->code)) continue;
    last = &op;
    if (op.flags_live == 0) break;
  }
  if (last) last->poll = true;
}

void run_passes(ir::Block& block, const PassSet& passes) {
  flags_liveness(block, passes.flags);
  place_poll(block);
  block.keeps_pointers = passes.pointers && !(block.key.mode & ir::kApart);
}

}  // namespace menura::opt
