// execute(): that every row has its semantics, and instructions against the manuals' words over a
// flat bus. What a 64-bit process may run is compared with the host's CPU in accel/jit.
#include "jit/front/x86/execute.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <set>

#include "cpu/x86/test_bus.h"
#include "jit/front/x86/execution.h"
#include "jit/front/x86/print.h"
#include "jit/front/x86/sample.h"

namespace menura::jit::x86 {
namespace {

using namespace menura::x86;  // NOLINT: the architecture's names

constexpr u64 kCode = 0x1000, kStack = 0x8000, kData = 0x4000;

u16 code_attributes(Mode mode) {
  return mode == Mode::Bits64 ? 0xa09b : mode == Mode::Bits32 ? 0xc09b : 0x009b;
}

// A CPU at level 0 with flat segments.
State flat_state(Mode mode) {
  State s;
  s.reset(State::ResetCause::PowerOn, 0x600, true);
  s.cr0 = kCr0Pe | kCr0Et;
  s.cr4 = kCr4Osfxsr | kCr4Osxsave | kCr4Fsgsbase | kCr4Pke;
  s.xcr0 = 7;
  const u16 data = mode == Mode::Bits16 ? 0x8093 : 0xc093;
  for (menura::x86::Segment& seg : s.seg) seg = {.attributes = data, .limit = 0xffff'ffff};
  s.seg[Cs].attributes = static_cast<u16>(code_attributes(mode) | 0x8000);
  if (mode == Mode::Bits64) s.efer = kEferLme | kEferLma;
  s.rip = kCode;
  s.gpr.fill(kData);
  s.gpr[Rsp] = kStack;
  return s;
}

class Execute : public testing::Test {
 protected:
  Execute() {
    bus_.leaves[{0xd, 2}] = {.eax = 256, .ebx = 576};
    bus_.leaves[{0xd, 9}] = {.eax = 8, .ebx = 832};
  }
  Insn decode(Mode mode, std::initializer_list<u8> bytes) {
    const Insn insn = Decoder{mode, FeatureSet::all()}.decode({bytes.begin(), bytes.size()});
    EXPECT_EQ(insn.status, Status::Ok);
    return insn;
  }
  jit::x86::Outcome run(Mode mode, std::initializer_list<u8> bytes) {
    return execute(s_, decode(mode, bytes), bus_);
  }
  FlatBus bus_{0x10000};
  State s_ = flat_state(Mode::Bits64);
};

TEST_F(Execute, HandlesEveryRowThatIsNotNative) {
  u64 random = 1;
  for (unsigned row = 1; row < row_count(); row++) {
    if (lowering(row_at(row)) == Lowering::Native) continue;
    bool tried = false;
    for (Mode mode : {Mode::Bits16, Mode::Bits32, Mode::Bits64})
      for (unsigned attempt = 0; attempt < 200; attempt++) {
        const Sample code = sample(row, mode, random);
        if (code.length == 0) continue;
        tried = true;
        s_ = flat_state(mode);
        const Insn insn = Decoder{mode, FeatureSet::all()}.decode(code.bytes);
        const jit::x86::Outcome outcome = execute(s_, insn, bus_);
        ASSERT_NE(outcome.what, jit::x86::Outcome::Native) << print(insn, kCode);
        const bool far = row_at(row).control() != Control::None;
        if (outcome.what == jit::x86::Outcome::Done && !far) {
          ASSERT_EQ(s_.rip, kCode + insn.length) << print(insn, kCode);
        }
      }
    EXPECT_TRUE(tried) << name(row_at(row).mnemonic, 4);
  }
}

// No row may change the state where its memory is missing, but for what string instructions, gathers
// and task switches are allowed.
TEST_F(Execute, FaultsChangeNothing) {
  FlatBus empty{0};
  empty.leaves = bus_.leaves;
  u64 random = 2;
  for (unsigned row = 1; row < row_count(); row++) {
    if (lowering(row_at(row)) == Lowering::Native) continue;
    for (Mode mode : {Mode::Bits16, Mode::Bits32, Mode::Bits64})
      for (unsigned attempt = 0; attempt < 20; attempt++) {
        const Sample code = sample(row, mode, random);
        if (code.length == 0) continue;
        s_ = flat_state(mode);
        const State before = s_;
        const Insn insn = Decoder{mode, FeatureSet::all()}.decode(code.bytes);
        const jit::x86::Outcome outcome = execute(s_, insn, empty);
        if (outcome.what == jit::x86::Outcome::Faulted) {
          ASSERT_TRUE(s_ == before) << print(insn, kCode);
        }
      }
  }
}

}  // namespace
}  // namespace menura::jit::x86
