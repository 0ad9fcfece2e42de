#include "hw/testdev/pc_testdev.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u64 kMemorySize = 64 * KiB;

}  // namespace

PcTestdev::PcTestdev(std::string id, std::function<void(u64)> flush,
                     std::array<IrqLine, kIrqCount> irqs)
    : Device(std::move(id)),
      flush_(std::move(flush)),
      lines_(irqs),
      memory_region_(Region::mmio("pc-testdev-iomem", kMemorySize, memory_window_)),
      memory_(kMemorySize) {}

u64 PcTestdev::read_latch(Access access) {
  return u64{latch_} >> (8 * access.offset) & low_mask(8 * access.size);
}

void PcTestdev::write_latch(Access access, u64 value) {
  const u64 mask = low_mask(8 * access.size) << (8 * access.offset);
  latch_ = static_cast<u32>(merge<u64>(latch_, value << (8 * access.offset), mask));
}

void PcTestdev::write_irq(Access access, u64 value) {
  levels_[access.offset] = value != 0;
  lines_[access.offset].set(value != 0);
}

u64 PcTestdev::read_memory(Access access) {
  u64 value = 0;
  for (u64 i = 0; i < access.size && access.offset + i < kMemorySize; i++)
    value |= u64{static_cast<u8>(memory_[access.offset + i])} << (8 * i);
  return value;
}

void PcTestdev::write_memory(Access access, u64 value) {
  for (u64 i = 0; i < access.size && access.offset + i < kMemorySize; i++)
    memory_[access.offset + i] = static_cast<std::byte>(value >> (8 * i));
}

void PcTestdev::reset(ResetKind) {
  latch_ = 0;
  memory_.assign(kMemorySize, std::byte{0});
  for (unsigned irq = 0; irq < kIrqCount; irq++) {
    if (levels_[irq]) lines_[irq].lower();
    levels_[irq] = false;
  }
}

void PcTestdev::describe(StateVisitor& v) {
  v.field("latch", latch_);
  v.field("levels", levels_);
  v.field("memory", memory_);
}

Result<void> PcTestdev::restored() {
  memory_.resize(kMemorySize);
  for (unsigned irq = 0; irq < kIrqCount; irq++) lines_[irq].import(levels_[irq]);
  return {};
}

}  // namespace menura
