// Node: a named place in the image graph: a driver's Image, the options that every node has, the
// edges to its children and from its users. All I/O comes through here.
//
// Owner: shared by the edges that lead to it (Child) and, with a name given by a user, by its Graph.
// Threads: I/O on any thread, blocking; edges and options change only under Graph::Change.
// Errors name the node's file. Example:
//   NodePtr node = TRY(graph.open_file("a.qcow2"));  Child user = TRY(Child::attach(node, {...}));
//   TRY(user->read(0, buffer));
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "block/core/dirty_bitmap.h"
#include "block/core/image.h"
#include "state/properties.h"

namespace menura {

struct Driver;
class Graph;
class Node;
using NodePtr = std::shared_ptr<Node>;

enum class DiscardMode : u8 { Ignore, Unmap };
std::span<const std::string_view> enum_names(DiscardMode);
enum class DetectZeroes : u8 { Off, On, Unmap };
std::span<const std::string_view> enum_names(DetectZeroes);

struct CacheOptions {
  bool direct = false;    // around the host's page cache
  bool no_flush = false;  // flushes do nothing: fast, and lost with the host's power
  void describe(PropertyVisitor& p);
};

// The options every node has, in QEMU's spelling. Children inherit what they are not told.
struct NodeOptions {
  std::string driver;
  std::string node_name;
  bool read_only = false;
  bool auto_read_only = false;  // read-only where the host refuses writing
  bool force_share = false;     // whatever others do; reading only
  DiscardMode discard = DiscardMode::Ignore;
  DetectZeroes detect_zeroes = DetectZeroes::Off;
  CacheOptions cache;
  void describe(PropertyVisitor& p);
};

// An edge: somebody's use of a node. Parents own those to their children; devices, exports, jobs
// and tools own one to the node they use. Letting go of the last one closes the node.
class Child {
 public:
  struct Use {
    std::string user;  // "node '#block12'", "device 'ide0-hd0'": for error texts
    std::string name;  // "file", "backing", "root"
    Permissions permissions;
  };
  // Errc::Busy, in words, when the node's other users do not allow it.
  static Result<Child> attach(NodePtr node, Use use);
  Child() = default;
  Child(Child&& other) noexcept { *this = std::move(other); }
  Child& operator=(Child&& other) noexcept;
  ~Child() { reset(); }

  explicit operator bool() const { return node_ != nullptr; }
  Node* operator->() const { return node_.get(); }
  Node& operator*() const { return *node_; }
  const NodePtr& node() const { return node_; }
  const Use& use() const { return use_; }
  Result<void> set_permissions(Permissions permissions);
  void reset();

 private:
  friend class Node;
  NodePtr node_;
  Use use_;
};

// Somebody who must know of each change of a node's content: bitmaps, jobs.
class WriteObserver {
 public:
  enum class Kind : u8 { Write, Zero, Discard };
  struct Event {
    Kind kind = Kind::Write;
    u64 offset = 0, length = 0;
    ConstBytes bytes = {};  // Write: what was written; empty when it was compressed
    bool may_unmap = false;
    bool failed = false;  // in after(): the content is the old one, the new one, or both
  };
  virtual ~WriteObserver() = default;
  // On the writer's thread, which waits. The content is still the old one.
  virtual void before(u64 /*offset*/, u64 /*length*/) {}
  // After the write, whether it failed or not.
  virtual void after(const Event& event) = 0;
};

// A bitmap that lives as long as its node does: what was written since it was made or cleared.
struct NodeBitmap final : WriteObserver {
  NodeBitmap(std::string n, u64 size, u64 granularity)
      : name(std::move(n)), bits(size, granularity) {}
  void after(const Event& event) override {
    if (enabled) bits.set(event.offset, event.length);
  }
  const std::string name;
  bool enabled = true;
  bool busy = false;  // an export or job works with it
  DirtyBitmap bits;
};

// A parent's child, which knows its role. The Child may be empty (no backing image).
struct ChildLink {
  std::string name;
  ChildRole role;
  Child child;
};

class Node : public std::enable_shared_from_this<Node> {
 public:
  Node(Graph& graph, NodeOptions options, std::string name);
  ~Node();  // closes the image; its errors are logged: call close() to see them
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const std::string& name() const { return name_; }
  bool has_given_name() const { return !options_.node_name.empty(); }
  const NodeOptions& options() const { return options_; }
  // The driver's own options, as the node was opened with them.
  const Value& opened_with() const { return opened_with_; }
  const Driver& driver() const { return *driver_; }
  Image& image() const { return *image_; }
  Graph& graph() const { return graph_; }
  bool read_only() const { return options_.read_only; }
  u64 size() const { return image_->size(); }
  // How a user would name it.
  std::string filename() const;

