// What -numa says: nodes of CPUs and memory, how far apart they are, how fast memory is from them.
//
// Owner: MachineConfig; resolved by numa.h. Threads: values. Source: ACPI 6.4 §5.2.16, §5.2.17 and §5.2.27,
// whose numbers the enumerators are. Example: `options.distances.push_back({.src = 0, .dst = 1, .value = 20});`
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "state/properties.h"

namespace menura {

// -numa node: a part of the CPUs and of the RAM that are near to each other.
struct NumaNode {
  u32 id = 0;
  std::vector<u32> cpus = {};         // by index
  std::string memdev = {};            // a memory object; empty: no memory
  std::optional<u32> initiator = {};  // the node whose CPUs are nearest to its memory
};

// -numa dist
struct NumaDistance {
  u32 src = 0;
  u32 dst = 0;
  u8 value = 0;
  void describe(PropertyVisitor& p);
};

// -numa hmat-lb: how fast an initiator's CPUs reach a target's memory.
struct NumaSpeed {
  enum class Hierarchy : u8 { Memory, FirstLevel, SecondLevel, ThirdLevel };
  enum class DataType : u8 {
    AccessLatency,
    ReadLatency,
    WriteLatency,
    AccessBandwidth,
    ReadBandwidth,
    WriteBandwidth
  };
  u32 initiator = 0;
  u32 target = 0;
  Hierarchy hierarchy = Hierarchy::Memory;
  DataType data_type = DataType::AccessLatency;
  std::optional<u64> latency;     // ns
  std::optional<Size> bandwidth;  // bytes a second
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(NumaSpeed::Hierarchy);
std::span<const std::string_view> enum_names(NumaSpeed::DataType);

// -numa hmat-cache: a cache on the memory's side.
struct NumaCache {
  enum class Associativity : u8 { None, Direct, Complex };
  enum class Policy : u8 { None, WriteBack, WriteThrough };
  u32 node_id = 0;
  Size size;
  u8 level = 0;
  Associativity associativity = Associativity::None;
  Policy policy = Policy::None;
  u16 line = 0;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(NumaCache::Associativity);
std::span<const std::string_view> enum_names(NumaCache::Policy);

struct NumaOptions {
  std::vector<NumaNode> nodes;
  std::vector<NumaDistance> distances;
  std::vector<NumaSpeed> speeds;
  std::vector<NumaCache> caches;
};

}  // namespace menura
