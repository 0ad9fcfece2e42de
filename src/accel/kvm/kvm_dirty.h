// Which pages guests wrote, as KVM logs them: a bitmap a slot, or a ring a vCPU.
//
// Owner: KvmSlots. Threads: under the machine lock. Both clear what they report, before the report is
// used: a write that comes later is reported again.
// Example: `TRY(collect_dirty_log(vm, slot));`
#pragma once

#include <span>

#include "accel/kvm/kvm_vm.h"

namespace menura {

struct KvmSlot;

// Marks the slot's dirty pages in its block.
Result<void> collect_dirty_log(KvmVm& vm, const KvmSlot& slot);
// Empties every vCPU's ring; entries of slots not in the list are dropped.
Result<void> collect_dirty_rings(KvmVm& vm, std::span<const KvmSlot> slots);

}  // namespace menura
