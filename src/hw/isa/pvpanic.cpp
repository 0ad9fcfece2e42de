#include "hw/isa/pvpanic.h"

namespace menura {

void PanicRegister::write(Access access, u64 value) {
  const u8 events = access.offset == 0 ? static_cast<u8>(value) & events_ : 0;
  // A crash kernel makes the panic its own affair.
  if (events & 2) return on_event_(PanicEvent::CrashLoaded);
  if (events & 1) on_event_(PanicEvent::Panicked);
}

}  // namespace menura
