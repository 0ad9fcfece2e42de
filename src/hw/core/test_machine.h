// TestMachine: two address spaces, a hand-stepped clock and recorded pins, in process: what a
// device's test needs instead of a PC.
//
// Owner: the test. Threads: one. Nothing runs by itself: step_ns() moves virtual time through every
// timer on the way. Example:
//   TestMachine m;  Pit8254 pit("pit", m.time, m.pin(0));  m.io_root.map(0x40, pit.ports());
//   m.out8(0x43, 0x34);  m.step_ns(1000);  EXPECT_TRUE(m.pin_level(0));
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "event/clock.h"
#include "event/tape.h"
#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "memory/address_space.h"

namespace menura {

class TestMachine final : public IrqSink, public MsiSink {
 public:
  explicit TestMachine(u64 ram_size = 16 * 1024 * 1024);

  // Port I/O and physical memory, as a CPU would.
  u8 in8(u16 port) { return static_cast<u8>(io.load({port}, 1)); }
  u16 in16(u16 port) { return static_cast<u16>(io.load({port}, 2)); }
  u32 in32(u16 port) { return static_cast<u32>(io.load({port}, 4)); }
  void out8(u16 port, u8 value) { io.store({port}, 1, value); }
  void out16(u16 port, u16 value) { io.store({port}, 2, value); }
  void out32(u16 port, u32 value) { io.store({port}, 4, value); }
  u64 read_mem(u64 addr, unsigned size) { return memory.load({addr}, size); }
  void write_mem(u64 addr, unsigned size, u64 value) { memory.store({addr}, size, value); }

  // Lets virtual time pass, running each timer at its own deadline.
  void step_ns(i64 ns);
  // Moves to the next deadline and runs it; false when no timer is armed.
  bool step_to_next_timer();

  // A line whose level and edges are recorded.
  IrqLine pin(unsigned number) { return IrqLine(*this, number); }
  bool pin_level(unsigned number) { return pins_[number].level; }
  unsigned pin_rises(unsigned number) { return pins_[number].rises; }
  // MSIs sent since the last call.
  std::vector<MsiMessage> take_msis();

  IrqStatus set_irq(unsigned pin, bool level) override;
  IrqStatus send_msi(const MsiMessage& message) override;

  // Saves the device and loads the state into `twin`, a fresh one of the same wiring; then both
  // must describe the same. Returns the differences (none: good).
  static std::vector<std::string> round_trip(Device& device, Device& twin);

  ScriptedTape tape;
  VirtualClock clock{tape};
  TimerQueue time{clock};
  Region memory_root = Region::container("memory", Region::kWholeSpace);
  Region io_root = Region::container("io", 0x10000);
  std::shared_ptr<RamBlock> ram;
  Region ram_region;
  AddressSpace memory{"memory", memory_root};
  AddressSpace io{"io", io_root};

 private:
  struct Pin {
    bool level = false;
    unsigned rises = 0;
  };
  std::map<unsigned, Pin> pins_;
  std::vector<MsiMessage> msis_;
};

}  // namespace menura
