#include "hw/pci/config_space.h"

#include "base/bits.h"
#include "base/check.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {
constexpr unsigned kFirstCapability = 0x40;
constexpr unsigned kMaxCapabilities = (ConfigSpace::kSize - kFirstCapability) / 4;
}  // namespace

u32 ConfigSpace::load(const Bytes256& from, unsigned offset, unsigned size) {
  ensure(size <= 4 && offset + size <= kSize, "access inside configuration space");
  u32 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u32{from[offset + i]} << (8 * i);
  return value;
}

void ConfigSpace::store(Bytes256& to, unsigned offset, unsigned size, u32 value) {
  ensure(size <= 4 && offset + size <= kSize, "access inside configuration space");
  for (unsigned i = 0; i < size; i++) to[offset + i] = static_cast<u8>(value >> (8 * i));
}

void ConfigSpace::define(const ConfigRegister& row) {
  ensure((row.writable & row.w1c) == 0 && ((row.writable | row.w1c) & row.hardware) == 0,
         "a register bit has one nature");
  store(reset_, row.offset, row.size, row.reset);
  store(value_, row.offset, row.size, row.reset);
  store(writable_, row.offset, row.size, row.writable);
  store(w1c_, row.offset, row.size, row.w1c);
  store(hardware_, row.offset, row.size, row.hardware);
  for (unsigned i = 0; i < row.size; i++) declared_.set(row.offset + i);
}

void ConfigSpace::define(std::span<const ConfigRegister> rows) {
  for (const ConfigRegister& row : rows) define(row);
}

u32 ConfigSpace::get(unsigned offset, unsigned size) const { return load(value_, offset, size); }

void ConfigSpace::set(unsigned offset, unsigned size, u32 value) {
  store(value_, offset, size, value);
}

void ConfigSpace::write(unsigned offset, unsigned size, u32 value) {
  const u32 cleared = value & w1c(offset, size);
  const u32 before = get(offset, size);
  set(offset, size, merge(before, value, writable(offset, size)) & ~cleared);
}

u32 ConfigSpace::reset_value(unsigned offset, unsigned size) const {
  return load(reset_, offset, size);
}
u32 ConfigSpace::writable(unsigned offset, unsigned size) const {
  return load(writable_, offset, size);
}
u32 ConfigSpace::w1c(unsigned offset, unsigned size) const { return load(w1c_, offset, size); }
u32 ConfigSpace::hardware(unsigned offset, unsigned size) const {
  return load(hardware_, offset, size);
}

Result<unsigned> ConfigSpace::add_capability(u8 id, unsigned size) {
  for (unsigned at = kFirstCapability; at + size <= kSize; at += 4) {
    bool free = true;
    for (unsigned i = 0; i < size; i++) free &= !declared_.test(at + i);
    if (!free) continue;
    for (unsigned i = 0; i < size; i++) define({.offset = static_cast<u8>(at + i)});
    define({.offset = static_cast<u8>(at), .size = 2, .name = "capability", .reset = id});
    const unsigned link = last_capability_ == 0 ? pci::kCapabilities : last_capability_ + 1;
    define({.offset = static_cast<u8>(link), .name = "next", .reset = at});
    const u32 status = reset_value(pci::kStatus, 2) | pci::kStatusCapabilities;
    define({.offset = pci::kStatus,
            .size = 2,
            .name = "status",
            .reset = status,
            .w1c = w1c(pci::kStatus, 2),
            .hardware = hardware(pci::kStatus, 2)});
    last_capability_ = at;
    return at;
  }
  return fail(Errc::NoSpace,
              "Adding capability {:#04x} of {} bytes to configuration space: no room", id, size);
}

unsigned ConfigSpace::find_capability(u8 id) const {
  if ((get16(pci::kStatus) & pci::kStatusCapabilities) == 0) return 0;
  unsigned at = get8(pci::kCapabilities);
  for (unsigned n = 0; n < kMaxCapabilities && at >= kFirstCapability; n++) {
    if (get8(at) == id) return at;
    at = get8(at + 1) & ~3u;
  }
  return 0;
}

void ConfigSpace::describe(StateVisitor& v) {
  v.field("bytes", value_);
  if (!v.loading()) return;
  for (unsigned i = 0; i < kSize; i++) {
    const unsigned fixed = 0xffu & ~(writable_[i] | w1c_[i] | hardware_[i]);
    if (((value_[i] ^ reset_[i]) & fixed) != 0) {
      v.fail(fail(Errc::Corrupt, "Configuration byte {:#04x} is {:#04x}, this function has {:#04x}",
                  i, value_[i], reset_[i]));
      return;
    }
  }
}

}  // namespace menura
