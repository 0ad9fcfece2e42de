// Dp8390: National's network interface controller with the memory and ports that Novell's NE2000 put
// around it: 32 ports, an address PROM, a packet buffer reached by "remote DMA" through a data port.
//
// Owner: the card (a member). Threads: under the machine lock. Source: National DP8390D/NS32490D data
// sheet (1995); Realtek RTL8029AS data sheet, chapter 5 (ports, buffer, identification). Deviations:
// collisions and tallies stay 0, the FIFO register reads 0, the FCS that is stored is zero. Example:
//   Dp8390 nic({.mac = mac, .buffer = 16 * 1024}, cable, [this](bool level) { irq_.set(level); });
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "hw/net/frames.h"
#include "io/net_backend.h"
#include "memory/mmio.h"
#include "state/visitor.h"

namespace menura {

class Dp8390 final : public MmioHandler, private NetSink {
 public:
  static constexpr u32 kPorts = 32;

  struct Options {
    MacAddress mac{};
    u32 buffer = 16 * 1024;  // bytes, from 4000h on
    bool rtl8029 = false;    // identifies itself as one
  };
  // The cable outlives it.
  Dp8390(const Options& options, NetBackend& cable, std::function<void(bool)> interrupt);
  ~Dp8390() override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  void reset();
  void describe(StateVisitor& v);
  Result<void> restored();
  bool interrupt_level() const;

 private:
  u8 read_register(unsigned at);
  void write_register(unsigned at, u8 value);
  u8 read_page0(unsigned at) const;
  void write_page0(unsigned at, u8 value);
  void write_command(u8 value);
  void raise(u8 causes);
  u8* memory(u32 address);
  unsigned transfer_width(unsigned size) const;
  u32 read_data(unsigned size);
  void write_data(unsigned size, u32 value);
  void remote_step();

  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override { transmit(); }
  std::optional<NetFilter> filter() const override;
  std::optional<u8> match(ConstBytes frame) const;
  void store(ConstBytes frame, u8 status);
  u32 free_bytes() const;
  void transmit();

  // Configuration
  const Options options_;
  // Wiring
  NetBackend& cable_;
  std::function<void(bool)> interrupt_;
  // State
  std::vector<std::byte> buffer_;
  u8 command_ = 0, pstart_ = 0, pstop_ = 0, bnry_ = 0, tpsr_ = 0, tsr_ = 0;
  u8 isr_ = 0, imr_ = 0, rcr_ = 0, tcr_ = 0, dcr_ = 0, rsr_ = 0, curr_ = 0;
  u16 tbcr_ = 0, rsar_ = 0, rbcr_ = 0;
  std::array<u8, 6> par_{};
  std::array<u8, 8> mar_{};
};

}  // namespace menura
