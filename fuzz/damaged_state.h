// Loads of damaged saved states, as a broken or hostile stream would bring them.
//
// Owner: the fuzz targets of devices. Threads: one. What is refused is followed by the good state, as
// a machine that refuses does not run; a state that was just saved must load and describe itself the
// same again. Example: `load_damaged(in, uart);`
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "base/check.h"
#include "hw/core/device.h"
#include "state/tree.h"

namespace menura {

inline void collect_leaves(StateTree& tree, std::vector<StateTree*>& leaves) {
  for (StateTree& child : tree.children) collect_leaves(child, leaves);
  if (tree.children.empty()) leaves.push_back(&tree);
}

inline bool load_device(Device& device, const StateTree& state) {
  return load_state(device, state).ok() && device.restored().ok();
}

inline StateTree save_device(Device& device) {
  return save_state(device, {}, device.state_version());
}

inline void must_load(Device& device, const StateTree& state) {
  ensure(load_device(device, state), "a saved state loads");
  ensure(compare(state, save_device(device)).empty(), "a loaded state describes itself the same");
}

inline void load_damaged(FuzzedDataProvider& in, Device& device) {
  const StateTree good = save_device(device);
  StateTree bad = good;
  std::vector<StateTree*> leaves;
  collect_leaves(bad, leaves);
  for (int i = in.ConsumeIntegralInRange(0, 3); i > 0; i--) {
    StateTree& leaf = *leaves[in.ConsumeIntegralInRange<size_t>(0, leaves.size() - 1)];
    leaf.integer =
        leaf.kind == StateTree::Kind::Boolean ? in.ConsumeBool() : in.ConsumeIntegral<u64>();
    if (in.ConsumeBool()) leaf.integer &= 0xff;
    if (in.ConsumeBool()) leaf.bytes.resize(in.ConsumeIntegralInRange<size_t>(0, 2048));
    for (std::byte& byte : leaf.bytes) byte = std::byte{in.ConsumeIntegral<u8>()};
  }
  must_load(device, load_device(device, bad) ? save_device(device) : good);
}

}  // namespace menura
