// What follows when a guest panics or stops tending its watchdog, through the whole PC.
#include <gtest/gtest.h>

#include "machine/catalogue/catalogue_tables.h"
#include "machine/machine.h"
#include "state/value.h"

namespace menura {
namespace {

struct ActionsTest : testing::Test {
  void build(ActionOptions actions) {
    MachineConfig config;
    config.action = actions;
    config.devices.push_back({.name = "pvpanic", .id = "panic"});
    config.devices.push_back({.name = "ib700", .id = "wdt"});
    config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
    auto built = Machine::build(std::move(config), catalogue());
    ASSERT_TRUE(built) << built.error().text;
    machine = std::move(built).value();
    const MachineLock::Guard guard(machine->lock());
    machine->observe([this](const MachineEvent& e) { told += e.name + to_json(e.data) + " "; });
    machine->cont();
    told.clear();
  }
  void out(u16 port, u8 value) {
    {
      const MachineLock::Guard guard(machine->lock());
      machine->io().store({port}, 1, value);
    }
    (void)machine->loop().run_once(0);
  }
  // The watchdog is set to end at once.
  void let_watchdog_end() {
    out(0x443, 0xf);
    {
      const MachineLock::Guard guard(machine->lock());
      machine->loop().virtual_time().run_overdue();
    }
    (void)machine->loop().run_once(0);
  }

  std::unique_ptr<Machine> machine;
  std::string told;
};

TEST_F(ActionsTest, APanicEndsTheProgramAsChosen) {
  build({});
  out(0x505, 1);
  EXPECT_EQ(
      told,
      R"(GUEST_PANICKED{"action": "poweroff"} STOPnull SHUTDOWN{"guest": true, "reason": "guest-panic"} )");
  build({.panic = PanicAction::ExitFailure});
  out(0x505, 1);
  EXPECT_EQ(machine->loop().run(), 1);
}

TEST_F(ActionsTest, APanicMayStopTheMachineOrNothing) {
  build({.panic = PanicAction::Pause});
  out(0x505, 1);
  EXPECT_EQ(machine->run_state(), RunState::GuestPanicked);
  build({.shutdown = ShutdownAction::Pause});  // the wreck is kept
  out(0x505, 1);
  EXPECT_EQ(machine->run_state(), RunState::GuestPanicked);
  build({.panic = PanicAction::None});
  out(0x505, 1);
  EXPECT_EQ(told, R"(GUEST_PANICKED{"action": "run"} )");
  out(0x505, 2);
  EXPECT_EQ(told, R"(GUEST_PANICKED{"action": "run"} GUEST_CRASHLOADED{"action": "run"} )");
  EXPECT_TRUE(machine->running());
}

TEST_F(ActionsTest, AWatchdogResetsStopsOrOnlyTells) {
  build({});
  let_watchdog_end();
  EXPECT_EQ(told, R"(WATCHDOG{"action": "reset"} RESET{"guest": true, "reason": "guest-reset"} )");
  build({.watchdog = WatchdogAction::Pause});
  let_watchdog_end();
  EXPECT_EQ(machine->run_state(), RunState::Watchdog);
  build({.watchdog = WatchdogAction::None});
  let_watchdog_end();
  EXPECT_EQ(told, R"(WATCHDOG{"action": "none"} )");
  build({.watchdog = WatchdogAction::Poweroff});
  let_watchdog_end();
  EXPECT_EQ(machine->loop().run(), 0);
}

}  // namespace
}  // namespace menura
