#include "control/monitor/qmp_block_graph.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/text.h"
#include "base/units.h"
#include "machine/drives.h"

namespace menura {

namespace {

// A step that was done: how to undo it, and what follows when all steps are done.
struct Step {
  std::function<void()> undo = [] {};
  std::function<void()> commit = [] {};
};

// --- Snapshots

ChildLink* backing_link(const Node& node) {
  for (const auto& link : node.children())
    if (link->role == ChildRole::Backing) return link.get();
  return nullptr;
}

Result<Step> put_overlay(NodePtr node, NodePtr overlay) {
  const bool was_read_only = node->read_only();
  TRY(insert_overlay(*node, *overlay));
  Step step;
  step.undo = [node, overlay, was_read_only] {
    if (ChildLink* link = backing_link(*overlay)) (void)overlay->replace_child(*link, nullptr).ok();
    if (!was_read_only)
      if (Result<void> done = make_writable(*node); !done)
        log_error("Node '{}' stays read-only: {}", node->name(), done.error().text);
    (void)Node::move_users(*overlay, *node, [](const Child&) { return true; }).ok();
  };
  return step;
}

Result<Step> take_snapshot(MonitorTarget& target, const BlockdevSnapshot& arguments) {
  Drives& drives = target.machine.drives();
  return put_overlay(TRY(drives.find_node(arguments.node)),
                     TRY(drives.find_node(arguments.overlay)));
}

Result<Step> take_snapshot_sync(MonitorTarget& target, const BlockdevSnapshotSync& arguments) {
  Drives& drives = target.machine.drives();
  if (arguments.device.has_value() == arguments.node.has_value())
    return fail(Errc::InvalidArgument, "Either 'device' or 'node-name' says what is kept");
  const NodePtr node =
      TRY(drives.find_node(arguments.device ? *arguments.device : *arguments.node));
  Graph& graph = drives.graph();
  if (arguments.mode == NewImageMode::AbsolutePaths) {
    Value options = Value::object();
    options.set("backing_file", node->filename());
    options.set("backing_fmt", node->driver().name);
    TRY(graph.create(arguments.format, arguments.file, node->size(), std::move(options)));
  }
  Graph::FileOptions how;
  how.format = arguments.format;
  how.read_only = false;
  how.cache = node->options().cache;
  how.more = Value::object();
  how.more.set("backing", Value());
  how.more.set("discard",
               enum_names(node->options().discard)[static_cast<size_t>(node->options().discard)]);
  if (arguments.snapshot_node) how.more.set("node-name", *arguments.snapshot_node);
  NodePtr overlay = TRY(graph.open_file(arguments.file, std::move(how)));
  return put_overlay(node, std::move(overlay));
}

// --- Bitmaps: of the node in memory, or those that its format keeps

struct FoundBitmap {
  NodePtr node;
  NodeBitmap* in_memory = nullptr;
  BitmapStore* store = nullptr;
  BitmapInfo info;
};

Result<FoundBitmap> find_bitmap(MonitorTarget& target, const std::string& node_name,
                                std::string_view name) {
  FoundBitmap found{TRY(target.machine.drives().find_node(node_name))};
  found.in_memory = found.node->find_bitmap(name);
  if (found.in_memory) {
    if (found.in_memory->busy)
      return fail(Errc::Busy, "Bitmap '{}' of node '{}' is in use", name, node_name);
    return found;
  }
  std::vector<std::string> names;
  if (BitmapStore* store = found.node->image().bitmaps())
    for (const BitmapInfo& info : store->list()) {
      names.push_back(info.name);
      if (info.name != name) continue;
      found.store = store, found.info = info;
      return found;
    }
  const std::vector<std::string_view> views(names.begin(), names.end());
  return fail(Errc::NotFound, "Node '{}' has no bitmap '{}'{}", node_name, name,
              suggestion(name, views));
}

Result<Step> add_bitmap(MonitorTarget& target, const BitmapAdd& arguments) {
  const NodePtr node = TRY(target.machine.drives().find_node(arguments.node));
  const u64 granularity = arguments.granularity.value_or(
      std::clamp<u64>(node->image().info().cluster_size, 4 * KiB, 64 * KiB));
  if (arguments.persistent) {
    BitmapStore* store = node->image().bitmaps();
    if (!store)
      return fail(Errc::Unsupported, "Images of format '{}' keep no bitmaps", node->driver().name);
    if (node->find_bitmap(arguments.name))
      return fail(Errc::Exists, "Node '{}' has a bitmap '{}' already", node->name(),
                  arguments.name);
    TRY(store->add({arguments.name, granularity, !arguments.disabled, false}));
  } else {
    if (find_bitmap(target, arguments.node, arguments.name))
      return fail(Errc::Exists, "Node '{}' has a bitmap '{}' already", node->name(),
                  arguments.name);
    TRY(node->add_bitmap(arguments.name, granularity))->enabled = !arguments.disabled;
  }
  Step step;
  step.undo = [node, name = arguments.name, persistent = arguments.persistent] {
    if (persistent)
      (void)node->image().bitmaps()->remove(name).ok();
    else
      (void)node->remove_bitmap(name).ok();
  };
  return step;
}

Result<Step> remove_bitmap(MonitorTarget& target, const BitmapName& arguments) {
  // Only looked for now; it goes when everything else is done.
  const FoundBitmap found = TRY(find_bitmap(target, arguments.node, arguments.name));
  Step step;
  step.commit = [node = found.node, store = found.store, name = arguments.name] {
    const Result<void> removed = store ? store->remove(name) : node->remove_bitmap(name);
    if (!removed) log_error("Removing bitmap '{}': {}", name, removed.error().text);
  };
  return step;
}

Result<void> put_content(const FoundBitmap& found, const BitmapContent& content, u64 granularity) {
  if (found.in_memory) {
    found.in_memory->bits.clear_all();
    found.in_memory->bits.merge(content, granularity);
    return {};
  }
  return found.info.enabled ? found.store->continue_from(found.info.name, content)
                            : found.store->store(found.info.name, content);
}

Result<Step> change_content(const FoundBitmap& found, std::string_view name,
                            const std::function<Result<void>(DirtyBitmap&)>& change) {
  u64 granularity = 0;
  const BitmapContent before = TRY(bitmap_content(*found.node, name, granularity));
  DirtyBitmap bits(found.node->size(), granularity);
  bits.merge(before, granularity);
  TRY(change(bits));
  TRY(put_content(found, bits.content(), granularity));
  Step step;
  step.undo = [found, before, granularity] { (void)put_content(found, before, granularity).ok(); };
  return step;
}

Result<Step> clear_bitmap(MonitorTarget& target, const BitmapName& arguments) {
  const FoundBitmap found = TRY(find_bitmap(target, arguments.node, arguments.name));
  return change_content(found, arguments.name, [](DirtyBitmap& bits) -> Result<void> {
    bits.clear_all();
    return {};
  });
}

Result<Step> merge_bitmaps(MonitorTarget& target, const BitmapMerge& arguments) {
  const FoundBitmap found = TRY(find_bitmap(target, arguments.node, arguments.into));
  return change_content(found, arguments.into, [&](DirtyBitmap& bits) -> Result<void> {
    for (const Value& from : arguments.bitmaps) {
      std::string node = arguments.node, name;
      if (const std::string* text = from.as<std::string>()) {
        name = *text;
      } else {
        BitmapName other;
        TRY(read_properties(other, from, "bitmaps"));
        node = other.node, name = other.name;
      }
      const FoundBitmap source = TRY(find_bitmap(target, node, name));
      u64 granularity = 0;
      const BitmapContent content = TRY(bitmap_content(*source.node, name, granularity));
      bits.merge(content, granularity);
    }
    return {};
  });
}

Result<void> set_enabled(const FoundBitmap& found, bool enabled) {
  if (!found.in_memory) return found.store->set_enabled(found.info.name, enabled);
  found.in_memory->enabled = enabled;
  return {};
}

Result<Step> enable_bitmap(MonitorTarget& target, const BitmapName& arguments, bool enabled) {
  const FoundBitmap found = TRY(find_bitmap(target, arguments.node, arguments.name));
  const bool before = found.in_memory ? found.in_memory->enabled : found.info.enabled;
  TRY(set_enabled(found, enabled));
  Step step;
  step.undo = [found, before] { (void)set_enabled(found, before).ok(); };
  return step;
}

// --- One action, or several

template <class Arguments>
Result<Arguments> read_action(const Value& data) {
  Arguments arguments;
  TRY(read_properties(arguments, data, "data"));
  return arguments;
}

template <class Arguments>
Result<Step> backup_step(MonitorTarget& target, const Value& data) {
  Job* job = TRY(prepare_backup(target, TRY(read_action<Arguments>(data))));
  Jobs& jobs = target.machine.drives().jobs();
  Step step;
  step.undo = [&jobs, job] { jobs.withdraw(*job); };
  step.commit = [&jobs, job] { jobs.launch(*job); };
  return step;
}

// In the order of TransactionKind.
struct ActionKind {
  std::string_view name;
  Result<Step> (*run)(MonitorTarget& target, const Value& data);
};

constexpr ActionKind kActions[] = {
    {"abort",
     [](MonitorTarget&, const Value&) -> Result<Step> {
       return fail(Errc::Cancelled, "The transaction was told to abort");
     }},
    {"block-dirty-bitmap-add",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return add_bitmap(t, TRY(read_action<BitmapAdd>(d)));
     }},
    {"block-dirty-bitmap-clear",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return clear_bitmap(t, TRY(read_action<BitmapName>(d)));
     }},
    {"block-dirty-bitmap-disable",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return enable_bitmap(t, TRY(read_action<BitmapName>(d)), false);
     }},
    {"block-dirty-bitmap-enable",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return enable_bitmap(t, TRY(read_action<BitmapName>(d)), true);
     }},
    {"block-dirty-bitmap-merge",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return merge_bitmaps(t, TRY(read_action<BitmapMerge>(d)));
     }},
    {"block-dirty-bitmap-remove",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return remove_bitmap(t, TRY(read_action<BitmapName>(d)));
     }},
    {"blockdev-backup", backup_step<BlockdevBackup>},
    {"blockdev-snapshot",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return take_snapshot(t, TRY(read_action<BlockdevSnapshot>(d)));
     }},
    {"blockdev-snapshot-sync",
     [](MonitorTarget& t, const Value& d) -> Result<Step> {
       return take_snapshot_sync(t, TRY(read_action<BlockdevSnapshotSync>(d)));
     }},
    {"drive-backup", backup_step<DriveBackup>},
};

