// Uhci: the USB 1.1 host controller of the PIIX3, 8086:7020, with two ports.
//
// Owner: the board or the user. Threads: under the machine lock. Source: Intel "Universal Host
// Controller Interface Design Guide" 1.1; 82371SB data sheet 290550 §2.4. Schedules are read from RAM
// a frame at a time, with a bound on what one frame may hold. Deviations: a frame's time is not
// shared out (what is in it is done, up to the bound); legacy support is storage.
// Example: `Uhci usb("usb", time);  bus.add(usb, PciBus::devfn(1, 2)).value();  usb.ports().plug(tablet);`
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "hw/usb/usb_device.h"

namespace menura {

class Uhci final : public PciFunction {
 public:
  static constexpr unsigned kPorts = 2;

  Uhci(std::string id, TimerQueue& time, Device* parent = nullptr);

  std::string_view type() const override { return "piix3-usb-uhci"; }
  UsbBus& ports() { return bus_; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  struct Transfer;  // a transfer descriptor
  enum class Outcome : u8 { Done, Waits, Failed, Bad };

  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  u16 read_word(unsigned offset) const;
  void write_word(unsigned offset, u16 value);
  void write_command(u16 value);
  void write_port(unsigned port, u16 value);
  void port_changed(unsigned port);
  void reset_controller();
  void update_irq();
  void frame();
  void run_schedule();
  Outcome run_transfer(u32 at, u32* next);
  Outcome execute(Transfer& td);
  UsbDevice* device_at(u8 address) const;
  bool read32(u32 at, u32& value) const;
  bool write32(u32 at, u32 value);
  void fail_host();

  // Wiring
  Window<Uhci> window_{*this, &Uhci::read_registers, &Uhci::write_registers};
  Region registers_;
  TimerQueue& time_;
  Timer timer_;
  UsbBus bus_;

  // State
  u16 command_ = 0, status_ = 0, interrupts_ = 0, frame_number_ = 0;
  u32 frame_base_ = 0;
  u8 sof_modify_ = 0x40;
  std::array<u16, kPorts> port_status_{};
  u8 pending_ = 0;  // causes of interrupts in this frame: 1 IOC or error, 2 short packet
};

}  // namespace menura
