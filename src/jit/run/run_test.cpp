// The code cache's memory and segments, the table of blocks, and safepoints, each by itself.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/bytes.h"
#include "base/units.h"
#include "jit/run/block_table.h"
#include "jit/run/code_cache.h"
#include "jit/run/safepoints.h"

namespace menura::jit {
namespace {

// The permissions that the kernel shows for the mapping of an address: "rw-s".
std::string permissions_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    u64 first = 0, last = 0;
    char flags[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &first, &last, flags) != 3) continue;
    if (reinterpret_cast<u64>(address) >= first && reinterpret_cast<u64>(address) < last)
      return flags;
  }
  return "none";
}

TEST(CodeCache, NothingIsWritableAndExecutable) {
  const auto cache = CodeCache::create({.size = MiB, .segments = 4, .kept = 8192}).value();
  u8* written = cache->claim()->at;
  EXPECT_EQ(permissions_of(written), "rw-s");
  EXPECT_EQ(permissions_of(cache->executable(written)), "r-xs");
  written[0] = 0xc3;
  EXPECT_EQ(cache->executable(written)[0], 0xc3);
  EXPECT_EQ(cache->writable(cache->executable(written)), written);
  EXPECT_FALSE(cache->contains(written));
  EXPECT_TRUE(cache->contains(cache->executable(written)));
}

TEST(CodeCache, SegmentsAreFilledInPiecesAndTheColdestIsKnown) {
  const auto cache = CodeCache::create({.size = MiB, .segments = 4, .kept = 8192}).value();
  std::vector<u8*> first_of;
  for (size_t segment = 0; segment < 4; segment++) {
    if (segment > 0) cache->fill(segment);
    size_t pieces = 0;
    while (const auto piece = cache->claim()) {
      if (pieces++ == 0) first_of.push_back(piece->at);
      EXPECT_EQ(piece->segment, segment);
      EXPECT_TRUE(cache->holds(*piece));
    }
    EXPECT_GE(pieces, 4u);
  }
  cache->use(first_of[0]);
  CodeCache::Segment& coldest = cache->coldest();
  EXPECT_EQ(coldest.begin, first_of[1]);
  coldest.serial++;
  EXPECT_FALSE(cache->holds({.segment = 1}));
  cache->fill(coldest);
  EXPECT_EQ(cache->claim()->at, first_of[1]);
}

TEST(CodeCache, RefusesWhatCannotWork) {
  EXPECT_FALSE(CodeCache::create({.size = 8192, .segments = 16}));
}

// Blocks of 64 bytes of "host code": the checked entry, then a jump with its stub.
class Table : public testing::Test {
 protected:
  static constexpr u32 kField = 20, kStub = 40;
  Table() : table_(memory_) {}
  TranslatedBlock* add(u64 physical, std::initializer_list<u8> guest, bool linkable = true) {
    auto block = std::make_unique<TranslatedBlock>();
    block->key = {.pc = physical, .physical = physical};
    block->guest = guest;
    block->code = memory_ + 64 * ++blocks_;
    block->size = 64;
    std::fill_n(block->code, 64, u8{0x90});
    block->checked = block->code;
    block->entry = block->entry_saved = block->code + 16;
    if (linkable) block->links.push_back({.field = kField, .stub = kStub});
    return table_.add(std::move(block));
  }
  const u8* target(const TranslatedBlock* b) const {
    return b->code + kField + 4 + static_cast<i32>(load_raw<u32>(b->code + kField));
  }
  ir::Key key(u64 physical) const { return {.pc = physical, .physical = physical}; }

  alignas(64) u8 memory_[4096] = {};
  unsigned blocks_ = 0;
  BlockTable table_;
};

TEST_F(Table, DataBesideCodeIsNoCode) {
  TranslatedBlock* b = add(0x1040, {1, 2, 3});
  EXPECT_EQ(table_.find(key(0x1040)), b);
  EXPECT_EQ(table_.find_host(b->code + 63), b);
  EXPECT_EQ(table_.find_host(b->code + 64), nullptr);
  EXPECT_TRUE(table_.may_have_code(0x1fff));
  EXPECT_FALSE(table_.may_have_code(0x2000));
  EXPECT_TRUE(table_.line_has_code(0x107f, 1));
  EXPECT_FALSE(table_.line_has_code(0x1080, 8));
  EXPECT_FALSE(table_.line_has_code(0x103c, 4));
  EXPECT_TRUE(table_.line_has_code(0x103c, 8));
  // On its line, but not its bytes.
  EXPECT_EQ(table_.invalidate(0x1043, 8), 0u);
  EXPECT_EQ(table_.invalidate(0x1042, 8), 1u);
  EXPECT_EQ(table_.find(key(0x1040)), nullptr);
  EXPECT_FALSE(table_.may_have_code(0x1000));
}

