// What one can see of the JIT at work: the code log, the figures, the perf map.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "accel/jit/test_machine.h"
#include "base/code_log.h"

namespace menura::engine {
namespace {

// mov ecx,3 ; l: dec ecx ; jnz l ; cli ; ud2 (into a missing IDT)
constexpr u8 kLoop[] = {0xb9, 3, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xfa, 0x0f, 0x0b};

class Seen : public testing::Test {
 protected:
  Seen() {
    set_code_log_sink([this](std::string_view text) { log_ += text; });
  }
  ~Seen() override {
    set_code_log(0);
    set_code_log_ranges({});
    set_code_log_sink({});
  }
  void run(TestMachine& m, std::initializer_list<LogItem> items) {
    u32 bits = 0;
    for (const LogItem item : items) bits |= 1u << static_cast<unsigned>(item);
    set_code_log(bits);
    m.load(0, kLoop);
    m.cpu().set(flat_state(m.code()));
    EXPECT_EQ(m.cpu().run(), Exit::Reset);
  }
  size_t count(std::string_view what) const {
    size_t n = 0;
    for (size_t at = log_.find(what); at != log_.npos; at = log_.find(what, at + 1)) n++;
    return n;
  }

  std::string log_;
};

TEST_F(Seen, NothingUnlessAsked) {
  TestMachine m({});
  run(m, {});
  EXPECT_EQ(log_, "");
}

TEST_F(Seen, BlocksInAllForms) {
  TestMachine m({});
  run(m, {LogItem::InAsm, LogItem::Op, LogItem::OpOpt, LogItem::OutAsm});
  EXPECT_GE(count("mov ecx, 0x3\n"), 1u) << log_;
  EXPECT_GE(count("OP:\n"), 2u);
  EXPECT_EQ(count("OP:\n"), count("OP after optimization:\n"));
  EXPECT_EQ(count("OP:\n"), count("OUT: [size="));
  EXPECT_EQ(count("(bad)"), 0u);
}

TEST_F(Seen, OnlyTheRangesWanted) {
  TestMachine m({});
  set_code_log_ranges({{m.code() + 5, m.code() + 5}});
  run(m, {LogItem::InAsm});
  EXPECT_EQ(count("IN:"), 1u) << log_;
  EXPECT_EQ(count("dec ecx"), 1u);
}

TEST_F(Seen, EveryBlockWithoutChaining) {
  TestMachine m({});
  run(m, {LogItem::Exec, LogItem::NoChain});
  // The first with the first pass of the loop, two more passes, and what is behind it.
  EXPECT_GE(count("Trace: "), 4u) << log_;
}

TEST_F(Seen, ExceptionsAndRegisters) {
  TestMachine m({});
  run(m, {LogItem::Int, LogItem::Cpu, LogItem::NoChain});
  EXPECT_EQ(count("exception v=06 e=0000 cpl=0"), 1u) << log_;
  EXPECT_GE(count("RCX=0000000000000002"), 1u);
  EXPECT_EQ(count("XMM00="), 0u);
  run(m, {LogItem::Cpu, LogItem::Fpu, LogItem::NoChain});
  EXPECT_GE(count("XMM00="), 1u);
}

TEST_F(Seen, Figures) {
  TestMachine m({});
  run(m, {});
  const JitReport r = m.report();
  EXPECT_GE(r.code.blocks, 3u);
  EXPECT_EQ(r.code.live, r.code.blocks);
  EXPECT_GE(r.code.connected, 1u);
  EXPECT_LE(r.code.connected, r.code.links);
  ASSERT_EQ(r.vcpus.size(), 1u);
  EXPECT_EQ(r.vcpus[0].stepped[static_cast<size_t>(jit::x86::Mnemonic::Ud2)], 1u);
  const std::string text = print_jit_info(r, 1'000'000);
  EXPECT_NE(text.find("ud2"), text.npos) << text;
}

TEST_F(Seen, PerfMapNamesTheBlocks) {
  const std::shared_ptr<jit::PerfMap> map = jit::PerfMap::create().value();
  {
    TestMachine m({.perf_map = map});
    run(m, {});
    std::ifstream file(map->path());
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_NE(text.str().find(format("guest {:#x}\n", m.code())), std::string::npos) << text.str();
  }
  std::remove(map->path().c_str());
}

}  // namespace
}  // namespace menura::engine
