#include "accel/kvm/kvm_dirty.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "accel/kvm/kvm_slots.h"
#include "accel/kvm/kvm_vcpu.h"
#include "base/bits.h"

namespace menura {

namespace {

constexpr u64 kClearUnit = 64;  // pages: KVM_CLEAR_DIRTY_LOG counts in words of the bitmap

void mark_bitmap(const KvmSlot& slot, std::span<const u64> bitmap) {
  for (u64 page = 0; page < slot.pages();) {
    const u64 word = bitmap[page / 64] >> (page % 64);
    if (word == 0) {
      page = align_down(page, u64{64}) + 64;
      continue;
    }
    page += static_cast<u64>(std::countr_zero(word));
    if (page >= slot.pages()) return;
    u64 end = page;
    while (end < slot.pages() && test_bit(bitmap[end / 64], end % 64)) end++;
    slot.ram->mark_dirty(slot.offset + page * kPageSize, (end - page) * kPageSize);
    page = end;
  }
}

// Protects again the pages just reported (with KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, reading does not).
Result<void> clear_log(KvmVm& vm, const KvmSlot& slot, std::span<u64> bitmap) {
  for (size_t first = 0; first < bitmap.size(); first++) {
    if (bitmap[first] == 0) continue;
    size_t last = first;
    while (last + 1 < bitmap.size() && bitmap[last + 1] != 0) last++;
    kvm_clear_dirty_log clear{};
    clear.slot = slot.id;
    clear.first_page = first * kClearUnit;
    clear.num_pages = static_cast<u32>(
        std::min<u64>((last - first + 1) * kClearUnit, slot.pages() - first * kClearUnit));
    clear.dirty_bitmap = &bitmap[first];
    TRY(vm.fd().require(KVM_CLEAR_DIRTY_LOG, &clear, "Clearing the log of written pages"));
    first = last;
  }
  return {};
}

void harvest(KvmVcpu& vcpu, std::span<const KvmSlot> slots) {
  vcpu.harvest_dirty_ring([&](u32 id, u64 page) {
    const auto slot = std::ranges::find_if(slots, [&](const KvmSlot& s) { return s.id == id; });
    if (slot != slots.end() && page < slot->pages())
      slot->ram->mark_dirty(slot->offset + page * kPageSize, kPageSize);
  });
}

}  // namespace

Result<void> collect_dirty_log(KvmVm& vm, const KvmSlot& slot) {
  std::vector<u64> bitmap((slot.pages() + 63) / 64);
  kvm_dirty_log log{};
  log.slot = slot.id;
  log.dirty_bitmap = bitmap.data();
  TRY(vm.fd().require(KVM_GET_DIRTY_LOG, &log, "Reading the log of written pages"));
  if (vm.system().has(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)) TRY(clear_log(vm, slot, bitmap));
  mark_bitmap(slot, bitmap);
  return {};
}

Result<void> collect_dirty_rings(KvmVm& vm, std::span<const KvmSlot> slots) {
  // A vCPU that runs meanwhile may fill its ring behind our back; the next call gets the rest.
  vm.for_each_vcpu([&](KvmVcpu& vcpu) { harvest(vcpu, slots); });
  TRY(vm.fd().require(KVM_RESET_DIRTY_RINGS, 0ul, "Resetting the rings of written pages"));
  return {};
}

}  // namespace menura
