// Two ports for people who debug firmware and tests: a byte sink, and an exit.
//
// Owner: the board or the catalogue. Threads: under the machine lock.
// debugcon: writes go to a chardev, reads give the presence byte (E9h as in Bochs; SeaBIOS's log
// stands at 402h). isa-debug-exit: a write of V ends the program with status (V << 1) | 1.
// Example: `DebugConsole debugcon("debugcon", 0xe9, chardev);  io.map(0x402, debugcon.ports());`
#pragma once

#include <functional>

#include "hw/core/device.h"
#include "io/chardev.h"
#include "memory/region.h"

namespace menura {

class DebugConsole final : public Device, public MmioHandler, public CharSink {
 public:
  // readback: what the port reads as, E9h by custom.
  DebugConsole(std::string id, u8 readback, Chardev& chardev);
  ~DebugConsole() override;

  std::string_view type() const override { return "isa-debugcon"; }
  Region& ports() { return ports_; }

  void reset(ResetKind) override {}
  void describe(StateVisitor& v) override;
  u64 read(Access) override { return readback_; }
  void write(Access access, u64 value) override;

  size_t room() override { return 0; }
  void receive(ConstBytes) override {}
  void writable() override;

 private:
  // What the chardev did not take at once; beyond it the oldest bytes are dropped.
  static constexpr size_t kBacklog = 65536;

  // Configuration
  u8 readback_;
  // Wiring
  Region ports_;
  Chardev& chardev_;
  // State
  std::vector<u8> waiting_;
};

class DebugExit final : public Device, public MmioHandler {
 public:
  // size in ports (1 to 8); on_exit gets the process's exit status.
  DebugExit(std::string id, unsigned size, std::function<void(int status)> on_exit);

  std::string_view type() const override { return "isa-debug-exit"; }
  Region& ports() { return ports_; }

  void reset(ResetKind) override {}
  void describe(StateVisitor&) override {}
  u64 read(Access) override { return 0; }
  void write(Access, u64 value) override { on_exit_(static_cast<int>((value << 1 | 1) & 0xff)); }

 private:
  // Wiring
  Region ports_;
  std::function<void(int)> on_exit_;
};

}  // namespace menura
