#include "hw/pci/pci_config_ports.h"

#include "base/bits.h"

namespace menura {

namespace {
constexpr u64 kConfdata = 4;
constexpr u32 kEnable = u32{1} << 31;
constexpr u32 kConfaddWritable = 0x80ff'fffc;
}  // namespace

bool PciConfigPorts::to_function() const { return (confadd_ & kEnable) != 0; }

PciAddress PciConfigPorts::target() const {
  return {.bus = static_cast<u8>(bits(confadd_, 23, 16)),
          .devfn = static_cast<u8>(bits(confadd_, 15, 8))};
}

unsigned PciConfigPorts::register_of(Access access) const {
  return (confadd_ & 0xfc) | (access.offset & 3);
}

u8 PciConfigPorts::read_behind(u64 offset) {
  return behind_ ? static_cast<u8>(behind_->read({offset, 1})) : 0xff;
}

u64 PciConfigPorts::read(Access access) {
  if (access.offset == 0 && access.size == 4) return confadd_;
  // An unaligned access is several bus cycles: the bytes on each side of CFCh are not one register.
  if (access.offset < kConfdata && access.offset + access.size > kConfdata) {
    u64 value = 0;
    for (unsigned i = 0; i < access.size; i++) value |= read({access.offset + i, 1}) << (8 * i);
    return value;
  }
  if (access.offset >= kConfdata)
    return to_function() ? root_.config_read(target(), register_of(access), access.size)
                         : low_mask(8 * access.size);
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++)
    value |= u64{read_behind(access.offset + i)} << (8 * i);
  return value;
}

void PciConfigPorts::write(Access access, u64 value) {
  if (access.offset == 0 && access.size == 4) {
    confadd_ = static_cast<u32>(value) & kConfaddWritable;
    return;
  }
  if (access.offset < kConfdata && access.offset + access.size > kConfdata) {
    for (unsigned i = 0; i < access.size; i++)
      write({access.offset + i, 1}, (value >> (8 * i)) & 0xff);
    return;
  }
  if (access.offset >= kConfdata) {
    if (to_function())
      root_.config_write(target(), register_of(access), access.size, static_cast<u32>(value));
    return;
  }
  for (unsigned i = 0; i < access.size && behind_; i++)
    behind_->write({access.offset + i, 1}, (value >> (8 * i)) & 0xff);
}

}  // namespace menura
