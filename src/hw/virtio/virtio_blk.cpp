#include "hw/virtio/virtio_blk.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

// Feature bits (§5.2.3).
constexpr u64 kSegMax = bit(2), kGeometry = bit(4), kReadOnly = bit(5), kBlkSize = bit(6),
              kFlush = bit(9), kTopology = bit(10), kConfigWce = bit(11), kMultiQueue = bit(12),
              kDiscard = bit(13), kWriteZeroes = bit(14);

enum RequestType : u32 {
  kIn = 0,
  kOut = 1,
  kFlushCache = 4,
  kGetId = 8,
  kDiscardRange = 11,
  kZeroRange = 13
};
enum RequestStatus : u8 { kOk = 0, kIoError = 1, kUnsupported = 2 };

constexpr u64 kSector = 512;
constexpr u64 kHeaderSize = 16;
constexpr size_t kIdSize = 20;
constexpr u64 kPiece = MiB;
constexpr u64 kRangeSize = 16;
constexpr u32 kRangeUnmap = 1;
// Configuration layout (§5.2.4).
constexpr size_t kConfigSize = 60, kWceAt = 32;

}  // namespace

void VirtioBlkConfig::describe(PropertyVisitor& p) {
  p.field("serial", serial, "serial number, 20 characters");
  p.field("num-queues", num_queues, "how many queues requests may come in");
  p.field("queue-size", queue_size, "places in each queue, a power of two");
  p.field("seg-max-adjust", seg_max_adjust, "tell how many segments fit by the queue's size");
  p.field("write-cache", write_cache, "whether the disk begins with its write cache on");
  p.field("config-wce", config_wce, "let the driver switch the write cache");
  p.field("discard", discard, "offer to discard ranges");
  p.field("write-zeroes", write_zeroes, "offer to zero ranges");
  p.field("max-discard-sectors", max_discard_sectors, "longest range to discard");
  p.field("max-write-zeroes-sectors", max_write_zeroes_sectors, "longest range to zero");
  p.field("logical_block_size", logical_block_size, "smallest unit of a request, in bytes");
  p.field("physical_block_size", physical_block_size, "best unit of a write, in bytes");
  p.field("min_io_size", min_io_size, "smallest good request, in bytes; 0: not said");
  p.field("opt_io_size", opt_io_size, "best size of requests, in bytes; 0: not said");
  p.field("discard_granularity", discard_granularity, "unit of discarding, in bytes; 0: a block");
  p.field("cyls", cyls, "cylinders to tell; 0: from the size");
  p.field("heads", heads, "heads to tell");
  p.field("secs", secs, "sectors of a track to tell");
}

Result<void> VirtioBlkConfig::check() const {
  const auto block_size = [](u32 size) {
    return is_power_of_two(size) && size >= 512 && size <= 2 * MiB;
  };
  if (num_queues == 0 || num_queues > 1024)
    return fail(Errc::OutOfRange, "num-queues must be 1 to 1024, not {}", num_queues);
  if (!is_power_of_two(queue_size) || queue_size < 4 || queue_size > 1024)
    return fail(Errc::OutOfRange, "queue-size must be a power of two from 4 to 1024, not {}",
                queue_size);
  if (!block_size(logical_block_size) || !block_size(physical_block_size) ||
      physical_block_size < logical_block_size)
    return fail(Errc::OutOfRange,
                "logical_block_size={} and physical_block_size={} must be powers of two from 512 "
                "to 2 MiB, the second not below the first",
                logical_block_size, physical_block_size);
  if (min_io_size % logical_block_size != 0 || opt_io_size % logical_block_size != 0 ||
      discard_granularity % logical_block_size != 0)
    return fail(Errc::InvalidArgument,
                "min_io_size, opt_io_size and discard_granularity must be whole logical blocks");
  if (serial.size() > kIdSize)
    return fail(Errc::OutOfRange, "serial has {} characters, {} fit", serial.size(), kIdSize);
  if ((cyls != 0 || heads != 0 || secs != 0) &&
      (cyls == 0 || cyls > 65535 || heads == 0 || heads > 255 || secs == 0 || secs > 255))
    return fail(Errc::OutOfRange, "cyls={}, heads={}, secs={} are no geometry", cyls, heads, secs);
  return {};
}

