#include "block/image_disk.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"

namespace menura {

namespace {

constexpr size_t kMostPlaces = 16;  // more pieces than this are a worker's

bool moves_bytes(DiskOp op) { return op == DiskOp::Read || op == DiskOp::Write; }

u64 length_of(const DiskRequest& request) {
  return moves_bytes(request.op) ? request.data.size() : request.length;
}

}  // namespace

ImageDisk::ImageDisk(const Wiring& wiring, Child image, Cache cache)
    : wiring_(wiring),
      image_(std::move(image)),
      cache_(cache),
      retry_(wiring.loop.host_time(), [this] { start_what_can(); }) {
  changed();
  image_->graph().add_user(*this);
}

void ImageDisk::changed() {
  unit_ = std::max<u64>(512, image_->image().info().cluster_size);
  throttles_.clear();
  if (limits_) throttles_.push_back(limits_.get());
  for (Node* at = &*image_; at && at->driver().kind == DriverKind::Filter; at = at->first_child())
    if (Throttle* throttle = at->image().throttle()) throttles_.push_back(throttle);
}

void ImageDisk::set_limits(std::shared_ptr<Throttle> limits) {
  // Those who wait now have counted what they were let through by.
  drain();
  limits_ = std::move(limits);
  changed();
}

// Waiting takes no thread: a timer tries again. Reads keep their order, and so do writes.
bool ImageDisk::admit(Requests::iterator request) {
  const DiskOp op = request->asked.op;
  if (draining_ || op == DiskOp::Flush) return true;
  const auto is_read = [](DiskOp one) { return one == DiskOp::Read; };
  for (auto other = requests_.begin(); other != request; ++other)
    if (!other->running && other->admitted < throttles_.size() &&
        other->asked.op != DiskOp::Flush && is_read(other->asked.op) == is_read(op))
      return false;
  const Throttle::Way way = is_read(op) ? Throttle::Way::Read : Throttle::Way::Write;
  while (request->admitted < throttles_.size()) {
    const auto delay = throttles_[request->admitted]->take(way, length_of(request->asked));
    if (delay > Throttle::Clock::duration{}) {
      const i64 ns = std::chrono::duration_cast<std::chrono::nanoseconds>(delay).count();
      const i64 when = wiring_.loop.host_time().now_ns() + ns;
      if (!retry_.armed() || retry_.deadline() > when) retry_.arm(when);
      return false;
    }
    request->admitted++;
  }
  return true;
}

ImageDisk::~ImageDisk() {
  drain();
  image_->graph().remove_user(*this);
}

Result<void> ImageDisk::check(const DiskRequest& request) const {
  const u64 length = length_of(request);
  if (request.op != DiskOp::Flush && (request.offset > size() || length > size() - request.offset))
    return fail(Errc::OutOfRange, "Access of {} bytes at {} on a disk of {} bytes", length,
                request.offset, size());
  if (request.op != DiskOp::Read && request.op != DiskOp::Flush && read_only())
    return fail(Errc::Permission, "The disk is read-only");
  return {};
}

void ImageDisk::submit(DiskRequest request) {
  if (cache_ == Cache::Writethrough) request.fua = true;
  const u64 begin = request.offset / unit_ * unit_;
  const u64 end = (request.offset + length_of(request) + unit_ - 1) / unit_ * unit_;
  const Result<void> allowed = check(request);
  requests_.push_back({std::move(request), begin, end});
  const auto mine = std::prev(requests_.end());
  if (!allowed) {
    mine->running = true;
    mine->outcome = allowed.error();
    // Through the loop, as every other end.
    return wiring_.pool.submit([] {}, [this, mine] { finish(mine); });
  }
  start(mine);
}

// Overlapping requests keep their order. A direct transfer knows where its bytes lie: no worker may
// move or free their clusters meanwhile. Workers look for themselves, and images keep them apart.
bool ImageDisk::blocked(Requests::iterator request, Way way) const {
  const DiskRequest& mine = request->asked;
  if (mine.op == DiskOp::Flush) return false;
  for (auto other = requests_.begin(); other != Requests::const_iterator(request); ++other) {
    const DiskRequest& theirs = other->asked;
    if (theirs.op == DiskOp::Flush || other->begin >= request->end || request->begin >= other->end)
      continue;
    if (theirs.op == DiskOp::Read && mine.op == DiskOp::Read) continue;
    const bool bytes_overlap = theirs.offset < mine.offset + length_of(mine) &&
                               mine.offset < theirs.offset + length_of(theirs);
    if (bytes_overlap) return true;
    const bool worker_writes = (way == Way::Worker && mine.op != DiskOp::Read) ||
                               (other->way == Way::Worker && theirs.op != DiskOp::Read);
    if (other->running && other->way != way && worker_writes) return true;
  }
  return false;
}

void ImageDisk::start_what_can() {
  for (auto at = requests_.begin(); at != requests_.end(); ++at)
    if (!at->running) start(at);
}

std::vector<Direct> ImageDisk::places_of(const DiskRequest& request) {
  std::vector<Direct> places;
  if (!moves_bytes(request.op) || request.data.empty()) return places;
  u64 at = request.offset;
  const u64 end = at + request.data.size();
  while (at < end) {
    std::optional<Direct> place = image_->peek(at, end - at);
    if (!place || places.size() == kMostPlaces) return {};
    place->length = std::min(place->length, end - at);
    const bool writes = request.op == DiskOp::Write;
    if (writes && (!place->writable || place->kind == Direct::Kind::Zero)) return {};
    const u64 bits = place->offset | place->length |
                     reinterpret_cast<uintptr_t>(request.data.data() + (at - request.offset));
    if (place->kind == Direct::Kind::File && (bits & (place->alignment - 1))) return {};
    places.push_back(*place);
    at += place->length;
  }
  return places;
}

// Unless it must wait for an earlier one.
void ImageDisk::start(Requests::iterator request) {
  if (!admit(request)) return;
  const std::vector<Direct> places = places_of(request->asked);
  const Way way = places.empty() ? Way::Worker : Way::Direct;
  if (blocked(request, way)) return;
  request->running = true;
  request->way = way;
  if (way == Way::Direct) return move_directly(request, places);
  wiring_.pool.submit(
      [this, request] {
        const Graph::Pass pass(image_->graph());
        const Throttle::Taken taken(throttles_);
        request->outcome = perform(*image_, request->asked);
      },
      [this, request] { finish(request); });
}

void ImageDisk::move_directly(Requests::iterator request, const std::vector<Direct>& places) {
  const DiskRequest& asked = request->asked;
  request->parts = 1;  // ours, until all are submitted
  size_t at = 0;
  const auto part_done = [this, request](Result<void> outcome) {
    if (!outcome && request->outcome) request->outcome = std::move(outcome.error());
    if (--request->parts == 0) finish(request);
  };
  for (const Direct& place : places) {
    const Bytes part = asked.data.subspan(at, static_cast<size_t>(place.length));
    at += part.size();
    if (place.kind == Direct::Kind::Zero) {
      std::memset(part.data(), 0, part.size());
      continue;
    }
    request->parts++;
    wiring_.engine.submit({.op = asked.op == DiskOp::Read ? IoOp::Read : IoOp::Write,
                           .fd = place.fd,
                           .offset = place.offset,
                           .buffers = {iovec_of(part)},
                           .durable = asked.fua,
                           .done = part_done});
  }
  if (request->parts > 1) {
    request->parts--;
    return;
  }
  wiring_.pool.submit([] {}, [part_done] { part_done({}); });
}

Result<void> ImageDisk::perform(Node& node, const DiskRequest& request) {
  switch (request.op) {
    case DiskOp::Read: return node.read(request.offset, request.data);
    case DiskOp::Write: return node.write(request.offset, request.data, {.fua = request.fua});
    case DiskOp::Flush: return node.flush();
    case DiskOp::Discard: return node.discard(request.offset, request.length);
    case DiskOp::WriteZeroes:
      return node.zero(request.offset, request.length,
                       {.fua = request.fua, .may_unmap = request.may_unmap});
  }
  unreachable();
}

void ImageDisk::finish(Requests::iterator request) {
  count(request->asked, request->outcome.ok());
  auto done = std::move(request->asked.done);
  Result<void> outcome = std::move(request->outcome);
  requests_.erase(request);
  start_what_can();
  done(std::move(outcome));
}

void ImageDisk::count(const DiskRequest& request, bool ok) {
  DiskStatistics& s = statistics_;
  switch (request.op) {
    case DiskOp::Read:
      if (!ok)
        s.failed_reads++;
      else
        s.reads++, s.read_bytes += request.data.size();
      return;
    case DiskOp::Write:
    case DiskOp::WriteZeroes:
      if (!ok)
        s.failed_writes++;
      else
        s.writes++, s.written_bytes += length_of(request);
      s.highest_offset = std::max(s.highest_offset, request.offset + length_of(request));
      return;
    case DiskOp::Flush: (ok ? s.flushes : s.failed_flushes)++; return;
    case DiskOp::Discard:
      if (!ok)
        s.failed_unmaps++;
      else
        s.unmaps++, s.unmapped_bytes += request.length;
      return;
  }
}

void ImageDisk::drain() {
  draining_++;
  start_what_can();
  wiring_.loop.complete_until([this] { return requests_.empty(); });
  draining_--;
}

}  // namespace menura
