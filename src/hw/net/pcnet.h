// Pcnet: AMD's Am79C970A PCnet-PCI II, 1022:2000: a LANCE with descriptor rings of 16 or 32 bits.
//
// Owner: the machine. Threads: under the machine lock. Source: AMD Am79C970A data sheet 19436 (1996).
// Deviations: frames to send are looked for on demand (TDMD) and not by polling; jabber, collisions
// and the expansion ROM interface never act; the FCS that is stored is zero. Example:
//   Pcnet card("net0", mac, cable, time);   bus.add(card, PciBus::devfn(3, 0)).value();
#pragma once

#include <array>
#include <vector>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/pci/option_rom.h"
#include "hw/pci/pci_function.h"
#include "io/net_backend.h"

namespace menura {

class Pcnet final : public PciFunction, private NetSink {
 public:
  // The cable outlives the card.
  Pcnet(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
        OptionRom rom = {});
  ~Pcnet() override;

  std::string_view type() const override { return "pcnet"; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  static constexpr unsigned kCsrs = 128;
  static constexpr unsigned kBcrs = 32;
  // One descriptor, whatever its software style.
  struct Descriptor {
    u64 at = 0;
    u32 address = 0;
    u32 flags = 0;   // as in a 32-bit TMD1 or RMD1, bits 31 to 24
    u32 length = 0;  // of the buffer, bytes
  };

  u64 read(Access access);
  void write(Access access, u64 value);
  u16 read_csr(unsigned n);
  void write_csr(unsigned n, u16 value);
  u16 read_bcr(unsigned n) const;
  void write_bcr(unsigned n, u16 value);
  void write_csr0(u16 value);
  void software_reset();
  void stop();
  void initialise();
  void raise(u16 causes);
  void update_interrupt();
  bool wide() const;  // SSIZE32
  u32 ring_address(unsigned csr) const { return csr_[csr] | u32{csr_[csr + 1]} << 16; }
  u32 high_address() const;  // above 16-bit structures

  std::optional<Descriptor> fetch(u64 ring, u32 index);
  void store_flags(const Descriptor& d, u32 flags, std::optional<u32> message_length);
  u32 ring_length(unsigned csr) const { return 65536u - csr_[csr]; }

  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override { run_transmitter(); }
  void link_changed() override {}
  std::optional<NetFilter> filter() const override;
  u32 match(ConstBytes frame) const;  // its flags in a descriptor; 0: not let in
  MacAddress address() const;
  void take_frame(ConstBytes frame);
  u32 free_receive_bytes(u32 wanted);
  void run_transmitter();
  bool finish_frame();

  // Configuration
  const MacAddress mac_;
  // Wiring
  NetBackend& cable_;
  TimerQueue& time_;
  OptionRom rom_;
  Window<Pcnet> window_{*this, &Pcnet::read, &Pcnet::write};
  Region port_region_;
  Region memory_region_;
  bool transmitting_ = false;
  // State
  std::array<u8, 16> prom_{};
  std::array<u16, kCsrs> csr_{};
  std::array<u16, kBcrs> bcr_{};
  u8 rap_ = 0;
  bool dword_io_ = false;
  u32 receive_index_ = 0;
  u32 transmit_index_ = 0;
  std::vector<std::byte> frame_;  // being gathered, or waiting for the wire
  bool frame_begun_ = false;
  bool frame_ready_ = false;
  Timer look_again_;  // whether the driver gave back a receive descriptor; it does not say so
};

}  // namespace menura
