#include "block/core/graph.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/text.h"
#include "block/core/filename.h"

namespace menura {

namespace {

constexpr size_t kProbeBytes = 2048;
constexpr size_t kNameLimit = 31;

Result<void> check_node_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto inner = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  };
  if (name.empty() || name.size() > kNameLimit || !letter(name[0]) ||
      !std::ranges::all_of(name, inner))
    return fail(Errc::InvalidArgument,
                "Node name '{}' must begin with a letter, go on with letters, digits, '-', '.' or "
                "'_', and have at most {} characters",
                name, kNameLimit);
  return {};
}

// What a child takes from its parent when the user says nothing.
NodeOptions inherit(const NodeOptions* parent, ChildRole role) {
  NodeOptions options;
  if (!parent) return options;
  options.read_only = role == ChildRole::Backing || parent->read_only;
  options.auto_read_only = role != ChildRole::Backing && parent->auto_read_only;
  options.force_share = parent->force_share;
  options.cache = parent->cache;
  // Whether a discard goes on is decided at the top.
  options.discard = role == ChildRole::Backing ? parent->discard : DiscardMode::Unmap;
  return options;
}

}  // namespace

Graph::Graph(std::span<const Driver* const> drivers, TlsLookup tls)
    : drivers_(drivers), tls_(std::move(tls)) {}

Graph::~Graph() {
  while (!named_.empty()) named_.pop_back();
  ensure(nodes_.empty(), "a graph outlives its nodes");
}

const Driver* Graph::find_driver(std::string_view name) const {
  for (const Driver* driver : drivers_)
    if (driver->name == name) return driver;
  return nullptr;
}

Result<const Driver*> Graph::driver(std::string_view name) const {
  if (const Driver* found = find_driver(name)) return found;
  std::vector<std::string_view> names;
  for (const Driver* driver : drivers_) names.push_back(driver->name);
  return fail(Errc::NotFound, "No block driver is called '{}'{}", name, suggestion(name, names));
}

Result<std::shared_ptr<const TlsCredentials>> Graph::tls_credentials(std::string_view id) const {
  if (!tls_) return fail(Errc::NotFound, "No -object tls-creds-* is called '{}'", id);
  return tls_(id);
}

Node* Graph::find(std::string_view node_name) const {
  for (Node* node : nodes_)
    if (node->name() == node_name) return node;
  return nullptr;
}

std::string Graph::make_name() {
  // '#' keeps them apart from names that users may give.
  return format("#block{}", next_name_++);
}

Result<Value> Graph::options_for(const std::string& name) {
  if (name.starts_with("json:")) {
    Value value = TRY(parse_json(std::string_view(name).substr(5)), "Parsing '{}'", name);
    if (!value.as<Value::Object>())
      return fail(Errc::InvalidArgument, "'{}' is not a JSON object", name);
    return expand_dots(std::move(value));
  }
  if (name.empty()) return fail(Errc::InvalidArgument, "An empty string is no image's file name");
  if (const std::string_view protocol = protocol_of(name); !protocol.empty()) {
    for (const Driver* driver : drivers_) {
      const bool its_prefix =
          driver->name == protocol ||
          std::ranges::find(driver->prefixes, protocol) != driver->prefixes.end();
      if (!its_prefix || !driver->parse_filename) continue;
      Value options = TRY(driver->parse_filename(name));
      if (!options.find("driver")) options.set("driver", driver->name);
      return options;
    }
    return fail(Errc::NotFound, "No driver serves '{}:' names (a file called so is './{}')",
                protocol, name);
  }
  struct stat info {};
  const bool device =
      ::stat(name.c_str(), &info) == 0 && (S_ISBLK(info.st_mode) || S_ISCHR(info.st_mode));
  Value options = Value::object();
  options.set("driver", device ? "host_device" : "file");
  options.set("filename", name);
  return options;
}

Result<NodePtr> Graph::open(Value options) { return open_inherited(std::move(options), {}); }

Result<NodePtr> Graph::open_inherited(Value options, const Inherited& inherited) {
  if (const std::string* reference = options.as<std::string>()) {
    Node* node = find(*reference);
    if (!node) return fail(Errc::NotFound, "Cannot find a node named '{}'", *reference);
    return node->shared_from_this();
  }
  if (!options.as<Value::Object>())
    return fail(Errc::InvalidArgument, "A node is an object of options or a node's name, not {}",
                options.kind_name());
  options = TRY(expand_dots(std::move(options)));
  return options.find("driver") ? open_object(std::move(options), inherited)
                                : open_probed(std::move(options), inherited);
}

