#include "hw/pci/msi_events.h"

#include <span>

#include "base/log.h"

namespace menura {

MsiEvents::MsiEvents(EventLoop& loop, MsiSink* sink, unsigned vectors,
                     std::function<void(unsigned)> notify)
    : loop_(loop), sink_(sink), notify_(std::move(notify)), events_(vectors) {}

Result<int> MsiEvents::eventfd(unsigned vector) {
  Event& event = events_[vector];
  if (!event.fd) {
    event.fd = TRY(make_eventfd());
    if (sink_) event.route = sink_->make_route(event.fd.get());
    settle(vector);
  }
  return event.fd.get();
}

void MsiEvents::vector_opened(unsigned vector, const MsiMessage& message) {
  events_[vector].message = message;
  settle(vector);
}

void MsiEvents::vector_closed(unsigned vector) {
  events_[vector].message.reset();
  settle(vector);
}

bool MsiEvents::route_directly(Event& event) {
  if (!event.route) return false;
  Result<void> done = event.route->set_message(event.message);
  if (done) return event.message.has_value();
  log_warning("Interrupts of a PCI function take the slow way: {}", done.error().text);
  (void)event.route->set_message(std::nullopt);
  return false;
}

void MsiEvents::settle(unsigned vector) {
  Event& event = events_[vector];
  if (!event.fd) return;
  event.direct = route_directly(event);
  if (event.direct) return event.watch.reset();
  if (event.watch) return;
  const auto take = [this, vector](FdEvents) {
    u64 signals = 0;  // several at once are one interrupt
    if (read_all(events_[vector].fd.get(), std::as_writable_bytes(std::span(&signals, 1))))
      notify_(vector);
  };
  Result<Watch> watch = loop_.watch(event.fd.get(), {.readable = true}, take);
  if (watch)
    event.watch = std::move(watch).value();
  else
    log_error("Interrupts of a PCI function are lost: {}", watch.error().text);
}

}  // namespace menura
