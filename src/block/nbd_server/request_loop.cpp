#include "block/nbd_server/request_loop.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>

#include "base/log.h"
#include "block/core/graph.h"
#include "event/signals.h"

namespace menura {

namespace {

constexpr size_t kKeptBuffer = 256 * KiB;
// Reads of at least this much look where the image has holes, and skip them.
constexpr u32 kSparseRead = 32 * KiB;
constexpr unsigned kMostPieces = 64;
constexpr size_t kMostExtents = 16'384;
constexpr u64 kCacheChunk = 1 * MiB;
constexpr size_t kLongestErrorText = 1024;

bool changes(NbdCommand command) {
  return command == NbdCommand::Write || command == NbdCommand::Trim ||
         command == NbdCommand::WriteZeroes;
}

// The flags that a command may carry beside FUA, which any command may.
u16 flags_of(NbdCommand command) {
  switch (command) {
    case NbdCommand::Read: return kNbdDontFragment;
    case NbdCommand::WriteZeroes: return kNbdNoHole | kNbdFastZero;
    case NbdCommand::BlockStatus: return kNbdReqOne;
    default: return 0;
  }
}

bool is_known(NbdCommand command) { return command <= NbdCommand::BlockStatus; }

}  // namespace

NbdRequestLoop::NbdRequestLoop(NbdStream& stream, NbdAgreement agreement,
                               const NbdRequestLimits& limits)
    : limits_(limits), stream_(stream), agreed_(std::move(agreement)), export_(*agreed_.exported) {}

NbdRequestLoop::~NbdRequestLoop() { ensure(threads_.empty(), "run() has ended"); }

void NbdRequestLoop::run() {
  serve();
  // Nobody starts another one now: over_ is set.
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void NbdRequestLoop::serve() {
  Job job;
  while (next(job)) {
    if (job.allowed)
      perform(job);
    else
      answer(job.request, job.allowed);
    release(job);
    job.buffer.trim(kKeptBuffer);
  }
}

void NbdRequestLoop::start_thread() {
  try {
    threads_.emplace_back([this] {
      leave_signals_to_main_thread();
      ::pthread_setname_np(::pthread_self(), "nbd request");
      serve();
    });
  } catch (const std::system_error&) {
    // The host has no more threads for us: those there are do the work.
  }
}

// The next request, with its payload; false: there will be none.
bool NbdRequestLoop::next(Job& job) {
  {
    const std::lock_guard guard(room_);
    idle_++;
  }
  const std::lock_guard turn(turn_);
  const bool got = !over_ && receive(job);
  over_ = over_ || !got;
  bool alone = false;
  {
    const std::lock_guard guard(room_);
    alone = --idle_ == 0;
  }
  if (got && alone && threads_.size() + 1 < limits_.threads) start_thread();
  return got;
}

bool NbdRequestLoop::receive(Job& job) {
  std::array<std::byte, NbdRequest::kSize> header;
  if (!stream_.read(header)) return false;
  const Result<NbdRequest> request = NbdRequest::decode(header);
  if (!request || request->command == NbdCommand::Disconnect) return false;
  job.request = *request;
  job.allowed = check(*request);
  const bool has_payload = request->command == NbdCommand::Write;
  if (has_payload && request->length > kNbdLargestRequest) return false;
  const bool wants_room = has_payload || (job.allowed && request->command == NbdCommand::Read);
  if (!wants_room) return true;
  reserve(job, request->length);
  if (const Result<void> got = job.buffer.resize(request->length); !got) {
    job.allowed = got;
    return !has_payload || stream_.skip(request->length).ok();
  }
  return !has_payload || stream_.read(job.buffer.bytes()).ok();
}

void NbdRequestLoop::reserve(Job& job, u64 bytes) {
  std::unique_lock guard(room_);
  more_room_.wait(guard, [&] { return under_way_ == 0 || under_way_ + bytes <= limits_.bytes; });
  under_way_ += bytes;
  job.reserved = bytes;
}

void NbdRequestLoop::release(Job& job) {
  if (job.reserved == 0) return;
  {
    const std::lock_guard guard(room_);
    under_way_ -= std::exchange(job.reserved, 0);
  }
  more_room_.notify_one();
}

Result<void> NbdRequestLoop::check(const NbdRequest& request) const {
  if (!is_known(request.command))
    return fail(Errc::InvalidArgument, "there is no command {}", static_cast<u32>(request.command));
  if (request.flags & ~(kNbdFua | flags_of(request.command)))
    return fail(Errc::InvalidArgument, "the flags {:#x} do not go with this command",
                request.flags);
  if (changes(request.command) && !export_.options().writable)
    return fail(Errc::Permission, "this export is read-only");
  if (request.command == NbdCommand::Flush) return {};
  if (request.offset > export_.size() || request.length > export_.size() - request.offset)
    return fail(changes(request.command) ? Errc::NoSpace : Errc::OutOfRange,
                "{} bytes at {} reach beyond the export's {}", request.length, request.offset,
                export_.size());
  if (request.command == NbdCommand::Read && request.length > kNbdLargestRequest)
    return fail(Errc::InvalidArgument, "{} bytes are more than one request may ask for",
                request.length);
  if (request.command == NbdCommand::BlockStatus &&
      (request.length == 0 || agreed_.contexts.empty()))
    return fail(Errc::InvalidArgument, "a status is asked of nothing");
  return {};
}

void NbdRequestLoop::perform(Job& job) {
  switch (job.request.command) {
    case NbdCommand::Read: return read(job);
    case NbdCommand::BlockStatus: return status(job);
    case NbdCommand::Cache: return answer(job.request, warm(job));
    default: return answer(job.request, change(job));
  }
}

Result<void> NbdRequestLoop::change(const Job& job) {
  Node& node = export_.node();
  const NbdRequest& request = job.request;
  const Graph::Pass pass(node.graph());
  const bool fua = (request.flags & kNbdFua) || export_.options().writethrough;
  switch (request.command) {
    case NbdCommand::Write: return node.write(request.offset, job.buffer.bytes(), {.fua = fua});
    case NbdCommand::WriteZeroes:
      return node.zero(request.offset, request.length,
                       {.fua = fua,
                        .may_unmap = !(request.flags & kNbdNoHole),
                        .no_fallback = (request.flags & kNbdFastZero) != 0});
    case NbdCommand::Trim:
      TRY(node.discard(request.offset, request.length));
      return fua ? node.flush() : Result<void>();
    default: return node.flush();
  }
}

// NBD_CMD_CACHE: what is read once is in the host's cache.
Result<void> NbdRequestLoop::warm(Job& job) {
  TRY(job.buffer.resize(static_cast<size_t>(std::min<u64>(job.request.length, kCacheChunk))));
  u64 at = job.request.offset;
  for (u64 left = job.request.length; left > 0;) {
    const Graph::Pass pass(export_.node().graph());
    const size_t here = static_cast<size_t>(std::min<u64>(left, kCacheChunk));
    TRY(export_.node().read(at, job.buffer.bytes().first(here)));
    at += here, left -= here;
  }
  return {};
}

void NbdRequestLoop::read(Job& job) {
  const NbdRequest& request = job.request;
  const bool whole = (request.flags & kNbdDontFragment) || request.length < kSparseRead;
  if (agreed_.structured && !whole) return read_pieces(job);
  Result<void> done;
  {
    const Graph::Pass pass(export_.node().graph());
    done = export_.node().read(request.offset, job.buffer.bytes());
  }
  if (!done || request.length == 0) return answer(request, done);
  if (!agreed_.structured)
    return send({NbdSimpleReply{0, request.cookie}.encode(), job.buffer.bytes()});
  std::array<std::byte, 8> offset;
  store_be<u64>(offset, 0, request.offset);
  chunk(request, NbdChunk::OffsetData, kNbdChunkDone, offset, job.buffer.bytes());
}

// A large read: holes are told, not sent.
void NbdRequestLoop::read_pieces(Job& job) {
  const NbdRequest& request = job.request;
  Node& node = export_.node();
  u64 at = request.offset;
  const u64 end = at + request.length;
  for (unsigned pieces = 0; at < end; pieces++) {
    u64 length = end - at;
    bool hole = false;
    const Bytes rest = job.buffer.bytes().subspan(static_cast<size_t>(at - request.offset));
    Result<void> done;
    {
      const Graph::Pass pass(node.graph());
      if (pieces < kMostPieces) {
        // If this fails, so will the read, and better.
        const Result<std::vector<NbdExtent>> found =
            export_.status(0, at, static_cast<u32>(length), 1);
        if (found) length = found->front().length, hole = found->front().flags & kNbdZero;
      }
      if (!hole) done = node.read(at, rest.first(static_cast<size_t>(length)));
    }
    if (!done) return answer_error(request, done.error());
    const u16 flags = at + length == end ? kNbdChunkDone : 0;
    NbdWriter head;
    head.add(at);
    if (hole)
      chunk(request, NbdChunk::OffsetHole, flags, head.add(static_cast<u32>(length)).bytes());
    else
      chunk(request, NbdChunk::OffsetData, flags, head.bytes(),
            rest.first(static_cast<size_t>(length)));
    at += length;
  }
}

void NbdRequestLoop::status(const Job& job) {
  const NbdRequest& request = job.request;
  const size_t most = request.flags & kNbdReqOne ? 1 : kMostExtents;
  for (size_t i = 0; i < agreed_.contexts.size(); i++) {
    Result<std::vector<NbdExtent>> found = [&] {
      const Graph::Pass pass(export_.node().graph());
      return export_.status(agreed_.contexts[i], request.offset, request.length, most);
    }();
    if (!found) return answer_error(request, found.error());
    NbdWriter writer;
    writer.add(agreed_.contexts[i]);
    for (const NbdExtent& extent : *found) writer.add(extent.length).add(extent.flags);
    const bool last = i + 1 == agreed_.contexts.size();
    chunk(request, NbdChunk::BlockStatus, last ? kNbdChunkDone : 0, writer.bytes());
  }
}

// --- Replies

void NbdRequestLoop::answer(const NbdRequest& request, const Result<void>& outcome) {
  if (!outcome) return answer_error(request, outcome.error());
  if (agreed_.structured && request.command == NbdCommand::Read)
    return chunk(request, NbdChunk::None, kNbdChunkDone, {});
  send({NbdSimpleReply{0, request.cookie}.encode()});
}

void NbdRequestLoop::answer_error(const NbdRequest& request, const Error& error) {
  u32 number = nbd_error_of(error);
  // ENOTSUP has a meaning for fast zeroing alone.
  if (number == kNbdEnotsup && !(request.flags & kNbdFastZero)) number = kNbdEinval;
  if (!agreed_.structured) return send({NbdSimpleReply{number, request.cookie}.encode()});
  const std::string text = error.text.substr(0, kLongestErrorText);
  NbdWriter writer;
  writer.add(number).add(static_cast<u16>(text.size())).text(text);
  chunk(request, NbdChunk::Error, kNbdChunkDone, writer.bytes());
}

void NbdRequestLoop::chunk(const NbdRequest& request, NbdChunk type, u16 flags, ConstBytes head,
                           ConstBytes payload) {
  const u32 length = static_cast<u32>(head.size() + payload.size());
  send({NbdChunkHeader{flags, type, request.cookie, length}.encode(), head, payload});
}

void NbdRequestLoop::send(std::initializer_list<ConstBytes> parts) {
  const std::lock_guard guard(sending_);
  // The reader ends, and with it the connection.
  if (!stream_.write(parts)) stream_.shut();
}

}  // namespace menura
