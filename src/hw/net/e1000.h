// E1000: Intel's 82540EM Gigabit Ethernet controller, 8086:100e, with its EEPROM and transceiver.
//
// Owner: the machine. Threads: under the machine lock. Source: Intel PCI/PCI-X Family of Gigabit
// Ethernet Controllers Software Developer's Manual 317453. Deviations: the FCS that is stored
// behind a frame (RCTL.SECRC=0) is zero; flow control frames are not sent; the packet buffer is not
// readable; wake-up never happens. Example:
//   E1000 card("net0", mac, cable, time);   bus.add(card, PciBus::devfn(3, 0)).value();
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/net/e1000_regs.h"
#include "hw/net/e1000_statistics.h"
#include "hw/net/e1000_transmitter.h"
#include "hw/net/mii_phy.h"
#include "hw/net/serial_eeprom.h"
#include "hw/pci/option_rom.h"
#include "hw/pci/pci_function.h"
#include "io/net_backend.h"

namespace menura {

class E1000 final : public PciFunction, private NetSink, private E1000Transmitter::Host {
 public:
  // The cable outlives the card. rom: the boot ROM's contents, or null.
  E1000(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
        OptionRom rom = {});
  ~E1000() override;

  std::string_view type() const override { return "e1000"; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  using Reg = E1000Reg;

  // Registers
  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  u64 read_ports(Access access);
  void write_ports(Access access, u64 value);
  u32 read_register(Reg reg);
  void write_register(Reg reg, u32 value);
  void write_ctrl(u32 value);
  void write_eecd(u32 value);
  void write_mdic(u32 value);
  u32* table_entry(u32 offset);
  u32 get(Reg reg) const { return static_cast<u32>(regs_.get(reg)); }
  void software_reset();

  // Interrupts
  void raise(u32 causes);
  void update_interrupt();

  // Link
  bool link() const { return (get(Reg::Status) & e1000::status::kLu) != 0; }
  void update_link();
  bool looped_back() const;

  // Receiving
  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override { run_transmitter(); }
  void link_changed() override;
  std::optional<NetFilter> filter() const override;
  void take_frame(ConstBytes frame);
  bool lets_in(ConstBytes frame) const;
  bool in_multicast_table(const MacAddress& mac) const;
  bool in_vlan_table(u16 tag) const;
  u32 receive_buffer_size() const;
  u32 free_receive_descriptors() const;
  struct ReceiveStatus {
    u8 status = 0;
    u8 errors = 0;
    u16 checksum = 0;
    u16 special = 0;
  };
  ReceiveStatus check_frame(ConstBytes frame) const;
  void store_frame(ConstBytes frame, const ReceiveStatus& status);
  void receive_done(size_t size);
  void receive_waited();

  // Sending
  void run_transmitter();
  AccessStatus fetch(GuestAddr addr, Bytes to) override { return dma_read(addr, to); }
  AccessStatus store(GuestAddr addr, ConstBytes from) override { return dma_write(addr, from); }
  bool transmit(ConstBytes frame) override;
  void reported(bool delayed) override;
  void transmit_waited();
  u16 vlan_type() const override { return static_cast<u16>(get(Reg::Vet)); }

  // Configuration
  const MacAddress mac_;
  // Wiring
  NetBackend& cable_;
  TimerQueue& time_;
  OptionRom rom_;
  Window<E1000> register_window_{*this, &E1000::read_registers, &E1000::write_registers};
  Window<E1000> port_window_{*this, &E1000::read_ports, &E1000::write_ports};
  Region register_region_;
  Region port_region_;
  bool transmitting_ = false;
  // State
  RegisterFile<E1000Reg, static_cast<size_t>(E1000Reg::kCount)> regs_{kE1000Registers};
  std::array<u32, e1000::kMtaWords> mta_{};
  std::array<u32, 2 * e1000::kRaPairs> ra_{};
  std::array<u32, e1000::kVftaWords> vfta_{};
  E1000Statistics statistics_;
  MiiPhy phy_;
  SerialEeprom eeprom_;
  E1000Transmitter transmitter_;
  u32 io_address_ = 0;
  Timer throttle_;        // while it runs no interrupt begins (ITR)
  Timer receive_delay_;   // RDTR
  Timer receive_limit_;   // RADV
  Timer transmit_delay_;  // TIDV
  Timer transmit_limit_;  // TADV
  Timer more_to_send_;    // the transmitter's budget was spent
};

}  // namespace menura