struct VirtioBlk::Request {
  unsigned queue;
  VirtioChain chain = {};
  u32 type = 0;
  u64 sector = 0;
  u64 size = 0;  // bytes to move
  u64 done = 0;
  u64 piece = 0;  // in flight
  std::unique_ptr<std::byte[]> buffer = {};
};

VirtioBlk::VirtioBlk(Disk& disk, VirtioBlkConfig config)
    : VirtioDevice(kKind, std::vector<u16>(config.num_queues, config.queue_size), kConfigSize),
      config_(std::move(config)),
      disk_(disk),
      writeback_(config_.write_cache) {}

u64 VirtioBlk::device_features() const {
  u64 features = kSegMax | kGeometry | kBlkSize | kTopology;
  if (config_.write_cache || config_.config_wce) features |= kFlush;
  if (config_.config_wce) features |= kConfigWce;
  if (config_.num_queues > 1) features |= kMultiQueue;
  if (disk_.read_only()) return features | kReadOnly;
  if (config_.discard) features |= kDiscard;
  if (config_.write_zeroes) features |= kWriteZeroes;
  return features;
}

void VirtioBlk::fill_config(Bytes config) {
  const u64 sectors = disk_.size() / kSector;
  const u32 heads = config_.heads ? config_.heads : 16, secs = config_.secs ? config_.secs : 63;
  const u64 cyls = config_.cyls ? config_.cyls : std::min<u64>(sectors / (heads * secs), 16383);
  const auto put16 = [&](size_t at, u64 v) { store_le(config, at, static_cast<u16>(v)); };
  const auto put32 = [&](size_t at, u64 v) { store_le(config, at, static_cast<u32>(v)); };
  const u32 block = config_.logical_block_size;
  const u32 granularity = config_.discard_granularity ? config_.discard_granularity : block;
  store_le(config, 0, sectors);
  put32(12, config_.seg_max_adjust ? config_.queue_size - 2u : 126u);
  put16(16, cyls);
  config[18] = std::byte(heads);
  config[19] = std::byte(secs);
  put32(20, block);
  config[24] = std::byte(std::countr_zero(config_.physical_block_size / block));
  put16(26, config_.min_io_size / block);
  put32(28, config_.opt_io_size / block);
  config[kWceAt] = std::byte(writeback_);
  put16(34, config_.num_queues);
  put32(36, config_.max_discard_sectors);
  put32(40, 1);
  put32(44, granularity / kSector);
  put32(48, config_.max_write_zeroes_sectors);
  put32(52, 1);
  config[56] = std::byte(1);
}

void VirtioBlk::config_written(size_t offset, ConstBytes bytes) {
  if (!has(kConfigWce) || offset > kWceAt || offset + bytes.size() <= kWceAt) return;
  writeback_ = bytes[kWceAt - offset] != std::byte(0);
}

// §5.2.5.2: a driver that can neither switch the cache nor flush it has none.
void VirtioBlk::features_accepted() {
  if (!has(kConfigWce)) writeback_ = has(kFlush) && config_.write_cache;
}

void VirtioBlk::reset_device() { writeback_ = config_.write_cache; }

void VirtioBlk::drain(unsigned) { disk_.drain(); }

void VirtioBlk::describe_device(StateVisitor& v) { v.field("writeback", writeback_); }

void VirtioBlk::process(unsigned queue) {
  for (;;) {
    auto request = std::make_shared<Request>(Request{.queue = queue});
    if (!take(queue, request->chain)) return;
    start(std::move(request));
  }
}

void VirtioBlk::start(RequestPtr request) {
  const VirtioChain& chain = request->chain;
  std::array<std::byte, kHeaderSize> header{};
  if (chain.writable_size() < 1) return break_down("a request has no place for its status");
  if (!read_chain(chain, 0, header)) return;
  request->type = load_le<u32>(header, 0);
  request->sector = load_le<u64>(header, 8);
  switch (request->type) {
    case kIn:
    case kOut: return start_transfer(std::move(request));
    case kFlushCache: return submit(std::move(request), {.op = DiskOp::Flush});
    case kGetId: return send_id(std::move(request));
    case kDiscardRange:
    case kZeroRange: return start_range(std::move(request));
    default: return complete(*request, kUnsupported);
  }
}

bool VirtioBlk::on_disk(u64 sector, u64 bytes) const {
  const u64 block = config_.logical_block_size;
  const u64 sectors = disk_.size() / kSector;
  return bytes % block == 0 && sector % (block / kSector) == 0 && sector <= sectors &&
         bytes / kSector <= sectors - sector;
}

