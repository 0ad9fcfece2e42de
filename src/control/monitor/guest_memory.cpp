#include "control/monitor/guest_memory.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace menura {

namespace {

// The page tables, for the walker; they are only read.
class TablesInRam final : public x86::PhysicalBus {
 public:
  explicit TablesInRam(const AddressSpace& memory) : memory_(memory) {}
  u64 load_physical(GuestAddr addr, unsigned size) override {
    std::array<std::byte, 8> bytes{};
    if (memory_.dma_read(addr, Bytes(bytes).first(size)) != AccessStatus::Ok) return ~u64{0};
    return load_le<u64>(ConstBytes(bytes), 0);
  }
  void store_physical(GuestAddr, unsigned, u64) override {}
  bool compare_exchange_physical(GuestAddr, unsigned, u64, u64) override { return true; }

 private:
  const AddressSpace& memory_;
};

}  // namespace

u64 GuestMemory::load_entry(u64 physical, unsigned size) const {
  return TablesInRam(memory_).load_physical(GuestAddr{physical}, size);
}

Result<x86::Translation> GuestMemory::translate(u64 linear) const {
  TablesInRam tables(memory_);
  if (state_->long_mode_active() && !x86::canonical(*state_, linear))
    return fail(Errc::NotFound, "Cannot access memory at {:#x}: not canonical", linear);
  const auto translation =
      x86::walk(*state_, tables, linear, {.implicit = true, .set_bits = false});
  if (!translation)
    return fail(Errc::NotFound, "Cannot access memory at {:#x}: not mapped", linear);
  return *translation;
}

Result<std::pair<u64, u64>> GuestMemory::place(u64 address, u64 size) const {
  const u64 to_page_end = kPageSize - address % kPageSize;
  const u64 physical = state_ ? TRY(translate(address)).physical : address;
  return std::pair{physical, std::min(size, to_page_end)};
}

Result<void> GuestMemory::read(u64 address, Bytes to) const {
  while (!to.empty()) {
    const auto [physical, size] = TRY(place(address, to.size()));
    if (memory_.dma_read(GuestAddr{physical}, to.first(size)) != AccessStatus::Ok)
      return fail(Errc::NotFound, "Cannot access memory at {:#x}: no RAM or ROM", address);
    address += size;
    to = to.subspan(size);
  }
  return {};
}

Result<void> GuestMemory::write(u64 address, ConstBytes from) {
  while (!from.empty()) {
    const auto [physical, size] = TRY(place(address, from.size()));
    if (memory_.dma_write(GuestAddr{physical}, from.first(size)) != AccessStatus::Ok)
      return fail(Errc::NotFound, "Cannot write memory at {:#x}: no RAM", address);
    address += size;
    from = from.subspan(size);
  }
  return {};
}

}  // namespace menura
