#include "app/nbd/serve.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/log.h"
#include "base/units.h"
#include "block/nbd_server/server.h"
#include "block/temporary_overlay.h"

namespace menura::nbd {

namespace {

constexpr unsigned kMostClients = 1000;
constexpr int kBacklog = 128;
constexpr int kFirstInherited = 3;

// SIGINT, SIGTERM and SIGHUP as a descriptor; blocked here and in all threads to come.
Result<UniqueFd> watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "Watching signals");
  return fd;
}

Result<NodePtr> open_image(ImageSession& session, const Options& options) {
  NodePtr node = TRY(session.open_node(options.file, options.image));
  if (!options.load_snapshot.empty()) {
    SnapshotStore* store = node->image().snapshots();
    if (!store)
      return fail(Errc::Unsupported, "Images of format '{}' have no internal snapshots",
                  node->driver().name);
    TRY(store->show(options.load_snapshot));
  }
  if (options.snapshot) node = TRY(open_temporary_overlay(std::move(node)));
  if (options.offset) {
    if (*options.offset >= node->size())
      return fail(Errc::InvalidArgument, "--offset={} is beyond the image's {} bytes",
                  *options.offset, node->size());
    Value window = Value::object();
    window.set("driver", "raw");
    window.set("offset", *options.offset);
    window.set("read-only", !options.exported.writable);
    window.set("discard", "unmap");  // what the image below does with it is decided there
    window.set("file", node->name());
    node = TRY(session.graph().open(std::move(window)), "--offset={}", *options.offset);
  }
  return node;
}

// The process's ID in a file while it lives.
class PidFile {
 public:
  Result<void> write(const std::string& path) {
    if (path.empty()) return {};
    const UniqueFd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    path_ = path;
    const std::string text = format("{}\n", ::getpid());
    TRY(write_all(fd.get(), bytes_of(text)), "Writing '{}'", path);
    return {};
  }
  ~PidFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

 private:
  std::string path_;
};

// The file of a UNIX domain socket we made.
struct SocketFile {
  ~SocketFile() {
    if (!path.empty()) ::unlink(path.c_str());
  }
  std::string path;
};

Result<void> listen_everywhere(NbdServer& server, const Options& options, UniqueFd inherited,
                               SocketFile& made) {
  if (inherited) return server.listen(std::move(inherited));
  const auto addresses = TRY(SocketAddress::resolve(options.place, SocketRole::Server));
  for (auto& [fd, address] : TRY(SocketAddress::listen_all(addresses, kBacklog))) {
    made.path = address.file_path();
    TRY(server.listen(std::move(fd)));
    log_info("listening on {}", address.text());
  }
  return {};
}

void wait_for_the_end(int signals, int gone) {
  pollfd polled[] = {{signals, POLLIN, 0}, {gone, POLLIN, 0}};
  while (::poll(polled, 2, -1) < 0 && errno == EINTR) {}
}

Result<NbdServerTls> server_tls(const ImageSession& session, const Options& options) {
  if (options.tls_creds.empty()) return NbdServerTls{};
  NbdServerTls tls{TRY(session.find_tls(options.tls_creds), "--tls-creds")};
  TRY(tls.credentials->check_endpoint(TlsEndpoint::Server), "--tls-creds={}", options.tls_creds);
  return tls;
}

}  // namespace

Result<UniqueFd> inherited_socket() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (!pid || !count || std::string_view(pid) != format("{}", ::getpid())) return UniqueFd();
  if (std::string_view(count) != "1")
    return fail(Errc::InvalidArgument, "LISTEN_FDS={}: one listening socket is expected", count);
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(kFirstInherited, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
    return fail(Errc::InvalidArgument, "LISTEN_FDS: descriptor {} does not listen",
                kFirstInherited);
  ::fcntl(kFirstInherited, F_SETFD, FD_CLOEXEC);
  ::fcntl(kFirstInherited, F_SETFL, ::fcntl(kFirstInherited, F_GETFL) | O_NONBLOCK);
  return UniqueFd(kFirstInherited);
}

Result<void> serve(ImageSession& session, const Options& options, UniqueFd inherited,
                   Background& background) {
  if (inherited && options.place_given)
    return fail(Errc::InvalidArgument,
                "A listening socket was handed over: no --port, --bind or --socket beside it");
  const UniqueFd signals = TRY(watch_signals());
  const UniqueFd gone = TRY(make_eventfd());
  const auto client_gone = [&](unsigned left) {
    const u64 one = 1;
    if (left == 0 && !options.persistent)
      (void)write_all(gone.get(), bytes_of(std::span(&one, 1))).ok();
  };
  NbdServer::Limits limits;
  limits.connections = options.shared ? options.shared : kMostClients;
  limits.negotiation =
      options.handshake_limit.count() ? options.handshake_limit : std::chrono::hours(24 * 365);
  NodePtr node = TRY(open_image(session, options));
  SocketFile socket_file;
  PidFile pid_file;
  {
    NbdServer server({limits, TRY(server_tls(session, options)), client_gone});
    TRY(server.add(TRY(NbdExport::create(node, options.exported))));
    TRY(listen_everywhere(server, options, std::move(inherited), socket_file));
    TRY(pid_file.write(options.pid_file));
    TRY(background.ready());
    wait_for_the_end(signals.get(), gone.get());
  }
  TRY(node->flush());
  return {};
}

}  // namespace menura::nbd
