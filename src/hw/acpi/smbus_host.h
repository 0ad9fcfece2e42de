// SmbusHost: the PIIX4's System Management Bus host controller: 14 ports.
//
// Owner: Piix4Pm (a member). Threads: under the machine lock. Source: Intel 82371AB data sheet 290562
// §7.3. A transaction ends at once: HOST_BUSY is never seen. Example:
//   SmbusHost host([this] { update_irq(); });   host.attach(0x50, eeprom);
// Deviations: the slave port and the shadow ports are absent (read zero); nobody else masters the bus.
#pragma once

#include <array>
#include <functional>

#include "hw/acpi/smbus.h"
#include "memory/mmio.h"

namespace menura {

class SmbusHost {
 public:
  static constexpr u64 kPorts = 16;

  explicit SmbusHost(std::function<void()> interrupt_changed);

  // address: 7 bits. One chip an address.
  void attach(u8 address, SmbusDevice& device);
  bool interrupt() const;

  u64 read(Access access);
  void write(Access access, u64 value);
  void reset();
  void describe(StateVisitor& v);

 private:
  static constexpr unsigned kBlockSize = 32;
  enum class Protocol : u8 { Quick = 0, Byte = 1, ByteData = 2, WordData = 3, BlockData = 5 };

  u8 read8(u64 offset);
  void write8(u64 offset, u8 value);
  void start();
  bool run(SmbusDevice& device, Protocol protocol, bool reading);
  bool run_block(SmbusDevice& device, bool reading);

  // Wiring
  std::function<void()> interrupt_changed_;
  std::array<SmbusDevice*, 128> devices_{};

  // State
  u8 status_ = 0;   // SMBHSTSTS
  u8 control_ = 0;  // SMBHSTCNT
  u8 command_ = 0;
  u8 address_ = 0;
  u8 data0_ = 0;
  u8 data1_ = 0;
  std::array<u8, kBlockSize> block_{};
  u8 block_index_ = 0;
};

}  // namespace menura