  Result<Extent> map(u64 offset, u64 length);
  std::optional<Direct> peek(u64 offset, u64 length);
  Result<void> read(u64 offset, Bytes to);
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode = {});
  Result<void> zero(u64 offset, u64 length, WriteMode mode = {});
  Result<void> discard(u64 offset, u64 length);
  Result<void> flush();
  Result<void> truncate(u64 size, Preallocation preallocation = Preallocation::Off);
  Result<void> write_compressed(u64 offset, ConstBytes from);
  // As read(), but zeroes beyond the end: for a parent larger than its backing image.
  Result<void> read_or_zero(u64 offset, Bytes to);
  Result<void> close();

  // The child of that name; null when there is none.
  Node* child(std::string_view name) const;
  Node* backing() const { return child("backing"); }
  // Through filters and raw to a format, and from there on to its backing: null at the end.
  Node* first_child() const;
  const std::vector<std::unique_ptr<ChildLink>>& children() const { return children_; }
  const std::vector<Child*>& users() const { return users_; }

  // For Graph and jobs, under Change. The link stays where it is: a driver may keep its address.
  Result<ChildLink*> add_child(std::string name, ChildRole role, NodePtr node);
  Result<void> replace_child(ChildLink& link, NodePtr node);  // null: empty
  Result<void> set_read_only(bool read_only);
  void set_image(const Driver& driver, std::unique_ptr<Image> image);
  NodeOptions& change_options() { return options_; }
  // Every user of `from` for whom `moves` says so uses `to` instead; on failure nobody does.
  static Result<void> move_users(Node& from, Node& to,
                                 const std::function<bool(const Child&)>& moves);
  // Until removed, it hears of every change; nothing goes around it (peek() promises no writes).
  void add_observer(WriteObserver& observer) { observers_.push_back(&observer); }
  void remove_observer(WriteObserver& observer) { std::erase(observers_, &observer); }
  // Errc::Exists when there is one of that name, Errc::InvalidArgument for a silly granularity.
  Result<NodeBitmap*> add_bitmap(std::string name, u64 granularity);
  Result<void> remove_bitmap(std::string_view name);
  NodeBitmap* find_bitmap(std::string_view name) const;
  const std::vector<std::unique_ptr<NodeBitmap>>& bitmaps() const { return bitmaps_; }

  void reached(std::string_view point) { image_->reached(point); }

 private:
  friend class Child;
  friend class Graph;
  Result<void> allows(const Child::Use& use, const Child* except) const;
  Permissions used() const;
  Result<void> update_permissions();
  Result<void> check_range(const char* verb, u64 offset, u64 length) const;
  Result<void> check_write(const char* verb, u64 offset, u64 length) const;
  Result<void> write_zeroes(u64 offset, u64 length, WriteMode mode);
  template <class Function>
  Result<void> observed(WriteObserver::Event event, Function change);
  Error in_context(Error error) const;

  // Configuration
  NodeOptions options_;
  const std::string name_;
  Value opened_with_ = Value::object();  // by a user, without what every node has
  // Wiring
  Graph& graph_;
  const Driver* driver_ = nullptr;
  std::unique_ptr<Image> image_;
  std::vector<std::unique_ptr<ChildLink>> children_;
  std::vector<Child*> users_;
  std::vector<WriteObserver*> observers_;
  // State
  std::vector<std::unique_ptr<NodeBitmap>> bitmaps_;
};

// The first extent at offset of a whole chain: which image answers, how deep it lies (0: the top),
// and what it says. A Hole has no answer down to the end (or base): it reads as zeroes.
struct ChainExtent {
  Extent extent;
  u32 depth = 0;
  Node* owner = nullptr;
};
Result<ChainExtent> map_chain(Node& top, const Node* base, u64 offset, u64 length);

}  // namespace menura