Result<NodeOptions> Graph::take_node_options(Value& options, const Inherited& inherited) {
  NodeOptions node = inherit(inherited.parent, inherited.role);
  Value mine = Value::object();
  for (const PropertyInfo& property : list_properties<NodeOptions>()) {
    const std::string name = property.name.substr(0, property.name.find('.'));
    if (Value* given = options.find(name)) mine.set(name, *given);
    options.erase(name);
  }
  TRY(read_properties(node, mine, ""));
  if (!node.node_name.empty()) {
    TRY(check_node_name(node.node_name));
    if (find(node.node_name))
      return fail(Errc::Exists, "There is a node named '{}' already", node.node_name);
  }
  if (node.detect_zeroes == DetectZeroes::Unmap && node.discard != DiscardMode::Unmap)
    return fail(Errc::InvalidArgument, "detect-zeroes=unmap needs discard=unmap");
  if (node.force_share && !node.read_only)
    return fail(Errc::InvalidArgument, "force-share=on needs read-only=on");
  return node;
}

Result<NodePtr> Graph::open_object(Value options, const Inherited& inherited) {
  NodeOptions node_options = TRY(take_node_options(options, inherited));
  const Driver* row = TRY(driver(node_options.driver));
  const std::string name = node_options.node_name.empty() ? make_name() : node_options.node_name;
  // -drive and file names give a format's file by its name alone.
  if (const Value* filename = options.find("filename");
      filename && row->kind != DriverKind::Protocol) {
    const std::string* path = filename->as<std::string>();
    if (!path || options.find("file"))
      return fail(Errc::InvalidArgument, "driver '{}': either 'filename' or 'file'", row->name);
    options.set("file", TRY(options_for(*path)));
    options.erase("filename");
  }
  const auto node = std::make_shared<Node>(*this, std::move(node_options), name);
  node->opened_with_ = options;
  OpenContext context(*this, *node, std::move(options));
  std::unique_ptr<Image> image = TRY(row->open(context));
  node->set_image(*row, std::move(image));
  TRY(context.finish());
  return node;
}

Result<NodePtr> Graph::open_probed(Value options, const Inherited& inherited) {
  Value file;
  if (const Value* given = options.find("file")) {
    file = *given;
  } else if (const Value* given = options.find("filename"); given && given->as<std::string>()) {
    file = TRY(options_for(*given->as<std::string>()));
  } else {
    return fail(Errc::InvalidArgument, "A node's options need a 'driver'");
  }
  options.erase("filename");
  Value without_name = options;
  without_name.erase("node-name");
  const NodeOptions node = TRY(take_node_options(without_name, inherited));
  const NodePtr protocol = TRY(open_inherited(std::move(file), {&node, ChildRole::Image}));
  const Driver* row = TRY(probe(*protocol, protocol->filename()));
  options.set("driver", row->name);
  options.set("file", protocol->name());
  return open_object(std::move(options), inherited);
}

Result<const Driver*> Graph::probe(Node& file, std::string_view filename) {
  std::vector<std::byte> head(static_cast<size_t>(std::min<u64>(kProbeBytes, file.size())));
  const Child user = TRY(Child::attach(
      file.shared_from_this(), {"the format probe", "file", {kConsistentRead, kAllPermissions}}));
  TRY(file.read(0, head), "Reading the beginning of '{}'", filename);
  const Driver* best = find_driver("raw");
  int score = 0;
  for (const Driver* driver : drivers_) {
    if (!driver->probe) continue;
    const int here = driver->probe(head, filename);
    if (here > score) score = here, best = driver;
  }
  if (!best) return fail(Errc::NotFound, "No driver knows the format of '{}'", filename);
  return best;
}

Result<NodePtr> Graph::open_file(const std::string& name, FileOptions options) {
  Value file = TRY(options_for(name));
  if (!options.aio.empty()) file.set("aio", options.aio);
  Value top = options.more.is_null() ? Value::object() : std::move(options.more);
  const Value* given = file.find("driver");
  const std::string* text = given ? given->as<std::string>() : nullptr;
  const Driver* row = text ? find_driver(*text) : nullptr;
  const bool whole = name.starts_with("json:") && given;
  if (whole && (options.format.empty() || (text && *text == options.format))) {
    for (auto& [key, value] : *file.as<Value::Object>()) top.set(key, std::move(value));
  } else if (whole && row && row->kind != DriverKind::Protocol) {
    return fail(Errc::InvalidArgument, "'{}' has the driver '{}', not '{}'", name, *text,
                options.format);
  } else if (!options.format.empty() && options.format == (text ? *text : "")) {
    for (auto& [key, value] : *file.as<Value::Object>()) top.set(key, std::move(value));
  } else {
    if (!options.format.empty()) top.set("driver", options.format);
    top.set("file", std::move(file));
  }
  const auto default_to = [&](std::string_view key, Value value) {
    if (!top.find(key)) top.set(key, std::move(value));
  };
  default_to("read-only", options.read_only);
  default_to("force-share", options.force_share);
  Value cache = Value::object();
  cache.set("direct", options.cache.direct);
  cache.set("no-flush", options.cache.no_flush);
  default_to("cache", std::move(cache));
  const bool before = std::exchange(no_backing_, options.no_backing);
  const bool io_before = std::exchange(no_io_, options.no_io);
  Result<NodePtr> node = open(std::move(top));
  no_backing_ = before, no_io_ = io_before;
  // What opens the file itself has said its name already.
  if (!node && node.error().text.find(format("'{}'", name)) != std::string::npos) return node;
  return TRY(std::move(node), "Opening '{}'", name);
}

