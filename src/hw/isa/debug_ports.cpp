#include "hw/isa/debug_ports.h"

namespace menura {

DebugConsole::DebugConsole(std::string id, u8 readback, Chardev& chardev)
    : Device(std::move(id)),
      readback_(readback),
      ports_(Region::mmio("debugcon", 1, *this, {.handler_max = 1})),
      chardev_(chardev) {
  chardev_.attach(this);
}

DebugConsole::~DebugConsole() { chardev_.attach(nullptr); }

void DebugConsole::describe(StateVisitor& v) { v.field("waiting", waiting_); }

void DebugConsole::write(Access, u64 value) {
  if (waiting_.size() >= kBacklog)
    waiting_.erase(waiting_.begin(), waiting_.begin() + kBacklog / 2);
  waiting_.push_back(static_cast<u8>(value));
  writable();
}

void DebugConsole::writable() {
  const size_t taken = chardev_.write(bytes_of(waiting_));
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(taken));
}

DebugExit::DebugExit(std::string id, unsigned size, std::function<void(int)> on_exit)
    : Device(std::move(id)),
      ports_(Region::mmio("debug-exit", size, *this, {.handler_max = 8})),
      on_exit_(std::move(on_exit)) {}

}  // namespace menura
