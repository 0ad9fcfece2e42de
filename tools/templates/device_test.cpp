// Judged by: FILL IN the document; quote its tables below.
#include "@room@/@name@.h"

#include <gtest/gtest.h>

#include "hw/core/test_machine.h"

namespace menura {
namespace {

constexpr u16 kBase = 0x300;

struct @Name@Test : testing::Test {
  @Name@Test() {
    m.io_root.map(kBase, device.ports());
    device.reset(ResetKind::PowerOn);
  }
  TestMachine m;
  @Name@ device{"@name@", m.pin(0)};
};

TEST_F(@Name@Test, ResetValues) {
  for (size_t i = 0; i < k@Name@Registers.size(); i++)
    EXPECT_EQ(m.in8(static_cast<u16>(kBase + k@Name@Registers[i].offset)), k@Name@Registers[i].reset);
}

TEST_F(@Name@Test, SavedStateComesBack) {
  m.out8(kBase, 0x5a);
  @Name@ twin{"@name@", m.pin(1)};
  EXPECT_EQ(TestMachine::round_trip(device, twin), std::vector<std::string>{});
}

TEST_F(@Name@Test, DoesWhatTheDataSheetSays) { FAIL() << "replace this by the facts of the data sheet"; }

}  // namespace
}  // namespace menura
