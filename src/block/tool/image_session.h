// ImageSession: what the tools menura-img, menura-io and menura-nbd begin with: a graph, secret
// objects, and images opened as their options say.
//
// Owner: a tool's main(). Threads: main. Errors name option or file.
// Example: `ImageSession s;  Child disk = TRY(s.open("a.qcow2", {.writable = true}));`
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "block/core/graph.h"

namespace menura {

// -t, -T: none, writeback, writethrough, directsync, unsafe.
struct CacheMode {
  CacheOptions node;
  bool writethrough = false;  // every write is durable when done
};
Result<CacheMode> parse_cache_mode(std::string_view name);

struct OpenImage {
  std::string format;  // empty: by its first bytes
  bool writable = false;
  bool force_share = false;
  bool no_backing = false;
  bool no_io = false;              // only to tell about it
  bool image_opts = false;         // the name is options, not a file name
  bool unmap = true;               // zeroing and discarding may give space back
  std::string aio = {};            // of the file below; empty: what it likes best
  std::string detect_zeroes = {};  // as the node's option; empty: its default
  bool snapshot = false;           // writes go to a temporary file
  bool copy_on_read = false;
  Value more = {};  // further options of the node; null: none
  CacheMode cache;
};

class ImageSession {
 public:
  ImageSession();
  Graph& graph() { return graph_; }
  // What --object says: a secret, a throttle-group, or credentials for TLS; "secret,id=s0,file=/x",
  // or JSON.
  Result<void> add_object(std::string_view option);
  Result<std::shared_ptr<const TlsCredentials>> find_tls(std::string_view id) const;
  Result<NodePtr> open_node(const std::string& name, const OpenImage& how);
  // The same, with this program as its user.
  Result<Child> open(const std::string& name, const OpenImage& how);

 private:
  std::map<std::string, std::shared_ptr<const TlsCredentials>, std::less<>> tls_;
  std::set<std::string> objects_;
  Graph graph_;
};

// JSON as QEMU's tools print it: indented by four spaces.
std::string pretty_json(const Value& value);
// Format specific information for people, indented; dashes of names become spaces.
std::string specific_text(const ImageInfo& info);
// "disk size: 196 KiB": QEMU's form of sizes for people.
std::string human_size(u64 bytes);

}  // namespace menura
