// Rtl8139: Realtek's RTL8139C Fast Ethernet controller, 10ec:8139 revision 10h.
//
// Owner: the machine. Threads: under the machine lock. Source: Realtek RTL8139C(L) data sheet, rev.
// 1.4. Deviations: early receive and transmit interrupts never come; the FCS that is stored behind a
// frame is zero; wake-up and the chip's own PHY tests are storage. Example:
//   Rtl8139 card("net0", mac, cable, time);   bus.add(card, PciBus::devfn(3, 0)).value();
#pragma once

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/net/mii_phy.h"
#include "hw/net/rtl8139_regs.h"
#include "hw/net/serial_eeprom.h"
#include "hw/pci/option_rom.h"
#include "hw/pci/pci_function.h"
#include "io/net_backend.h"

namespace menura {

class Rtl8139 final : public PciFunction, private NetSink {
 public:
  // The cable outlives the card.
  Rtl8139(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
          OptionRom rom = {});
  ~Rtl8139() override;

  std::string_view type() const override { return "rtl8139"; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  using Reg = Rtl8139Reg;

  u64 read(Access access);
  void write(Access access, u64 value);
  u64 value_of(Reg reg);
  void write_register(Reg reg, u64 value, u64 mask);
  u32 get(Reg reg) const { return static_cast<u32>(regs_.get(reg)); }
  static Reg numbered(Reg first, unsigned n) {
    return static_cast<Reg>(static_cast<unsigned>(first) + n);
  }
  void software_reset();
  void raise(u32 causes);
  void update_interrupt();
  u32 timer_count() const;
  void arm_timer();

  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override { run_transmitters(); }
  void link_changed() override;
  std::optional<NetFilter> filter() const override;
  // The kind of match as the frame's status tells it; nothing: not let in.
  std::optional<u16> match(ConstBytes frame) const;
  void take_frame(ConstBytes frame);
  void put(u32& at, ConstBytes bytes);
  u32 ring_size() const;
  u32 ring_used() const;

  void run_transmitters();
  bool transmit(unsigned n);

  // Configuration
  const MacAddress mac_;
  // Wiring
  NetBackend& cable_;
  TimerQueue& time_;
  OptionRom rom_;
  Window<Rtl8139> window_{*this, &Rtl8139::read, &Rtl8139::write};
  Region port_region_;
  Region memory_region_;
  bool transmitting_ = false;
  // State
  RegisterFile<Rtl8139Reg, static_cast<size_t>(Rtl8139Reg::kCount)> regs_{kRtl8139Registers};
  MiiPhy phy_;
  SerialEeprom eeprom_;
  u8 next_transmitter_ = 0;
  i64 timer_start_ns_ = 0;
  Timer timer_;
};

}  // namespace menura
