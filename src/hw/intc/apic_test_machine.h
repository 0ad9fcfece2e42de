// A machine of CPUs that only count their pins, for the tests of the APICs.
//
// Owner: tests. Threads: one. Example: `ApicMachine a(4);  a.write(0, 0xb0, 0);  a.ack(0);`
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "hw/core/test_machine.h"
#include "hw/intc/apic_bus.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"

namespace menura {

struct CountingCpu final : CpuInterrupts {
  void set_intr(bool pending) override { intr = pending; }
  void nmi() override { nmis++; }
  void smi() override { smis++; }
  void init() override { inits++; }
  void sipi(u8 vector) override { sipis.push_back(vector); }

  bool intr = false;
  unsigned nmis = 0;
  unsigned smis = 0;
  unsigned inits = 0;
  std::vector<u8> sipis;
};

struct ApicMachine {
  static constexpr u64 kTscHz = 2'500'000'000;

  explicit ApicMachine(unsigned cpu_count, u32 first_id = 0, u8 ioapic_version = 0x20)
      : ioapic("ioapic", {.version = ioapic_version}, bus) {
    bus.add(ioapic);
    bus.set_extint(pic);
    m.memory_root.map(0xfec0'0000, ioapic.registers());
    m.memory_root.map(0xfee0'0000, bus.messages());
    m.io_root.map(0x20, pic.master_ports());
    m.io_root.map(0xa0, pic.slave_ports());
    for (unsigned i = 0; i < cpu_count; i++) {
      lapics.emplace_back(
          "lapic" + std::to_string(i),
          Lapic::Config{.apic_id = first_id + i, .bootstrap = i == 0, .tsc_hz = kTscHz}, bus,
          m.time);
      cpus.emplace_back();
      lapics.back().connect(cpus.back());
    }
    pic.reset(ResetKind::PowerOn);
    ioapic.reset(ResetKind::PowerOn);
    for (Lapic& lapic : lapics) lapic.reset(ResetKind::PowerOn);
  }

  // xAPIC registers by offset.
  u32 read(unsigned cpu, u64 offset) { return static_cast<u32>(lapics[cpu].read({offset, 4})); }
  void write(unsigned cpu, u64 offset, u32 value) { lapics[cpu].write({offset, 4}, value); }
  void enable(unsigned cpu) { write(cpu, 0xf0, 0x1ff); }
  void enable_all() {
    for (unsigned i = 0; i < lapics.size(); i++) enable(i);
  }
  void enter_x2apic(unsigned cpu) {
    u64 base = 0;
    lapics[cpu].read_msr(0x1b, base);
    lapics[cpu].write_msr(0x1b, base | 0x400);
  }
  // Sends by ICR in xAPIC mode.
  void ipi(unsigned cpu, u8 destination, u32 low) {
    write(cpu, 0x310, u32{destination} << 24);
    write(cpu, 0x300, low);
  }
  int ack(unsigned cpu) { return lapics[cpu].acknowledge(); }
  void eoi(unsigned cpu) { write(cpu, 0xb0, 0); }
  // Which CPUs have INTR, as bits.
  u64 interrupted() const {
    u64 set = 0;
    for (size_t i = 0; i < cpus.size(); i++) set |= u64{cpus[i].intr} << i;
    return set;
  }

  u32 ioapic_read(u8 reg) {
    m.write_mem(0xfec0'0000, 4, reg);
    return static_cast<u32>(m.read_mem(0xfec0'0010, 4));
  }
  void ioapic_write(u8 reg, u32 value) {
    m.write_mem(0xfec0'0000, 4, reg);
    m.write_mem(0xfec0'0010, 4, value);
  }
  void route(unsigned pin, u32 low, u8 destination) {
    ioapic_write(static_cast<u8>(0x11 + 2 * pin), u32{destination} << 24);
    ioapic_write(static_cast<u8>(0x10 + 2 * pin), low);
  }

  TestMachine m;
  ApicBus bus;
  Ioapic ioapic;
  Pic pic{"pic", IrqLine{bus, 0}};
  std::deque<Lapic> lapics;
  std::deque<CountingCpu> cpus;
};

}  // namespace menura