Result<NodePtr> Graph::create_file(const std::string& filename, u64 size, Value options) {
  Value file = TRY(options_for(filename));
  const Driver* row = TRY(driver(*file.find("driver")->as<std::string>()));
  if (row->kind != DriverKind::Protocol || !row->create)
    return fail(Errc::Unsupported, "Driver '{}' cannot create '{}'", row->name, filename);
  CreateContext context{*this, filename, size, std::move(options), nullptr};
  TRY(row->create(context));
  return open_object(std::move(file), {});
}

Result<void> Graph::create(std::string_view format, const std::string& filename, u64 size,
                           Value options) {
  const Driver* row = TRY(driver(format));
  if (!row->create) return fail(Errc::Unsupported, "Format '{}' can be read, but not made", format);
  CreateContext context{*this, filename, size, std::move(options), nullptr};
  if (row->kind == DriverKind::Format && !row->makes_own_files) {
    // What the format does not know may be for its file ("nocow").
    Value file_options = Value::object();
    const std::vector<PropertyInfo> known = row->create_options();
    const auto is_known = [&](const std::string& key) {
      return std::ranges::any_of(known, [&](const PropertyInfo& p) {
        return p.name == key || p.name.starts_with(key + ".");
      });
    };
    const Driver* file = find_driver("file");
    const std::vector<PropertyInfo> below =
        file && file->create_options ? file->create_options() : std::vector<PropertyInfo>{};
    for (const PropertyInfo& p : below)
      if (const Value* given = context.options.find(p.name); given && !is_known(p.name)) {
        file_options.set(p.name, *given);
        context.options.erase(p.name);
      }
    context.file = TRY(create_file(filename, 0, std::move(file_options)));
  }
  TRY(row->create(context), "Creating '{}'", filename);
  return {};
}

Result<NodePtr> Graph::add(Value options) {
  const Change change(*this);
  NodePtr node = TRY(open(std::move(options)));
  if (!node->has_given_name())
    return fail(Errc::InvalidArgument, "'node-name' must be given for a node of its own");
  named_.push_back(node);
  return node;
}

Result<void> Graph::remove(std::string_view node_name) {
  const auto at = std::ranges::find(named_, node_name,
                                    [](const NodePtr& n) { return std::string_view(n->name()); });
  if (at == named_.end())
    return find(node_name)
               ? fail(Errc::Busy, "Node '{}' belongs to others, not to the user", node_name)
               : fail(Errc::NotFound, "No node is called '{}'", node_name);
  if (!(*at)->users().empty())
    return fail(Errc::Busy, "Node '{}' is in use by {}", node_name, (*at)->users()[0]->use().user);
  const Change change(*this);
  named_.erase(at);
  return {};
}

// --- The gate

void Graph::enter() {
  std::unique_lock guard(gate_);
  gate_changed_.wait(guard, [this] { return changes_ == 0; });
  inside_++;
}

void Graph::leave() {
  const std::lock_guard guard(gate_);
  if (--inside_ == 0) gate_changed_.notify_all();
}

Graph::Change::Change(Graph& graph) : graph_(graph) {
  for (GraphUser* user : graph_.users_) user->set_pace(GraphUser::Pace::Hurry);
  for (GraphUser* user : graph_.users_) user->drain();
  std::unique_lock guard(graph_.gate_);
  graph_.changes_++;
  graph_.gate_changed_.wait(guard, [&] { return graph_.inside_ == 0; });
}

Graph::Change::~Change() {
  {
    const std::lock_guard guard(graph_.gate_);
    graph_.changes_--;
  }
  graph_.gate_changed_.notify_all();
  for (GraphUser* user : graph_.users_) {
    user->set_pace(GraphUser::Pace::Resume);
    user->changed();
  }
}

}  // namespace menura
