// MsiEvents: an eventfd for each MSI or MSI-X vector of a PCI function: who signals it raises the
// vector, from any thread and without the machine lock.
//
// Owner: the function, next to its capability, which it listens to. Threads: signals from any;
// everything else under the machine lock. While a vector is open the accelerator injects its message
// by itself, where it has routes; a masked one, and every one where there are no routes, is read by
// the loop and handed to `notify`, so that the guest finds it pending. No signal is lost in between:
// it waits in the eventfd. Example:
//   MsiEvents events_{loop, msi, 3, [this](unsigned v) { msix_.notify(v); }};
//   msix_.set_listener(&events_);   int fd = TRY(events_.eventfd(1));
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "event/event_loop.h"
#include "hw/core/msi.h"
#include "hw/pci/pci_msi.h"

namespace menura {

class MsiEvents final : public MsiListener {
 public:
  // sink: the bus's, null where messages go nowhere.
  MsiEvents(EventLoop& loop, MsiSink* sink, unsigned vectors,
            std::function<void(unsigned vector)> notify);

  // Made when first asked for; ours. Error: no descriptors are left.
  Result<int> eventfd(unsigned vector);
  // Whether signals now reach the guest without the loop.
  bool direct(unsigned vector) const { return events_[vector].direct; }

  void vector_opened(unsigned vector, const MsiMessage& message) override;
  void vector_closed(unsigned vector) override;

 private:
  struct Event {
    std::optional<MsiMessage> message;  // while open
    UniqueFd fd;
    std::unique_ptr<MsiRoute> route;
    Watch watch;
    bool direct = false;
  };
  // Lets the accelerator or the loop take the signals.
  void settle(unsigned vector);
  bool route_directly(Event& event);

  // Wiring
  EventLoop& loop_;
  MsiSink* sink_;
  std::function<void(unsigned)> notify_;

  // Derived from the capability's state
  std::vector<Event> events_;
};

}  // namespace menura
