// @Name@: FILL IN the chip's full name, its part number and its deviations from the data sheet.
//
// Owner: the board. Threads: under the machine lock. Source: FILL IN document and chapter.
// Example: `@Name@ @name@("@name@", line);  io_root.map(base, @name@.ports());`
#pragma once

#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/register_file.h"
#include "memory/region.h"

namespace menura {

enum class @Name@Reg : u8 { Control, Status };

inline constexpr RegisterTable<@Name@Reg, 2> k@Name@Registers{{{
    // offset, bytes, name, reset value, bits a guest may write
    {@Name@Reg::Control, 0x0, 1, "control", 0x00, 0xff},
    {@Name@Reg::Status, 0x1, 1, "status", 0x00, 0x00},
}}};

class @Name@ final : public Device, public MmioHandler {
 public:
  @Name@(std::string id, IrqLine irq);

  std::string_view type() const override { return "@name@"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& ports() { return ports_; }

 private:
  u64 value_of(@Name@Reg reg) const;
  void wrote(@Name@Reg reg, u64 value, u64 mask);

  // Wiring
  IrqLine irq_;
  Region ports_;

  // State
  RegisterFile<@Name@Reg, 2> registers_{k@Name@Registers};
};

}  // namespace menura