Result<Nothing> alone(MonitorTarget& target, const std::function<Result<Step>()>& action) {
  const Graph::Change change(target.machine.drives().graph());
  TRY(action()).commit();
  return Nothing{};
}

}  // namespace

std::span<const std::string_view> enum_names(TransactionKind) {
  static constexpr auto kNames = [] {
    std::array<std::string_view, std::size(kActions)> names;
    for (size_t i = 0; i < names.size(); i++) names[i] = kActions[i].name;
    return names;
  }();
  return kNames;
}

void TransactionAction::describe(PropertyVisitor& p) {
  p.required("type", type, "the command");
  p.field("data", data, "its arguments");
}
void BlockTransaction::describe(PropertyVisitor& p) {
  p.required("actions", actions, "what is done, in this order");
}
Result<Nothing> transaction(MonitorTarget& target, const BlockTransaction& arguments) {
  std::vector<Step> steps;
  const Graph::Change change(target.machine.drives().graph());
  for (const TransactionAction& action : arguments.actions) {
    Result<Step> step = kActions[static_cast<size_t>(action.type)].run(
        target, action.data.is_null() ? Value::object() : action.data);
    if (step) {
      steps.push_back(std::move(*step));
      continue;
    }
    for (auto done = steps.rbegin(); done != steps.rend(); ++done) done->undo();
    return std::move(step.error());
  }
  for (const Step& step : steps) step.commit();
  return Nothing{};
}

