// ConfigSpace: the 256 bytes of configuration space of a PCI function, with what each bit may do.
//
// Owner: PciFunction (a member). Threads: under the machine lock. Source: PCI Local Bus 3.0 §6.1,
// §6.2. Registers are declared once, by rows; guest writes then follow the rows' masks, bit by bit,
// for every access size and alignment. Example:
//   constexpr ConfigRegister kRegs[] = {{.offset = 0x40, .size = 2, .name = "idetim",
//                                        .writable = 0xf3ff}};
//   config().define(kRegs);   config().write(0x41, 1, 0x80);
#pragma once

#include <array>
#include <bitset>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "state/visitor.h"

namespace menura {

struct ConfigRegister {
  u8 offset = 0;
  u8 size = 1;  // bytes: 1, 2 or 4
  std::string_view name = {};
  u32 reset = 0;
  u32 writable = 0;  // bits a guest may write
  u32 w1c = 0;       // bits a guest clears by writing one
  u32 hardware = 0;  // read-only bits that the chip itself changes
};

class ConfigSpace {
 public:
  static constexpr unsigned kSize = 256;

  // Declares a register, or declares it anew over an earlier one; its value becomes the reset value.
  void define(const ConfigRegister& row);
  void define(std::span<const ConfigRegister> rows);

  // offset + size <= kSize, size 1, 2 or 4: the bus saw to it.
  u32 get(unsigned offset, unsigned size) const;
  u8 get8(unsigned offset) const { return static_cast<u8>(get(offset, 1)); }
  u16 get16(unsigned offset) const { return static_cast<u16>(get(offset, 2)); }
  u32 get32(unsigned offset) const { return get(offset, 4); }
  // The chip's own change, past all masks.
  void set(unsigned offset, unsigned size, u32 value);
  // A guest's write.
  void write(unsigned offset, unsigned size, u32 value);
  void reset() { value_ = reset_; }

  // Masks as declared, for conformance tests and inspection.
  u32 reset_value(unsigned offset, unsigned size) const;
  u32 writable(unsigned offset, unsigned size) const;
  u32 w1c(unsigned offset, unsigned size) const;
  u32 hardware(unsigned offset, unsigned size) const;

  // Reserves `size` bytes for a capability in undeclared space from 40h on, links it at the end of
  // the list (PCI 3.0 §6.7) and returns its offset. NoSpace when nothing is free.
  Result<unsigned> add_capability(u8 id, unsigned size);
  // The first capability with this id, 0 when there is none. Follows the list as a guest would.
  unsigned find_capability(u8 id) const;

  // Loading refuses values that differ from reset in bits that nothing can change.
  void describe(StateVisitor& v);

 private:
  using Bytes256 = std::array<u8, kSize>;
  static u32 load(const Bytes256& from, unsigned offset, unsigned size);
  static void store(Bytes256& to, unsigned offset, unsigned size, u32 value);

  // Configuration
  Bytes256 reset_{};
  Bytes256 writable_{};
  Bytes256 w1c_{};
  Bytes256 hardware_{};
  std::bitset<kSize> declared_;
  unsigned last_capability_ = 0;

  // State
  Bytes256 value_{};
};

}  // namespace menura