void VirtioBlk::start_transfer(RequestPtr request) {
  const bool reads = request->type == kIn;
  request->size =
      reads ? request->chain.writable_size() - 1 : request->chain.readable_size() - kHeaderSize;
  if (!on_disk(request->sector, request->size) || (!reads && disk_.read_only()))
    return complete(*request, kIoError);
  if (request->size == 0) return complete(*request, kOk);
  next_piece(std::move(request));
}

void VirtioBlk::next_piece(RequestPtr request) {
  Request& r = *request;
  r.piece = std::min(kPiece, r.size - r.done);
  if (!r.buffer) r.buffer = std::make_unique_for_overwrite<std::byte[]>(r.piece);
  const Bytes data(r.buffer.get(), r.piece);
  const bool reads = r.type == kIn;
  if (!reads && !read_chain(r.chain, kHeaderSize + r.done, data)) return;
  disk_.submit({.op = reads ? DiskOp::Read : DiskOp::Write,
                .offset = r.sector * kSector + r.done,
                .data = data,
                .fua = !reads && !writeback_,
                .done = [this, request = std::move(request)](Result<void> outcome) mutable {
                  piece_done(std::move(request), outcome);
                }});
}

void VirtioBlk::piece_done(RequestPtr request, const Result<void>& outcome) {
  Request& r = *request;
  if (broken()) return;
  const bool reads = r.type == kIn;
  if (!outcome) return complete(r, kIoError, reads ? static_cast<u32>(r.done) : 0);
  if (reads && !write_chain(r.chain, r.done, Bytes(r.buffer.get(), r.piece))) return;
  r.done += r.piece;
  if (r.done == r.size) return complete(r, kOk, reads ? static_cast<u32>(r.size) : 0);
  next_piece(std::move(request));
}

// §5.2.6.1: discard and write-zeroes name ranges; we offer one a request.
void VirtioBlk::start_range(RequestPtr request) {
  const bool zeroes = request->type == kZeroRange;
  const bool offered = zeroes ? config_.write_zeroes : config_.discard;
  if (!offered || disk_.read_only())
    return complete(*request, disk_.read_only() ? kIoError : kUnsupported);
  if (request->chain.readable_size() != kHeaderSize + kRangeSize)
    return complete(*request, kIoError);
  std::array<std::byte, kRangeSize> range{};
  if (!read_chain(request->chain, kHeaderSize, range)) return;
  const u64 sector = load_le<u64>(range, 0);
  const u32 sectors = load_le<u32>(range, 8), flags = load_le<u32>(range, 12);
  if (flags & ~(zeroes ? kRangeUnmap : 0)) return complete(*request, kUnsupported);
  const u32 limit = zeroes ? config_.max_write_zeroes_sectors : config_.max_discard_sectors;
  if (sectors > limit || !on_disk(sector, sectors * kSector)) return complete(*request, kIoError);
  if (sectors == 0) return complete(*request, kOk);
  submit(std::move(request), {.op = zeroes ? DiskOp::WriteZeroes : DiskOp::Discard,
                              .offset = sector * kSector,
                              .length = sectors * kSector,
                              .fua = zeroes && !writeback_,
                              .may_unmap = !zeroes || (flags & kRangeUnmap) != 0});
}

void VirtioBlk::submit(RequestPtr request, DiskRequest disk) {
  disk.done = [this, request = std::move(request)](const Result<void>& outcome) {
    complete(*request, outcome ? kOk : kIoError);
  };
  disk_.submit(std::move(disk));
}

void VirtioBlk::send_id(RequestPtr request) {
  std::array<std::byte, kIdSize> id{};
  std::memcpy(id.data(), config_.serial.data(), std::min(config_.serial.size(), id.size()));
  const u64 size = std::min<u64>(request->chain.writable_size() - 1, id.size());
  if (write_chain(request->chain, 0, ConstBytes(id).first(size)))
    complete(*request, kOk, static_cast<u32>(size));
}

void VirtioBlk::complete(Request& request, u8 status, u32 written) {
  if (broken()) return;
  const std::array<std::byte, 1> byte{std::byte(status)};
  if (!write_chain(request.chain, request.chain.writable_size() - 1, byte)) return;
  // The status is the last byte: all before it counts as written where data came.
  finish(request.queue, request.chain, written + 1);
}

}  // namespace menura
