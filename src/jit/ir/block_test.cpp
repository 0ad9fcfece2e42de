#include "jit/ir/block.h"

#include <gtest/gtest.h>

namespace menura::ir {
namespace {

TEST(Block, VerifierAcceptsALoadAndAJump) {
  Block b;
  b.begin({.pc = 0x1000});
  b.insn(0x1000);
  b.check(Opcode::CheckLoad, 8, {.disp = 8, .base = 3});
  b.native({.opcode = 0x8b, .modrm = true, .rm = {.kind = Operand::Memory}}, 0, 0);
  b.jump(0x1004);
  EXPECT_EQ(verify(b), "");
  EXPECT_NE(print(b).find("CheckLoad"), std::string::npos);
}

TEST(Block, VerifierFindsMistakes) {
  Block b;
  b.begin({});
  b.insn(0);
  EXPECT_EQ(verify(b), "the block has no end");
  b.native({.rm = {.kind = Operand::Memory}}, 0, 0);
  b.jump(2);
  EXPECT_NE(verify(b).find("nothing has set"), std::string::npos);
  b.begin({});
  b.jump(0);
  b.jump(1);
  EXPECT_NE(verify(b).find("behind the end"), std::string::npos);
}

}  // namespace
}  // namespace menura::ir
