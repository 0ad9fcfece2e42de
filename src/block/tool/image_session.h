// ImageSession: what the tools menura-img, menura-io and menura-nbd begin with: a graph, secret
// objects, and images opened as their options say.
//
// Owner: a tool's main(). Threads: main. Errors name option or file.
// Example: `ImageSession s;  Child disk = TRY(s.open("a.qcow2", {.writable = true}));`
#pragma once

#include <map>
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

// The objects of --object: secrets by id (raw or base64; in the option, or in a file), and
// credentials for TLS.
class SecretObjects {
 public:
  // "secret,id=s0,file=/x,format=base64", or JSON. Other kinds are Errc::Unsupported.
  Result<void> add(std::string_view option);
  Result<std::string> find(std::string_view id) const;
  Result<std::shared_ptr<const TlsCredentials>> find_tls(std::string_view id) const;

 private:
  Result<void> add_secret(const Value& given);
  Result<void> check_new(const std::string& id) const;

  std::map<std::string, std::string, std::less<>> secrets_;
  std::map<std::string, std::shared_ptr<const TlsCredentials>, std::less<>> tls_;
};

struct OpenImage {
  std::string format;  // empty: by its first bytes
  bool writable = false;
  bool force_share = false;
  bool no_backing = false;
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
  SecretObjects& secrets() { return secrets_; }
  // What --object says: a secret, or a throttle-group.
  Result<void> add_object(std::string_view option);
  const SecretObjects& secrets() const { return secrets_; }
  Result<NodePtr> open_node(const std::string& name, const OpenImage& how);
  // The same, with this program as its user.
  Result<Child> open(const std::string& name, const OpenImage& how);

 private:
  SecretObjects secrets_;
  Graph graph_;
};

// JSON as QEMU's tools print it: indented by four spaces.
std::string pretty_json(const Value& value);
// Format specific information for people, indented; dashes of names become spaces.
std::string specific_text(const ImageInfo& info);
// "disk size: 196 KiB": QEMU's form of sizes for people.
std::string human_size(u64 bytes);

}  // namespace menura
