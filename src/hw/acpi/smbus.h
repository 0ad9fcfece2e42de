// SmbusDevice: a chip on the System Management Bus, and SmbusEeprom, a 256-byte serial EEPROM.
//
// Owner: the board. Threads: under the machine lock. Source: System Management Bus 1.1 §5.5. A
// transaction is one call: the bytes the host sends after the address, and how many it wants back.
// Example: `SmbusEeprom spd("spd0", spd_bytes);  pm.smbus().attach(0x50, spd);`
#pragma once

#include <array>
#include <optional>
#include <span>

#include "base/types.h"
#include "hw/core/device.h"

namespace menura {

class SmbusDevice {
 public:
  virtual ~SmbusDevice() = default;
  // The host addresses the chip for writing (with R/W# clear) and sends bytes: first the command
  // code, if any. False: the chip does not acknowledge.
  virtual bool write(std::span<const u8> bytes) = 0;
  // After an optional write (a repeated start), the host reads; false: no acknowledge.
  virtual bool read(std::span<u8> bytes) = 0;
};

// A 24C02-like EEPROM: a written first byte sets the address, more bytes are stored, reads go on from
// the address, which wraps at 256.
class SmbusEeprom final : public Device, public SmbusDevice {
 public:
  SmbusEeprom(std::string id, std::span<const u8> content, Device* parent = nullptr);
  std::string_view type() const override { return "smbus-eeprom"; }
  bool write(std::span<const u8> bytes) override;
  bool read(std::span<u8> bytes) override;
  // The content survives: it is not volatile.
  void reset(ResetKind) override { address_ = 0; }
  void describe(StateVisitor& v) override;

 private:
  // State
  std::array<u8, 256> content_{};
  u8 address_ = 0;
};

}  // namespace menura
