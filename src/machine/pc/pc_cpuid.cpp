#include "machine/pc/pc_cpuid.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"

namespace menura {

namespace {

enum Level : u32 { kInvalid = 0, kThread = 1, kCore = 2 };

unsigned width_of(u32 count) { return static_cast<unsigned>(std::bit_width(count - 1)); }

void put_features(CpuidEntry& leaf1, const Topology& topology, u32 apic_id) {
  constexpr u32 kHtt = 1u << 28;
  const u32 per_socket = std::bit_ceil(topology.dies * topology.cores * topology.threads);
  leaf1.ebx = with_bits(leaf1.ebx, 31, 24, apic_id & 0xff);
  leaf1.ebx = with_bits(leaf1.ebx, 23, 16, std::min(per_socket, 255u));
  leaf1.edx = per_socket > 1 ? leaf1.edx | kHtt : leaf1.edx & ~kHtt;
}

std::vector<CpuidEntry> topology_leaves(const Topology& topology, u32 apic_id) {
  const unsigned core_shift = width_of(topology.threads);
  const unsigned socket_shift = core_shift + width_of(topology.cores) + width_of(topology.dies);
  const u32 per_socket = topology.dies * topology.cores * topology.threads;
  constexpr u32 kLeaf = 0xb;
  return {
      {.leaf = kLeaf,
       .subleaf = 0,
       .eax = core_shift,
       .ebx = topology.threads,
       .ecx = kThread << 8,
       .edx = apic_id},
      {.leaf = kLeaf,
       .subleaf = 1,
       .eax = socket_shift,
       .ebx = per_socket,
       .ecx = 1 | kCore << 8,
       .edx = apic_id},
      {.leaf = kLeaf, .subleaf = 2, .eax = 0, .ebx = 0, .ecx = 2 | kInvalid << 8, .edx = apic_id}};
}

}  // namespace

std::vector<CpuidEntry> pc_cpuid(std::vector<CpuidEntry> offered, const Topology& topology,
                                 unsigned cpu_index) {
  const u32 apic_id = topology.apic_id(cpu_index);
  std::erase_if(offered, [](const CpuidEntry& e) { return e.leaf == 0xb || e.leaf == 0x1f; });
  for (CpuidEntry& entry : offered) {
    if (entry.leaf == 0) entry.eax = std::max(entry.eax, 0xbu);
    if (entry.leaf == 1) put_features(entry, topology, apic_id);
    if (entry.leaf == 0x8000'001e) entry.eax = apic_id;
    if (entry.leaf == 0x8000'0008)
      entry.ecx = with_bits(entry.ecx, 7, 0, topology.dies * topology.cores * topology.threads - 1);
  }
  std::ranges::copy(topology_leaves(topology, apic_id), std::back_inserter(offered));
  return offered;
}

}  // namespace menura
