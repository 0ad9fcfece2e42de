// Graph::reopen: a node gets new options, its users stay.
#include "base/log.h"
#include "block/core/graph.h"

namespace menura {

namespace {

// The edges to its children stand back, so that others to the same nodes may be made.
Result<void> loosen(Node& node) {
  for (const auto& link : node.children())
    if (link->child) TRY(link->child.set_permissions({0, kAllPermissions}));
  return {};
}

}  // namespace

Result<void> Graph::open_again(Node& node, Value options) {
  OpenContext context(*this, node, std::move(options));
  std::unique_ptr<Image> image = TRY(node.driver().open(context));
  TRY(context.finish());
  node.set_image(node.driver(), std::move(image));
  return node.update_permissions();
}

Result<void> Graph::reopen(Node& node, Value options) {
  options = TRY(expand_dots(std::move(options)));
  if (!options.find("driver")) options.set("driver", node.driver().name);
  const Value* name = options.find("node-name");
  if (name && *name != Value(node.name()))
    return fail(Errc::InvalidArgument, "Reopening node '{}': its name cannot change", node.name());
  options.erase("node-name");
  NodeOptions wanted = TRY(take_node_options(options, {}), "Reopening node '{}'", node.name());
  wanted.node_name = node.options_.node_name;
  if (wanted.driver != node.driver().name)
    return fail(Errc::InvalidArgument, "Reopening node '{}': its driver is '{}', not '{}'",
                node.name(), node.driver().name, wanted.driver);
  // Children that nobody speaks of stay.
  for (const auto& link : node.children_)
    if (!options.find(link->name) && link->child) options.set(link->name, link->child->name());
  if (wanted.read_only && node.used().needed & kWrite)
    return fail(Errc::Busy, "Reopening node '{}' read-only: {} writes to it", node.name(),
                node.users_[0]->use().user);
  TRY(node.close(), "Reopening node '{}'", node.name());
  // The new one is opened beside the old one, which keeps its descriptors but no locks.
  std::vector<std::unique_ptr<ChildLink>> old_children;
  TRY(node.image().set_permissions({0, kAllPermissions}));
  TRY(loosen(node));
  std::swap(old_children, node.children_);
  NodeOptions old_options = std::exchange(node.options_, std::move(wanted));
  std::unique_ptr<Image> old_image = std::move(node.image_);
  const Value given = options;
  if (Result<void> opened = open_again(node, std::move(options)); !opened) {
    node.image_ = std::move(old_image);
    node.options_ = std::move(old_options);
    node.children_.clear();
    std::swap(old_children, node.children_);
    if (Result<void> back = node.update_permissions(); !back)
      log_error("Node '{}' could not be locked again: {}", node.name(), back.error().text);
    // Writing goes on from what close() left in the file.
    if (!node.read_only())
      if (Result<void> back = node.image().reopen(false); !back)
        log_error("Node '{}' cannot be written any more: {}", node.name(), back.error().text);
    return std::move(opened.error()).within(format("Reopening node '{}'", node.name()));
  }
  node.opened_with_ = given;
  return {};
}

}  // namespace menura
