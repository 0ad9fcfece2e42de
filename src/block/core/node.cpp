#include "block/core/node.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/log.h"
#include "base/units.h"
#include "block/core/driver.h"
#include "block/core/graph.h"

namespace menura {

namespace {

constexpr std::string_view kDiscard[] = {"ignore", "unmap"};
constexpr std::string_view kDetectZeroes[] = {"off", "on", "unmap"};
constexpr u64 kZeroChunk = 1 * MiB;
constexpr u64 kLargestFile = static_cast<u64>(std::numeric_limits<i64>::max());

bool all_zero(ConstBytes bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

std::span<const std::string_view> enum_names(DiscardMode) { return kDiscard; }
std::span<const std::string_view> enum_names(DetectZeroes) { return kDetectZeroes; }

void CacheOptions::describe(PropertyVisitor& p) {
  p.field("direct", direct, "go around the host's page cache (O_DIRECT)");
  p.field("no-flush", no_flush, "do nothing when the guest flushes");
}

void NodeOptions::describe(PropertyVisitor& p) {
  p.field("driver", driver, "format, protocol or filter");
  p.field("node-name", node_name, "name of the node");
  p.field("read-only", read_only, "refuse writes");
  p.field("auto-read-only", auto_read_only, "read-only where the host refuses writing");
  p.field("force-share", force_share, "open it whoever else uses it; needs read-only");
  p.field("discard", discard, "pass the guest's discards on, or ignore them");
  p.field("detect-zeroes", detect_zeroes, "turn writes of zeroes into zeroing");
  p.field("cache", cache, "the host's caching");
}

Node::Node(Graph& graph, NodeOptions options, std::string name)
    : options_(std::move(options)), name_(std::move(name)), graph_(graph) {
  graph_.nodes_.push_back(this);
}

Node::~Node() {
  if (image_)
    if (const Result<void> closed = close(); !closed)
      log_error("Closing node '{}': {}", name_, closed.error().text);
  image_.reset();
  children_.clear();
  std::erase(graph_.nodes_, this);
}

Result<void> Node::close() { return image_->close(); }

void Node::set_image(const Driver& driver, std::unique_ptr<Image> image) {
  driver_ = &driver;
  image_ = std::move(image);
}

std::string Node::filename() const {
  std::string own = image_ ? image_->filename() : "";
  if (!own.empty() || children_.empty()) return own;
  return children_[0]->child ? children_[0]->child->filename() : "";
}

Node* Node::child(std::string_view name) const {
  for (const auto& link : children_)
    if (link->name == name) return link->child.node().get();
  return nullptr;
}

Node* Node::first_child() const {
  return children_.empty() ? nullptr : children_[0]->child.node().get();
}

// --- I/O

Result<void> Node::check_range(const char* verb, u64 offset, u64 length) const {
  const u64 size = image_->size();
  if (offset > size || length > size - offset)
    return fail(Errc::OutOfRange, "{} {} bytes at {} of node '{}', which has {}", verb, length,
                offset, name_, size);
  return {};
}

Result<void> Node::check_write(const char* verb, u64 offset, u64 length) const {
  if (read_only()) return fail(Errc::Permission, "{} node '{}': it is read-only", verb, name_);
  if (!image_->grows()) return check_range(verb, offset, length);
  if (offset > kLargestFile || length > kLargestFile - offset)
    return fail(Errc::OutOfRange, "{} {} bytes at {} of node '{}': no file is that large", verb,
                length, offset, name_);
  return {};
}

Result<Extent> Node::map(u64 offset, u64 length) {
  TRY(check_range("Mapping", offset, length));
  if (length == 0) return fail(Errc::InvalidArgument, "Mapping nothing of node '{}'", name_);
  return image_->map(offset, length);
}

std::optional<Direct> Node::peek(u64 offset, u64 length) {
  const u64 size = image_->size();
  if (offset >= size || length > size - offset) return {};
  std::optional<Direct> direct = image_->peek(offset, length);
  if (direct && (read_only() || options_.detect_zeroes != DetectZeroes::Off || !observers_.empty()))
    direct->writable = false;
  return direct;
}

Result<void> Node::read(u64 offset, Bytes to) {
  TRY(check_range("Reading", offset, to.size()));
  if (to.empty()) return {};
  return image_->read(offset, to);
}

Result<void> Node::read_or_zero(u64 offset, Bytes to) {
  const u64 size = image_->size();
  const size_t inside =
      offset < size ? static_cast<size_t>(std::min<u64>(to.size(), size - offset)) : 0;
  std::ranges::fill(to.subspan(inside), std::byte{0});
  return read(offset < size ? offset : 0, to.first(inside));
}

template <class Function>
Result<void> Node::observed(WriteObserver::Event event, Function change) {
  for (WriteObserver* observer : observers_) observer->before(event.offset, event.length);
  Result<void> done = change();
  event.failed = !done.ok();
  for (WriteObserver* observer : observers_) observer->after(event);
  return done;
}

Result<void> Node::write(u64 offset, ConstBytes from, WriteMode mode) {
  TRY(check_write("Writing", offset, from.size()));
  if (from.empty()) return {};
  if (options_.detect_zeroes != DetectZeroes::Off && all_zero(from)) {
    mode.may_unmap = options_.detect_zeroes == DetectZeroes::Unmap;
    return zero(offset, from.size(), mode);
  }
  TRY(observed({WriteObserver::Kind::Write, offset, from.size(), from},
               [&] { return image_->write(offset, from, mode); }));
  return mode.fua && !image_->supports_fua() ? flush() : Result<void>();
}

Result<void> Node::zero(u64 offset, u64 length, WriteMode mode) {
  TRY(check_write("Zeroing", offset, length));
  if (length == 0) return {};
  if (options_.discard == DiscardMode::Ignore) mode.may_unmap = false;
  const bool may_unmap = mode.may_unmap;
  TRY(observed({WriteObserver::Kind::Zero, offset, length, {}, may_unmap}, [&] {
    Result<void> done = image_->zero(offset, length, mode);
    if (!done && done.error().code == Errc::Unsupported && !mode.no_fallback)
      done = write_zeroes(offset, length, mode);
    return done;
  }));
  return mode.fua && !image_->supports_fua() ? flush() : Result<void>();
}

Result<void> Node::write_zeroes(u64 offset, u64 length, WriteMode mode) {
  const std::vector<std::byte> zeroes(static_cast<size_t>(std::min(length, kZeroChunk)));
  while (length > 0) {
    const u64 here = std::min<u64>(length, zeroes.size());
    TRY(image_->write(offset, ConstBytes(zeroes).first(static_cast<size_t>(here)), mode));
    offset += here, length -= here;
  }
  return {};
}

Result<void> Node::discard(u64 offset, u64 length) {
  TRY(check_write("Discarding", offset, length));
  if (length == 0 || options_.discard == DiscardMode::Ignore) return {};
  return observed({WriteObserver::Kind::Discard, offset, length, {}, true},
                  [&] { return image_->discard(offset, length); });
}

Result<void> Node::flush() {
  if (read_only()) return {};
  if (options_.cache.no_flush && driver_->kind == DriverKind::Protocol) return {};
  return image_->flush();
}

Result<void> Node::truncate(u64 size, Preallocation preallocation) {
  if (read_only()) return fail(Errc::Permission, "Resizing node '{}': it is read-only", name_);
  if (size > kLargestFile)
    return fail(Errc::OutOfRange, "Resizing node '{}' to {} bytes: no file is that large", name_,
                size);
  TRY(image_->truncate(size, preallocation));
  for (const std::unique_ptr<NodeBitmap>& bitmap : bitmaps_) bitmap->bits.resize(size);
  return {};
}

Result<void> Node::write_compressed(u64 offset, ConstBytes from) {
  TRY(check_write("Writing", offset, from.size()));
  return observed({WriteObserver::Kind::Write, offset, from.size(), from},
                  [&] { return image_->write_compressed(offset, from); });
}

// --- Edges

Result<void> Node::allows(const Child::Use& use, const Child* except) const {
  for (const Child* other : users_) {
    if (other == except) continue;
    const Child::Use& theirs = other->use_;
    const auto conflict = [&](std::string_view verb, u8 bits) {
      return fail(Errc::Busy, "Node '{}' cannot be used by {}: {} as '{}' {} '{}'", name_, use.user,
                  theirs.user, theirs.name, verb, permission_names(bits));
    };
    if (const u8 refused = use.permissions.needed & ~theirs.permissions.shared)
      return conflict("does not allow", refused);
    if (const u8 disturbed = theirs.permissions.needed & ~use.permissions.shared)
      return conflict("needs", disturbed);
  }
  return {};
}

Permissions Node::used() const {
  Permissions all;
  for (const Child* user : users_) {
    all.needed |= user->use_.permissions.needed;
    all.shared &= user->use_.permissions.shared;
  }
  return all;
}

Result<void> Node::update_permissions() {
  const Permissions now = used();
  if (image_) TRY(image_->set_permissions(now));
  for (const auto& link : children_) {
    if (!link->child) continue;
    Permissions below = permissions_for(link->role, now, !read_only());
    if (options_.force_share) below.shared = kAllPermissions;
    TRY(link->child.set_permissions(below));
  }
  return {};
}

Result<ChildLink*> Node::add_child(std::string name, ChildRole role, NodePtr node) {
  children_.push_back(std::make_unique<ChildLink>(ChildLink{std::move(name), role, Child{}}));
  ChildLink* link = children_.back().get();
  if (Result<void> attached = replace_child(*link, std::move(node)); !attached) {
    children_.pop_back();
    return std::move(attached.error());
  }
  return link;
}

Result<void> Node::replace_child(ChildLink& link, NodePtr node) {
  if (!node) {
    link.child.reset();
    return {};
  }
  Permissions below = permissions_for(link.role, used(), !read_only());
  if (options_.force_share) below.shared = kAllPermissions;
  link.child = TRY(Child::attach(std::move(node), {format("node '{}'", name_), link.name, below}));
  return {};
}

Result<void> Node::set_read_only(bool read_only) {
  if (options_.read_only == read_only) return {};
  TRY(image_->reopen(read_only));
  options_.read_only = read_only;
  return update_permissions();
}

Result<void> Node::move_users(Node& from, Node& to,
                              const std::function<bool(const Child&)>& moves) {
  std::vector<Child*> moved;
  for (Child* user : from.users_)
    if (moves(*user)) moved.push_back(user);
  const auto move = [&](Node& there, Node& here) {
    for (Child* user : moved) {
      std::erase(there.users_, user);
      user->node_ = here.shared_from_this();
      here.users_.push_back(user);
    }
  };
  const NodePtr keep_from = from.shared_from_this(), keep_to = to.shared_from_this();
  move(from, to);
  const auto settle = [&]() -> Result<void> {
    for (const Child* user : moved) TRY(to.allows(user->use_, user));
    TRY(from.update_permissions());
    return to.update_permissions();
  };
  Result<void> settled = settle();
  if (!settled) {
    move(to, from);
    // What was granted before is granted again.
    (void)to.update_permissions().ok();
    (void)from.update_permissions().ok();
  }
  return settled;
}

Result<NodeBitmap*> Node::add_bitmap(std::string name, u64 granularity) {
  if (find_bitmap(name))
    return fail(Errc::Exists, "Node '{}' has a bitmap '{}' already", name_, name);
  if (!std::has_single_bit(granularity) || granularity < 512 || granularity > 2 * GiB)
    return fail(Errc::InvalidArgument,
                "Granularity {} of bitmap '{}': expected a power of two from 512 to 2 GiB",
                granularity, name);
  bitmaps_.push_back(std::make_unique<NodeBitmap>(std::move(name), size(), granularity));
  add_observer(*bitmaps_.back());
  return bitmaps_.back().get();
}

NodeBitmap* Node::find_bitmap(std::string_view name) const {
  for (const std::unique_ptr<NodeBitmap>& bitmap : bitmaps_)
    if (bitmap->name == name) return bitmap.get();
  return nullptr;
}

Result<void> Node::remove_bitmap(std::string_view name) {
  NodeBitmap* bitmap = find_bitmap(name);
  if (!bitmap) return fail(Errc::NotFound, "Node '{}' has no bitmap '{}'", name_, name);
  if (bitmap->busy) return fail(Errc::Busy, "Bitmap '{}' of node '{}' is in use", name, name_);
  remove_observer(*bitmap);
  std::erase_if(bitmaps_, [&](const auto& b) { return b.get() == bitmap; });
  return {};
}

Result<Child> Child::attach(NodePtr node, Use use) {
  TRY(node->allows(use, nullptr));
  Child child;
  child.node_ = std::move(node);
  child.use_ = std::move(use);
  child.node_->users_.push_back(&child);
  if (Result<void> granted = child.node_->update_permissions(); !granted) {
    child.use_.permissions = {};
    return std::move(granted.error());
  }
  return child;
}

Child& Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  reset();
  node_ = std::move(other.node_);
  use_ = std::move(other.use_);
  if (node_) std::ranges::replace(node_->users_, &other, this);
  return *this;
}

Result<void> Child::set_permissions(Permissions permissions) {
  if (permissions == use_.permissions) return {};
  Use wanted = use_;
  wanted.permissions = permissions;
  TRY(node_->allows(wanted, this));
  std::swap(use_, wanted);
  Result<void> granted = node_->update_permissions();
  if (!granted) {
    use_ = std::move(wanted);
    // What was granted before is granted again.
    (void)node_->update_permissions().ok();
  }
  return granted;
}

void Child::reset() {
  if (!node_) return;
  std::erase(node_->users_, this);
  // Needing less never fails.
  (void)node_->update_permissions().ok();
  node_.reset();
}

// --- Chains

namespace {

// The image below in the chain: a filter's child, a format's backing image.
Node* below(const Node& node) {
  return node.driver().kind == DriverKind::Filter ? node.first_child() : node.backing();
}

// Whether plain bytes are a hole of the file they lie in.
Result<void> look_below(Extent& extent, Image& asked) {
  for (Image* at = &asked; extent.kind == ExtentKind::Data && extent.at && extent.at != at;) {
    at = extent.at;
    if (extent.offset >= at->size()) return {};
    const Extent deeper =
        TRY(at->map(extent.offset, std::min(extent.length, at->size() - extent.offset)));
    extent.length = deeper.length;
    if (deeper.kind == ExtentKind::Zero) extent.kind = ExtentKind::Zero;
    if (!deeper.at) return {};
    extent.at = deeper.at, extent.offset = deeper.offset;
  }
  return {};
}

}  // namespace

Result<ChainExtent> map_chain(Node& top, const Node* base, u64 offset, u64 length) {
  Node* node = &top;
  for (u32 depth = 0;; depth++) {
    Extent extent = TRY(node->map(offset, length));
    length = extent.length;
    Node* next = below(*node);
    if (extent.kind != ExtentKind::Hole || !next || next == base || offset >= next->size()) {
      TRY(look_below(extent, node->image()));
      return ChainExtent{extent, depth, node};
    }
    // Where the lower image ends, the answer changes.
    length = std::min(length, next->size() - offset);
    if (node->driver().kind == DriverKind::Filter) depth--;
    node = next;
  }
}

}  // namespace menura
