// ApicBus: what connects local APICs, I/O APICs and message-signalled interrupts.
//
// Owner: the board. Threads: under the machine lock. Source: Intel SDM vol. 3 §11.6 (destinations,
// arbitration), §11.8.5 (EOI), §11.11 (messages).
// messages() is the range FEE0_0000h as the bus sees it: a write is an interrupt message, and a
// read finds nothing. A CPU's accesses to its own local APIC never get that far: its vCPU tries
// LocalApic::claims() first, so nobody needs to know a "current CPU".
// Lowest priority goes to the focus, else to the lowest arbitration priority; the vector picks one
// of equals, so interrupts spread over CPUs and a replay repeats.
// Example:
//   ApicBus bus;  Ioapic ioapic("ioapic", {}, bus);  bus.add(ioapic);  bus.set_extint(pic);
//   memory_root.map(0xfee0'0000, bus.messages());    pci_host.set_msi(bus);
#pragma once

#include <unordered_map>
#include <vector>

#include "hw/core/cpu_interrupts.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "memory/region.h"

namespace menura {

class Ioapic;
class Lapic;

enum class ApicDelivery : u8 { Fixed, LowestPriority, Smi, Reserved, Nmi, Init, StartUp, ExtInt };

struct ApicMessage {
  static constexpr u32 kBroadcast = 0xffff'ffff;

  u32 destination = 0;  // an 8-bit sender's FFh is given as kBroadcast
  bool logical = false;
  ApicDelivery delivery = ApicDelivery::Fixed;
  u8 vector = 0;
  bool level_triggered = false;
  bool operator==(const ApicMessage&) const = default;

  // extended: bits 11:5 of the address are bits 14:8 of the destination (the paravirtual
  // KVM_FEATURE_MSI_EXT_DEST_ID).
  static ApicMessage from_msi(const MsiMessage& msi, bool extended);
};

class ApicBus final : public MsiSink, public IrqSink, public MmioHandler {
 public:
  ApicBus();

  // A Lapic adds and removes itself.
  void add(Lapic& lapic);
  void remove(Lapic& lapic);
  void add(Ioapic& ioapic) { ioapics_.push_back(&ioapic); }
  // Where a CPU gets the vector of an ExtINT: the PIC.
  void set_extint(InterruptSource& pic) { extint_ = &pic; }
  InterruptSource* extint() const { return extint_; }
  void set_extended_destinations(bool on) { extended_destinations_ = on; }

  // Ignored when nobody accepts it.
  IrqStatus deliver(const ApicMessage& message);
  // "All including self" (§11.6.1); without one when `except` is given.
  IrqStatus deliver_to_all(const ApicMessage& message, const Lapic* except);
  IrqStatus send_msi(const MsiMessage& message) override;
  // A local APIC broadcasts the end of a level-triggered interrupt.
  void eoi(u8 vector);
  // A CPU has accepted an interrupt with this vector.
  void taken(u8 vector);
  // Pins 0 and 1: LINT0 and LINT1 of every CPU.
  IrqStatus set_irq(unsigned pin, bool level) override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& messages() { return messages_; }  // 1 MiB
  const std::vector<Lapic*>& lapics() const { return lapics_; }

 private:
  // The CPUs that a message names.
  void find_targets(const ApicMessage& message);
  IrqStatus deliver_lowest_priority(const ApicMessage& message);

  // Configuration
  bool extended_destinations_ = false;

  // Wiring
  std::vector<Lapic*> lapics_;
  std::unordered_map<u32, Lapic*> by_id_;
  std::vector<Ioapic*> ioapics_;
  InterruptSource* extint_ = nullptr;
  std::vector<Lapic*> targets_;  // of the message in flight: kept to save allocations
  Region messages_;
};

}  // namespace menura
