#include "accel/kvm/kvm_coalesced.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"

namespace menura {

namespace {

u32 ring_entries() {
  return static_cast<u32>(
      (static_cast<size_t>(sysconf(_SC_PAGESIZE)) - sizeof(kvm_coalesced_mmio_ring)) /
      sizeof(kvm_coalesced_mmio));
}

}  // namespace

KvmCoalesced::~KvmCoalesced() {
  if (kvm_coalesced_mmio_ring* ring = ring_)
    munmap(ring, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
}

Result<void> KvmCoalesced::attach(const KvmFd& vcpu) {
  const int page = vm_.system().capability(KVM_CAP_COALESCED_MMIO);
  if (page == 0 || ring_.load()) return {};
  const long page_size = sysconf(_SC_PAGESIZE);
  void* mapped = mmap(nullptr, static_cast<size_t>(page_size), PROT_READ | PROT_WRITE, MAP_SHARED,
                      vcpu.get(), page * page_size);
  if (mapped == MAP_FAILED) return fail_errno(errno, "Mapping the ring of coalesced writes");
  ring_.store(static_cast<kvm_coalesced_mmio_ring*>(mapped));
  return {};
}

bool KvmCoalesced::waiting() const {
  kvm_coalesced_mmio_ring* ring = ring_.load(std::memory_order_relaxed);
  return ring && __atomic_load_n(&ring->first, __ATOMIC_RELAXED) !=
                     __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
}

void KvmCoalesced::drain() {
  kvm_coalesced_mmio_ring* ring = ring_.load(std::memory_order_relaxed);
  if (!ring || draining_) return;
  draining_ = true;
  const u32 entries = ring_entries();
  // The other vCPUs may go on adding: what was there at the start is enough.
  u32 last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
  u32 first = ring->first;
  while (first != last && first < entries) {
    const kvm_coalesced_mmio write = ring->coalesced_mmio[first];
    deliver(write);
    first = (first + 1) % entries;
    __atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
  }
  draining_ = false;
}

void KvmCoalesced::deliver(const kvm_coalesced_mmio& write) {
  delivered_++;
  AddressSpace& space = write.pio ? io_ : memory_;
  const GuestAddr at{write.phys_addr};
  const unsigned size = std::min<u32>(write.len, sizeof write.data);
  u64 value = 0;
  std::memcpy(&value, write.data, size);
  if (size == 1 || size == 2 || size == 4 || size == 8)
    space.store(at, size, value);
  else
    (void)space.write(at, std::as_bytes(std::span(write.data, size)));
}

}  // namespace menura
