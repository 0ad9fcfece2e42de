#include "accel/kvm/kvm_slots.h"

#include <algorithm>

#include "accel/kvm/kvm_dirty.h"
#include "base/bits.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kSlotSet, "kvm.slot_set", "slot {} guest {:#x} size {:#x} readonly {} log {}");
TRACE_EVENT(kSlotDeleted, "kvm.slot_deleted", "slot {} guest {:#x} size {:#x}");

bool continues(const KvmSlot& slot, const KvmSlot& next) {
  return slot.guest + slot.size == next.guest && slot.ram == next.ram &&
         slot.offset + slot.size == next.offset && slot.readonly == next.readonly &&
         slot.dirty_log == next.dirty_log;
}

// The range's whole pages; size 0 when there are none. Guest and host pages must coincide.
KvmSlot whole_pages(const KvmSlot& range) {
  KvmSlot slot = range;
  if ((range.guest ^ reinterpret_cast<u64>(range.host())) % kPageSize != 0) {
    slot.size = 0;
    return slot;
  }
  const u64 skipped = align_up(range.guest, kPageSize) - range.guest;
  slot.guest += skipped;
  slot.offset += skipped;
  slot.size = range.size > skipped ? align_down(range.size - skipped, kPageSize) : 0;
  return slot;
}

}  // namespace

std::vector<KvmSlot> plan_slots(const FlatView& view) {
  std::vector<KvmSlot> merged;
  for (const FlatRange& range : view.ranges()) {
    if (!range.ram) continue;
    const KvmSlot piece{.guest = range.start.value,
                        .size = range.last - range.start + 1,
                        .ram = range.ram,
                        .offset = range.offset,
                        .readonly = range.readonly,
                        .dirty_log = range.dirty_clients != 0};
    if (!merged.empty() && continues(merged.back(), piece))
      merged.back().size += piece.size;
    else
      merged.push_back(piece);
  }
  std::vector<KvmSlot> slots;
  for (const KvmSlot& run : merged) {
    const KvmSlot slot = whole_pages(run);
    if (slot.size != 0) slots.push_back(slot);
  }
  return slots;
}

void KvmSlots::changed(const FlatView&, const FlatView& after) {
  std::vector<KvmSlot> wanted = plan_slots(after);
  if (!vm_.system().has(KVM_CAP_READONLY_MEM))
    std::erase_if(wanted, [](const KvmSlot& slot) { return slot.readonly; });
  apply(std::move(wanted));
}

void KvmSlots::apply(std::vector<KvmSlot> wanted) {
  const auto find_in = [](std::vector<KvmSlot>& list, const KvmSlot& slot) {
    return std::ranges::find_if(list, [&](const KvmSlot& s) { return s.same_memory(slot); });
  };
  const auto goes = [&](const KvmSlot& old) { return find_in(wanted, old) == wanted.end(); };
  const auto loses_log = [&](const KvmSlot& old) {
    return old.dirty_log && (goes(old) || !find_in(wanted, old)->dirty_log);
  };
  std::unique_ptr<KvmRunGate::Closed> closed;
  if (std::ranges::any_of(slots_, goes) || std::ranges::any_of(slots_, loses_log))
    closed = std::make_unique<KvmRunGate::Closed>(vm_.gate());
  if (std::ranges::any_of(slots_, loses_log)) collect_dirty();

  // Removals first: neither list overlaps itself, but they may overlap each other.
  for (const KvmSlot& old : slots_)
    if (goes(old)) {
      if (Result<void> done = uninstall(old); !done)
        return vm_.fail_machine(std::move(done.error()));
    }
  std::erase_if(slots_, goes);
  for (KvmSlot& slot : wanted) {
    const auto old = find_in(slots_, slot);
    if (old != slots_.end() && old->dirty_log == slot.dirty_log) continue;
    if (old != slots_.end()) {
      slot.id = old->id;
      *old = slot;
    } else {
      Result<u32> id = free_id();
      if (!id) return vm_.fail_machine(std::move(id.error()));
      slot.id = *id;
      slots_.push_back(slot);
    }
    if (Result<void> done = install(slot); !done) return vm_.fail_machine(std::move(done.error()));
  }
  std::ranges::sort(slots_, {}, &KvmSlot::guest);
}

Result<u32> KvmSlots::free_id() const {
  std::vector<bool> used(slots_.size() + 1);
  for (const KvmSlot& slot : slots_)
    if (const u32 number = slot.id & 0xffff; number < used.size()) used[number] = true;
  const u32 id = static_cast<u32>(std::ranges::find(used, false) - used.begin());
  const int limit = vm_.system().capability(KVM_CAP_NR_MEMSLOTS);
  if (id >= static_cast<u32>(limit))
    return fail(Errc::OutOfRange, "Guest memory needs more than the {} slots of this host's KVM",
                limit);
  return static_cast<u32>(space_) << 16 | id;
}

Result<void> KvmSlots::install(const KvmSlot& slot) {
  kvm_userspace_memory_region region{};
  region.slot = slot.id;
  region.flags = (slot.readonly ? KVM_MEM_READONLY : 0) |
                 (slot.dirty_log && !slot.readonly ? KVM_MEM_LOG_DIRTY_PAGES : 0);
  region.guest_phys_addr = slot.guest;
  region.memory_size = slot.size;
  region.userspace_addr = reinterpret_cast<u64>(slot.host());
  trace(kSlotSet, slot.id, slot.guest, slot.size, slot.readonly, slot.dirty_log);
  TRY(vm_.fd().require(
      KVM_SET_USER_MEMORY_REGION, &region,
      format("Mapping {} at {:#x}, {:#x} bytes", slot.ram->name(), slot.guest, slot.size)));
  return {};
}

Result<void> KvmSlots::uninstall(const KvmSlot& slot) {
  kvm_userspace_memory_region region{};
  region.slot = slot.id;
  region.guest_phys_addr = slot.guest;
  region.userspace_addr = reinterpret_cast<u64>(slot.host());
  trace(kSlotDeleted, slot.id, slot.guest, slot.size);
  TRY(vm_.fd().require(KVM_SET_USER_MEMORY_REGION, &region,
                       format("Unmapping {} at {:#x}", slot.ram->name(), slot.guest)));
  return {};
}

void KvmSlots::collect_dirty() {
  if (vm_.options().dirty_ring != 0) return collect_rings();
  for (const KvmSlot& slot : slots_) {
    if (!slot.dirty_log || slot.readonly) continue;
    if (Result<void> done = collect_dirty_log(vm_, slot); !done)
      return vm_.fail_machine(std::move(done.error()));
  }
}

void KvmSlots::collect_rings() {
  std::vector<KvmSlot> all = slots_;
  if (other_) all.insert(all.end(), other_->slots_.begin(), other_->slots_.end());
  if (Result<void> done = collect_dirty_rings(vm_, all); !done)
    vm_.fail_machine(std::move(done.error()));
}

}  // namespace menura
