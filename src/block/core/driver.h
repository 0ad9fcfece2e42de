// Driver: one row of the table of everything an image can be: formats, protocols, filters. A new
// one is a room with a `const Driver kMine`, and a line in block/drivers.cpp.
//
// Owner: static tables. Threads: values. Functions that are null: the driver cannot do that.
// Example:
//   const Driver kVdi{.name = "vdi", .help = "VirtualBox's disk image", .kind = DriverKind::Format,
//                     .probe = probe_vdi, .open = open_vdi, .create = create_vdi,
//                     .create_options = properties_of<VdiCreate>};
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/core/node.h"
#include "state/properties.h"

namespace menura {

class Graph;

enum class DriverKind : u8 { Protocol, Format, Filter };

// What a driver's open() works with: its node, and what the user said that nobody has taken yet.
class OpenContext {
 public:
  OpenContext(Graph& graph, Node& node, Value options);

  Graph& graph() { return graph_; }
  Node& node() { return node_; }
  bool read_only() const { return node_.read_only(); }
  // Nobody will read or write: the image may do without what only that needs.
  bool no_io() const;
  // The driver's own options: those that Config::describe() names. Call it after the children.
  template <class Config>
  Result<Config> options() {
    Config config;
    const Value mine = take(list_properties<Config>());
    TRY(read_properties(config, mine, driver_words()));
    return config;
  }
  // The child the user described (inline, or by node name); else Errc::InvalidArgument.
  Result<ChildLink*> child(std::string_view name, ChildRole role);
  // The same; an empty link when there is none.
  Result<ChildLink*> optional_child(std::string_view name, ChildRole role);
  // "backing" as the user described it, else as the header says (file name as written there;
  // an empty one: none). The user's null, or a tool that wants no chain, leaves the link empty.
  Result<ChildLink*> backing(const std::string& header_file, const std::string& header_format);
  // A further file that a header names, beside this image ("disk-flat.vmdk").
  Result<ChildLink*> named_child(std::string_view name, ChildRole role,
                                 const std::string& header_file, std::string_view driver);
  // Read-only from here on, if the user allowed it (auto-read-only); else the reason as an error.
  Result<void> fall_back_to_read_only(Error reason);
  // What is left over is an error with did-you-mean.
  Result<void> finish();

 private:
  Value take(const std::vector<PropertyInfo>& properties);
  std::string driver_words() const;
  Result<ChildLink*> add(std::string_view name, ChildRole role, NodePtr node);
  Result<NodePtr> open_child(std::string_view name, ChildRole role, Value given);

  Graph& graph_;
  Node& node_;
  Value options_;
  std::vector<std::string> known_;
};

struct CreateContext {
  Graph& graph;
  std::string filename;  // as given by the user; formats get their bytes from file()
  u64 size = 0;          // bytes of the new image; already a multiple of 512
  Value options;         // the driver's, object, spelt as qemu-img's -o
  NodePtr file;          // Formats: open for writing, empty; protocols: null
  template <class Config>
  Result<Config> read_options(std::string_view format) const {
    Config config;
    TRY(read_properties(config, options, format));
    return config;
  }
};

struct MeasureContext {
  u64 size = 0;            // of the image to be
  Node* source = nullptr;  // whose content it will have; null: none
  Value options;           // as in CreateContext
};
struct Measure {
  u64 required = 0;         // bytes for this content
  u64 fully_allocated = 0;  // bytes when every sector has been written
  std::optional<u64> bitmaps;
};

struct Driver {
  std::string_view name;
  std::string_view help;  // one line
  DriverKind kind = DriverKind::Format;
  // Protocols: file names that begin with one of these and a colon are theirs ("nbd", "nbd+unix").
  std::span<const std::string_view> prefixes = {};
  Result<Value> (*parse_filename)(const std::string& filename) = nullptr;  // to options
  // How sure the first bytes of a file (at most 2048) make us that it is ours: 0 to 100.
  int (*probe)(ConstBytes head, std::string_view filename) = nullptr;
  Result<std::unique_ptr<Image>> (*open)(OpenContext& context) = nullptr;
  std::vector<PropertyInfo> (*open_options)() = nullptr;
  Result<void> (*create)(CreateContext& context) = nullptr;
  std::vector<PropertyInfo> (*create_options)() = nullptr;
  Result<Measure> (*measure)(const MeasureContext& context) = nullptr;
  std::vector<PropertyInfo> (*amend_options)() = nullptr;
  bool has_backing = false;      // images name a backing file
  bool makes_own_files = false;  // create() opens its files itself; CreateContext::file is null
};

}  // namespace menura
