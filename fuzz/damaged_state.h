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

inline void load_damaged(FuzzedDataProvider& in, Device& device) {
  const StateTree good = save_state(device);
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
  if (load_device(device, bad)) return;
  ensure(load_device(device, good), "a saved state loads");
  ensure(compare(good, save_state(device)).empty(), "a loaded state describes itself the same");
}

}  // namespace menura
