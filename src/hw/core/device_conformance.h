// Device conformance: what holds for every device, checked by one call from its test.
//
// Owner: hw/core; used by the tests of devices and by the catalogue's. Threads: one. Checked are:
// reset gives the same described state twice, also after a wild guest; every access of every size to
// every mapped register is survived; a state saved under way loads into a fresh twin, which then
// describes the same and from there on reads the same. Example:
//   struct PitRig final : ConformanceRig {
//     PitRig() { machine.io_root.map(0x40, pit.ports()); }
//     Device& device() override { return pit; }
//     Pit8254 pit{"pit", machine.time, machine.pin(0)};
//   };
//   EXPECT_THAT(conformance_problems<PitRig>(), testing::IsEmpty());
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hw/core/test_machine.h"

namespace menura {

// A device in a machine of its own, wired and mapped, not yet reset. Two rigs of one kind are alike.
class ConformanceRig {
 public:
  virtual ~ConformanceRig() = default;
  virtual Device& device() = 0;
  // Called after each reset, for a device that shows no registers until the guest has programmed
  // it: a PCI function gets its BARs here. It must act as a guest would.
  virtual void program() {}
  // Described fields that no reset touches, as ends of their paths: what a battery keeps.
  virtual std::vector<std::string> battery_backed() { return {}; }

  TestMachine machine;
};

using MakeRig = std::function<std::unique_ptr<ConformanceRig>()>;

// What does not hold, a line each; empty when all is well.
std::vector<std::string> conformance_problems(const MakeRig& make);

// Loads states in which one integer, text or list after the other is replaced by an extreme, as a
// broken or hostile stream might; whatever is not refused must then survive a guest. Crashes show.
void survive_hostile_states(const MakeRig& make);

template <class Rig>
std::vector<std::string> conformance_problems() {
  return conformance_problems([] { return std::make_unique<Rig>(); });
}
template <class Rig>
void survive_hostile_states() {
  survive_hostile_states([] { return std::make_unique<Rig>(); });
}

}  // namespace menura
