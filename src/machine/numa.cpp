#include "machine/numa.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "machine/memory_backends.h"

namespace menura {

namespace {

constexpr u32 kMaxNodes = 128;
constexpr u32 kMaxCpu = 4095;
constexpr u8 kLocal = 10;  // §5.2.17

// "cpus" may come several times.
Result<void> read_node(std::span<const std::string_view> parts, NumaOptions& options) {
  NumaNode node{.id = static_cast<u32>(options.nodes.size())};
  for (const std::string_view part : parts) {
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const std::string value(equals == part.npos ? "" : part.substr(equals + 1));
    if (key == "nodeid") {
      const std::vector<u32> id = TRY(read_numbers(value, kMaxNodes - 1), "nodeid");
      node.id = id.front();
    } else if (key == "cpus") {
      for (const u32 cpu : TRY(read_numbers(value, kMaxCpu), "cpus")) node.cpus.push_back(cpu);
    } else if (key == "memdev") {
      node.memdev = value;
    } else if (key == "initiator") {
      node.initiator = TRY(read_numbers(value, kMaxNodes - 1), "initiator").front();
    } else if (key == "mem") {
      return fail(Errc::Unsupported,
                  "mem= is not supported by this machine type; use -object memory-backend-ram and "
                  "memdev=");
    } else {
      constexpr std::string_view kKeys[] = {"nodeid", "cpus", "memdev", "initiator"};
      return fail(Errc::InvalidArgument, "a node has no property '{}'{}", key,
                  suggestion(key, kKeys));
    }
  }
  options.nodes.push_back(std::move(node));
  return {};
}

Result<void> check_nodes(const std::vector<NumaNode>& nodes) {
  if (nodes.size() > kMaxNodes)
    return fail(Errc::OutOfRange, "-numa: {} nodes, there can be {}", nodes.size(), kMaxNodes);
  std::vector<bool> present(nodes.size());
  for (const NumaNode& node : nodes) {
    if (node.id >= nodes.size())
      return fail(Errc::InvalidArgument, "-numa: node {} of {}: nodes are numbered from 0 on",
                  node.id, nodes.size());
    if (present[node.id]) return fail(Errc::Exists, "-numa: there is a node {} already", node.id);
    present[node.id] = true;
  }
  return {};
}

Result<std::vector<u32>> place_cpus(const std::vector<NumaNode>& nodes, const Topology& topology) {
  std::vector<u32> cpu_nodes(topology.max_cpus);
  std::vector<bool> placed(topology.max_cpus);
  for (const NumaNode& node : nodes) {
    for (const u32 cpu : node.cpus) {
      if (cpu >= topology.max_cpus)
        return fail(Errc::OutOfRange, "-numa: node {} has CPU {}, but CPUs end at {} (-smp)",
                    node.id, cpu, topology.max_cpus - 1);
      if (placed[cpu]) return fail(Errc::InvalidArgument, "-numa: CPU {} is in two nodes", cpu);
      placed[cpu] = true;
      cpu_nodes[cpu] = node.id;
    }
  }
  return cpu_nodes;
}

Result<std::vector<std::vector<u8>>> fill_distances(const NumaOptions& options) {
  const size_t count = options.nodes.size();
  constexpr u8 kUnknown = 0;
  std::vector<std::vector<u8>> table(count, std::vector<u8>(count, kUnknown));
  for (const NumaDistance& d : options.distances) {
    if (d.src >= count || d.dst >= count)
      return fail(Errc::OutOfRange, "-numa dist: there is no node {}", std::max(d.src, d.dst));
    if (d.value < kLocal || (d.src == d.dst) != (d.value == kLocal))
      return fail(Errc::InvalidArgument,
                  "-numa dist: from node {} to {}: {} is no distance (10 is that to itself, others "
                  "are 11 to 255)",
                  d.src, d.dst, d.value);
    table[d.src][d.dst] = d.value;
  }
  for (size_t a = 0; a < count; a++) {
    for (size_t b = 0; b < count; b++) {
      if (a == b) table[a][b] = kLocal;
      if (table[a][b] == kUnknown) table[a][b] = table[b][a];  // the same way back
      if (table[a][b] == kUnknown)
        return fail(Errc::InvalidArgument, "-numa dist: the distance from node {} to {} is missing",
                    a, b);
    }
  }
  return table;
}

// Who has CPUs, and who has memory.
struct NodeContents {
  std::vector<bool> has_cpus, has_memory;
};

Result<void> check_speed(const NumaSpeed& s, const NodeContents& nodes) {
  const bool is_latency = s.data_type <= NumaSpeed::DataType::WriteLatency;
  if (s.initiator >= nodes.has_cpus.size() || !nodes.has_cpus[s.initiator])
    return fail(Errc::InvalidArgument, "-numa hmat-lb: initiator={} is no node with CPUs",
                s.initiator);
  if (s.target >= nodes.has_memory.size() || !nodes.has_memory[s.target])
    return fail(Errc::InvalidArgument, "-numa hmat-lb: target={} is no node with memory", s.target);
  const bool right = is_latency ? s.latency.value_or(0) != 0 && !s.bandwidth
                                : s.bandwidth && s.bandwidth->bytes >= MiB && !s.latency;
  if (!right)
    return fail(Errc::InvalidArgument, "-numa hmat-lb: {} needs {}, and nothing else",
                enum_names(s.data_type)[static_cast<size_t>(s.data_type)],
                is_latency ? "latency=, in ns" : "bandwidth=, in bytes a second, 1M or more");
  return {};
}

Result<void> check_cache(const NumaCache& c, const NodeContents& nodes) {
  if (c.node_id >= nodes.has_memory.size() || !nodes.has_memory[c.node_id])
    return fail(Errc::InvalidArgument, "-numa hmat-cache: node-id={} is no node with memory",
                c.node_id);
  if (c.level < 1 || c.level > 3 || c.size.bytes == 0)
    return fail(Errc::OutOfRange, "-numa hmat-cache: level= is 1 to 3, size= is not 0");
  return {};
}

Result<void> resolve_hmat(const NumaOptions& options, NumaLayout& layout, bool hmat) {
  const size_t count = options.nodes.size();
  NodeContents nodes{std::vector<bool>(count), std::vector<bool>(count)};
  for (const u32 node : layout.cpu_nodes) nodes.has_cpus[node] = true;
  layout.initiators.resize(count);
  bool said = !options.speeds.empty() || !options.caches.empty();
  for (const NumaNode& node : options.nodes) {
    nodes.has_memory[node.id] = !node.memdev.empty();
    layout.initiators[node.id] = nodes.has_cpus[node.id] ? node.id : node.initiator;
    said |= node.initiator.has_value();
    if (node.initiator && (*node.initiator >= count || !nodes.has_cpus[*node.initiator]))
      return fail(Errc::InvalidArgument, "-numa node,initiator={}: it has no CPUs",
                  *node.initiator);
  }
  if (said && !hmat)
    return fail(Errc::InvalidArgument, "-numa: the speeds of memory need -machine hmat=on");
  for (const NumaSpeed& speed : options.speeds) TRY(check_speed(speed, nodes));
  for (const NumaCache& cache : options.caches) TRY(check_cache(cache, nodes));
  layout.hmat = hmat;
  layout.speeds = options.speeds;
  layout.caches = options.caches;
  return {};
}

}  // namespace

std::span<const std::string_view> enum_names(NumaSpeed::Hierarchy) {
  static constexpr std::string_view kNames[] = {"memory", "first-level", "second-level",
                                                "third-level"};
  return kNames;
}
std::span<const std::string_view> enum_names(NumaSpeed::DataType) {
  static constexpr std::string_view kNames[] = {"access-latency", "read-latency",
                                                "write-latency",  "access-bandwidth",
                                                "read-bandwidth", "write-bandwidth"};
  return kNames;
}
std::span<const std::string_view> enum_names(NumaCache::Associativity) {
  static constexpr std::string_view kNames[] = {"none", "direct", "complex"};
  return kNames;
}
std::span<const std::string_view> enum_names(NumaCache::Policy) {
  static constexpr std::string_view kNames[] = {"none", "write-back", "write-through"};
  return kNames;
}

Result<void> read_numa_option(std::string_view text, NumaOptions& options) {
  const std::vector<std::string_view> parts = split(text, ',');
  std::string_view type = parts[0];
  if (type.starts_with("type=")) type.remove_prefix(5);
  const auto rest = std::span(parts).subspan(1);
  if (type == "node") return read_node(rest, options);
  const Value given = TRY(parse_keyval(text, "type"));
  if (type == "hmat-lb")
    return read_properties(options.speeds.emplace_back(), given, "a memory's speed");
  if (type == "hmat-cache")
    return read_properties(options.caches.emplace_back(), given, "a memory's cache");
  if (type != "dist")
    return fail(Errc::Unsupported, "expected node, dist, hmat-lb or hmat-cache, not '{}'", type);
  NumaDistance distance;
  TRY(read_properties(distance, given, "a distance"));
  options.distances.push_back(distance);
  return {};
}

void NumaDistance::describe(PropertyVisitor& p) {
  std::string type;
  p.field("type", type);
  p.required("src", src, "from this node");
  p.required("dst", dst, "to that");
  p.required("val", value, "10: the node itself; 20: twice as far");
}

void NumaSpeed::describe(PropertyVisitor& p) {
  std::string type;
  p.field("type", type);
  p.required("initiator", initiator, "node of the CPUs");
  p.required("target", target, "node of the memory");
  p.required("hierarchy", hierarchy, "the memory itself, or a level of its cache");
  p.required("data-type", data_type, "what is told");
  p.field("latency", latency, "in ns");
  p.field("bandwidth", bandwidth, "in bytes a second");
}

void NumaCache::describe(PropertyVisitor& p) {
  std::string type;
  p.field("type", type);
  p.required("node-id", node_id, "node of the memory");
  p.required("size", size, "size of the cache");
  p.required("level", level, "1 is the nearest to the memory's users");
  p.field("associativity", associativity, "how its lines are found");
  p.field("policy", policy, "when writes reach the memory");
  p.field("line", line, "size of a line, in bytes");
}

Result<NumaLayout> resolve_numa(const NumaOptions& options, const Topology& topology, bool hmat) {
  NumaLayout layout;
  if (options.nodes.empty()) {
    if (!options.distances.empty() || !options.speeds.empty() || !options.caches.empty() || hmat)
      return fail(Errc::InvalidArgument, "-numa dist, hmat-lb, hmat-cache: there are no nodes");
    return layout;
  }
  TRY(check_nodes(options.nodes));
  layout.cpu_nodes = TRY(place_cpus(options.nodes, topology));
  if (!options.distances.empty()) layout.distances = TRY(fill_distances(options));
  TRY(resolve_hmat(options, layout, hmat));
  return layout;
}

}  // namespace menura
