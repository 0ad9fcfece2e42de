#include "block/core/stores.h"
#include "block/job/works.h"

namespace menura {

namespace {

constexpr std::string_view kSyncs[] = {"top", "full", "none", "incremental", "bitmap"};
constexpr std::string_view kBitmapModes[] = {"on-success", "never", "always"};
constexpr std::string_view kCopyModes[] = {"background", "write-blocking"};

ChildLink* backing_link(const Node& node) {
  for (const auto& link : node.children())
    if (link->role == ChildRole::Backing) return link.get();
  return nullptr;
}

}  // namespace

std::span<const std::string_view> enum_names(Sync) { return kSyncs; }
std::span<const std::string_view> enum_names(BitmapMode) { return kBitmapModes; }
std::span<const std::string_view> enum_names(CopyMode) { return kCopyModes; }

Result<void> make_writable(Node& node) {
  for (const auto& link : node.children())
    if (link->child && link->role != ChildRole::Backing) TRY(make_writable(*link->child));
  return node.set_read_only(false);
}

void make_read_only_again(Node& node) {
  // Whoever still writes keeps it writable, and that is no error.
  for (const Child* user : node.users())
    if (user->use().permissions.needed & kWrite) return;
  if (!node.set_read_only(true)) return;
  for (const auto& link : node.children())
    if (link->child && link->role != ChildRole::Backing) make_read_only_again(*link->child);
}

Result<void> change_backing(Node& node, Node* backing, const std::string& file,
                            const std::string& format) {
  ChildLink* link = backing_link(node);
  if (!link)
    return fail(Errc::Unsupported, "Images of format '{}' have no backing image",
                node.driver().name);
  // The header first: a crash after it finds a chain that reads the same.
  TRY(node.image().change_backing(file, file.empty() ? "" : format),
      "Changing the backing file of '{}'", node.filename());
  TRY(node.flush());
  return node.replace_child(*link, backing ? backing->shared_from_this() : nullptr);
}

Result<void> insert_overlay(Node& node, Node& overlay) {
  ChildLink* link = backing_link(overlay);
  if (!link)
    return fail(Errc::Unsupported, "Images of format '{}' have no backing image",
                overlay.driver().name);
  if (link->child)
    return fail(Errc::InvalidArgument, "Node '{}' has a backing image already", overlay.name());
  if (!overlay.users().empty())
    return fail(Errc::Busy, "Node '{}' is in use by {}", overlay.name(),
                overlay.users()[0]->use().user);
  if (overlay.size() < node.size())
    return fail(Errc::InvalidArgument, "Node '{}' is smaller than '{}' below it would be",
                overlay.name(), node.name());
  TRY(node.flush());
  // Users first: they may write above, but not to what lies below others.
  TRY(Node::move_users(node, overlay, [](const Child&) { return true; }));
  if (Result<void> linked = overlay.replace_child(*link, node.shared_from_this()); !linked) {
    (void)Node::move_users(overlay, node, [](const Child&) { return true; }).ok();
    return linked;
  }
  make_read_only_again(node);
  return {};
}

Result<BitmapContent> bitmap_content(Node& node, std::string_view name, u64& granularity) {
  if (const NodeBitmap* bitmap = node.find_bitmap(name)) {
    granularity = bitmap->bits.granularity();
    return bitmap->bits.content();
  }
  if (BitmapStore* store = node.image().bitmaps())
    for (const BitmapInfo& info : store->list())
      if (info.name == name) {
        granularity = info.granularity;
        return store->load(name);
      }
  return fail(Errc::NotFound, "Node '{}' has no bitmap '{}'", node.name(), name);
}

}  // namespace menura
