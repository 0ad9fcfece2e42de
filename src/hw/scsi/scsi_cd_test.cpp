// A CD drive as an initiator sees it.
#include "hw/scsi/scsi_cd.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/units.h"
#include "hw/scsi/test_disk.h"
#include "state/tree.h"

namespace menura {
namespace {

struct OnePlace final : ScsiBus {
  ScsiUnit* unit(unsigned, unsigned) const override { return there; }
  void plug(unsigned, unsigned, ScsiUnit& unit) override { there = &unit; }
  void unplug(ScsiUnit&) override { there = nullptr; }
  ScsiUnit* there = nullptr;
};

struct Outcome {
  bool over = false;
  ScsiStatus status = ScsiStatus::Good;
  u64 moved = 0;
  ScsiSense sense;
  std::vector<std::byte> data;
};

struct TestTask final : ScsiTask {
  explicit TestTask(Outcome& to) : outcome(to) {}
  bool to_initiator(u64 offset, ConstBytes bytes) override {
    outcome.data.resize(std::max<size_t>(outcome.data.size(), offset + bytes.size()));
    std::ranges::copy(bytes, outcome.data.begin() + static_cast<ptrdiff_t>(offset));
    return true;
  }
  bool from_initiator(u64, Bytes) override { return true; }
  void done(ScsiStatus status, u64 moved, const ScsiSense& sense) override {
    outcome.over = true;
    outcome.status = status;
    outcome.moved = moved;
    outcome.sense = sense;
  }
  Outcome& outcome;
};

struct ScsiCdTest : testing::Test {
  ScsiCdTest() {
    for (size_t i = 0; i < disk.content.size(); i++) disk.content[i] = std::byte(i >> 11);
    cd.reset(ResetKind::PowerOn);
  }
  Outcome run(std::vector<u8> cdb, u64 room = 0) {
    Outcome outcome;
    auto task = std::make_shared<TestTask>(outcome);
    std::ranges::copy(cdb, task->cdb.begin());
    task->in_size = room;
    cd.execute(std::move(task));
    disk.drain();
    EXPECT_TRUE(outcome.over);
    return outcome;
  }
  static ScsiSense ready() { return {}; }
  ScsiSense test_ready() { return run({0, 0, 0, 0, 0, 0}).sense; }

  SlowDisk disk{1 * MiB, true};
  OnePlace bus;
  ScsiCd cd{"cd0", bus, {}, disk};
};

TEST_F(ScsiCdTest, SaysWhatItIs) {
  const Outcome inquiry = run({0x12, 0, 0, 0, 96, 0}, 96);
  ASSERT_EQ(inquiry.data.size(), 36u);
  EXPECT_EQ(load_be<u32>(inquiry.data, 0), 0x0580'0502u) << "a CD, removable, SPC-3";
  EXPECT_EQ(test_ready(), (ScsiSense{6, 0x29, 0})) << "it was switched on";
  EXPECT_EQ(test_ready(), ready());
}

TEST_F(ScsiCdTest, Reads) {
  test_ready();
  const Outcome capacity = run({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 8);
  EXPECT_EQ(load_be<u64>(capacity.data, 0), 511ull << 32 | 2048);
  const Outcome read = run({0x28, 0, 0, 0, 0, 3, 0, 0, 0xc8, 0}, 200 * 2048);
  ASSERT_EQ(read.moved, 200u * 2048) << "in several pieces";
  for (size_t i = 0; i < 200; i++) ASSERT_EQ(read.data[i * 2048], std::byte(i + 3));
  EXPECT_EQ(run({0x28, 0, 0, 0, 2, 0, 0, 0, 1, 0}, 2048).sense, (ScsiSense{5, 0x21, 0}));
  EXPECT_EQ(run({0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0}, 2048).sense, (ScsiSense{5, 0x24, 0}))
      << "more than there is room for";
  EXPECT_EQ(run({0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0}).sense, (ScsiSense{5, 0x20, 0}));
  disk.broken = true;
  EXPECT_EQ(run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 2048).sense, (ScsiSense{3, 0x11, 0}));
}

TEST_F(ScsiCdTest, ModePagesInBothForms) {
  test_ready();
  const Outcome six = run({0x1a, 0, 0x2a, 0, 128, 0}, 128),
                ten = run({0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0}, 128);
  ASSERT_EQ(six.data.size() + 4, ten.data.size());
  EXPECT_EQ(load_le<u8>(six.data, 0), six.data.size() - 1);
  EXPECT_EQ(load_be<u16>(ten.data, 0), ten.data.size() - 2);
  EXPECT_TRUE(std::equal(six.data.begin() + 4, six.data.end(), ten.data.begin() + 8));
}

TEST_F(ScsiCdTest, TheTrayMoves) {
  test_ready();
  const auto event = [&] {
    const Outcome status = run({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0}, 8);
    return load_be<u16>(status.data, 4);  // the event, and tray and medium
  };
  EXPECT_EQ(event(), 0x0002u);
  run({0x1e, 0, 0, 0, 1, 0});
  EXPECT_EQ(run({0x1b, 0, 0, 0, 2, 0}).sense, (ScsiSense{5, 0x53, 2})) << "locked";
  run({0x1e, 0, 0, 0, 0, 0});
  EXPECT_EQ(run({0x1b, 0, 0, 0, 2, 0}).status, ScsiStatus::Good);
  EXPECT_EQ(test_ready(), (ScsiSense{2, 0x3a, 2}));
  EXPECT_EQ(event(), 0x0301u) << "taken out";
  EXPECT_EQ(event(), 0x0001u) << "told once";
  const StateTree state = save_state(cd, "cd0", 1);
  EXPECT_EQ(run({0x1b, 0, 0, 0, 3, 0}).status, ScsiStatus::Good);
  EXPECT_EQ(event(), 0x0202u) << "a new one";
  EXPECT_EQ(test_ready(), (ScsiSense{6, 0x28, 0}));
  EXPECT_EQ(test_ready(), ready());
  ASSERT_TRUE(load_state(cd, state));
  EXPECT_EQ(test_ready(), (ScsiSense{2, 0x3a, 2}));
}

}  // namespace
}  // namespace menura
