#include "hw/core/test_machine.h"

#include "base/check.h"
#include "state/tree.h"

namespace menura {

namespace {

std::shared_ptr<RamBlock> make_ram(u64 size) {
  return RamBlock::create({.name = "test.ram", .size = size}).value();
}

}  // namespace

TestMachine::TestMachine(u64 ram_size)
    : ram(make_ram(ram_size)), ram_region(Region::ram("ram", ram)) {
  memory_root.map(0, ram_region);
}

void TestMachine::step_ns(i64 ns) {
  const i64 target = clock.now_ns() + ns;
  constexpr unsigned kMaxRoundsAtOnce = 10'000;
  unsigned rounds = 0;
  while (time.next_deadline() <= target) {
    rounds = time.next_deadline() > clock.now_ns() ? 0 : rounds + 1;
    ensure(rounds < kMaxRoundsAtOnce, "a timer arms itself again and again without time passing");
    clock.advance_to(time.next_deadline());
    time.run_expired();
  }
  clock.advance_to(target);
}

bool TestMachine::step_to_next_timer() {
  if (time.next_deadline() == TimerQueue::kNever) return false;
  clock.advance_to(time.next_deadline());
  time.run_expired();
  return true;
}

std::vector<MsiMessage> TestMachine::take_msis() { return std::exchange(msis_, {}); }

IrqStatus TestMachine::set_irq(unsigned pin, bool level) {
  Pin& p = pins_[pin];
  if (p.level == level) return IrqStatus::Ignored;
  p.level = level;
  if (level) p.rises++;
  return IrqStatus::Delivered;
}

IrqStatus TestMachine::send_msi(const MsiMessage& message) {
  msis_.push_back(message);
  return IrqStatus::Delivered;
}

std::vector<std::string> TestMachine::round_trip(Device& device, Device& twin) {
  const StateTree saved = save_state(device, device.id(), device.state_version());
  // Through the binary stream, so that it is exercised by every device.
  const Result<StateTree> read = from_stream(to_stream(saved));
  std::vector<std::string> problems;
  if (!read) return {read.error().text};
  if (const Result<void> loaded = load_state(twin, *read); !loaded) return {loaded.error().text};
  if (const Result<void> restored = twin.restored(); !restored) return {restored.error().text};
  const StateTree again = save_state(twin, device.id(), twin.state_version());
  for (const StateDifference& d : compare(saved, again))
    problems.push_back(d.path + ": " + d.left + " became " + d.right);
  return problems;
}

}  // namespace menura
