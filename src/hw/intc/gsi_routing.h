// GsiRouting: which chip inputs or messages each global system interrupt drives.
//
// Owner: the board. Threads: under the machine lock. With chips in user space it delivers; an
// accelerator with chips of its own mirrors entries() and delivers itself. Changes gather until
// commit(), so that the mirror is rebuilt once. Source: ACPI 6.4 §5.2.13 (GSIs), KVM's
// KVM_SET_GSI_ROUTING for the kinds of entries.
// Example:
//   GsiRouting gsi({.pic = &pic, .ioapic = &ioapic, .msi = &bus});  gsi.set_default_pc();
//   IrqLine timer{gsi, 0};
//   unsigned route = TRY(gsi.add_msi(message));  gsi.commit();  gsi.set_irq(route, true);
#pragma once

#include <functional>
#include <variant>
#include <vector>

#include "base/result.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"

namespace menura {

struct PicPin {
  u8 pin = 0;  // 0-7 of the master, 8-15 of the slave
  bool operator==(const PicPin&) const = default;
};
struct IoapicPin {
  u8 pin = 0;  // 0-23
  bool operator==(const IoapicPin&) const = default;
};
// A synthetic interrupt source of Hyper-V; only accelerators that have them deliver it.
struct HypervSint {
  u32 vcpu = 0;
  u32 sint = 0;
  bool operator==(const HypervSint&) const = default;
};
using GsiTarget = std::variant<PicPin, IoapicPin, MsiMessage, HypervSint>;

struct GsiRoute {
  u32 gsi = 0;
  GsiTarget target;
  bool operator==(const GsiRoute&) const = default;
};

class GsiRouting final : public IrqSink {
 public:
  static constexpr unsigned kMaxRoutes = 4096;
  static constexpr unsigned kFirstMsi = 24;  // GSIs below are the IOAPIC's pins

  // Null: there is no such chip in user space, and its routes only count for the mirror.
  struct Chips {
    IrqSink* pic = nullptr;
    IrqSink* ioapic = nullptr;
    MsiSink* msi = nullptr;
  };
  explicit GsiRouting(Chips chips) : chips_(chips) {}

  // ISA interrupts to both chips, with IRQ0 on pin 2 of the IOAPIC; 16-23 to the IOAPIC.
  void set_default_pc();
  // One more target for a GSI below kMaxRoutes. Error: the table is full.
  Result<void> add(u32 gsi, const GsiTarget& target);
  // Removes every target of the GSI.
  void remove(u32 gsi);
  // The lowest free GSI from kFirstMsi up, routed to the message. Error: all are in use.
  Result<u32> add_msi(const MsiMessage& message);
  void update_msi(u32 gsi, const MsiMessage& message);
  // Tells the mirror of the changes since the last commit, if any.
  void commit();

  // Ordered by GSI.
  std::vector<GsiRoute> entries() const;
  void on_change(std::function<void(const GsiRouting&)> mirror) { mirror_ = std::move(mirror); }

  // The fate of the level: delivered by any target, else coalesced by any, else ignored. A message
  // is sent when the level rises.
  IrqStatus set_irq(unsigned gsi, bool level) override;
  IrqStatus send_msi(const MsiMessage& message);

 private:
  IrqStatus drive(const GsiTarget& target, bool level);

  // Wiring
  const Chips chips_;
  std::function<void(const GsiRouting&)> mirror_;

  // State: set up by the board and by PCI functions, which save what they asked for.
  std::vector<std::vector<GsiTarget>> table_;  // by GSI
  unsigned routes_ = 0;
  bool changed_ = false;
};

}  // namespace menura
