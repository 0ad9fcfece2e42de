#include "block/tool/image_session.h"

#include <array>

#include "base/base64.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"
#include "block/drivers.h"
#include "block/temporary_overlay.h"
#include "tls/credentials.h"

namespace menura {

namespace {
constexpr u64 kSecretLimit = 1 * MiB;
}

Result<CacheMode> parse_cache_mode(std::string_view name) {
  if (name == "none" || name == "off") return CacheMode{{.direct = true}, false};
  if (name == "directsync") return CacheMode{{.direct = true}, true};
  if (name == "writeback") return CacheMode{};
  if (name == "writethrough") return CacheMode{{}, true};
  if (name == "unsafe") return CacheMode{{.no_flush = true}, false};
  constexpr std::array<std::string_view, 5> kNames = {"none", "writeback", "writethrough",
                                                      "directsync", "unsafe"};
  return fail(Errc::InvalidArgument, "Invalid cache option '{}', expected one of {}{}", name,
              join(kNames, ", "), suggestion(name, kNames));
}

Result<void> SecretObjects::check_new(const std::string& id) const {
  if (!secrets_.contains(id) && !tls_.contains(id)) return {};
  return fail(Errc::Exists, "There is an object '{}' already", id);
}

Result<void> SecretObjects::add(std::string_view option) {
  Value given =
      option.starts_with('{') ? TRY(parse_json(option)) : TRY(parse_keyval(option, "qom-type"));
  const Value* type = given.find("qom-type");
  const std::string* name = type ? type->as<std::string>() : nullptr;
  if (!name) return fail(Errc::InvalidArgument, "An object begins with its type: secret,id=...");
  if (*name == "secret") return add_secret(given);
  if (!TlsCredentials::kind_of(*name))
    return fail(Errc::Unsupported,
                "There is no object type '{}' here, only secret and tls-creds-x509, -psk, -anon",
                *name);
  const Value* id = given.find("id");
  if (!id || !id->as<std::string>())
    return fail(Errc::InvalidArgument, "An object of type '{}' needs an 'id'", *name);
  const std::string kept = *id->as<std::string>(), kind = *name;
  TRY(check_new(kept));
  given.erase("qom-type");
  given.erase("id");
  tls_[kept] = TRY(
      TlsCredentials::load(kind, given, [this](std::string_view secret) { return find(secret); }),
      "Object '{}'", kept);
  return {};
}

Result<void> SecretObjects::add_secret(const Value& given) {
  struct Secret {
    std::string type, id, data, file, format = "raw";
    void describe(PropertyVisitor& p) {
      p.required("qom-type", type, "kind of the object");
      p.required("id", id, "its name");
      p.field("data", data, "the secret itself");
      p.field("file", file, "a file that holds it");
      p.field("format", format, "raw or base64");
    }
  } secret;
  TRY(read_properties(secret, given, "object"));
  TRY(check_new(secret.id));
  if (secret.data.empty() == secret.file.empty())
    return fail(Errc::InvalidArgument, "Secret '{}' needs either 'data' or 'file'", secret.id);
  std::string bytes = secret.data;
  if (!secret.file.empty())
    bytes = TRY(read_file(secret.file, kSecretLimit), "Reading secret '{}'", secret.id);
  if (secret.format == "base64") {
    const std::vector<std::byte> plain = TRY(base64_decode(trim(bytes)), "Secret '{}'", secret.id);
    bytes.assign(reinterpret_cast<const char*>(plain.data()), plain.size());
  } else if (secret.format != "raw") {
    return fail(Errc::InvalidArgument, "Secret '{}': format is raw or base64, not '{}'", secret.id,
                secret.format);
  }
  secrets_[secret.id] = std::move(bytes);
  return {};
}

Result<std::string> SecretObjects::find(std::string_view id) const {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return fail(Errc::NotFound, "No --object secret is called '{}'", id);
  return found->second;
}

Result<std::shared_ptr<const TlsCredentials>> SecretObjects::find_tls(std::string_view id) const {
  const auto found = tls_.find(id);
  if (found == tls_.end())
    return fail(Errc::NotFound, "No --object tls-creds-* is called '{}'", id);
  return found->second;
}

ImageSession::ImageSession()
    : graph_(
          all_drivers(), [this](std::string_view id) { return secrets_.find(id); },
          [this](std::string_view id) { return secrets_.find_tls(id); }) {}

Result<void> ImageSession::add_object(std::string_view option) {
  struct Group {
    std::string type, id;
    ThrottleLimits limits;
    void describe(PropertyVisitor& p) {
      p.required("qom-type", type, "kind of the object");
      p.required("id", id, "its name");
      p.field("limits", limits, "what may pass in a second");
    }
  } group;
  const Value given =
      option.starts_with('{') ? TRY(parse_json(option)) : TRY(parse_keyval(option, "qom-type"));
  const Value* type = given.find("qom-type");
  if (!type || *type != Value("throttle-group")) return secrets_.add(option);
  TRY(read_properties(group, given, "object"));
  return graph_.throttle_groups().add(group.id, group.limits);
}

Result<NodePtr> ImageSession::open_node(const std::string& name, const OpenImage& how) {
  Graph::FileOptions options;
  options.format = how.format;
  options.read_only = !how.writable;
  options.force_share = how.force_share;
  options.no_backing = how.no_backing;
  options.cache = how.cache.node;
  options.aio = how.aio;
  options.more = how.more.is_null() ? Value::object() : how.more;
  if (how.unmap && !options.more.find("discard")) options.more.set("discard", "unmap");
  if (how.snapshot) options.read_only = true;
  if (!how.detect_zeroes.empty()) options.more.set("detect-zeroes", how.detect_zeroes);
  std::string file = name;
  if (how.image_opts) {
    if (!how.format.empty())
      return fail(Errc::InvalidArgument,
                  "With --image-opts the format is the list's driver=: leave out -f");
    const Value given = TRY(parse_keyval(name, "driver"));
    file = "json:" + to_json(given);
  }
  NodePtr node = TRY(graph_.open_file(file, std::move(options)));
  if (how.snapshot) node = TRY(open_temporary_overlay(std::move(node)));
  if (how.copy_on_read) {
    Value filter = Value::object();
    filter.set("driver", "copy-on-read");
    filter.set("file", node->name());
    filter.set("discard", how.unmap ? "unmap" : "ignore");
    node = TRY(graph_.open(std::move(filter)));
  }
  return node;
}

Result<Child> ImageSession::open(const std::string& name, const OpenImage& how) {
  NodePtr node = TRY(open_node(name, how));
  const u8 writes = how.writable ? kWrite | kResize : 0;
  const u8 shares = how.writable ? kConsistentRead : kAllPermissions;
  return Child::attach(
      std::move(node),
      {"this program", "root", {static_cast<u8>(kConsistentRead | writes), shares}});
}

namespace {

void print_pretty(const Value& value, unsigned depth, std::string& out) {
  const std::string inner((depth + 1) * 4, ' '), outer(depth * 4, ' ');
  if (const Value::Object* object = value.as<Value::Object>()) {
    out += "{\n";
    for (size_t i = 0; i < object->size(); i++) {
      out += inner + to_json(Value((*object)[i].first)) + ": ";
      print_pretty((*object)[i].second, depth + 1, out);
      out += i + 1 < object->size() ? ",\n" : "\n";
    }
    out += outer + "}";
  } else if (const Value::List* list = value.as<Value::List>()) {
    out += "[\n";
    for (size_t i = 0; i < list->size(); i++) {
      out += inner;
      print_pretty((*list)[i], depth + 1, out);
      out += i + 1 < list->size() ? ",\n" : "\n";
    }
    out += outer + "]";
  } else {
    out += to_json(value);
  }
}

std::string scalar(const Value& value) {
  if (const bool* b = value.as<bool>()) return *b ? "true" : "false";
  return detail::print_value(value);
}

// Format specific information: dashes of names become spaces.
void print_members(const Value& value, unsigned depth, std::string& out) {
  const std::string indent(depth * 4, ' ');
  const auto item = [&](const std::string& name, const Value& member) {
    const bool nested = member.as<Value::Object>() || member.as<Value::List>();
    out += indent + name + ":" + (nested ? "\n" : " " + scalar(member) + "\n");
    if (nested) print_members(member, depth + 1, out);
  };
  if (const Value::Object* object = value.as<Value::Object>()) {
    for (const auto& [key, member] : *object) {
      std::string name = key;
      for (char& c : name)
        if (c == '-') c = ' ';
      item(name, member);
    }
  } else if (const Value::List* list = value.as<Value::List>()) {
    for (size_t i = 0; i < list->size(); i++) item(format("[{}]", i), (*list)[i]);
  }
}

}  // namespace

std::string pretty_json(const Value& value) {
  std::string out;
  print_pretty(value, 0, out);
  return out;
}

std::string specific_text(const ImageInfo& info) {
  const Value* data = info.specific.find("data");
  if (!data || data->as<Value::Object>()->empty()) return {};
  std::string out = "Format specific information:\n";
  print_members(*data, 1, out);
  return out;
}

// Three significant digits, and the largest unit in which there is at least 0.98 of one.
std::string human_size(u64 bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  unsigned unit = 0;
  while (unit + 1 < std::size(kUnits) && value / 1024 >= 0.976562) value /= 1024, unit++;
  return format("{:.3g} {}", value, kUnits[unit]);
}

}  // namespace menura
