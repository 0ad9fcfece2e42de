#include "machine/drives.h"

#include "base/text.h"
#include "block/drivers.h"
#include "block/temporary_overlay.h"

namespace menura {

Drives::Drives(const ImageDisk::Wiring& wiring, Jobs::Emit emit)
    : wiring_(wiring),
      graph_(all_drivers(), [this](std::string_view id) { return tls_.find(id); }),
      jobs_(graph_, wiring.loop, std::move(emit)) {}

bool Drives::is_object_kind(std::string_view type) {
  return type == kSecretObject || type == kThrottleGroupObject || TlsObjects::is_kind(type);
}

Result<void> Drives::create_object(const NamedOptions& object) {
  const std::string what = format("Object {}", object.id);
  if (object.name == kSecretObject) {
    SecretConfig config;
    TRY(read_properties(config, object.options, what));
    return graph_.secrets().add(object.id, config);
  }
  if (object.name == kThrottleGroupObject) {
    ThrottleGroupConfig config;
    TRY(read_properties(config, object.options, what));
    return graph_.throttle_groups().add(object.id, config.limits);
  }
  return tls_.create(object);
}

bool Drives::has_object(const NamedOptions& object) const {
  if (object.name == kSecretObject) return graph_.secrets().has(object.id);
  if (object.name == kThrottleGroupObject) return graph_.throttle_groups().find(object.id).ok();
  return tls_.find(object.id).ok();
}

Result<void> Drives::remove_object(std::string_view type, std::string_view id) {
  if (type == kThrottleGroupObject) return graph_.throttle_groups().remove(id);
  if (type == kSecretObject)
    graph_.secrets().remove(id);
  else
    tls_.remove(id);
  return {};
}

Drive* Drives::find(std::string_view id) const {
  for (const std::unique_ptr<Drive>& drive : drives_)
    if (drive->options.id == id) return drive.get();
  return nullptr;
}

Result<NodePtr> Drives::find_node(std::string_view name) const {
  if (const Drive* drive = find(name)) return drive->disk->node().shared_from_this();
  if (Node* node = graph_.find(name)) return node->shared_from_this();
  std::vector<std::string_view> names;
  for (const std::unique_ptr<Drive>& drive : drives_) names.push_back(drive->options.id);
  for (const Node* node : graph_.nodes()) names.push_back(node->name());
  return fail(Errc::NotFound, "There is no drive or node '{}'{}", name, suggestion(name, names));
}

Result<void> Drives::add_node(const Value& options) {
  TRY(graph_.add(options));
  return {};
}

Result<NodePtr> Drives::open_node(const DriveOptions& options) {
  using Cache = DriveOptions::Cache;
  Value top = Value::object();
  // A disk that is not said to be read-only must be writable; one that is, need not be.
  const bool read_only = options.readonly || options.snapshot.value_or(false) ||
                         options.media == DriveOptions::Media::Cdrom;
  top.set("read-only", read_only);
  top.set("cache.direct", options.cache == Cache::None || options.cache == Cache::Directsync);
  top.set("cache.no-flush", options.cache == Cache::Unsafe);
  const bool unmap = options.discard == DriveOptions::Discard::Unmap ||
                     options.discard == DriveOptions::Discard::On;
  top.set("discard", unmap ? "unmap" : "ignore");
  top.set("detect-zeroes",
          enum_names(options.detect_zeroes)[static_cast<size_t>(options.detect_zeroes)]);
  std::string format = options.format;
  if (const std::string* driver = options.driver.as<std::string>()) format = *driver;
  const std::string* name = options.file.as<std::string>();
  Value file = name ? TRY(graph_.options_for(*name)) : options.file;
  if (!file.as<Value::Object>()) return fail(Errc::InvalidArgument, "'file' must be given");
  if (!options.aio.empty()) file.set("aio", options.aio);
  if (name && name->starts_with("json:") && file.find("driver") && format.empty()) {
    for (auto& [key, value] : *file.as<Value::Object>()) top.set(key, std::move(value));
  } else {
    if (!format.empty()) top.set("driver", format);
    top.set("file", std::move(file));
  }
  return graph_.open(std::move(top));
}

Result<void> Drives::open(const DriveOptions& options) {
  DriveOptions mine = options;
  if (mine.id.empty()) mine.id = format("drive{}", drives_.size());
  for (const std::unique_ptr<Drive>& other : drives_)
    if (other->options.id == mine.id)
      return fail(Errc::Exists, "-drive: there is a drive '{}' already", mine.id);
  NodePtr node = TRY(open_node(mine), "-drive file={}", mine.file_name());
  if (mine.snapshot.value_or(false))
    node = TRY(open_temporary_overlay(std::move(node)), "-drive id={}", mine.id);
  TRY(use(std::move(node), std::move(mine)), "-drive");
  return {};
}

Result<Drive*> Drives::use(NodePtr node, DriveOptions options) {
  const u8 writes = node->read_only() ? 0 : kWrite;
  Child user = TRY(Child::attach(std::move(node),
                                 {format("drive '{}'", options.id),
                                  "root",
                                  {static_cast<u8>(kConsistentRead | writes),
                                   static_cast<u8>(kConsistentRead | kWriteUnchanged | kResize)}}));
  const bool through = options.cache == DriveOptions::Cache::Writethrough ||
                       options.cache == DriveOptions::Cache::Directsync;
  auto drive = std::make_unique<Drive>();
  drive->options = std::move(options);
  drive->options.format = user->driver().name;
  drive->disk = std::make_unique<ImageDisk>(
      wiring_, std::move(user),
      through ? ImageDisk::Cache::Writethrough : ImageDisk::Cache::Writeback);
  drives_.push_back(std::move(drive));
  return drives_.back().get();
}

void Drives::release(std::string_view id) {
  std::erase_if(drives_, [&](const std::unique_ptr<Drive>& drive) {
    return drive->plugged && drive->options.id == id;
  });
}

Result<Drive*> Drives::take(std::string_view id) {
  std::vector<std::string_view> ids;
  for (const std::unique_ptr<Drive>& drive : drives_) {
    ids.push_back(drive->options.id);
    if (drive->options.id != id) continue;
    if (drive->plugged) return fail(Errc::Busy, "Drive '{}' is in use already", id);
    drive->plugged = true;
    return drive.get();
  }
  if (Node* node = graph_.find(id); node && node->has_given_name()) {
    DriveOptions options;
    options.id = id;
    options.interface = DriveOptions::Interface::None;
    options.file = node->filename();
    Drive* drive = TRY(use(node->shared_from_this(), std::move(options)));
    drive->plugged = true;
    return drive;
  }
  return fail(Errc::NotFound, "There is no drive or node '{}'{}", id, suggestion(id, ids));
}

}  // namespace menura
