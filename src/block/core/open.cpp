// OpenContext: how a driver's open() gets its children and options.
#include "base/log.h"
#include "base/text.h"
#include "block/core/driver.h"
#include "block/core/filename.h"
#include "block/core/graph.h"

namespace menura {

namespace {
// Deeper chains than this are taken for an attack: each level costs descriptors and stack.
constexpr size_t kChainLimit = 256;
}  // namespace

OpenContext::OpenContext(Graph& graph, Node& node, Value options)
    : graph_(graph), node_(node), options_(std::move(options)) {}

bool OpenContext::no_io() const { return graph_.no_io_; }

std::string OpenContext::driver_words() const {
  return format("driver '{}'", node_.options().driver);
}

Value OpenContext::take(const std::vector<PropertyInfo>& properties) {
  Value mine = Value::object();
  for (const PropertyInfo& property : properties) {
    // A nested struct's members are listed with dots; the user's object has the struct.
    const std::string name = property.name.substr(0, property.name.find('.'));
    known_.push_back(name);
    if (Value* given = options_.find(name)) {
      mine.set(name, std::move(*given));
      options_.erase(name);
    }
  }
  return mine;
}

Result<ChildLink*> OpenContext::add(std::string_view name, ChildRole role, NodePtr node) {
  const bool needs_writing = !node_.read_only() && role != ChildRole::Backing;
  if (node && needs_writing && node->read_only())
    TRY(fall_back_to_read_only(
        fail(Errc::Permission, "Node '{}' below is read-only", node->name())));
  return TRY(node_.add_child(std::string(name), role, std::move(node)), "Using '{}' of {}", name,
             driver_words());
}

Result<NodePtr> OpenContext::open_child(std::string_view name, ChildRole role, Value given) {
  // What lies below as "file" and is only named is taken as its name says, not probed.
  const Value* filename = name == "file" ? given.find("filename") : nullptr;
  if (filename && filename->as<std::string>() && !given.find("driver") && !given.find("file")) {
    Value options = TRY(graph_.options_for(*filename->as<std::string>()));
    for (auto& [key, value] : *given.as<Value::Object>())
      if (key != "filename") options.set(key, std::move(value));
    given = std::move(options);
  }
  return graph_.open_inherited(std::move(given), {&node_.options(), role});
}

Result<ChildLink*> OpenContext::optional_child(std::string_view name, ChildRole role) {
  known_.emplace_back(name);
  const Value* given = options_.find(name);
  if (!given || given->is_null()) {
    options_.erase(name);
    return add(name, role, nullptr);
  }
  Value child = *given;
  options_.erase(name);
  return add(name, role, TRY(open_child(name, role, std::move(child))));
}

Result<ChildLink*> OpenContext::child(std::string_view name, ChildRole role) {
  if (!options_.find(name))
    return fail(Errc::InvalidArgument, "{} needs '{}': a node's name or options", driver_words(),
                name);
  return optional_child(name, role);
}

Result<ChildLink*> OpenContext::backing(const std::string& header_file,
                                        const std::string& header_format) {
  const Value* given = options_.find("backing");
  const bool inline_part = given && given->as<Value::Object>() && !given->find("driver") &&
                           !given->find("file") && !given->find("filename");
  if (graph_.no_backing_ && !given) {
    known_.emplace_back("backing");
    return add("backing", ChildRole::Backing, nullptr);
  }
  if ((given && !inline_part) || header_file.empty())
    return optional_child("backing", ChildRole::Backing);
  if (header_file.starts_with("json:"))
    return fail(Errc::Permission,
                "The image's header names '{}' as its backing file: such names are not followed "
                "(say backing= yourself)",
                header_file);
  const std::string path = resolve_beside(node_.filename(), header_file);
  if (graph_.opening_.size() >= kChainLimit)
    return fail(Errc::Corrupt, "The chain of backing files has more than {} images", kChainLimit);
  for (const std::string& above : graph_.opening_)
    if (above == path)
      return fail(Errc::Corrupt, "Backing file '{}' of '{}' closes a loop", path, node_.filename());
  Value protocol = TRY(graph_.options_for(path));
  Value options = inline_part ? *given : Value::object();
  if (!header_format.empty()) options.set("driver", header_format);
  options.set("file", std::move(protocol));
  options_.set("backing", std::move(options));
  graph_.opening_.push_back(path);
  Result<ChildLink*> link = optional_child("backing", ChildRole::Backing);
  graph_.opening_.pop_back();
  return TRY(std::move(link), "Could not open backing file '{}'", path);
}

Result<ChildLink*> OpenContext::named_child(std::string_view name, ChildRole role,
                                            const std::string& header_file,
                                            std::string_view driver) {
  if (options_.find(name)) return optional_child(name, role);
  if (header_file.starts_with("json:"))
    return fail(Errc::Permission,
                "The image's header names '{}' as its {}: such names are not followed (say {}= "
                "yourself)",
                header_file, name, name);
  const std::string path = resolve_beside(node_.filename(), header_file);
  Value options = TRY(graph_.options_for(path));
  if (driver == "raw") {
    Value raw = Value::object();
    raw.set("driver", driver);
    raw.set("file", std::move(options));
    options = std::move(raw);
  }
  options_.set(name, std::move(options));
  return TRY(optional_child(name, role), "Opening '{}'", path);
}

Result<void> OpenContext::fall_back_to_read_only(Error reason) {
  if (!node_.options().auto_read_only) return reason;
  node_.change_options().read_only = true;
  return {};
}

Result<void> OpenContext::finish() {
  const Value::Object& left = *options_.as<Value::Object>();
  if (left.empty()) return {};
  std::vector<std::string_view> known(known_.begin(), known_.end());
  return fail(Errc::InvalidArgument, "{}: there is no option '{}'{}", driver_words(), left[0].first,
              suggestion(left[0].first, known));
}

}  // namespace menura
