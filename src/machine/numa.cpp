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
    } else if (key == "mem") {
      return fail(Errc::Unsupported,
                  "mem= is not supported by this machine type; use -object memory-backend-ram and "
                  "memdev=");
    } else {
      constexpr std::string_view kKeys[] = {"nodeid", "cpus", "memdev"};
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

}  // namespace

Result<void> read_numa_option(std::string_view text, NumaOptions& options) {
  const std::vector<std::string_view> parts = split(text, ',');
  std::string_view type = parts[0];
  if (type.starts_with("type=")) type.remove_prefix(5);
  const auto rest = std::span(parts).subspan(1);
  if (type == "node") return read_node(rest, options);
  if (type != "dist") return fail(Errc::Unsupported, "expected node or dist, not '{}'", type);
  NumaDistance distance;
  const Value given = TRY(parse_keyval(text, "type"));
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

Result<NumaLayout> resolve_numa(const NumaOptions& options, const Topology& topology) {
  NumaLayout layout;
  if (options.nodes.empty()) {
    if (!options.distances.empty())
      return fail(Errc::InvalidArgument, "-numa dist: there are no nodes");
    return layout;
  }
  TRY(check_nodes(options.nodes));
  layout.cpu_nodes = TRY(place_cpus(options.nodes, topology));
  if (!options.distances.empty()) layout.distances = TRY(fill_distances(options));
  return layout;
}

}  // namespace menura
