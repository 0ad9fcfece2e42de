// Pic: the PC's pair of 8259A interrupt controllers, cascaded on IR2, with the ELCR of PIIX3.
//
// Owner: the board. Threads: under the machine lock. Source: Intel 8259A data sheet (231468),
// PIIX3 data sheet (290550) §2.5 for the ELCR and what ICW1 loses by it.
// Pins 0-7 are the master's IR0-IR7, 8-15 the slave's; IR2 is the cascade and ignored as an input.
// Deviation: an edge, once latched, stays requested although its pin falls again (the data sheet
// asks the pin to stay high until INTA); so does KVM's chip, and IrqLine::pulse() relies on it.
// Example:
//   Pic pic("pic", IrqLine{apic_bus.lint0(), 0});   // or the CPU's INTR
//   io_root.map(0x20, pic.master_ports());  io_root.map(0xa0, pic.slave_ports());
//   io_root.map(0x4d0, pic.elcr_ports());   IrqLine com1{pic, 4};
#pragma once

#include <functional>

#include "hw/core/cpu_interrupts.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/window.h"
#include "memory/region.h"

namespace menura {

// One 8259A. Shared with the accelerators' own chips.
struct PicState {
  // What a write to the second port means.
  enum class Expect : u8 { Ocw1, Icw2, Icw3, Icw4 };

  u8 levels = 0;  // of the input pins
  u8 irr = 0;     // edge pins: latched requests; level pins: their levels
  u8 isr = 0;
  u8 imr = 0;
  u8 elcr = 0;         // 1: level-triggered
  u8 highest = 0;      // the IR of the highest priority, 0-7: rotation moves it
  u8 vector_base = 0;  // ICW2: a multiple of 8
  Expect expect = Expect::Ocw1;
  bool icw4_needed = false;
  bool single = false;    // ICW1: no ICW3 follows
  bool read_isr = false;  // OCW3: which register the first port reads
  bool poll = false;      // the next read is a poll
  bool special_mask = false;
  bool auto_eoi = false;
  bool rotate_on_auto_eoi = false;
  bool special_fully_nested = false;

  void describe(StateVisitor& v);
  Result<void> check() const;
};

// The priority logic of one chip.
class Pic8259 {
 public:
  enum class Place { Master, Slave };

  // elcr_writable: the pins whose trigger the board lets software choose.
  Pic8259(Place place, u8 elcr_writable) : place_(place), elcr_writable_(elcr_writable) {}

  void reset();
  IrqStatus set_pin(unsigned pin, bool level);
  // The IR that INT asks to serve, -1 when there is none. The slave's requests reach the master as
  // IR2 (special fully nested mode lets a higher one of the same slave through).
  int request() const;
  // INTA for this IR: to service, and out again with automatic EOI.
  void accept(unsigned ir);
  u8 read(unsigned port);
  void write(unsigned port, u8 value);
  u8 elcr() const { return state.elcr; }
  void set_elcr(u8 value);

  PicState state;

 private:
  unsigned distance(unsigned ir) const { return (ir - state.highest) & 7; }
  int highest_of(u8 set) const;
  void write_icw1(u8 value);
  void write_ocw2(u8 value);
  void write_ocw3(u8 value);

  const Place place_;
  const u8 elcr_writable_;
};

class Pic final : public Device, public IrqSink, public InterruptSource {
 public:
  // intr is the master's INT output.
  Pic(std::string id, IrqLine intr);

  std::string_view type() const override { return "isa-i8259"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  IrqStatus set_irq(unsigned pin, bool level) override;
  // Both INTA cycles: the vector, or the spurious one (IR7 of the chip that was left without a
  // request). The processor ran the cycles, so there is always a vector.
  int acknowledge() override;
  bool pending() const override { return intr_.level(); }
  // Tells when the CPU has accepted a request of pin 0, the timer's.
  void on_timer_taken(std::function<void()> notify) { timer_taken_ = std::move(notify); }

  Region& master_ports() { return master_ports_; }  // 20h, 21h
  Region& slave_ports() { return slave_ports_; }    // A0h, A1h
  Region& elcr_ports() { return elcr_ports_; }      // 4D0h, 4D1h
  const PicState& master() const { return master_.state; }
  const PicState& slave() const { return slave_.state; }

 private:
  u64 read_master(Access access);
  void write_master(Access access, u64 value);
  u64 read_slave(Access access);
  void write_slave(Access access, u64 value);
  u64 read_elcr(Access access);
  void write_elcr(Access access, u64 value);
  // Drives the cascade and INT from what the chips now request.
  void update();

  // Wiring
  IrqLine intr_;
  std::function<void()> timer_taken_;
  Window<Pic> master_window_{*this, &Pic::read_master, &Pic::write_master};
  Window<Pic> slave_window_{*this, &Pic::read_slave, &Pic::write_slave};
  Window<Pic> elcr_window_{*this, &Pic::read_elcr, &Pic::write_elcr};
  Region master_ports_;
  Region slave_ports_;
  Region elcr_ports_;

  // State
  Pic8259 master_;
  Pic8259 slave_;
};

}  // namespace menura
