#include "machine/memory_backends.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kMaxThreads = 64;
constexpr u32 kMaxHostNode = 1023;

Result<RamConfig> common_config(const BackendOptions& options, const std::string& id) {
  if (options.prealloc_threads < 1 || options.prealloc_threads > kMaxThreads)
    return fail(Errc::OutOfRange, "prealloc-threads must be 1 to {}, not {}", kMaxThreads,
                options.prealloc_threads);
  RamConfig config{.name = id,
                   .size = options.size.bytes,
                   .share = options.share,
                   .preallocate = options.prealloc,
                   .policy = options.policy,
                   .preallocate_threads = options.prealloc_threads,
                   .merge = options.merge,
                   .dump = options.dump};
  if (!options.host_nodes.is_null())
    config.host_nodes = TRY(read_numbers(options.host_nodes, kMaxHostNode), "host-nodes");
  return config;
}

Result<RamConfig> ram_config(const NamedOptions& object) {
  BackendOptions options;
  TRY(read_properties(options, object.options, object.name));
  RamConfig config = TRY(common_config(options, object.id));
  config.huge = HugePages::Transparent;
  return config;
}

Result<RamConfig> file_config(const NamedOptions& object) {
  FileBackendOptions options;
  TRY(read_properties(options, object.options, object.name));
  RamConfig config = TRY(common_config(options, object.id));
  config.path = options.path;
  return config;
}

Result<RamConfig> memfd_config(const NamedOptions& object) {
  MemfdBackendOptions options;
  TRY(read_properties(options, object.options, object.name));
  RamConfig config = TRY(common_config(options, object.id));
  config.huge = options.hugetlb ? HugePages::Explicit : HugePages::None;
  config.huge_page_size = options.hugetlb_size.bytes;
  config.seal = options.seal;
  return config;
}

struct Kind {
  std::string_view type;
  Result<RamConfig> (*configure)(const NamedOptions& object);
};
constexpr Kind kKinds[] = {{"memory-backend-ram", ram_config},
                           {"memory-backend-file", file_config},
                           {"memory-backend-memfd", memfd_config}};

Result<void> add_numbers(std::string_view text, u32 highest, std::vector<u32>& numbers) {
  const size_t dash = text.find('-');
  const Result<u64> first = parse_u64(text.substr(0, dash));
  const Result<u64> last = dash == text.npos ? first : parse_u64(text.substr(dash + 1));
  if (!first || !last || *first > *last)
    return fail(Errc::InvalidArgument, "expected a number or a range like 0-3, not '{}'", text);
  if (*last > highest) return fail(Errc::OutOfRange, "{} is above the highest, {}", *last, highest);
  for (u64 n = *first; n <= *last; n++) numbers.push_back(static_cast<u32>(n));
  return {};
}

}  // namespace

Result<std::vector<u32>> read_numbers(const Value& value, u32 highest) {
  std::vector<u32> numbers;
  if (const Value::List* list = value.as<Value::List>()) {
    for (const Value& element : *list)
      for (const u32 n : TRY(read_numbers(element, highest))) numbers.push_back(n);
  } else if (const std::string* text = value.as<std::string>()) {
    TRY(add_numbers(*text, highest, numbers));
  } else {
    numbers.push_back(static_cast<u32>(TRY(detail::to_unsigned(value, highest))));
  }
  return numbers;
}

void BackendOptions::describe(PropertyVisitor& p) {
  p.required("size", size, "bytes");
  p.field("share", share, "visible to other users of the file, and written back");
  p.field("prealloc", prealloc, "have all of it in memory from the start");
  p.field("prealloc-threads", prealloc_threads, "threads that do so, 1 to 64");
  p.field("merge", merge, "let the host share equal pages (private files only)");
  p.field("dump", dump, "part of core dumps");
  p.field("policy", policy, "where the host takes pages from, of host-nodes");
  p.field("host-nodes", host_nodes, "NUMA nodes of the host: 0, 0-3, or a list");
}

void FileBackendOptions::describe(PropertyVisitor& p) {
  p.required("mem-path", path, "a file, or a folder for one without a name");
  BackendOptions::describe(p);
}

void MemfdBackendOptions::describe(PropertyVisitor& p) {
  BackendOptions::describe(p);
  p.field("hugetlb", hugetlb, "from the host's pool of huge pages");
  p.field("hugetlbsize", hugetlb_size, "of such a page; 0: the host's default");
  p.field("seal", seal, "its size is final");
}

bool MemoryBackends::is_kind(std::string_view type) {
  return std::ranges::find(kKinds, type, &Kind::type) != std::end(kKinds);
}

Result<void> MemoryBackends::create(const NamedOptions& object) {
  if (object.id.empty())
    return fail(Errc::InvalidArgument, "-object {}: 'id' must be given", object.name);
  for (const Backend& other : backends_)
    if (other.id == object.id)
      return fail(Errc::Exists, "-object: there is an object '{}' already", object.id);
  const auto kind = std::ranges::find(kKinds, object.name, &Kind::type);
  ensure(kind != std::end(kKinds), "a memory object");
  const RamConfig config = TRY(kind->configure(object), "-object {}", object.name);
  backends_.push_back({object.id, TRY(RamBlock::create(config), "-object {}", object.name)});
  return {};
}

Result<std::shared_ptr<RamBlock>> MemoryBackends::take(std::string_view id) {
  std::vector<std::string_view> ids;
  for (Backend& backend : backends_) {
    ids.push_back(backend.id);
    if (backend.id != id) continue;
    if (backend.taken) return fail(Errc::Busy, "The memory object '{}' is in use already", id);
    backend.taken = true;
    return backend.ram;
  }
  return fail(Errc::NotFound, "There is no memory object '{}'{}", id, suggestion(id, ids));
}

}  // namespace menura
