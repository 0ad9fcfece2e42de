#include "control/monitor/block_exports.h"

#include <unistd.h>

#include <algorithm>

namespace menura {

namespace {
constexpr int kBacklog = 128;
}

BlockExports::~BlockExports() {
  if (server_) (void)stop().ok();  // fails only when there is none
}

Result<void> BlockExports::start(const SocketPlace& place, NbdServerTls tls, unsigned connections) {
  if (server_) return fail(Errc::Exists, "The NBD server runs already");
  NbdServer::Limits limits;
  limits.connections = connections;
  auto server = std::make_unique<NbdServer>(NbdServer::Options{limits, std::move(tls), {}});
  const auto addresses = TRY(SocketAddress::resolve(place, SocketRole::Server));
  std::string path;
  for (auto& [fd, address] : TRY(SocketAddress::listen_all(addresses, kBacklog))) {
    path = address.file_path();
    TRY(server->listen(std::move(fd)));
  }
  server_ = std::move(server);
  socket_path_ = path;
  return {};
}

Result<void> BlockExports::stop() {
  if (!server_) return fail(Errc::InvalidArgument, "The NBD server does not run");
  server_.reset();
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
  for (const Export& ended : std::exchange(exports_, {})) tell_end(ended.id);
  return {};
}

void BlockExports::tell_end(const std::string& id) {
  Value data = Value::object();
  data.set("id", id);
  machine_.emit("BLOCK_EXPORT_DELETED", std::move(data));
}

Result<void> BlockExports::add(std::string id, NodePtr node, NbdExportOptions options) {
  if (!server_)
    return fail(Errc::InvalidArgument, "There is no NBD server to export by: nbd-server-start");
  if (std::ranges::find(exports_, id, &Export::id) != exports_.end())
    return fail(Errc::Exists, "There is a block export with the id '{}' already", id);
  if (server_->find(options.name))
    return fail(Errc::Exists, "The NBD server has an export '{}' already", options.name);
  const std::string node_name = node->name();
  const std::shared_ptr<NbdExport> exported =
      TRY(NbdExport::create(std::move(node), std::move(options)));
  TRY(server_->add(exported));
  exports_.push_back({std::move(id), node_name, exported.get()});
  return {};
}

Result<void> BlockExports::remove(std::string_view id, NbdServer::Removal removal) {
  const auto at = std::ranges::find(exports_, id, &Export::id);
  if (at == exports_.end())
    return fail(Errc::InvalidArgument, "There is no block export with the id '{}'", id);
  TRY(server_->remove(*at->exported, removal));
  const std::string ended = at->id;
  exports_.erase(at);
  tell_end(ended);
  return {};
}

const BlockExports::Export* BlockExports::find_name(std::string_view name) const {
  for (const Export& one : exports_)
    if (one.exported->options().name == name) return &one;
  return nullptr;
}

}  // namespace menura
