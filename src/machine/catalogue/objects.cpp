#include "machine/catalogue/objects.h"

#include <algorithm>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::string_view kFormats[] = {"raw", "base64"};
constexpr u64 kMaxSecret = MiB;

// What every memory object has.
struct MemoryConfig {
  Size size;
  bool prealloc = false;
  bool share = false;
  void describe(PropertyVisitor& p) {
    p.required("size", size, "bytes");
    p.field("prealloc", prealloc, "have all of it in memory from the start");
    p.field("share", share, "let other processes see the guest's writes");
  }
};

struct MemoryFileConfig : MemoryConfig {
  std::string path;
  void describe(PropertyVisitor& p) {
    MemoryConfig::describe(p);
    p.required("mem-path", path, "a file, or a folder for files, that holds it");
  }
};

template <class Config>
std::vector<PropertyInfo> properties_of() {
  return list_properties(Config{});
}

constexpr std::string_view kSecret = "secret";
constexpr ObjectKind kKinds[] = {
    {kSecret, "a password or key that other options refer to by its id",
     properties_of<SecretConfig>, shape_of<SecretConfig>},
    {"memory-backend-ram", "guest memory", properties_of<MemoryConfig>, shape_of<MemoryConfig>},
    {"memory-backend-memfd", "guest memory that other processes can share",
     properties_of<MemoryConfig>, shape_of<MemoryConfig>},
    {"memory-backend-file", "guest memory in a file", properties_of<MemoryFileConfig>,
     shape_of<MemoryFileConfig>},
};

Result<MemoryFileConfig> read_memory(const NamedOptions& object) {
  MemoryFileConfig config;
  const std::string what = format("-object {}", object.name);
  if (object.name == "memory-backend-file")
    TRY(read_properties(config, object.options, what));
  else
    TRY(read_properties(static_cast<MemoryConfig&>(config), object.options, what));
  return config;
}

}  // namespace

std::span<const std::string_view> enum_names(SecretConfig::Format) { return kFormats; }

void SecretConfig::describe(PropertyVisitor& p) {
  p.field("data", data, "the secret itself (other users see the command line: prefer file)");
  p.field("file", file, "a file that holds it");
  p.field("format", format, "how it is written there");
}

std::span<const ObjectKind> object_kinds() { return kKinds; }

Result<const ObjectKind*> find_object_kind(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ObjectKind& kind : kKinds) {
    if (kind.name == name) return &kind;
    names.push_back(kind.name);
  }
  return fail(Errc::InvalidArgument, "There is no object type '{}'{}; -object help lists them",
              name, suggestion(name, names));
}

Result<void> apply_memory_backend(MachineConfig& config) {
  const std::string& id = config.machine.memory_backend;
  if (id.empty()) return {};
  const auto named = [&](const NamedOptions& object) { return object.id == id; };
  const auto object = std::ranges::find_if(config.objects, named);
  if (object == config.objects.end())
    return fail(Errc::NotFound, "-machine memory-backend={}: there is no such object", id);
  if (object->name == kSecret)
    return fail(Errc::InvalidArgument, "-machine memory-backend={}: a {} is no memory", id,
                object->name);
  const MemoryFileConfig memory = TRY(read_memory(*object));
  if (memory.size != config.memory.size)
    return fail(Errc::InvalidArgument,
                "-machine memory-backend={}: it has {} bytes, but -m says {}", id,
                memory.size.bytes, config.memory.size.bytes);
  config.memory.path = memory.path;
  config.memory.preallocate |= memory.prealloc;
  config.memory.share |= memory.share;
  return {};
}

Result<void> Objects::create(const NamedOptions& options, const MachineConfig& machine) {
  if (options.id.empty())
    return fail(Errc::InvalidArgument, "Object {}: property 'id' must be given", options.name);
  for (const Object& object : objects_)
    if (object.id == options.id)
      return fail(Errc::Exists, "There is an object '{}' already", options.id);
  const ObjectKind* kind = TRY(find_object_kind(options.name));
  Object object{.id = options.id, .kind = std::string(kind->name)};
  if (kind->name == kSecret) {
    SecretConfig config;
    TRY(read_properties(config, options.options, format("Object {}", options.id)));
    object.secret = TRY(read_secret(config), "Object {}", options.id);
  } else if (options.id == machine.machine.memory_backend) {
    object.in_use = true;
  } else {
    return fail(Errc::Unsupported,
                "Object {}: memory is for -machine memory-backend={}, nothing else takes it",
                options.id, options.id);
  }
  objects_.push_back(std::move(object));
  return {};
}

Result<std::vector<std::byte>> Objects::read_secret(const SecretConfig& config) const {
  if (config.data.has_value() == !config.file.empty())
    return fail(Errc::InvalidArgument, "expected either data or file");
  const std::string text = config.data ? *config.data : TRY(read_file(config.file, kMaxSecret));
  if (config.format == SecretConfig::Format::Base64) return base64_decode(trim(text));
  const ConstBytes bytes = bytes_of(text);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Result<void> Objects::remove(std::string_view id) {
  const auto at = std::ranges::find(objects_, id, &Object::id);
  if (at == objects_.end()) return fail(Errc::InvalidArgument, "There is no object '{}'", id);
  if (at->in_use) return fail(Errc::Busy, "Object '{}' is in use", id);
  objects_.erase(at);
  return {};
}

Result<std::vector<std::byte>> Objects::secret(std::string_view id) const {
  const auto at = std::ranges::find(objects_, id, &Object::id);
  if (at == objects_.end() || at->kind != kSecret)
    return fail(Errc::NotFound, "There is no secret '{}'", id);
  return at->secret;
}

}  // namespace menura
