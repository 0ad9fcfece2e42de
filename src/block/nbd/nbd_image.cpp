#include "block/nbd/nbd_image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "block/core/graph.h"

namespace menura {

namespace {

using std::chrono::seconds;

constexpr std::string_view kPrefixes[] = {"nbd", "nbd+tcp", "nbd+unix"};
constexpr seconds kOneAttempt{10};  // for connection and negotiation together
constexpr seconds kBetweenAttempts{1};
constexpr unsigned kMostRepeats = 10;        // of a request that every connection breaks at
constexpr u64 kLargestPlainRange = 1 * GiB;  // of requests without payload
constexpr u64 kFirstSector = 512;

Result<NbdServerAddress> server_of(const NbdImageConfig& config) {
  const bool old_words = !config.host.empty() || !config.port.empty() || !config.path.empty();
  if (config.server && old_words)
    return fail(Errc::InvalidArgument,
                "driver 'nbd': 'server' says where: no 'host', 'port' or "
                "'path' beside it");
  if (config.server) return *config.server;
  NbdServerAddress address;
  if (!config.path.empty()) {
    if (!config.host.empty() || !config.port.empty())
      return fail(Errc::InvalidArgument, "driver 'nbd': either 'path' or 'host' and 'port'");
    address.type = NbdServerAddress::Type::Unix;
    address.path = config.path;
    return address;
  }
  if (config.host.empty())
    return fail(Errc::InvalidArgument, "driver 'nbd' needs 'server', the address of one");
  address.host = config.host;
  address.port = config.port.empty() ? kNbdPort : config.port;
  return address;
}

}  // namespace

void NbdImageConfig::describe(PropertyVisitor& p) {
  p.field("server", server, "where the server is");
  p.field("export", export_name, "the name of its export");
  p.field("tls-creds", tls_creds, "object with credentials: TLS or nothing");
  p.field("tls-hostname", tls_hostname, "whose certificate to expect (the server's host)");
  p.field("reconnect-delay", reconnect_delay,
          "seconds for which requests wait for a lost server (0: they fail)");
  p.field("open-timeout", open_timeout, "seconds to try the first connection for (0: one attempt)");
  p.field("host", host, "the server's host, the old way");
  p.field("port", port, "the server's port, the old way");
  p.field("path", path, "the server's UNIX domain socket, the old way");
}

Result<std::unique_ptr<Image>> NbdImage::open(OpenContext& context) {
  NbdImageConfig config = TRY(context.options<NbdImageConfig>());
  NbdServerAddress address = TRY(server_of(config));
  NbdTarget target{.place = TRY(address.place()), .export_name = config.export_name};
  if (target.export_name.size() > kNbdLongestString)
    return fail(Errc::InvalidArgument, "An NBD export's name has at most {} bytes",
                kNbdLongestString);
  if (!config.tls_creds.empty()) {
    target.tls = TRY(context.graph().tls_credentials(config.tls_creds), "tls-creds");
    TRY(target.tls->check_endpoint(TlsEndpoint::Client), "tls-creds={}", config.tls_creds);
    target.tls_hostname = config.tls_hostname.empty() ? address.host : config.tls_hostname;
  } else if (!config.tls_hostname.empty()) {
    return fail(Errc::InvalidArgument, "tls-hostname is nothing without tls-creds");
  }
  std::unique_ptr<NbdImage> image(
      new NbdImage(std::move(config), std::move(address), std::move(target)));
  TRY(image->first_connection());
  if (!context.read_only() && image->info_.can(kNbdReadOnly))
    TRY(context.fall_back_to_read_only(
        fail(Errc::Permission, "The server's export '{}' is read-only", image->filename())));
  return std::unique_ptr<Image>(std::move(image));
}

// --- Connections

Result<void> NbdImage::first_connection() {
  const Clock::time_point until = Clock::now() + seconds(config_.open_timeout);
  for (;;) {
    Result<std::unique_ptr<NbdClient>> client =
        NbdClient::connect(target_, Clock::now() + kOneAttempt);
    if (client) {
      client_ = std::move(client).value();
      info_ = client_->info();
      return {};
    }
    // What the server says will not change by asking again.
    const Errc code = client.error().code;
    const bool hopeless = code == Errc::NotFound || code == Errc::Permission ||
                          code == Errc::InvalidArgument || code == Errc::Corrupt;
    const bool refused_connection = client.error().os_errno != 0;
    if ((hopeless && !refused_connection) || Clock::now() + kBetweenAttempts > until)
      return std::move(client.error());
    std::this_thread::sleep_for(kBetweenAttempts);
  }
}

Result<std::shared_ptr<NbdClient>> NbdImage::connected() {
  const std::lock_guard guard(connecting_);
  if (client_ && !client_->lost()) return client_;
  if (!lost_since_) {
    lost_since_ = Clock::now();
    log_warning("NBD: the connection to {} is lost", filename());
  }
  const Clock::time_point until = *lost_since_ + seconds(config_.reconnect_delay);
  for (;;) {
    const Clock::time_point now = Clock::now();
    if (!last_attempt_ || now - *last_attempt_ >= kBetweenAttempts) {
      last_attempt_ = now;
      Result<std::shared_ptr<NbdClient>> again = connect_again();
      if (again || Clock::now() >= until) return again;
      log_info("NBD: connecting to {} again: {}", filename(), again.error().text);
    } else if (now >= until) {
      return fail(Errc::Io, "The NBD server at {} is lost", filename());
    }
    std::this_thread::sleep_for(std::min<Clock::duration>(kBetweenAttempts, until - now));
  }
}

Result<std::shared_ptr<NbdClient>> NbdImage::connect_again() {
  std::shared_ptr<NbdClient> client = TRY(NbdClient::connect(target_, Clock::now() + kOneAttempt),
                                          "Connecting to the NBD server again");
  const NbdExportInfo& now = client->info();
  const bool worse = now.size != info_.size || (info_.flags & ~now.flags) ||
                     (now.can(kNbdReadOnly) && !info_.can(kNbdReadOnly)) ||
                     now.contexts.size() < info_.contexts.size() ||
                     now.minimum_block > info_.minimum_block ||
                     now.largest_request < info_.largest_request;
  if (worse)
    return fail(Errc::Io, "The NBD server at {} has come back with another export", filename());
  log_warning("NBD: connected to {} again", filename());
  client_ = client;
  lost_since_.reset();
  return client;
}

template <class Request>
auto NbdImage::with_client(const Request& request) {
  for (unsigned repeats = 0;; repeats++) {
    Result<std::shared_ptr<NbdClient>> client = connected();
    using Outcome = decltype(request(**client));
    if (!client) return Outcome(std::move(client.error()));
    Outcome outcome = request(**client);
    const bool lost = !outcome && outcome.error().code == Errc::Cancelled;
    if (!lost || config_.reconnect_delay == 0 || repeats == kMostRepeats) return outcome;
  }
}

// --- Ranges as the server takes them

// The most payload for one request.
u64 NbdImage::piece() const {
  const u64 most = std::min<u64>(info_.largest_request, kNbdLargestRequest);
  return most / info_.minimum_block * info_.minimum_block;
}

bool NbdImage::aligned(u64 offset, u64 length) const {
  // The end of an export of an odd size is reached all the same.
  const bool end = offset + length == info_.size;
  return offset % info_.minimum_block == 0 && (end || length % info_.minimum_block == 0);
}

Result<Extent> NbdImage::map(u64 offset, u64 length) {
  if (info_.contexts.empty()) return Extent{ExtentKind::Data, length, this, offset};
  const u64 block = info_.minimum_block;
  const u64 begin = offset / block * block;
  const u64 wanted = std::min(kLargestPlainRange, offset + length - begin);
  const u32 asked =
      static_cast<u32>(std::min((wanted + block - 1) / block * block, info_.size - begin));
  const NbdClient::Extent found =
      TRY(with_client([&](NbdClient& client) { return client.status(begin, asked); }));
  const u64 end = std::min(begin + found.length, offset + length);
  if (end <= offset) return fail(Errc::Corrupt, "The NBD server breaks its own block size");
  Extent extent{ExtentKind::Data, end - offset, this, offset};
  if (found.flags & kNbdZero) extent.kind = ExtentKind::Zero;
  if (found.flags & kNbdHole) extent.at = found.flags & kNbdZero ? nullptr : this;
  return extent;
}

Result<void> NbdImage::read(u64 offset, Bytes to) {
  if (!aligned(offset, to.size())) {
    const u64 block = info_.minimum_block;
    const u64 begin = offset / block * block;
    const u64 end = std::min((offset + to.size() + block - 1) / block * block, info_.size);
    std::vector<std::byte> whole(static_cast<size_t>(end - begin));
    TRY(read(begin, whole));
    std::memcpy(to.data(), whole.data() + (offset - begin), to.size());
    return {};
  }
  while (!to.empty()) {
    const size_t here = static_cast<size_t>(std::min<u64>(to.size(), piece()));
    TRY(with_client([&](NbdClient& client) { return client.read(offset, to.first(here)); }));
    offset += here, to = to.subspan(here);
  }
  return {};
}

Result<void> NbdImage::write(u64 offset, ConstBytes from, WriteMode mode) {
  const u16 flags = mode.fua && supports_fua() ? kNbdFua : 0;
  return aligned(offset, from.size()) ? write_aligned(offset, from, flags)
                                      : write_around(offset, from, flags);
}

Result<void> NbdImage::write_aligned(u64 offset, ConstBytes from, u16 flags) {
  while (!from.empty()) {
    const size_t here = static_cast<size_t>(std::min<u64>(from.size(), piece()));
    TRY(with_client(
        [&](NbdClient& client) { return client.write(offset, from.first(here), flags); }));
    offset += here, from = from.subspan(here);
  }
  return {};
}

// The blocks that the range touches, with their other bytes as they are.
Result<void> NbdImage::write_around(u64 offset, ConstBytes from, u16 flags) {
  const std::lock_guard guard(around_);
  const u64 block = info_.minimum_block;
  const u64 begin = offset / block * block;
  const u64 end = std::min((offset + from.size() + block - 1) / block * block, info_.size);
  std::vector<std::byte> whole(static_cast<size_t>(end - begin));
  TRY(read(begin, whole));
  std::memcpy(whole.data() + (offset - begin), from.data(), from.size());
  return write_aligned(begin, whole, flags);
}

Result<void> NbdImage::for_pieces(u64 offset, u64 length, NbdCommand command, u16 flags) {
  while (length > 0) {
    const u32 here = static_cast<u32>(std::min(length, kLargestPlainRange));
    TRY(with_client(
        [&](NbdClient& client) { return client.command(command, flags, offset, here); }));
    offset += here, length -= here;
  }
  return {};
}

Result<void> NbdImage::zero(u64 offset, u64 length, WriteMode mode) {
  const bool fast = mode.no_fallback;
  if (!info_.can(kNbdSendWriteZeroes) || !aligned(offset, length) ||
      (fast && !info_.can(kNbdSendFastZero)))
    return fail(Errc::Unsupported, "The NBD server cannot zero {} bytes at {}{}", length, offset,
                fast ? " fast" : "");
  u16 flags = 0;
  if (mode.fua && supports_fua()) flags |= kNbdFua;
  if (!mode.may_unmap) flags |= kNbdNoHole;
  if (fast) flags |= kNbdFastZero;
  return for_pieces(offset, length, NbdCommand::WriteZeroes, flags);
}

Result<void> NbdImage::discard(u64 offset, u64 length) {
  if (!info_.can(kNbdSendTrim)) return {};
  const u64 block = info_.minimum_block;
  const u64 begin = (offset + block - 1) / block * block;
  const u64 last = offset + length;
  const u64 end = last == info_.size ? last : last / block * block;
  return begin < end ? for_pieces(begin, end - begin, NbdCommand::Trim, 0) : Result<void>();
}

Result<void> NbdImage::flush() {
  if (!info_.can(kNbdSendFlush)) return {};
  return with_client([](NbdClient& client) { return client.command(NbdCommand::Flush, 0, 0, 0); });
}

Result<void> NbdImage::truncate(u64 size, Preallocation preallocation) {
  if (size == info_.size && preallocation == Preallocation::Off) return {};
  return fail(Errc::Unsupported, "An NBD export keeps its size of {} bytes", info_.size);
}

Result<void> NbdImage::reopen(bool read_only) {
  if (!read_only && info_.can(kNbdReadOnly))
    return fail(Errc::Permission, "The server's export '{}' is read-only", filename());
  return {};
}

namespace {

// An export cannot be made, but one that is there can be begun anew: what was there is no longer
// taken for an image.
Result<void> create_nbd(CreateContext& context) {
  Value options = TRY(parse_nbd_filename(context.filename));
  const NodePtr node = TRY(context.graph.open(std::move(options)));
  if (node->size() < context.size)
    return fail(Errc::NoSpace, "The NBD export '{}' has {} bytes, not {}", context.filename,
                node->size(), context.size);
  return node->zero(0, std::min(node->size(), kFirstSector));
}

struct NoOptions {
  void describe(PropertyVisitor&) {}
};

}  // namespace

const Driver kNbdDriver{.name = "nbd",
                        .help = "an export of an NBD server",
                        .kind = DriverKind::Protocol,
                        .prefixes = kPrefixes,
                        .parse_filename = parse_nbd_filename,
                        .open = NbdImage::open,
                        .open_options = properties_of<NbdImageConfig>,
                        .create = create_nbd,
                        .create_options = properties_of<NoOptions>};

}  // namespace menura
