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

// The caches of our CPUs, the same for every model; each level lies in the one above, 64 bytes a line.
struct Cache {
  u32 level;
  enum Kind : u32 { Data = 1, Code = 2, Unified = 3 } kind;
  u32 kib, ways;
};
constexpr Cache kCaches[] = {{1, Cache::Data, 32, 8},
                             {1, Cache::Code, 32, 8},
                             {2, Cache::Unified, 512, 8},
                             {3, Cache::Unified, 16384, 16}};
constexpr u32 kLine = 64;

// The registers that Intel's leaf 4 and AMD's 8000_001Dh have in common. `sharing`: CPUs, or their IDs.
CpuidEntry cache_leaf(u32 leaf, u32 subleaf, const Cache& cache, u32 sharing) {
  constexpr u32 kSelfInitializing = 1u << 8;
  return {.leaf = leaf,
          .subleaf = subleaf,
          .eax = cache.kind | cache.level << 5 | kSelfInitializing | (sharing - 1) << 14,
          .ebx = (kLine - 1) | (cache.ways - 1) << 22,
          .ecx = cache.kib * 1024 / kLine / cache.ways - 1};
}

std::vector<CpuidEntry> intel_caches(const Topology& topology) {
  const u32 threads = std::bit_ceil(topology.threads), cores = std::bit_ceil(topology.cores);
  const u32 cores_of_socket = cores * std::bit_ceil(topology.dies);
  // Leaf 2: "ask leaf 4", and 64 bytes are prefetched.
  std::vector<CpuidEntry> leaves{{.leaf = 2, .eax = 0x00f0'ff01}};
  for (u32 i = 0; i < std::size(kCaches); i++) {
    const u32 sharing = kCaches[i].level < 3 ? threads : threads * cores;
    CpuidEntry leaf = cache_leaf(4, i, kCaches[i], std::min(sharing, 4096u));
    leaf.eax |= (std::min(cores_of_socket, 64u) - 1) << 26;
    leaves.push_back(leaf);
  }
  leaves.push_back({.leaf = 4, .subleaf = std::size(kCaches)});
  return leaves;
}

// 8000_001Dh and 8000_001Eh, which TOPOEXT tells of.
std::vector<CpuidEntry> amd_caches(const Topology& topology, u32 apic_id) {
  std::vector<CpuidEntry> leaves;
  for (u32 i = 0; i < std::size(kCaches); i++) {
    const u32 sharing = kCaches[i].level < 3 ? topology.threads : topology.threads * topology.cores;
    leaves.push_back(cache_leaf(0x8000'001d, i, kCaches[i], std::min(sharing, 4096u)));
  }
  leaves.push_back({.leaf = 0x8000'001d, .subleaf = std::size(kCaches)});
  const unsigned core_shift = width_of(topology.threads), core_width = width_of(topology.cores);
  const u32 core = apic_id >> core_shift & static_cast<u32>(low_mask(core_width));
  const u32 die =
      apic_id >> (core_shift + core_width) & static_cast<u32>(low_mask(width_of(topology.dies)));
  leaves.push_back({.leaf = 0x8000'001e,
                    .eax = apic_id,
                    .ebx = (core & 0xff) | (topology.threads - 1) << 8,
                    .ecx = die | (topology.dies - 1) << 8});
  return leaves;
}

// AMD's older leaves of the same caches: L1 in 8000_0005h, L2 and L3 in 8000_0006h.
void put_amd_sizes(CpuidEntry& entry) {
  const auto first = [](const Cache& c) { return c.kib << 24 | c.ways << 16 | 1 << 8 | kLine; };
  constexpr u32 kEightWays = 6, kSixteenWays = 8;  // AMD APM vol. 3, table of associativities
  if (entry.leaf == 0x8000'0005) {
    entry.ecx = first(kCaches[0]);
    entry.edx = first(kCaches[1]);
  } else {
    entry.ecx = kCaches[2].kib << 16 | kEightWays << 12 | 1 << 8 | kLine;
    entry.edx = kCaches[3].kib / 512 << 18 | kSixteenWays << 12 | 1 << 8 | kLine;
  }
}

}  // namespace

std::vector<CpuidEntry> pc_cpuid(std::vector<CpuidEntry> offered, const Topology& topology,
                                 unsigned cpu_index) {
  const u32 apic_id = topology.apic_id(cpu_index);
  constexpr u32 kAuth = 0x6874'7541, kTopologyExtensions = 1u << 22;
  bool amd = false, extended = false;
  for (const CpuidEntry& e : offered) {
    amd |= e.leaf == 0 && e.ebx == kAuth;
    extended |= e.leaf == 0x8000'0001 && (e.ecx & kTopologyExtensions);
  }
  constexpr u32 kOurs[] = {2, 4, 0xb, 0x1f, 0x8000'001d, 0x8000'001e};
  std::erase_if(offered, [&](const CpuidEntry& e) {
    return std::ranges::find(kOurs, e.leaf) != std::end(kOurs);
  });
  for (CpuidEntry& entry : offered) {
    if (entry.leaf == 0) entry.eax = std::max(entry.eax, 0xbu);
    if (entry.leaf == 1) put_features(entry, topology, apic_id);
    if (entry.leaf == 0x8000'0000 && amd && extended) entry.eax = std::max(entry.eax, 0x8000'001eu);
    if (amd && (entry.leaf == 0x8000'0005 || entry.leaf == 0x8000'0006)) put_amd_sizes(entry);
    if (entry.leaf == 0x8000'0008)
      entry.ecx = with_bits(entry.ecx, 7, 0, topology.dies * topology.cores * topology.threads - 1);
  }
  std::ranges::copy(topology_leaves(topology, apic_id), std::back_inserter(offered));
  if (!amd) std::ranges::copy(intel_caches(topology), std::back_inserter(offered));
  if (amd && extended)
    std::ranges::copy(amd_caches(topology, apic_id), std::back_inserter(offered));
  return offered;
}

}  // namespace menura
