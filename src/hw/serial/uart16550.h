// 16550A: the PC's serial port, with 16-byte FIFOs.
//
// Owner: the board; wired to one Chardev and one interrupt line. Threads: under the machine lock.
// Source: Texas Instruments TL16C550C data sheet (SLLS177). Deviations: a character is sent in no
// time (the chardev's back-pressure paces instead); the line's format bits have no effect.
// Example: `Uart16550 com1("serial0", time, irq4, chardev);  io.map(0x3f8, com1.ports());`
#pragma once

#include <vector>

#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "io/chardev.h"
#include "memory/region.h"

namespace menura {

class Uart16550 final : public Device, public MmioHandler, public CharSink {
 public:
  static constexpr size_t kFifoSize = 16;

  // chardev may be null: nothing is connected to the port.
  Uart16550(std::string id, TimerQueue& time, IrqLine irq, Chardev* chardev);
  ~Uart16550() override;

  std::string_view type() const override { return "isa-serial"; }
  Region& ports() { return ports_; }  // 8 ports

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  // CharSink: what arrives from the line.
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override { transmit(); }

 private:
  u8 read_rbr();
  u8 read_iir();
  u8 read_lsr();
  u8 read_msr();
  void write_thr(u8 value);
  void write_ier(u8 value);
  void write_fcr(u8 value);
  void write_mcr(u8 value);

  bool fifo_enabled() const { return fcr_ & 1; }
  bool loopback() const { return mcr_ & 0x10; }
  bool divisor_latch() const { return lcr_ & 0x80; }
  size_t trigger_level() const;
  i64 character_ns() const;
  void push_received(u8 value, u8 line_errors);
  void transmit();
  void set_modem_inputs(u8 inputs);
  u8 pending_interrupt() const;
  void update_irq();

  // Wiring
  Region ports_;
  TimerQueue& time_;
  IrqLine irq_;
  Chardev* chardev_;

  // State
  u8 ier_ = 0, fcr_ = 0, lcr_ = 0, mcr_ = 0, scr_ = 0;
  u8 lsr_ = 0;  // error bits and DR; THRE and TEMT follow from the transmit FIFO
  u8 msr_ = 0;
  u16 divisor_ = 0;
  struct Received {
    u8 value = 0;
    u8 line_errors = 0;
    void describe(StateVisitor& v);
  };
  std::vector<Received> rx_;
  std::vector<u8> tx_;
  bool thr_interrupt_ = false;      // THRE has not been acknowledged since it became true
  bool timeout_interrupt_ = false;  // characters wait below the trigger level
  Timer timeout_;
};

}  // namespace menura
