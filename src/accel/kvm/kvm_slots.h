// KvmSlots: guest RAM and ROM as KVM sees them: memory slots, kept in step with a flat view.
//
// Owner: the accelerator, as a listener of the machine's "memory"; a second one, where KVM has SMM,
// of what CPUs in system-management mode see (KVM's address space 1). Threads: under the machine lock.
// A slot is a run of whole pages with one backing block; what covers only part of a page is left out
// and reached as MMIO. Removal happens while no vCPU runs (KvmRunGate). A slot that KVM refuses fails
// the machine. Example: `KvmSlots slots(vm);  memory.add_listener(slots);`
#pragma once

#include <memory>
#include <vector>

#include "accel/kvm/kvm_vm.h"
#include "memory/address_space.h"

namespace menura {

struct KvmSlot {
  u64 guest = 0;  // address
  u64 size = 0;   // bytes
  std::shared_ptr<RamBlock> ram;
  u64 offset = 0;  // of the first page inside ram
  bool readonly = false;
  bool dirty_log = false;
  u32 id = 0;  // KVM's: the address space from bit 16 on

  std::byte* host() const { return ram->host() + offset; }
  u64 pages() const { return size / kPageSize; }
  // The same pages of the guest on the same memory.
  bool same_memory(const KvmSlot& other) const {
    return guest == other.guest && size == other.size && ram == other.ram &&
           offset == other.offset && readonly == other.readonly;
  }
};

// The slots for a view, in address order, ids not yet given. Neighbours merge.
std::vector<KvmSlot> plan_slots(const FlatView& view);

class KvmSlots final : public MemoryListener {
 public:
  enum class Space : u16 { Normal = 0, Smm = 1 };
  explicit KvmSlots(KvmVm& vm, Space space = Space::Normal) : vm_(vm), space_(space) {}

  void changed(const FlatView& before, const FlatView& after) override;

  const std::vector<KvmSlot>& slots() const { return slots_; }
  // The vCPUs' rings name slots of both spaces: what the other one has.
  void set_other(const KvmSlots* other) { other_ = other; }
  // Moves the guests' writes into the blocks' dirty bitmaps: from the logs or the vCPUs' rings.
  void collect_dirty();
  // The same, of one vCPU's full ring, on its thread under the machine lock.
  void collect_rings();

 private:
  void apply(std::vector<KvmSlot> wanted);
  Result<void> install(const KvmSlot& slot);
  Result<void> uninstall(const KvmSlot& slot);
  Result<u32> free_id() const;

  // Wiring
  KvmVm& vm_;
  const Space space_;
  const KvmSlots* other_ = nullptr;

  // State
  std::vector<KvmSlot> slots_;  // in address order
};

}  // namespace menura
