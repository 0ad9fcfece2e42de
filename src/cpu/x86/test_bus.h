// FlatBus: a CpuBus for tests, over an array of memory in which linear is physical, with holes that
// fault, recorded ports and flushes, and CPUID leaves that a test sets.
//
// Owner: a test. Threads: the test's. Spec: none of its own. Example:
//   FlatBus bus;
//   bus.put(0x1000, 8, flat_code_descriptor);
//   bus.fault_at(0x3000, 0x1000);  // any access to this range is a page fault
#pragma once

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"

namespace menura::x86 {

class FlatBus : public CpuBus {
 public:
  explicit FlatBus(size_t size = 0x10'0000) : memory(size) {}

  // For tests: plain little-endian memory, no checks but the array's end.
  u64 get(u64 at, unsigned size) const {
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) value |= u64{memory.at(at + i)} << (8 * i);
    return value;
  }
  void put(u64 at, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; ++i) memory.at(at + i) = static_cast<u8>(value >> (8 * i));
  }
  void fault_at(u64 from, u64 size) { holes_.push_back({from, from + size}); }

  std::vector<u8> memory;
  std::map<std::pair<u32, u32>, CpuidLeaf> leaves;  // by leaf and subleaf
  std::map<u32, u64> apic_registers;                // MSRs that the APIC knows
  std::map<u16, u32> port_values;                   // what in() reads
  std::vector<std::pair<u16, u32>> port_writes;
  std::vector<TlbScope> flushes;
  std::vector<u64> flushed_pages;
  u64 time = 0;
  u8 random_byte = 0x5a;
  u8 priority = 0;
  unsigned address_bits = 46;

  // PhysicalBus
  u64 load_physical(GuestAddr addr, unsigned size) override {
    return inside(addr.value, size) ? get(addr.value, size) : low_bytes(size);
  }
  void store_physical(GuestAddr addr, unsigned size, u64 value) override {
    if (inside(addr.value, size)) put(addr.value, size, value);
  }
  bool compare_exchange_physical(GuestAddr addr, unsigned size, u64 expected,
                                 u64 desired) override {
    if (load_physical(addr, size) != expected) return false;
    store_physical(addr, size, desired);
    return true;
  }

  // CpuBus
  OrFault<void> read(u64 linear, Bytes to, Privilege privilege) override {
    TRY(probe(linear, to.size(), PageAccess::Read, privilege));
    for (size_t i = 0; i < to.size(); ++i) to[i] = std::byte{memory[linear + i]};
    return {};
  }
  OrFault<void> write(u64 linear, ConstBytes from, Privilege privilege) override {
    TRY(probe(linear, from.size(), PageAccess::Write, privilege));
    for (size_t i = 0; i < from.size(); ++i) memory[linear + i] = static_cast<u8>(from[i]);
    return {};
  }
  OrFault<void> probe(u64 linear, u64 size, PageAccess access, Privilege privilege) override {
    const u32 code = (access == PageAccess::Write ? u32{kPfWrite} : 0u) |
                     (privilege == Privilege::User ? u32{kPfUser} : 0u);
    if (!inside(linear, size)) return page_fault(linear, code);
    for (const auto& [from, to] : holes_)
      if (linear < to && from < linear + size) return page_fault(std::max(linear, from), code);
    return {};
  }
  OrFault<u64> load(u64 linear, unsigned size, Privilege privilege) override {
    TRY(probe(linear, size, PageAccess::Read, privilege));
    return get(linear, size);
  }
  OrFault<void> store(u64 linear, unsigned size, u64 value, Privilege privilege) override {
    TRY(probe(linear, size, PageAccess::Write, privilege));
    put(linear, size, value);
    return {};
  }
  OrFault<Bytes> window(u64 linear, u64 size, PageAccess access, Privilege privilege) override {
    const u64 here = std::min(size, 4096 - (linear & 4095));
    TRY(probe(linear, here, access, privilege));
    return std::as_writable_bytes(std::span(memory)).subspan(linear, here);
  }

  u32 in(u16 port, unsigned size) override {
    const auto found = port_values.find(port);
    return static_cast<u32>(found == port_values.end() ? low_bytes(size) : found->second);
  }
  void out(u16 port, unsigned, u32 value) override { port_writes.push_back({port, value}); }
  void flush_tlb(TlbScope scope, u16) override { flushes.push_back(scope); }
  void flush_page(u64 linear, u16, bool) override { flushed_pages.push_back(linear); }
  bool a20() const override { return true; }
  u64 tsc() override { return time; }
  void set_tsc(u64 value) override { time = value; }
  CpuidLeaf cpuid(u32 leaf, u32 subleaf) override {
    const auto found = leaves.find({leaf, subleaf});
    return found == leaves.end() ? CpuidLeaf{} : found->second;
  }
  unsigned physical_bits() const override { return address_bits; }
  u8 task_priority() override { return priority; }
  void set_task_priority(u8 value) override { priority = value; }
  std::optional<u64> apic_msr(u32 index) override {
    const auto found = apic_registers.find(index);
    return found == apic_registers.end() ? std::nullopt : std::optional(found->second);
  }
  bool set_apic_msr(u32 index, u64 value) override {
    if (!apic_registers.contains(index)) return false;
    apic_registers[index] = value;
    return true;
  }
  void random(Bytes out) override {
    for (std::byte& b : out) b = std::byte{random_byte};
  }
  void sync_fpu() override {}
  void fpu_changed() override {}

 private:
  bool inside(u64 at, u64 size) const { return at <= memory.size() && size <= memory.size() - at; }
  static u64 low_bytes(unsigned size) { return ~u64{0} >> (64 - 8 * size); }

  // Configuration
  std::vector<std::pair<u64, u64>> holes_;
};

}  // namespace menura::x86