void BlockdevSnapshot::describe(PropertyVisitor& p) {
  p.required("node", node, "what is kept as it is");
  p.required("overlay", overlay, "the node that takes the writes from here on");
}
Result<Nothing> blockdev_snapshot(MonitorTarget& target, const BlockdevSnapshot& arguments) {
  return alone(target, [&] { return take_snapshot(target, arguments); });
}

void BlockdevSnapshotSync::describe(PropertyVisitor& p) {
  p.field("device", device, "the drive, or");
  p.field("node-name", node, "the node that is kept as it is");
  p.required("snapshot-file", file, "the image that takes the writes from here on");
  p.field("snapshot-node-name", snapshot_node, "its node");
  p.field("format", format, "its format");
  p.field("mode", mode, "absolute-paths makes the file, existing takes one");
}
Result<Nothing> blockdev_snapshot_sync(MonitorTarget& target,
                                       const BlockdevSnapshotSync& arguments) {
  return alone(target, [&] { return take_snapshot_sync(target, arguments); });
}

void BitmapName::describe(PropertyVisitor& p) {
  p.required("node", node, "the node");
  p.required("name", name, "the bitmap");
}
void BitmapAdd::describe(PropertyVisitor& p) {
  BitmapName::describe(p);
  p.field("granularity", granularity, "bytes for one bit");
  p.field("persistent", persistent, "the image keeps it");
  p.field("disabled", disabled, "it does not record yet");
}
void BitmapMerge::describe(PropertyVisitor& p) {
  p.required("node", node, "the node");
  p.required("target", into, "the bitmap that takes the others' bits");
  p.required("bitmaps", bitmaps, "names, or nodes and names");
}
Result<Nothing> bitmap_add(MonitorTarget& target, const BitmapAdd& arguments) {
  return alone(target, [&] { return add_bitmap(target, arguments); });
}
Result<Nothing> bitmap_remove(MonitorTarget& target, const BitmapName& arguments) {
  return alone(target, [&]() -> Result<Step> {
    TRY(remove_bitmap(target, arguments)).commit();
    return Step{};
  });
}
Result<Nothing> bitmap_clear(MonitorTarget& target, const BitmapName& arguments) {
  return alone(target, [&] { return clear_bitmap(target, arguments); });
}
Result<Nothing> bitmap_enable(MonitorTarget& target, const BitmapName& arguments) {
  return alone(target, [&] { return enable_bitmap(target, arguments, true); });
}
Result<Nothing> bitmap_disable(MonitorTarget& target, const BitmapName& arguments) {
  return alone(target, [&] { return enable_bitmap(target, arguments, false); });
}
Result<Nothing> bitmap_merge(MonitorTarget& target, const BitmapMerge& arguments) {
  return alone(target, [&] { return merge_bitmaps(target, arguments); });
}

