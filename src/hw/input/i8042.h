// I8042: the keyboard controller of the PC/AT and PS/2: two device ports, A20 gate, reset line.
//
// Owner: the board. Threads: under the machine lock. Source: IBM PS/2 Hardware Interface Technical
// Reference, "Keyboard and Auxiliary Device Controller"; Intel 8042 data sheet for the buffers.
// Deviation: commands take no time, so the input buffer is never seen full.
// Example:
//   I8042 kbc("i8042", keyboard, mouse, {.irq1 = irqs.isa(1), .irq12 = irqs.isa(12), ...});
//   io.map(0x60, kbc.data_port());  io.map(0x64, kbc.command_port());
#pragma once

#include <functional>

#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/window.h"
#include "hw/input/ps2_device.h"
#include "memory/region.h"

namespace menura {

class I8042 final : public Device {
 public:
  struct Wires {
    IrqLine irq1;
    IrqLine irq12;
    std::function<void(bool on)> set_a20;
    std::function<void()> reset;
  };
  I8042(std::string id, Ps2Device& keyboard, Ps2Device& aux, Wires wires);

  std::string_view type() const override { return "i8042"; }
  Region& data_port() { return data_region_; }        // 60h
  Region& command_port() { return command_region_; }  // 64h

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  enum class From : u8 { Keyboard, Aux, Controller };

  u64 read_data(Access access);
  void write_data(Access access, u64 value);
  u64 read_status(Access access);
  void write_command(Access access, u64 value);
  void argument(u8 command, u8 value);
  void respond(u8 value, From from = From::Controller);
  void write_output_port(u8 value);
  u8 output_port() const;
  u8 translate(u8 byte);
  // Fills the empty output buffer from a device that may send.
  void refill();
  void load(u8 value, From from);
  void update_irqs();
  bool irq1_level() const;
  bool irq12_level() const;

  // Wiring
  Ps2Device& keyboard_;
  Ps2Device& aux_;
  Wires wires_;
  Window<I8042> data_window_{*this, &I8042::read_data, &I8042::write_data};
  Window<I8042> command_window_{*this, &I8042::read_status, &I8042::write_command};
  Region data_region_ = Region::mmio("i8042-data", 1, data_window_, {.handler_max = 1});
  Region command_region_ = Region::mmio("i8042-command", 1, command_window_, {.handler_max = 1});

  // State
  std::array<u8, 32> ram_{};  // byte 0 is the command byte
  u8 data_ = 0;
  bool output_full_ = false;
  From output_from_ = From::Controller;
  bool last_write_was_command_ = false;
  u8 pending_command_ = 0;
  bool a20_ = true;
  bool break_prefix_ = false;  // translation has seen F0h
};

}  // namespace menura
