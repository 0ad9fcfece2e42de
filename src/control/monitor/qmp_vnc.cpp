#include "control/monitor/qmp_vnc.h"

#include <algorithm>

#include "base/units.h"
#include "display/vnc_server.h"

namespace menura {

namespace {

// By its name in enum_names(); the last one for names it has not.
template <class Enum>
Enum named(std::string_view name) {
  const auto names = enum_names(Enum{});
  const auto at = std::ranges::find(names, name);
  const auto index =
      at == names.end() ? static_cast<std::ptrdiff_t>(names.size()) - 1 : at - names.begin();
  return static_cast<Enum>(index);
}

VncClientReply reply_of(const VncEndpoint& end, bool websocket) {
  return {.host = end.host,
          .service = end.service,
          .family = named<AddressFamily>(end.family),
          .websocket = websocket};
}

std::vector<VncClientReply> clients_of(const VncServer& server) {
  std::vector<VncClientReply> replies;
  for (const VncServer::Client& client : server.clients())
    replies.push_back(reply_of(client.peer, client.websocket));
  return replies;
}

// By id, or the first.
Result<VncServer*> find_server(MonitorTarget& target, const std::optional<std::string>& id) {
  if (target.vnc_servers.empty()) return fail(Errc::Unsupported, "There is no VNC server");
  if (!id) return target.vnc_servers.front();
  const auto at = std::ranges::find(target.vnc_servers, *id, &VncServer::id);
  if (at == target.vnc_servers.end())
    return fail(Errc::NotFound, "There is no VNC server '{}'", *id);
  return *at;
}

// Seconds since 1970.
Result<std::optional<i64>> expiry(std::string_view time, i64 now_s) {
  if (time == "now") return std::optional<i64>(0);
  if (time == "never") return std::optional<i64>();
  const bool relative = time.starts_with('+');
  const u64 seconds = TRY(parse_u64(time.substr(relative ? 1 : 0)), "time");
  constexpr u64 kMost = u64{1} << 40;
  return std::optional<i64>(static_cast<i64>(std::min(seconds, kMost)) + (relative ? now_s : 0));
}

}  // namespace

std::span<const std::string_view> enum_names(AddressFamily) {
  static constexpr std::string_view kNames[] = {"ipv4", "ipv6", "unix", "vsock", "unknown"};
  return kNames;
}
std::span<const std::string_view> enum_names(VncPrimaryAuth) {
  static constexpr std::string_view kNames[] = {"none", "vnc", "vencrypt"};
  return kNames;
}
std::span<const std::string_view> enum_names(VncVencryptAuth) {
  static constexpr std::string_view kNames[] = {"tls-none", "x509-none", "tls-vnc", "x509-vnc"};
  return kNames;
}
std::span<const std::string_view> enum_names(DisplayProtocol) {
  static constexpr std::string_view kNames[] = {"vnc"};
  return kNames;
}
std::span<const std::string_view> enum_names(SetPasswordAction) {
  static constexpr std::string_view kNames[] = {"keep"};
  return kNames;
}

void VncClientReply::describe(PropertyVisitor& p) {
  p.field("host", host);
  p.field("service", service);
  p.field("family", family);
  p.field("websocket", websocket);
}
void VncReply::describe(PropertyVisitor& p) {
  p.field("enabled", enabled);
  p.field("host", host);
  p.field("service", service);
  p.field("family", family);
  p.field("auth", auth);
  p.field("clients", clients);
}

Result<VncReply> query_vnc(MonitorTarget& target, const Nothing&) {
  VncReply reply;
  if (target.vnc_servers.empty()) return reply;
  const VncServer& server = *target.vnc_servers.front();
  const VncEndpoint at = server.listeners().front().at;
  reply.enabled = true;
  reply.host = at.host;
  reply.service = at.service;
  reply.family = named<AddressFamily>(at.family);
  reply.auth =
      server.vencrypt_name().empty() ? server.auth_name() : "vencrypt+" + server.vencrypt_name();
  std::ranges::replace(*reply.auth, '-', '+');
  reply.clients = clients_of(server);
  return reply;
}

void VncServerReply::Listener::describe(PropertyVisitor& p) {
  at.describe(p);
  p.field("auth", auth);
  p.field("vencrypt", vencrypt);
}
void VncServerReply::describe(PropertyVisitor& p) {
  p.field("id", id);
  p.field("server", server);
  p.field("clients", clients);
  p.field("auth", auth);
  p.field("vencrypt", vencrypt);
  p.field("display", display);
}

Result<std::vector<VncServerReply>> query_vnc_servers(MonitorTarget& target, const Nothing&) {
  std::vector<VncServerReply> replies;
  for (const VncServer* server : target.vnc_servers) {
    VncServerReply reply{.id = server->id(), .clients = clients_of(*server)};
    reply.auth = named<VncPrimaryAuth>(server->auth_name());
    if (!server->vencrypt_name().empty())
      reply.vencrypt = named<VncVencryptAuth>(server->vencrypt_name());
    if (!server->options().display.empty()) reply.display = server->options().display;
    for (const VncServer::Listener& listener : server->listeners())
      reply.server.push_back({.at = reply_of(listener.at, listener.websocket),
                              .auth = reply.auth,
                              .vencrypt = reply.vencrypt});
    replies.push_back(std::move(reply));
  }
  return replies;
}

void SetPassword::describe(PropertyVisitor& p) {
  p.required("protocol", protocol, "whose password: VNC's");
  p.required("password", password, "eight characters count; empty lets nobody in");
  p.field("connected", connected, "what becomes of those who are in: they stay");
  p.field("display", display, "id of the VNC server; the first one");
}
Result<Nothing> set_password(MonitorTarget& target, const SetPassword& arguments) {
  TRY(TRY(find_server(target, arguments.display))->set_password(arguments.password));
  return Nothing{};
}

void ExpirePassword::describe(PropertyVisitor& p) {
  p.required("protocol", protocol, "whose password: VNC's");
  p.required("time", time, "now, never, +seconds, or seconds since 1970");
  p.field("display", display, "id of the VNC server; the first one");
}
Result<Nothing> expire_password(MonitorTarget& target, const ExpirePassword& arguments) {
  VncServer& server = *TRY(find_server(target, arguments.display));
  const i64 now_s = target.machine.tape().wall_clock_ns() / kNsPerSecond;
  server.expire_password(TRY(expiry(arguments.time, now_s)));
  return Nothing{};
}

void ChangeVncPassword::describe(PropertyVisitor& p) {
  p.required("password", password, "eight characters count; empty lets nobody in");
}
Result<Nothing> change_vnc_password(MonitorTarget& target, const ChangeVncPassword& arguments) {
  return set_password(target, {.password = arguments.password});
}

}  // namespace menura