void BlockdevReopen::describe(PropertyVisitor& p) {
  p.required("options", options, "for each node all its options, with its name");
}
Result<Nothing> blockdev_reopen(MonitorTarget& target, const BlockdevReopen& arguments) {
  Graph& graph = target.machine.drives().graph();
  const Graph::Change change(graph);
  for (const Value& options : arguments.options) {
    const Value* name = options.find("node-name");
    const std::string* text = name ? name->as<std::string>() : nullptr;
    if (!text) return fail(Errc::InvalidArgument, "'node-name' must say which node is reopened");
    Node* node = graph.find(*text);
    if (!node) return fail(Errc::NotFound, "There is no node '{}'", *text);
    TRY(graph.reopen(*node, options));
  }
  return Nothing{};
}

void ChangeBackingFile::describe(PropertyVisitor& p) {
  p.required("device", device, "the drive or node on top of the chain");
  p.required("image-node-name", image_node, "the node whose header changes");
  p.required("backing-file", file, "what it then says");
}
Result<Nothing> change_backing_file(MonitorTarget& target, const ChangeBackingFile& arguments) {
  Drives& drives = target.machine.drives();
  const NodePtr top = TRY(drives.find_node(arguments.device));
  Node* node = top.get();
  while (node && node->name() != arguments.image_node) node = node->backing();
  if (!node || !node->backing())
    return fail(Errc::NotFound, "Node '{}' is no image of '{}' that has a backing image",
                arguments.image_node, arguments.device);
  const Graph::Change change(drives.graph());
  const bool was_read_only = node->read_only();
  TRY(make_writable(*node));
  Result<void> changed =
      node->image().change_backing(arguments.file, std::string(node->backing()->driver().name));
  if (was_read_only) make_read_only_again(*node);
  TRY(std::move(changed), "Changing the backing file of '{}'", node->filename());
  return Nothing{};
}

}  // namespace menura
