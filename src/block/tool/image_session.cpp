#include "block/tool/image_session.h"

#include <array>

#include "base/text.h"
#include "block/drivers.h"
#include "block/temporary_overlay.h"
#include "tls/credentials.h"

namespace menura {

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

ImageSession::ImageSession()
    : graph_(all_drivers(), [this](std::string_view id) { return find_tls(id); }) {}

Result<void> ImageSession::add_object(std::string_view option) {
  Value given =
      option.starts_with('{') ? TRY(parse_json(option)) : TRY(parse_keyval(option, "qom-type"));
  const auto take = [&](std::string_view key) {
    const Value* found = given.find(key);
    const std::string* text = found ? found->as<std::string>() : nullptr;
    std::string taken = text ? *text : std::string();
    given.erase(key);
    return taken;
  };
  const std::string type = take("qom-type"), id = take("id");
  if (type.empty())
    return fail(Errc::InvalidArgument, "An object begins with its type: secret,id=...");
  if (id.empty()) return fail(Errc::InvalidArgument, "An object of type '{}' needs an 'id'", type);
  if (!objects_.insert(id).second) return fail(Errc::Exists, "There is an object '{}' already", id);
  const std::string what = format("Object '{}'", id);
  if (type == "secret") {
    SecretConfig secret;
    TRY(read_properties(secret, given, what));
    return graph_.secrets().add(id, secret);
  }
  if (type == "throttle-group") {
    ThrottleGroupConfig group;
    TRY(read_properties(group, given, what));
    return graph_.throttle_groups().add(id, group.limits);
  }
  if (!TlsCredentials::kind_of(type))
    return fail(Errc::Unsupported,
                "There is no object type '{}' here, only secret, throttle-group and "
                "tls-creds-x509, -psk, -anon",
                type);
  const auto secrets = [this](std::string_view secret) { return graph_.secrets().find(secret); };
  tls_[id] = TRY(TlsCredentials::load(type, given, secrets), "{}", what);
  return {};
}

Result<std::shared_ptr<const TlsCredentials>> ImageSession::find_tls(std::string_view id) const {
  const auto found = tls_.find(id);
  if (found == tls_.end())
    return fail(Errc::NotFound, "No --object tls-creds-* is called '{}'", id);
  return found->second;
}

Result<NodePtr> ImageSession::open_node(const std::string& name, const OpenImage& how) {
  Graph::FileOptions options;
  options.format = how.format;
  options.read_only = !how.writable;
  options.force_share = how.force_share;
  options.no_backing = how.no_backing;
  options.no_io = how.no_io;
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