TEST_F(Table, DroppedBlocksLeadNowhereAndNothingLeadsToThem) {
  TranslatedBlock *a = add(0x1000, {1}), *b = add(0x1100, {2});
  EXPECT_TRUE(table_.connect(a->code + kField, b));
  EXPECT_TRUE(table_.connect(b->code + kField, a));
  EXPECT_FALSE(table_.connect(a->code + kField, a));  // it has a target
  EXPECT_EQ(target(a), b->entry);
  EXPECT_EQ(table_.connected(), 2u);
  table_.invalidate(0x1100, 1);
  EXPECT_EQ(target(a), a->code + kStub);
  EXPECT_EQ(target(b), b->code + kStub);
  EXPECT_EQ(table_.connected(), 0u);
  // Its checked entry jumps to `miss`, which is the beginning of memory here.
  EXPECT_EQ(b->checked[0], 0xe9);
  EXPECT_EQ(b->checked + 5 + static_cast<i32>(load_raw<u32>(b->checked + 1)), memory_);
  EXPECT_FALSE(table_.connect(b->code + kField, a));
}

TEST_F(Table, BlocksComeBackWithTheirBytes) {
  TranslatedBlock* b = add(0x1000, {1, 2});
  table_.invalidate(0x1000, 1);
  const u8 other[] = {1, 3, 9}, same[] = {1, 2, 9}, few[] = {1};
  EXPECT_EQ(table_.revive(key(0x1000), other), nullptr);
  EXPECT_EQ(table_.revive(key(0x1000), few), nullptr);
  EXPECT_EQ(table_.revive(key(0x1001), same), nullptr);
  EXPECT_EQ(table_.revive(key(0x1000), same), b);
  EXPECT_EQ(b->checked[0], 0x90);
  EXPECT_EQ(table_.find(key(0x1000)), b);
  EXPECT_TRUE(table_.line_has_code(0x1000, 1));
  EXPECT_EQ(table_.revive(key(0x1000), same), nullptr);  // it is there
}

TEST_F(Table, EvictedCodeIsGoneForEver) {
  TranslatedBlock *a = add(0x1000, {1}), *b = add(0x1100, {2}), *c = add(0x1200, {3});
  table_.connect(c->code + kField, a);
  table_.invalidate(0x1100, 1);  // waits to be revived
  table_.retire(a->code, b->code + 64);
  EXPECT_EQ(target(c), c->code + kStub);
  const u8 guest = 2;
  EXPECT_EQ(table_.revive(key(0x1100), {&guest, 1}), nullptr);
  EXPECT_EQ(table_.find_host(a->code), a);  // somebody may still be inside
  table_.forget(a->code, b->code + 64);
  EXPECT_EQ(table_.find_host(memory_ + 64), nullptr);
  EXPECT_EQ(table_.find(key(0x1200)), c);
  EXPECT_EQ(table_.size(), 1u);
}

TEST(Safepoints, GracePeriodsPassWhenAllHaveBeenOut) {
  Safepoints all;
  int kicks = 0;
  Safepoints::Member a([] {}), b([&] { kicks++; }), c([] {});
  for (auto* m : {&a, &b, &c}) all.join(*m);
  all.begin(a);
  all.begin(b);  // c sleeps
  const u64 epoch = all.advance();
  EXPECT_FALSE(all.passed(epoch, a));
  all.hurry(epoch, a);
  EXPECT_EQ(kicks, 1);
  all.pass(b);
  EXPECT_TRUE(all.passed(epoch, a));
  const u64 next = all.advance();
  EXPECT_FALSE(all.passed(next, a));
  all.end(b);
  EXPECT_TRUE(all.passed(next, a));
  all.wait_passed(next, a);
  all.end(a);
  for (auto* m : {&a, &b, &c}) all.leave(*m);
  EXPECT_TRUE(all.alone());
}

// Threads that add to plain variables in exclusive sections lose nothing.
TEST(Safepoints, OneAloneAtATime) {
  constexpr int kThreads = 4, kRounds = 300;
  Safepoints all;
  std::atomic<bool> asked[kThreads] = {};
  u64 first = 0, second = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++)
    threads.emplace_back([&, i] {
      Safepoints::Member me([&, i] { asked[i] = true; });
      all.join(me);
      all.begin(me);
      for (int round = 0; round < kRounds; round++) {
        all.pass(me);
        const Safepoints::Exclusive alone(all, me);
        first++;
        std::this_thread::yield();
        second++;
      }
      all.end(me);
      all.leave(me);
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(first, u64{kThreads} * kRounds);
  EXPECT_EQ(second, first);
  EXPECT_EQ(all.exclusive_sections(), first);
}

// Two that wait for each other's grace periods, and one that wants to be alone, get on.
TEST(Safepoints, WaitersDoNotWaitForEachOther) {
  Safepoints all;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++)
    threads.emplace_back([&, i] {
      Safepoints::Member me([] {});
      all.join(me);
      all.begin(me);
      for (int round = 0; round < 200; round++) {
        all.pass(me);
        if (i < 2) {
          all.wait_passed(all.advance(), me);
        } else {
          const Safepoints::Exclusive alone(all, me);
        }
      }
      all.end(me);
      all.leave(me);
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace menura::jit
