#include "machine/catalogue/objects.h"

#include <algorithm>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"
#include "machine/drives.h"
#include "machine/memory_backends.h"
#include "machine/netdevs.h"

namespace menura {

namespace {

template <class Config>
std::vector<PropertyInfo> properties_of() {
  return list_properties(Config{});
}

constexpr ObjectKind kKinds[] = {
    {kSecretObject, "a password or key that other options refer to by its id",
     properties_of<SecretConfig>, shape_of<SecretConfig>},
    {"memory-backend-ram", "guest memory", properties_of<BackendOptions>, shape_of<BackendOptions>},
    {"memory-backend-memfd", "guest memory that other processes can share",
     properties_of<MemfdBackendOptions>, shape_of<MemfdBackendOptions>},
    {"memory-backend-file", "guest memory in a file", properties_of<FileBackendOptions>,
     shape_of<FileBackendOptions>},
    {kRngBuiltin, "random bytes of the host", properties_of<RngBuiltinConfig>,
     shape_of<RngBuiltinConfig>},
    {kRngRandom, "random bytes of the host's kernel", properties_of<RngRandomConfig>,
     shape_of<RngRandomConfig>},
    {Netdevs::kFilterDump, "frames of a network back end, captured to a file",
     properties_of<FilterDumpOptions>, shape_of<FilterDumpOptions>},
    {kThrottleGroupObject, "limits on the bytes and requests of a second, shared by disks",
     properties_of<ThrottleGroupConfig>, shape_of<ThrottleGroupConfig>},
    {"tls-creds-anon", "TLS that is secret from listeners, but knows no names",
     properties_of<TlsAnonConfig>, shape_of<TlsAnonConfig>},
    {"tls-creds-psk", "TLS by keys that both ends have", properties_of<TlsPskConfig>,
     shape_of<TlsPskConfig>},
    {"tls-creds-x509", "TLS by certificates", properties_of<TlsX509Config>,
     shape_of<TlsX509Config>},
};

}  // namespace

void RngRandomConfig::describe(PropertyVisitor& p) {
  p.field("filename", filename, "/dev/urandom or /dev/random");
}

Result<void> check_rng(const NamedOptions& options) {
  const std::string what = format("Object {}", options.id);
  if (options.name == kRngBuiltin) {
    RngBuiltinConfig config;
    return read_properties(config, options.options, what);
  }
  if (options.name != kRngRandom)
    return fail(Errc::InvalidArgument, "'{}' is a {}, no source of random bytes", options.id,
                options.name);
  RngRandomConfig config;
  TRY(read_properties(config, options.options, what));
  if (config.filename != "/dev/urandom" && config.filename != "/dev/random")
    return fail(Errc::Unsupported,
                "{}: filename={}: random bytes come from /dev/urandom or /dev/random", what,
                config.filename);
  return {};
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

Result<void> Objects::create(const NamedOptions& options) {
  if (options.id.empty())
    return fail(Errc::InvalidArgument, "Object {}: property 'id' must be given", options.name);
  for (const Object& object : objects_)
    if (object.id == options.id)
      return fail(Errc::Exists, "There is an object '{}' already", options.id);
  const ObjectKind* kind = TRY(find_object_kind(options.name));
  Object object{.id = options.id, .kind = std::string(kind->name)};
  if (Drives::is_object_kind(kind->name)) {
    // The machine has made those it was started with.
    if (!machine_.drives().has_object(options)) TRY(machine_.drives().create_object(options));
  } else if (kind->name == kRngBuiltin || kind->name == kRngRandom) {
    TRY(check_rng(options));
  } else if (kind->name == Netdevs::kFilterDump) {
    TRY(machine_.netdevs().create_filter(options));
  } else if (std::ranges::find(machine_.config().objects, options.id, &NamedOptions::id) !=
             machine_.config().objects.end()) {
    object.in_use = true;  // the machine has made it
  } else {
    return fail(Errc::Unsupported,
                "Object {}: memory is for the machine as it starts, nothing else takes it",
                options.id);
  }
  objects_.push_back(std::move(object));
  return {};
}

Result<void> Objects::remove(std::string_view id) {
  const auto at = std::ranges::find(objects_, id, &Object::id);
  if (at == objects_.end()) return fail(Errc::InvalidArgument, "There is no object '{}'", id);
  if (at->in_use) return fail(Errc::Busy, "Object '{}' is in use", id);
  machine_.netdevs().remove_filter(id);
  TRY(machine_.drives().remove_object(at->kind, id));
  objects_.erase(at);
  return {};
}

Result<std::string> Objects::secret(std::string_view id) const {
  return machine_.drives().graph().secrets().find(id);
}

}  // namespace menura
