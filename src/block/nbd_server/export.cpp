#include "block/nbd_server/export.h"

#include <algorithm>
#include <bit>

#include "block/core/driver.h"
#include "block/core/graph.h"

namespace menura {

namespace {
// A finely cut image must not keep one request busy for seconds.
constexpr unsigned kMostLooks = 16'384;

Error still_records(const std::string& name) {
  return fail(Errc::InvalidArgument,
              "Bitmap '{}' still records writes: a writable export would change it", name);
}
}  // namespace

Result<std::shared_ptr<NbdExport>> NbdExport::create(NodePtr node, NbdExportOptions options) {
  if (options.name.size() > kNbdLongestString || options.description.size() > kNbdLongestString)
    return fail(Errc::InvalidArgument, "An export's name and description have at most {} bytes",
                kNbdLongestString);
  if (options.writable && node->read_only())
    return fail(Errc::Permission, "Export '{}' cannot be writable: node '{}' is read-only",
                options.name, node->name());
  const std::shared_ptr<NbdExport> made(new NbdExport(std::move(options)));
  const NbdExportOptions& given = made->options_;
  const Graph::Change change(node->graph());
  const u8 writes = given.writable ? kWrite : 0;
  made->size_ = node->size();
  made->preferred_block_ = static_cast<u32>(
      std::clamp<u64>(std::bit_floor(node->image().info().cluster_size), 4096, kNbdLargestRequest));
  made->image_ = TRY(Child::attach(
      std::move(node),
      {format("NBD export '{}'", given.name),
       "root",
       {static_cast<u8>(kConsistentRead | writes), static_cast<u8>(kAllPermissions & ~kResize)}}));
  made->contexts_.emplace_back(kNbdAllocation);
  if (given.allocation_depth) made->contexts_.emplace_back(kNbdAllocationDepth);
  for (const std::string& bitmap : given.bitmaps) TRY(made->load_bitmap(bitmap));
  return made;
}

// One that lives with its node goes before one of that name in the node's file.
Result<void> NbdExport::load_bitmap(const std::string& name) {
  if (name.size() > 1023)
    return fail(Errc::InvalidArgument, "Bitmap names have at most 1023 bytes, not {}", name.size());
  for (Node* at = &*image_; at;
       at = at->driver().kind == DriverKind::Filter ? at->first_child() : at->backing()) {
    if (NodeBitmap* found = at->find_bitmap(name)) {
      if (found->busy)
        return fail(Errc::Busy, "Bitmap '{}' of node '{}' is in use", name, at->name());
      if (found->enabled && options_.writable) return still_records(name);
      found->busy = true;
      busy_.push_back(found);
      add_bitmap(name, found->bits.granularity(), found->bits.content());
      return {};
    }
    if (TRY(load_stored_bitmap(*at, name))) return {};
  }
  return fail(Errc::NotFound, "Neither export '{}' nor its backing images have a bitmap '{}'",
              options_.name, name);
}

Result<bool> NbdExport::load_stored_bitmap(Node& node, const std::string& name) {
  BitmapStore* store = node.image().bitmaps();
  if (!store) return false;
  const std::vector<BitmapInfo> all = store->list();
  const auto found = std::ranges::find(all, name, &BitmapInfo::name);
  if (found == all.end()) return false;
  if (found->in_use)
    return fail(Errc::Corrupt, "Bitmap '{}' of node '{}' was not saved by its last user", name,
                node.name());
  if (found->enabled && options_.writable) return still_records(name);
  add_bitmap(name, found->granularity, TRY(store->load(name)));
  return true;
}

void NbdExport::add_bitmap(const std::string& name, u64 granularity, BitmapContent content) {
  bitmaps_.push_back({granularity, std::move(content)});
  contexts_.push_back(std::string(kNbdDirtyBitmap) + name);
}

void NbdExport::close() {
  if (!image_) return;
  const Graph::Change change(image_->graph());
  for (NodeBitmap* bitmap : std::exchange(busy_, {})) bitmap->busy = false;
  image_.reset();
}

u16 NbdExport::flags(bool structured) const {
  u16 flags = kNbdHasFlags | kNbdSendFlush | kNbdSendFua | kNbdSendCache;
  if (options_.writable)
    flags |= kNbdSendTrim | kNbdSendWriteZeroes | kNbdSendFastZero;
  else
    flags |= kNbdReadOnly;
  if (structured) flags |= kNbdSendDf;
  // All connections use the same node: what one has flushed, all have.
  if (options_.many_clients) flags |= kNbdCanMultiConn;
  return flags;
}

bool NbdExport::Bitmap::dirty(u64 offset) const {
  const u64 bit = offset / granularity;
  return bit / 64 < content.words.size() && (content.words[bit / 64] >> (bit % 64) & 1);
}

Result<NbdExtent> NbdExport::extent(u32 context, u64 offset, u32 length) const {
  const size_t without_bitmaps = contexts_.size() - bitmaps_.size();
  if (context >= without_bitmaps) {
    const Bitmap& bitmap = bitmaps_[context - without_bitmaps];
    const bool dirty = bitmap.dirty(offset);
    u64 end = offset;
    do end = (end / bitmap.granularity + 1) * bitmap.granularity;
    while (end < offset + length && bitmap.dirty(end) == dirty);
    return NbdExtent{static_cast<u32>(std::min<u64>(end - offset, length)), dirty ? kNbdDirty : 0};
  }
  const ChainExtent found = TRY(map_chain(*image_, nullptr, offset, length));
  const u32 here = static_cast<u32>(found.extent.length);
  const bool nowhere = found.extent.kind == ExtentKind::Hole;
  if (context == 0) {
    const bool zero = nowhere || found.extent.kind == ExtentKind::Zero;
    return NbdExtent{here, zero ? kNbdHole | kNbdZero : 0};
  }
  return NbdExtent{here, nowhere ? 0 : found.depth + 1};
}

Result<std::vector<NbdExtent>> NbdExport::status(u32 context, u64 offset, u32 length,
                                                 size_t most) const {
  std::vector<NbdExtent> extents;
  for (unsigned looks = 0; length > 0 && looks < kMostLooks; looks++) {
    const NbdExtent next = TRY(extent(context, offset, length));
    offset += next.length, length -= next.length;
    // Neighbours that say the same are one.
    if (!extents.empty() && extents.back().flags == next.flags)
      extents.back().length += next.length;
    else if (extents.size() == most)
      break;
    else
      extents.push_back(next);
  }
  return extents;
}

}  // namespace menura
