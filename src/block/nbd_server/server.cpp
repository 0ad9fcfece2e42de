#include "block/nbd_server/server.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/log.h"
#include "event/signals.h"

namespace menura {

namespace {
constexpr std::chrono::milliseconds kRetryAccept{100};
}

NbdServer::NbdServer(Options options) : options_(std::move(options)) {}

NbdServer::~NbdServer() { stop(); }

void NbdServer::wake() {
  const u64 one = 1;
  if (wake_) (void)write_all(wake_.get(), bytes_of(std::span(&one, 1))).ok();
}

Result<void> NbdServer::listen(UniqueFd listening) {
  if (!wake_) wake_ = TRY(make_eventfd());
  {
    const std::lock_guard guard(mutex_);
    listening_.push_back(std::move(listening));
  }
  if (acceptor_.joinable()) {
    wake();
    return {};
  }
  try {
    acceptor_ = std::thread([this] {
      leave_signals_to_main_thread();
      ::pthread_setname_np(::pthread_self(), "nbd accept");
      accept_clients();
    });
  } catch (const std::system_error& error) {
    return fail(Errc::NoMemory, "Starting the NBD server's thread: {}", error.what());
  }
  return {};
}

void NbdServer::accept_clients() {
  for (;;) {
    std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
    {
      const std::lock_guard guard(mutex_);
      if (stopping_) return;
      if (connections_.size() < options_.limits.connections)
        for (const UniqueFd& fd : listening_) polled.push_back({fd.get(), POLLIN, 0});
    }
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
      log_error("NBD server: poll: {}", errno);
      return;
    }
    if (polled[0].revents) {
      u64 count = 0;
      (void)read_all(wake_.get(), std::as_writable_bytes(std::span(&count, 1))).ok();
      reap();
    }
    for (size_t i = 1; i < polled.size(); i++)
      if (polled[i].revents) accept_from(polled[i].fd);
  }
}

void NbdServer::accept_from(int listening) {
  UniqueFd fd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) {
    // Out of descriptors or memory: others may give some back.
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
      std::this_thread::sleep_for(kRetryAccept);
    return;
  }
  const std::lock_guard guard(mutex_);
  if (stopping_ || connections_.size() >= options_.limits.connections) return;
  Connection& connection = connections_.emplace_back(std::move(fd));
  try {
    connection.thread = std::thread([this, &connection] {
      leave_signals_to_main_thread();
      ::pthread_setname_np(::pthread_self(), "nbd client");
      serve(connection);
    });
  } catch (const std::system_error& error) {
    log_warning("NBD server: no thread for another client: {}", error.what());
    connections_.pop_back();
  }
}

// Joins the threads of connections that are over.
void NbdServer::reap() {
  std::list<Connection> over;
  {
    const std::lock_guard guard(mutex_);
    for (auto at = connections_.begin(); at != connections_.end();) {
      const auto here = at++;
      if (here->over) over.splice(over.end(), connections_, here);
    }
  }
  for (Connection& connection : over) connection.thread.join();
}

void NbdServer::serve(Connection& connection) {
  connection.stream.set_deadline(NbdStream::Clock::now() + options_.limits.negotiation);
  Result<std::optional<NbdAgreement>> agreed = negotiate(connection.stream, *this, options_.tls);
  connection.stream.set_deadline({});
  if (!agreed) log_info("NBD server: a client is turned away: {}", agreed.error().text);
  const bool served = agreed && *agreed;
  if (served) {
    {
      const std::lock_guard guard(mutex_);
      connection.serving = &*(*agreed)->exported;
      if (stopping_ || leaving_ == connection.serving) connection.stream.shut();
    }
    NbdRequestLoop(connection.stream, std::move(**agreed), options_.limits.requests).run();
  }
  connection.stream.shut();
  unsigned left = 0;
  {
    const std::lock_guard guard(mutex_);
    connection.serving = nullptr;
    connection.over = true;
    for (const Connection& other : connections_) left += other.serving != nullptr;
  }
  if (served && options_.client_gone) options_.client_gone(left);
  wake();
}

// --- Exports

std::vector<NbdExportTable::Line> NbdServer::list() {
  const std::lock_guard guard(mutex_);
  std::vector<Line> lines;
  for (const auto& exported : exports_)
    lines.push_back({exported->options().name, exported->options().description});
  return lines;
}

NbdExport* NbdServer::find(std::string_view name) const {
  for (const auto& exported : exports_)
    if (exported->options().name == name) return exported.get();
  return nullptr;
}

std::shared_ptr<NbdExport> NbdServer::lookup(std::string_view name) {
  const std::lock_guard guard(mutex_);
  NbdExport* found = find(name);
  return found ? found->shared_from_this() : nullptr;
}

std::optional<NbdExportUse> NbdServer::use(NbdExport& exported) {
  const std::lock_guard guard(mutex_);
  const bool there =
      std::ranges::find(exports_, &exported, &std::shared_ptr<NbdExport>::get) != exports_.end();
  if (!there || leaving_ == &exported) return {};
  uses_.push_back(&exported);
  return NbdExportUse(*this, exported);
}

void NbdServer::unuse(NbdExport& used) {
  {
    const std::lock_guard guard(mutex_);
    uses_.erase(std::ranges::find(uses_, &used));
  }
  less_used_.notify_all();
}

unsigned NbdServer::clients_of(const NbdExport& exported) const {
  const std::lock_guard guard(mutex_);
  return static_cast<unsigned>(std::ranges::count(uses_, &exported));
}

Result<void> NbdServer::add(std::shared_ptr<NbdExport> exported) {
  const std::lock_guard guard(mutex_);
  if (find(exported->options().name))
    return fail(Errc::Exists, "There is an export '{}' already", exported->options().name);
  exports_.push_back(std::move(exported));
  return {};
}

Result<void> NbdServer::remove(NbdExport& exported, Removal removal) {
  std::shared_ptr<NbdExport> kept;
  {
    std::unique_lock guard(mutex_);
    const auto is_used = [&] { return std::ranges::find(uses_, &exported) != uses_.end(); };
    if (removal == Removal::Safe && is_used())
      return fail(Errc::Busy, "Export '{}' has clients", exported.options().name);
    leaving_ = &exported;
    for (Connection& connection : connections_)
      if (connection.serving == &exported) connection.stream.shut();
    less_used_.wait(guard, [&] { return !is_used(); });
    leaving_ = nullptr;
    const auto at = std::ranges::find(exports_, &exported, &std::shared_ptr<NbdExport>::get);
    ensure(at != exports_.end(), "an export of this server");
    kept = std::move(*at);
    exports_.erase(at);
  }
  kept->close();
  return {};
}

void NbdServer::stop() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
    for (Connection& connection : connections_) connection.stream.shut();
  }
  wake();
  if (acceptor_.joinable()) acceptor_.join();
  // Nobody adds connections now.
  for (Connection& connection : connections_) connection.thread.join();
  connections_.clear();
  listening_.clear();
  while (!exports_.empty()) {
    exports_.back()->close();
    exports_.pop_back();
  }
}

}  // namespace menura
