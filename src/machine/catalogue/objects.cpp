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

constexpr std::string_view kFormats[] = {"raw", "base64"};
constexpr u64 kMaxSecret = MiB;

template <class Config>
std::vector<PropertyInfo> properties_of() {
  return list_properties(Config{});
}

constexpr std::string_view kSecret = "secret";
constexpr ObjectKind kKinds[] = {
    {kSecret, "a password or key that other options refer to by its id",
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
    {"tls-creds-anon", "TLS that is secret from listeners, but knows no names",
     properties_of<TlsAnonConfig>, shape_of<TlsAnonConfig>},
    {"tls-creds-psk", "TLS by keys that both ends have", properties_of<TlsPskConfig>,
     shape_of<TlsPskConfig>},
    {"tls-creds-x509", "TLS by certificates", properties_of<TlsX509Config>,
     shape_of<TlsX509Config>},
};

}  // namespace

std::span<const std::string_view> enum_names(SecretConfig::Format) { return kFormats; }

void SecretConfig::describe(PropertyVisitor& p) {
  p.field("data", data, "the secret itself (other users see the command line: prefer file)");
  p.field("file", file, "a file that holds it");
  p.field("format", format, "how it is written there");
}

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
  if (kind->name == kSecret) {
    SecretConfig config;
    TRY(read_properties(config, options.options, format("Object {}", options.id)));
    object.secret = TRY(read_secret(config), "Object {}", options.id);
  } else if (kind->name == kRngBuiltin || kind->name == kRngRandom) {
    TRY(check_rng(options));
  } else if (kind->name == Netdevs::kFilterDump) {
    TRY(machine_.netdevs().create_filter(options));
  } else if (TlsObjects::is_kind(kind->name)) {
    // The machine has made those it was started with.
    TlsObjects& tls = machine_.drives().tls();
    if (!tls.find(options.id)) TRY(tls.create(options));
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
  machine_.netdevs().remove_filter(id);
  machine_.drives().tls().remove(id);
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
