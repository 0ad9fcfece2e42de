#include "@room@/@name@.h"

namespace menura {

@Name@::@Name@(std::string id, IrqLine irq)
    : Device(std::move(id)), irq_(irq), ports_(Region::mmio(this->id(), 2, *this)) {}

void @Name@::reset(ResetKind) {
  registers_.reset();
  irq_.lower();
}

void @Name@::describe(StateVisitor& v) { registers_.describe(v); }

u64 @Name@::read(Access access) {
  return registers_.read(access, [this](@Name@Reg reg) { return value_of(reg); });
}

void @Name@::write(Access access, u64 value) {
  registers_.write(access, value, [this](@Name@Reg reg, u64 merged, u64 mask) { wrote(reg, merged, mask); });
}

// What a register reads as now; side effects of reading belong here too (then it is not const).
u64 @Name@::value_of(@Name@Reg reg) const {
  switch (reg) {
    case @Name@Reg::Control:
    case @Name@Reg::Status: return registers_.get(reg);
  }
  unreachable();
}

// The side effects of writing.
void @Name@::wrote(@Name@Reg reg, u64 value, u64 mask) {
  switch (reg) {
    case @Name@Reg::Control: registers_.set_writable(reg, value, mask); break;
    case @Name@Reg::Status: break;
  }
}

}  // namespace menura
