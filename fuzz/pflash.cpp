// A flash chip on a slow, broken or locked medium: commands, data at any place, resets and loads of
// damaged states. Nothing may crash or hang, a programmed bit stays programmed until its block is
// erased, and what the chip shows is on the medium once it is settled.
#include "hw/flash/pflash.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "io/memory_disk.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 400;
constexpr u64 kSize = 4 * Pflash::kBlock;
constexpr u64 kBase = 0xffc0'0000;

struct Board {
  explicit Board(bool locked) {
    medium.immediate = false;
    medium.readonly = locked;
    std::ranges::fill(medium.content, std::byte{0xff});
    machine.memory_root.map(kBase, flash.region());
    flash.reset(ResetKind::PowerOn);
  }
  ~Board() { machine.memory_root.unmap(flash.region()); }

  TestMachine machine{1 << 20};
  MemoryDisk medium{kSize};
  std::shared_ptr<RamBlock> content = [] {
    auto block = RamBlock::create({.name = "flash", .size = kSize}).value();
    std::fill_n(block->host(), kSize, std::byte{0xff});
    return block;
  }();
  Pflash flash{"flash", content, medium};
};

u64 pick_offset(FuzzedDataProvider& in) {
  // Close together, at a block's borders, anywhere.
  switch (in.ConsumeIntegralInRange(0, 2)) {
    case 0: return in.ConsumeIntegralInRange<u64>(0, 63);
    case 1:
      return (Pflash::kBlock * in.ConsumeIntegralInRange<u64>(1, 3)) -
             in.ConsumeIntegralInRange<u64>(0, 40);
    default: return in.ConsumeIntegralInRange<u64>(0, kSize - 1);
  }
}

u8 pick_code(FuzzedDataProvider& in) {
  constexpr u8 kCodes[] = {0x10, 0x40, 0x20, 0xd0, 0x50, 0x70, 0x90, 0x98, 0xe8, 0xff, 0xf0};
  return in.ConsumeIntegralInRange(0, 7) ? in.PickValueInArray(kCodes) : in.ConsumeIntegral<u8>();
}

// Two cycles that change the array as they should, against what it held before.
void program(FuzzedDataProvider& in, Board& board) {
  const u64 at = pick_offset(in);
  const u8 value = in.ConsumeIntegral<u8>(), before = board.content->load<u8>(at);
  board.flash.reset(ResetKind::PowerOn);
  board.machine.write_mem(kBase + at, 1, 0x40);
  board.machine.write_mem(kBase + at, 1, value);
  const u8 expected = board.medium.readonly ? before : before & value;
  ensure(board.content->load<u8>(at) == expected, "PROGRAM only clears bits");
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.machine;
  const unsigned size = 1u << in.ConsumeIntegralInRange(0, 3);
  switch (in.ConsumeIntegralInRange(0, 9)) {
    case 0:
    case 1:
    case 2:
    case 3: return m.write_mem(kBase + pick_offset(in), 1, pick_code(in));
    case 4: return m.write_mem(kBase + pick_offset(in), size, in.ConsumeIntegral<u64>());
    case 5: (void)m.read_mem(kBase + pick_offset(in), size); return;
    case 6: return program(in, board);
    case 7: return in.ConsumeBool() ? board.medium.pump() : board.flash.pause();
    case 8: board.medium.broken = in.ConsumeBool(); return;
    default: board.flash.pause(); return load_damaged(in, board.flash);
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace menura;
  FuzzedDataProvider in(data, size);
  Board board(in.ConsumeIntegralInRange(0, 3) == 0);
  bool lost = false;
  for (unsigned i = 0; i < kOperations && in.remaining_bytes() > 0; i++) {
    operate(in, board);
    lost |= board.medium.broken;
  }
  board.flash.pause();
  if (!lost && !board.medium.readonly)
    ensure(
        std::equal(board.medium.content.begin(), board.medium.content.end(), board.content->host()),
        "the medium has what the chip shows");
  return 0;
}
