// NbdExport: an image of the graph under a name, as NBD clients see it.
//
// Owner: shared by the server and whoever made it; close() before the graph ends. Threads: made and
// closed on the graph's main thread; the rest on any thread, the image's I/O under Graph::Pass.
// Example: `auto e = TRY(NbdExport::create(std::move(node), {.name = "disk", .writable = true}));`
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "block/core/node.h"
#include "block/core/stores.h"
#include "block/nbd/protocol.h"

namespace menura {

struct NbdExportOptions {
  std::string name;         // what clients ask for
  std::string description;  // for people
  bool writable = false;
  bool writethrough = false;  // writes are durable when answered
  bool allocation_depth = false;
  bool many_clients = true;          // several connections may be open at once
  std::vector<std::string> bitmaps;  // of the node or of its backing chain
};

struct NbdExtent {
  u32 length = 0;
  u32 flags = 0;
};

class NbdExport : public std::enable_shared_from_this<NbdExport> {
 public:
  // Bitmaps are read now: clients see what was dirty at this moment.
  static Result<std::shared_ptr<NbdExport>> create(NodePtr node, NbdExportOptions options);

  const NbdExportOptions& options() const { return options_; }
  Node& node() const { return *image_; }
  u64 size() const { return size_; }
  u16 flags(bool structured) const;
  u32 preferred_block() const { return preferred_block_; }
  // The names of metadata contexts; a context's id is its place.
  const std::vector<std::string>& contexts() const { return contexts_; }
  // At least one extent from offset on, at most `most`, no further than length.
  Result<std::vector<NbdExtent>> status(u32 context, u64 offset, u32 length, size_t most) const;
  // Lets go of the image. Nobody uses the export any more.
  void close();

 private:
  explicit NbdExport(NbdExportOptions options) : options_(std::move(options)) {}
  struct Bitmap {
    u64 granularity;
    BitmapContent content;
    bool dirty(u64 offset) const;
  };
  Result<void> load_bitmap(const std::string& name);
  Result<bool> load_stored_bitmap(Node& node, const std::string& name);
  void add_bitmap(const std::string& name, u64 granularity, BitmapContent content);
  Result<NbdExtent> extent(u32 context, u64 offset, u32 length) const;

  // Configuration
  const NbdExportOptions options_;
  u64 size_ = 0;
  u32 preferred_block_ = 4096;
  std::vector<std::string> contexts_;
  std::vector<Bitmap> bitmaps_;  // of the last contexts
  // Wiring
  Child image_;
  std::vector<NodeBitmap*> busy_;  // ours until close()
};

}  // namespace menura
