// The NVM command set: reads and writes, flush, compare, write zeroes, dataset management.
#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "hw/nvme/nvme.h"

namespace menura {

using namespace nvme;  // NOLINT: this file is written in it

namespace {

constexpr u64 kRangeSize = 16;
constexpr u32 kForceUnitAccess = 1 << 30;

// Of commands that name blocks: the first, and how many.
u64 first_block(const NvmeCommand& c) { return c.qword(10); }
u64 block_count(const NvmeCommand& c) { return (c.dword(12) & 0xffff) + 1u; }

bool fits(u64 first, u64 count, u64 blocks) { return first <= blocks && count <= blocks - first; }

}  // namespace

Nvme::Namespace* Nvme::find_namespace(u32 nsid) {
  const auto found = namespaces_.find(nsid);
  return found == namespaces_.end() ? nullptr : &found->second;
}

void Nvme::io(const RequestPtr& request) {
  const NvmeCommand& c = request->command;
  if (c.opcode == kFlush) return flush(request);
  const Namespace* space = find_namespace(c.nsid);
  if (!space) return finish(request, no_retry(kInvalidNamespace));
  const bool changes =
      c.opcode == kWrite || c.opcode == kWriteZeroes || c.opcode == kDatasetManagement;
  if (changes && space->disk->read_only()) return finish(request, no_retry(kReadOnlyRange));
  switch (c.opcode) {
    case kRead:
    case kWrite:
    case kCompare: return transfer(request, *space);
    case kWriteZeroes: return write_zeroes(request, *space);
    case kDatasetManagement: return manage_dataset(request, *space);
    default: return finish(request, no_retry(kInvalidOpcode));
  }
}

void Nvme::submit(Disk& disk, DiskRequest wanted, std::function<void(const Result<void>&)> done) {
  wanted.done = [this, life = std::weak_ptr<int>(life_),
                 done = std::move(done)](const Result<void>& outcome) {
    if (life.expired()) return;
    done(outcome);
    run_queues();
  };
  disk.submit(std::move(wanted));
}

void Nvme::flush(const RequestPtr& request) {
  const u32 nsid = request->command.nsid;
  std::vector<Disk*> disks;
  for (const auto& [number, space] : namespaces_)
    if (nsid == number || nsid == kEveryNamespace) disks.push_back(space.disk);
  if (disks.empty()) return finish(request, no_retry(kInvalidNamespace));
  request->open = static_cast<unsigned>(disks.size());
  for (Disk* disk : disks)
    submit(*disk, {.op = DiskOp::Flush}, [this, request](const Result<void>& outcome) {
      request->failed |= !outcome;
      if (--request->open == 0) finish(request, request->failed ? kWriteFault : kSuccess);
    });
}

Status Nvme::map_data(Request& request, u64 length) {
  return find_regions(read_, request.command, page_size(), length, request.regions);
}

bool Nvme::gather(Request& request) {
  size_t at = 0;
  for (const NvmeRegion& region : request.regions) {
    if (dma_read({region.address}, Bytes(request.data).subspan(at, region.size)) !=
        AccessStatus::Ok)
      return false;
    at += region.size;
  }
  return true;
}

bool Nvme::scatter(Request& request, ConstBytes data) {
  size_t at = 0;
  for (const NvmeRegion& region : request.regions) {
    if (dma_write({region.address}, data.subspan(at, region.size)) != AccessStatus::Ok)
      return false;
    at += region.size;
  }
  return true;
}

void Nvme::transfer(const RequestPtr& request, const Namespace& space) {
  const NvmeCommand& c = request->command;
  const u64 length = block_count(c) << space.shift;
  if (length > u64{4096} << config_.mdts) return finish(request, no_retry(kInvalidField));
  if (!fits(first_block(c), block_count(c), space.blocks()))
    return finish(request, no_retry(kLbaOutOfRange));
  const Status mapped = map_data(*request, length);
  if (mapped != kSuccess) return finish(request, no_retry(mapped));
  request->data.resize(length);
  const bool writes = c.opcode == kWrite;
  if (writes && !gather(*request)) return finish(request, kDataTransferError);
  const auto cache = features_.find(kVolatileWriteCache);
  const bool cached = cache == features_.end() || cache->second != 0;
  const bool durable = writes && (!cached || (c.dword(12) & kForceUnitAccess) != 0);
  submit(*space.disk,
         {.op = writes ? DiskOp::Write : DiskOp::Read,
          .offset = first_block(c) << space.shift,
          .data = request->data,
          .fua = durable},
         [this, request](const Result<void>& outcome) { transferred(request, outcome); });
}

void Nvme::transferred(const RequestPtr& request, const Result<void>& outcome) {
  const u64 length = request->data.size();
  switch (request->command.opcode) {
    case kWrite:
      writes_++;
      units_written_ += length;
      return finish(request, outcome ? kSuccess : kWriteFault);
    case kCompare: {
      if (!outcome) return finish(request, kUnrecoveredRead);
      const std::vector<std::byte> there = std::move(request->data);
      request->data.resize(length);
      if (!gather(*request)) return finish(request, kDataTransferError);
      return finish(request, there == request->data ? u16{kSuccess} : no_retry(kCompareFailure));
    }
    default:
      reads_++;
      units_read_ += length;
      if (!outcome) return finish(request, kUnrecoveredRead);
      return finish(request, scatter(*request, request->data) ? kSuccess : kDataTransferError);
  }
}

void Nvme::write_zeroes(const RequestPtr& request, const Namespace& space) {
  constexpr u32 kDeallocate = 1 << 25;
  const NvmeCommand& c = request->command;
  if (!fits(first_block(c), block_count(c), space.blocks()))
    return finish(request, no_retry(kLbaOutOfRange));
  submit(*space.disk,
         {.op = DiskOp::WriteZeroes,
          .offset = first_block(c) << space.shift,
          .length = block_count(c) << space.shift,
          .fua = (c.dword(12) & kForceUnitAccess) != 0,
          .may_unmap = (c.dword(12) & kDeallocate) != 0},
         [this, request](const Result<void>& outcome) {
           finish(request, outcome ? kSuccess : kWriteFault);
         });
}

// Only deallocation does something here; other attributes are hints (§6.7).
void Nvme::manage_dataset(const RequestPtr& request, const Namespace& space) {
  constexpr u32 kDeallocate = 1 << 2;
  const NvmeCommand& c = request->command;
  const u64 ranges = (c.dword(10) & 0xff) + 1;
  if ((c.dword(11) & kDeallocate) == 0) return finish(request, kSuccess);
  request->data.resize(ranges * kRangeSize);
  const Status mapped = map_data(*request, request->data.size());
  if (mapped != kSuccess) return finish(request, no_retry(mapped));
  if (!gather(*request)) return finish(request, kDataTransferError);
  for (u64 i = 0; i < ranges; i++)
    if (!fits(load_le<u64>(request->data, i * kRangeSize + 8),
              load_le<u32>(request->data, i * kRangeSize + 4), space.blocks()))
      return finish(request, no_retry(kLbaOutOfRange));
  next_range(request, space);
}

void Nvme::next_range(const RequestPtr& request, const Namespace& space) {
  const ConstBytes ranges(request->data);
  const auto length = [&] { return load_le<u32>(ranges, request->range * kRangeSize + 4); };
  const size_t count = ranges.size() / kRangeSize;
  while (request->range < count && length() == 0) request->range++;
  if (request->range == count) return finish(request, kSuccess);
  const u64 first = load_le<u64>(ranges, request->range * kRangeSize + 8);
  const u64 size = u64{length()} << space.shift;
  request->range++;
  submit(*space.disk, {.op = DiskOp::Discard, .offset = first << space.shift, .length = size},
         [this, request, &space](const Result<void>& outcome) {
           if (!outcome) return finish(request, kWriteFault);
           next_range(request, space);
         });
}

}  // namespace menura
