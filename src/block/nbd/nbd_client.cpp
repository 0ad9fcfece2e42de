#include "block/nbd/nbd_client.h"

#include <algorithm>
#include <cstring>

namespace menura {

namespace {

constexpr u32 kLargestStatus = 8 * MiB;  // a million extents
constexpr u32 kLongestErrorChunk = 64 * KiB;

Error nonsense(std::string_view what) {
  return fail(Errc::Corrupt, "The NBD server breaks the protocol: {}", what);
}

std::string_view verb(NbdCommand command) {
  switch (command) {
    case NbdCommand::Read: return "read";
    case NbdCommand::Write: return "write";
    case NbdCommand::Flush: return "flush";
    case NbdCommand::Trim: return "trim";
    case NbdCommand::Cache: return "cache";
    case NbdCommand::WriteZeroes: return "zero";
    case NbdCommand::BlockStatus: return "map";
    case NbdCommand::Disconnect: break;
  }
  return "do it";
}

}  // namespace

Result<std::unique_ptr<NbdClient>> NbdClient::connect(const NbdTarget& target,
                                                      NbdStream::Clock::time_point deadline) {
  auto stream = std::make_unique<NbdStream>(TRY(NbdStream::connect(target.place, deadline)));
  stream->set_deadline(deadline);
  NbdExportInfo info = TRY(choose_nbd_export(*stream, target));
  stream->set_deadline({});
  return std::make_unique<NbdClient>(std::move(stream), std::move(info));
}

NbdClient::NbdClient(std::unique_ptr<NbdStream> stream, NbdExportInfo info)
    : info_(std::move(info)), stream_(std::move(stream)) {}

NbdClient::~NbdClient() {
  if (!lost_) {
    NbdRequest leave;
    leave.command = NbdCommand::Disconnect;
    stream_->set_deadline(NbdStream::Clock::now() + std::chrono::seconds(1));
    (void)stream_->write({leave.encode()}).ok();
  }
  stream_->shut();
}

Result<void> NbdClient::read(u64 offset, Bytes to) {
  Waiting mine;
  mine.request = {0, NbdCommand::Read, 0, offset, static_cast<u32>(to.size())};
  mine.to = to;
  return transact(mine, {});
}

Result<void> NbdClient::write(u64 offset, ConstBytes from, u16 flags) {
  Waiting mine;
  mine.request = {flags, NbdCommand::Write, 0, offset, static_cast<u32>(from.size())};
  return transact(mine, from);
}

Result<void> NbdClient::command(NbdCommand command, u16 flags, u64 offset, u32 length) {
  Waiting mine;
  mine.request = {flags, command, 0, offset, length};
  return transact(mine, {});
}

Result<NbdClient::Extent> NbdClient::status(u64 offset, u32 length) {
  Waiting mine;
  mine.request = {kNbdReqOne, NbdCommand::BlockStatus, 0, offset, length};
  TRY(transact(mine, {}));
  return *mine.extent;
}

Result<void> NbdClient::transact(Waiting& mine, ConstBytes payload) {
  {
    const std::lock_guard guard(mutex_);
    if (reason_) return *reason_;
    mine.request.cookie = next_cookie_++;
    waiting_.emplace(mine.request.cookie, &mine);
  }
  {
    const std::lock_guard guard(sending_);
    // Whoever reads sees the end, and tells all.
    if (!stream_->write({mine.request.encode(), payload})) stream_->shut();
  }
  return wait(mine);
}

Result<void> NbdClient::wait(Waiting& mine) {
  std::unique_lock guard(mutex_);
  while (!mine.over) {
    if (reading_) {
      mine.asleep = true;
      mine.changed.wait(guard);
      mine.asleep = false;
      continue;
    }
    reading_ = true;
    guard.unlock();
    const Result<void> got = read_reply();
    guard.lock();
    reading_ = false;
    if (!got) give_up(got.error());
  }
  if (!reading_) hand_on_reading();
  if (mine.refused) return std::move(*mine.refused);
  return {};
}

// To one who has sent all of its request: the server may not take the rest of the others' before
// its replies are read. Under mutex_.
void NbdClient::hand_on_reading() {
  const auto next =
      std::ranges::find_if(waiting_, [](const auto& entry) { return entry.second->asleep; });
  if (next != waiting_.end()) next->second->changed.notify_one();
}

// Everybody's request is lost. Under mutex_.
void NbdClient::give_up(const Error& reason) {
  stream_->shut();
  if (!reason_)
    reason_ = fail(Errc::Cancelled, "The connection to the NBD server is lost: {}", reason.text);
  lost_ = true;
  for (const auto& [cookie, asked] : waiting_) {
    asked->refused = *reason_;
    asked->over = true;
    asked->changed.notify_one();
  }
  waiting_.clear();
}

Result<NbdClient::Waiting*> NbdClient::find(u64 cookie) {
  const std::lock_guard guard(mutex_);
  const auto found = waiting_.find(cookie);
  if (found == waiting_.end()) return nonsense("it answers what was not asked");
  return found->second;
}

void NbdClient::finish(Waiting& asked) {
  const std::lock_guard guard(mutex_);
  waiting_.erase(asked.request.cookie);
  asked.over = true;
  asked.changed.notify_one();
}

Result<void> NbdClient::read_reply() {
  std::array<std::byte, 4> magic;
  TRY(stream_->read(magic));
  switch (load_be<u32>(magic)) {
    case kNbdSimpleReplyMagic: return simple_reply();
    case kNbdStructuredReplyMagic:
      return info_.structured ? structured_reply() : nonsense("a structured reply was not agreed");
    default: return nonsense("a reply begins with an unknown number");
  }
}

Result<void> NbdClient::simple_reply() {
  std::array<std::byte, NbdSimpleReply::kSize - 4> rest;
  TRY(stream_->read(rest));
  const u32 error = load_be<u32>(rest, 0);
  Waiting& asked = *TRY(find(load_be<u64>(rest, 4)));
  const NbdRequest& request = asked.request;
  if (error != 0)
    asked.refused =
        error_of_nbd(error, format("The NBD server could not {} {} bytes at {}",
                                   verb(request.command), request.length, request.offset));
  else if (info_.structured && request.command == NbdCommand::Read)
    return nonsense("a read has a simple reply");
  else if (request.command == NbdCommand::BlockStatus)
    return nonsense("a block status has a simple reply");
  else
    TRY(stream_->read(asked.to));
  finish(asked);
  return {};
}

Result<void> NbdClient::structured_reply() {
  std::array<std::byte, NbdChunkHeader::kSize - 4> rest;
  TRY(stream_->read(rest));
  const u16 flags = load_be<u16>(rest, 0);
  const NbdChunk type{load_be<u16>(rest, 2)};
  Waiting& asked = *TRY(find(load_be<u64>(rest, 4)));
  TRY(chunk(asked, type, load_be<u32>(rest, 12)));
  if (!(flags & kNbdChunkDone)) return {};
  const NbdRequest& request = asked.request;
  if (!asked.refused) {
    if (request.command == NbdCommand::Read && !asked.seen.is(request.offset, request.length))
      return nonsense("a read ends before all has come");
    if (request.command == NbdCommand::BlockStatus && !asked.extent)
      return nonsense("a block status ends without an extent");
  }
  finish(asked);
  return {};
}

Result<void> NbdClient::chunk(Waiting& asked, NbdChunk type, u32 length) {
  switch (type) {
    case NbdChunk::None:
      if (length != 0) return nonsense("an empty chunk has a length");
      return {};
    case NbdChunk::OffsetData: return data_chunk(asked, length);
    case NbdChunk::OffsetHole: return hole_chunk(asked, length);
    case NbdChunk::BlockStatus: return status_chunk(asked, length);
    case NbdChunk::Error:
    case NbdChunk::ErrorOffset: return error_chunk(asked, type, length);
  }
  if (!is_error(type)) return nonsense("a chunk of unknown type");
  return error_chunk(asked, type, length);
}

Result<void> NbdClient::data_chunk(Waiting& asked, u32 length) {
  const NbdRequest& request = asked.request;
  std::array<std::byte, 8> head;
  if (request.command != NbdCommand::Read || length <= head.size())
    return nonsense("data where none is due");
  TRY(stream_->read(head));
  const u64 offset = load_be<u64>(head);
  const u32 size = length - static_cast<u32>(head.size());
  const u64 from = offset - request.offset;
  if (offset < request.offset || from > request.length || size > request.length - from)
    return nonsense("data beyond what was asked");
  if (!asked.seen.add(offset, size)) return nonsense("the same bytes twice");
  return stream_->read(asked.to.subspan(static_cast<size_t>(from), size));
}

Result<void> NbdClient::hole_chunk(Waiting& asked, u32 length) {
  const NbdRequest& request = asked.request;
  std::array<std::byte, 12> head;
  if (request.command != NbdCommand::Read || length != head.size())
    return nonsense("a hole where none is due");
  TRY(stream_->read(head));
  const u64 offset = load_be<u64>(head, 0);
  const u32 size = load_be<u32>(head, 8);
  const u64 from = offset - request.offset;
  if (offset < request.offset || from > request.length || size > request.length - from || size == 0)
    return nonsense("a hole beyond what was asked");
  if (!asked.seen.add(offset, size)) return nonsense("the same bytes twice");
  std::memset(asked.to.data() + from, 0, size);
  return {};
}

Result<void> NbdClient::status_chunk(Waiting& asked, u32 length) {
  if (asked.request.command != NbdCommand::BlockStatus || length < 12 || length % 8 != 4 ||
      length > kLargestStatus)
    return nonsense("a block status of a wrong length");
  std::array<std::byte, 12> head;
  TRY(stream_->read(head));
  TRY(stream_->skip(length - head.size()));
  if (info_.contexts.empty() || load_be<u32>(head, 0) != info_.contexts[0].first)
    return nonsense("a block status of another context");
  // It may reach beyond what was asked.
  const u32 extent = std::min(load_be<u32>(head, 4), asked.request.length);
  if (extent == 0) return nonsense("an extent of no length");
  if (asked.extent) return nonsense("two block statuses of one context");
  asked.extent = Extent{extent, load_be<u32>(head, 8)};
  return {};
}

Result<void> NbdClient::error_chunk(Waiting& asked, NbdChunk type, u32 length) {
  const bool known = type == NbdChunk::Error || type == NbdChunk::ErrorOffset;
  const size_t tail = type == NbdChunk::ErrorOffset ? 8 : 0;
  if (length > kLongestErrorChunk || (known && length < 6 + tail))
    return nonsense("an error of a wrong length");
  std::vector<std::byte> content(length);
  TRY(stream_->read(content));
  u32 number = kNbdEio;
  std::string text;
  if (known) {
    NbdReader reader(content);
    number = TRY(reader.take<u32>());
    const u16 size = TRY(reader.take<u16>());
    if (number == 0 || size > kNbdLongestString || size + tail != reader.left())
      return nonsense("an error that does not add up");
    text = TRY(reader.text(size));
  }
  std::string what =
      format("The NBD server could not {} {} bytes at {}", verb(asked.request.command),
             asked.request.length, asked.request.offset);
  if (!text.empty()) what += format(" (\"{}\")", text.substr(0, 200));
  if (!asked.refused) asked.refused = error_of_nbd(number, std::move(what));
  return {};
}

}  // namespace menura
