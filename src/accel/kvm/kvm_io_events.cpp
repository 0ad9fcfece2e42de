#include "accel/kvm/kvm_io_events.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace menura {

namespace {

template <class T>
bool contains(std::span<const T> list, const T& item) {
  return std::ranges::find(list, item) != list.end();
}

}  // namespace

void KvmIoEvents::changed(const FlatView& before, const FlatView& after) {
  std::erase_if(installed_, [&](const FlatIoEvent& event) {
    return !contains(after.io_events(), event) && set_event(event, false);
  });
  for (const FlatIoEvent& event : after.io_events()) {
    if (contains(std::span<const FlatIoEvent>(installed_), event) || !can_have(event)) continue;
    if (set_event(event, true)) installed_.push_back(event);
  }
  const KvmSystem& system = vm_.system();
  if (!system.has(space_ == Space::Ports ? KVM_CAP_COALESCED_PIO : KVM_CAP_COALESCED_MMIO)) return;
  for (const FlatCoalesced& zone : before.coalesced())
    if (!contains(after.coalesced(), zone)) set_zone(zone, false);
  for (const FlatCoalesced& zone : after.coalesced())
    if (!contains(before.coalesced(), zone)) set_zone(zone, true);
}

bool KvmIoEvents::can_have(const FlatIoEvent& event) const {
  const KvmSystem& system = vm_.system();
  if (!system.has(KVM_CAP_IOEVENTFD)) return false;
  if (event.event.size != 0) return true;
  // Width 0 is any width; with a value to match there is none to compare.
  return !event.event.value && system.has(space_ == Space::Ports ? KVM_CAP_IOEVENTFD_ANY_LENGTH
                                                                 : KVM_CAP_IOEVENTFD_NO_LENGTH);
}

bool KvmIoEvents::set_event(const FlatIoEvent& event, bool assign) {
  kvm_ioeventfd k{};
  k.datamatch = event.event.value.value_or(0);
  k.addr = event.addr.value;
  k.len = event.event.size;
  k.fd = event.event.fd;
  k.flags = (event.event.value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
            (space_ == Space::Ports ? KVM_IOEVENTFD_FLAG_PIO : 0) |
            (assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN);
  if (vm_.fd().call(KVM_IOEVENTFD, &k) == 0) return true;
  log_warning("kvm: {} the doorbell at {:#x}: {}", assign ? "Adding" : "Removing", event.addr.value,
              std::strerror(errno));
  return !assign;
}

void KvmIoEvents::set_zone(const FlatCoalesced& zone, bool add) {
  kvm_coalesced_mmio_zone k{};
  k.addr = zone.start.value;
  k.size = static_cast<u32>(zone.size);
  k.pio = space_ == Space::Ports;
  const unsigned long request = add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO;
  if (vm_.fd().call(request, &k) < 0)
    log_warning("kvm: {} the coalesced range at {:#x}: {}", add ? "Adding" : "Removing",
                zone.start.value, std::strerror(errno));
}

}  // namespace menura
