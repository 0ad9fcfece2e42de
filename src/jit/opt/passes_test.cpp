#include "jit/opt/passes.h"

#include <gtest/gtest.h>

namespace menura::opt {
namespace {

// cmp; load; add; jz: the flags of cmp are dead at the load, those of add live at the branch.
ir::Block sample(u64 target) {
  ir::Block b;
  b.begin({.pc = 0x100});
  b.insn(0x100);
  b.native({.opcode = 0x39}, 0, 0x3f);
  b.insn(0x102);
  b.check(ir::Opcode::CheckLoad, 4, {.base = 1});
  b.native({.opcode = 0x8b, .rm = {.kind = ir::Operand::Memory}}, 0, 0);
  b.insn(0x104);
  b.native({.opcode = 0x01}, 0, 0x3f);
  b.insn(0x106);
  ir::Op& branch = b.add(ir::Opcode::Branch);
  branch.condition = 4;
  branch.taken = target;
  branch.imm = 0x108;
  branch.flags_read = 8;
  return b;
}

TEST(Flags, DeadBetweenTwoWriters) {
  ir::Block b = sample(0x200);
  flags_liveness(b, true);
  EXPECT_EQ(b.ops[0].flags_live, 0);
  EXPECT_EQ(b.ops[3].flags_live, 0);
  EXPECT_EQ(b.ops[6].flags_live, 0);
  EXPECT_EQ(b.ops[7].flags_live, 0x3f);
  flags_liveness(b, false);
  EXPECT_EQ(b.ops[3].flags_live, 0x3f);
}

TEST(Passes, CanBeLeftOutByName) {
  EXPECT_TRUE(parse_passes("").value().flags);
  EXPECT_FALSE(parse_passes("-flags").value().flags);
  EXPECT_FALSE(parse_passes("-all").value().flags);
  EXPECT_TRUE(parse_passes("-all:+flags").value().flags);
  for (const char* wrong : {"flags", "-", "-flag", "-flags,", ":"})
    EXPECT_FALSE(parse_passes(wrong)) << wrong;
}

TEST(Poll, OnlyWhereALoopMayClose) {
  ir::Block forward = sample(0x200);
  run_passes(forward, {});
  for (const ir::Op& op : forward.ops) EXPECT_FALSE(op.poll);
  ir::Block back = sample(0x100);
  run_passes(back, {});
  EXPECT_TRUE(back.ops[0].poll);
}

}  // namespace
}  // namespace menura::opt
