// Ioapic: the 82093AA I/O advanced programmable interrupt controller, 24 pins.
//
// Owner: the board. Threads: under the machine lock. Source: Intel 82093AA data sheet (290566);
// version 0x20 adds the EOI register of ICH2 and later (ICH10 data sheet §13.5).
// Deviation: pins carry assertion, not voltage, so the polarity bit is kept but changes nothing
// (KVM's chip does the same). The delivery status bit reads 0: messages take no time.
// Example:
//   Ioapic ioapic("ioapic", {.version = 0x20}, apic_bus);
//   memory_root.map(0xfec0'0000, ioapic.registers());   IrqLine irq1{ioapic, 1};
#pragma once

#include <array>
#include <functional>

#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "memory/region.h"

namespace menura {

// Shared with the accelerators' own chips.
struct IoapicState {
  static constexpr unsigned kPins = 24;
  // Fields of a redirection table entry.
  static constexpr u64 kDeliveryStatus = u64{1} << 12;
  static constexpr u64 kRemoteIrr = u64{1} << 14;
  static constexpr u64 kLevelTriggered = u64{1} << 15;
  static constexpr u64 kMasked = u64{1} << 16;

  u8 id = 0;        // bits 27:24 of the ID register, 0-15
  u8 ioregsel = 0;  // the register that the window shows
  u32 levels = 0;   // of the pins
  u32 irr = 0;      // the asserted level-triggered pins (an edge is sent at once or lost)
  std::array<u64, kPins> ioredtbl{};

  void describe(StateVisitor& v);
};

class Ioapic final : public Device, public IrqSink, public MmioHandler {
 public:
  struct Config {
    u8 version = 0x20;  // or 0x11: without the EOI register
    u64 base = 0xfec0'0000;
  };
  Ioapic(std::string id, Config config, MsiSink& apics);

  std::string_view type() const override { return "ioapic"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  IrqStatus set_irq(unsigned pin, bool level) override;
  // A local APIC ended an interrupt with this vector that was level-triggered.
  void eoi(u8 vector);

  // A CPU has accepted an interrupt with this vector.
  void taken(u8 vector);
  // Tells when that was an edge of this pin: of one pin, the timer's.
  void on_taken(unsigned pin, std::function<void()> notify);

  // The message that an entry sends, as a write to FEEx_xxxxh.
  static MsiMessage message_of(u64 entry);
  // Tells of each entry written, so that an accelerator can mirror it as a route.
  void on_entry_changed(std::function<void(unsigned pin)> notify) { changed_ = std::move(notify); }

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& registers() { return registers_; }  // 4 KiB
  u64 base() const { return config_.base; }
  const IoapicState& state() const { return state_; }

 private:
  u32 read_register() const;
  void write_register(u32 value);
  void write_entry(unsigned pin, u64 fresh);
  // Sends what the pin asks for, if its entry lets it.
  IrqStatus service(unsigned pin);

  // Configuration
  const Config config_;

  // Wiring
  MsiSink& apics_;
  std::function<void(unsigned)> changed_;
  unsigned watched_pin_ = 0;
  std::function<void()> taken_;
  Region registers_;

  // State
  IoapicState state_;
};

}  // namespace menura
