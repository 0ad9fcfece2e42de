// Graph: the nodes of one program, opened from QEMU's blockdev options, found by name; and the gate
// that keeps I/O out while the graph changes.
//
// Owner: the machine, or a tool; outlives its nodes and users. Threads: opening, finding and
// changing on the main thread (machine: under the machine lock). Errors name the file and option.
// Example:
//   Graph graph(all_drivers());
//   NodePtr a = TRY(graph.open(TRY(parse_json(R"({"driver":"qcow2","file":{…}})"))));
//   NodePtr b = TRY(graph.open_file("a.img", {.read_only = true}));
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/core/driver.h"
#include "block/core/node.h"
#include "block/core/secrets.h"
#include "block/core/throttle.h"

namespace menura {

class TlsCredentials;

// Somebody whose requests must end before the graph changes.
class GraphUser {
 public:
  virtual ~GraphUser() = default;
  virtual void drain() = 0;
  // Around each change: those who delay requests on purpose let them go until `resume`.
  enum class Pace : u8 { Hurry, Resume };
  virtual void set_pace(Pace) {}
  // After a change: edges may lead elsewhere.
  virtual void changed() {}
};

class Graph {
 public:
  // A tls-creds object by its id.
  using TlsLookup =
      std::function<Result<std::shared_ptr<const TlsCredentials>>(std::string_view id)>;

  explicit Graph(std::span<const Driver* const> drivers, TlsLookup tls = {});
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // From blockdev options: an object, or the name of a node there is.
  Result<NodePtr> open(Value options);
  // From a file name as users give it: a path, "json:{...}", "nbd://host", "DRIVER:rest". Without
  // `format` the first bytes decide.
  struct FileOptions {
    std::string format;
    bool read_only = true;
    bool force_share = false;
    bool no_backing = false;
    bool no_io = false;  // only to learn about it: what is locked may stay so
    CacheOptions cache;
    std::string aio;  // of a file of the host; empty: what the driver likes best
    Value more;       // further options of the format's node; null: none
  };
  Result<NodePtr> open_file(const std::string& name, FileOptions options);
  Result<NodePtr> open_file(const std::string& name) { return open_file(name, FileOptions{}); }
  // The options that open_file() would open, with the driver still unsaid when it must be probed.
  Result<Value> options_for(const std::string& name);
  // Which format the first bytes say; "raw" when none does.
  Result<const Driver*> probe(Node& file, std::string_view filename);

  // Makes a new image: the file by its protocol, then the format's structures in it.
  Result<void> create(std::string_view format, const std::string& filename, u64 size,
                      Value options);
  // The protocol's part alone: an empty file of that size, open for writing.
  Result<NodePtr> create_file(const std::string& filename, u64 size,
                              Value options = Value::object());

  const Driver* find_driver(std::string_view name) const;
  Result<const Driver*> driver(std::string_view name) const;  // with did-you-mean
  std::span<const Driver* const> drivers() const { return drivers_; }
  Secrets& secrets() { return secrets_; }
  const Secrets& secrets() const { return secrets_; }
  Result<std::shared_ptr<const TlsCredentials>> tls_credentials(std::string_view id) const;
  ThrottleGroups& throttle_groups() { return throttle_groups_; }
  const ThrottleGroups& throttle_groups() const { return throttle_groups_; }

  Node* find(std::string_view node_name) const;
  const std::vector<Node*>& nodes() const { return nodes_; }
  // Named by the user: they live until removed, used or not (blockdev-add, blockdev-del).
  Result<NodePtr> add(Value options);
  Result<void> remove(std::string_view node_name);
  // The node as these options describe it, whole: its driver and name stay. When it cannot be, it
  // is as it was. Under Change.
  Result<void> reopen(Node& node, Value options);

  void add_user(GraphUser& user) { users_.push_back(&user); }
  void remove_user(GraphUser& user) { std::erase(users_, &user); }

  // Held by everybody around a run of blocking I/O on other threads than the main one.
  class Pass {
   public:
    explicit Pass(Graph& graph) : graph_(graph) { graph_.enter(); }
    ~Pass() { graph_.leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Graph& graph_;
  };
  // Held around every change of edges or options: drains all users, then waits for all passes.
  class Change {
   public:
    explicit Change(Graph& graph);
    ~Change();
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    Graph& graph_;
  };

 private:
  friend class Node;
  friend class OpenContext;
  // What a parent hands down to a child that is described inside of it.
  struct Inherited {
    const NodeOptions* parent = nullptr;
    ChildRole role = ChildRole::Image;
    bool no_backing = false;
  };
  Result<NodePtr> open_inherited(Value options, const Inherited& inherited);
  Result<NodePtr> open_object(Value options, const Inherited& inherited);
  Result<NodePtr> open_probed(Value options, const Inherited& inherited);
  Result<NodeOptions> take_node_options(Value& options, const Inherited& inherited);
  std::string make_name();
  Result<void> open_again(Node& node, Value options);
  void enter();
  void leave();

  // Wiring
  const std::span<const Driver* const> drivers_;
  const TlsLookup tls_;
  // State
  Secrets secrets_;
  ThrottleGroups throttle_groups_;
  std::vector<Node*> nodes_;    // in the order of their making
  std::vector<NodePtr> named_;  // add()
  std::vector<GraphUser*> users_;
  unsigned next_name_ = 100;
  unsigned depth_ = 0;
  bool no_backing_ = false;
  bool no_io_ = false;
  std::vector<std::string> opening_;  // files on the way down a chain: a repeated one is a loop
  std::mutex gate_;
  std::condition_variable gate_changed_;
  unsigned inside_ = 0;
  unsigned changes_ = 0;
};

}  // namespace menura
