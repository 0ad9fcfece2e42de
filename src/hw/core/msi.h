// Message-signalled interrupts: a dword written to an address that an interrupt controller watches.
//
// Owner: the interrupt controller implements MsiSink; PCI functions and the IOAPIC send.
// Threads: under the machine lock. Source: PCI 3.0 §6.8, Intel SDM vol. 3 §11.11.
// A device that wants interrupts without the machine lock (a queue on another thread, a helper in the
// kernel) asks for a route: an eventfd that the accelerator turns into the message. Where there is
// none it calls send_msi() under the lock as ever; hw/pci/msi_events.h does either.
#pragma once

#include <memory>
#include <optional>

#include "base/result.h"
#include "base/types.h"
#include "hw/core/irq.h"

namespace menura {

struct MsiMessage {
  u64 address = 0;
  u32 data = 0;
  bool operator==(const MsiMessage&) const = default;
};

// From an eventfd to a message, while it lives. Signals that find no message stay in the eventfd.
class MsiRoute {
 public:
  virtual ~MsiRoute() = default;
  // What each signal sends from now on; nullopt: nothing. Error: the accelerator's table is full.
  virtual Result<void> set_message(const std::optional<MsiMessage>& message) = 0;
};

class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual IrqStatus send_msi(const MsiMessage& message) = 0;
  // fd stays the caller's, and open for longer than the route. Null: this controller has no routes.
  virtual std::unique_ptr<MsiRoute> make_route(int /*fd*/) { return nullptr; }
};

}  // namespace menura
