#include <algorithm>
#include <cstring>

#include "block/qcow2/codec.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

Result<Extent> Qcow2Image::map(u64 offset, u64 length) {
  const Lock lock(meta_);
  const Run run = TRY(run_at(offset, length));
  Extent extent{.length = run.length};
  switch (run.kind) {
    case Kind::Hole: extent.kind = ExtentKind::Hole; break;
    case Kind::HoleAlloc:
      extent.kind = ExtentKind::Hole;
      extent.at = &(*data_)->image(), extent.offset = run.host;
      break;
    case Kind::Zero: extent.kind = ExtentKind::Zero; break;
    case Kind::ZeroAlloc:
      extent.kind = ExtentKind::Zero;
      extent.at = &(*data_)->image(), extent.offset = run.host;
      break;
    case Kind::Compressed: extent.compressed = true; break;
    case Kind::Normal:
      if (header_.crypt_method) break;
      extent.kind = ExtentKind::Data;
      extent.at = &(*data_)->image(), extent.offset = run.host;
      break;
  }
  return extent;
}

std::optional<Direct> Qcow2Image::peek(u64 offset, u64 length) {
  const Lock lock(meta_, std::try_to_lock);
  if (!lock || header_.crypt_method) return {};
  const u64 index = l1_index(offset);
  const u64 table = index < l1_.size() ? l1_[index] & kOffsetMask : 0;
  if (table == 0 || table & (cluster_size() - 1)) return {};
  // Within one slice, so that nothing is read.
  const u64 at = entry_offset(table, offset);
  const Slice* slice = l2_.peek(at);
  if (!slice) return {};
  const u64 entries = (slice->offset + slice->bytes.size() - at) / header_.l2_entry_size();
  const u64 end = cluster_of(offset) + entries * cluster_size();
  const Result<Run> run = run_at(offset, std::min(length, end - offset));
  if (!run) return {};
  if (run->kind == Kind::Zero || run->kind == Kind::ZeroAlloc)
    return Direct{.kind = Direct::Kind::Zero, .length = run->length};
  if (run->kind != Kind::Normal) return {};
  std::optional<Direct> direct = (*data_)->peek(run->host, run->length);
  if (direct)
    direct->writable =
        direct->writable && writable_ && run->copied && !records_writes() &&
        in_flight_.first_overlap(offset, offset + direct->length) == offset + direct->length;
  return direct;
}

Result<void> Qcow2Image::read(u64 offset, Bytes to) { return read_guest(offset, to); }

Result<void> Qcow2Image::read_guest(u64 offset, Bytes to) {
  while (!to.empty()) {
    Lock lock(meta_);
    const Run run = TRY(run_at(offset, to.size()));
    const Epochs::Stay stay(epochs_);
    lock.unlock();
    const Bytes part = to.first(static_cast<size_t>(run.length));
    TRY(read_run(run, offset, part));
    to = to.subspan(part.size());
    offset += part.size();
  }
  return {};
}

Result<void> Qcow2Image::read_run(const Run& run, u64 offset, Bytes to) {
  switch (run.kind) {
    case Kind::Hole:
    case Kind::HoleAlloc: return read_hole(offset, to);
    case Kind::Zero:
    case Kind::ZeroAlloc: std::memset(to.data(), 0, to.size()); return {};
    case Kind::Normal:
      file_->reached("read_aio");
      return encrypted_ ? encrypted_->read(run.host, to) : (*data_)->read_or_zero(run.host, to);
    case Kind::Compressed: return read_compressed(run.word, offset, to);
  }
  unreachable();
}

// Beyond the disk's end lies nothing, whatever the backing image has there.
Result<void> Qcow2Image::read_hole(u64 offset, Bytes to) {
  const u64 end = size();
  const size_t inside =
      offset < end ? static_cast<size_t>(std::min<u64>(to.size(), end - offset)) : 0;
  std::ranges::fill(to.subspan(inside), std::byte{0});
  if (inside == 0) return {};
  if (*backing_) {
    file_->reached("read_backing_aio");
    return (*backing_)->read_or_zero(offset, to.first(inside));
  }
  std::memset(to.data(), 0, inside);
  return {};
}

Result<void> Qcow2Image::read_compressed(u64 word, u64 offset, Bytes to) {
  std::vector<std::byte> packed(compressed_size(word));
  file_->reached("read_compressed");
  TRY((*data_)->read_or_zero(compressed_offset(word), packed));
  const size_t within = static_cast<size_t>(offset & (cluster_size() - 1));
  if (within == 0 && to.size() == cluster_size()) return unpack(header_.compression, packed, to);
  std::vector<std::byte> cluster(cluster_size());
  TRY(unpack(header_.compression, packed, cluster));
  std::memcpy(to.data(), cluster.data() + within, to.size());
  return {};
}

}  // namespace menura::qcow2
