#include "display/vnc_server.h"

#include <openssl/evp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kFirstPort = 5900, kFirstWebsocketPort = 5700;
constexpr i64 kFrameNs = 30 * kNsPerMs;
// Without a change for so long, the screen is looked at so often.
constexpr struct {
  i64 still_ns;
  i64 every_ns;
} kPaces[] = {{10 * kNsPerSecond, 250 * kNsPerMs}, {1 * kNsPerSecond, 100 * kNsPerMs}};

u8 reverse_bits(u8 value) {
  value = static_cast<u8>((value & 0xf0) >> 4 | (value & 0x0f) << 4);
  value = static_cast<u8>((value & 0xcc) >> 2 | (value & 0x33) << 2);
  return static_cast<u8>((value & 0xaa) >> 1 | (value & 0x55) << 1);
}

}  // namespace

// DES with the password as key, its bytes' bits reversed. Triple DES with one key is DES.
std::array<std::byte, 16> vnc_response(std::string_view password, ConstBytes challenge) {
  std::array<u8, 24> key{};
  for (size_t i = 0; i < 8 && i < password.size(); i++)
    key[i] = key[i + 8] = key[i + 16] = reverse_bits(static_cast<u8>(password[i]));
  std::array<std::byte, 16> answer{};
  std::array<u8, 32> out{};
  int size = 0;
  const std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> cipher(EVP_CIPHER_CTX_new(),
                                                                          EVP_CIPHER_CTX_free);
  const bool good =
      cipher &&
      EVP_EncryptInit_ex(cipher.get(), EVP_des_ede3_ecb(), nullptr, key.data(), nullptr) == 1 &&
      EVP_CIPHER_CTX_set_padding(cipher.get(), 0) == 1 &&
      EVP_EncryptUpdate(cipher.get(), out.data(), &size,
                        reinterpret_cast<const unsigned char*>(challenge.data()),
                        static_cast<int>(answer.size())) == 1;
  ensure(good && size == static_cast<int>(answer.size()), "OpenSSL has DES");
  std::copy_n(bytes_of(out).begin(), answer.size(), answer.begin());
  return answer;
}

std::span<const std::string_view> enum_names(VncShare) {
  static constexpr std::string_view kNames[] = {"allow-exclusive", "force-shared", "ignore"};
  return kNames;
}

void VncOptions::describe(PropertyVisitor& p) {
  p.required("vnc", where, "host:display, unix:PATH, or none");
  p.field("id", id, "the server's name");
  p.field("to", to, "the last display to try, where the first is taken");
  p.field("share", share, "what becomes of other clients when one wants the screen alone");
  p.field("password", password, "whether a password is asked for (set_password sets it)");
  p.field("password-secret", password_secret, "the secret object that holds the password");
  p.field("websocket", websocket, "on, or [host:]port: serves browsers, too");
  p.field("tls-creds", tls_creds, "the tls-creds object that makes connections secret");
  p.field("connections", connections, "how many clients at most");
  p.field("display", display, "id of the graphics card; the first one");
  p.field("head", head, "which of its screens: 0");
  p.field("audiodev", audiodev, "the audio device; sound is not sent");
}

VncServer::VncServer(VncOptions options, VncEnvironment environment, Display& display)
    : options_(std::move(options)),
      environment_(std::move(environment)),
      display_(display),
      timer_(environment_.loop.host_time(), [this] { tick(); }) {
  observer_ = environment_.inputs.observe([this] {
    for (const std::unique_ptr<VncConnection>& client : connections_)
      client->session().inputs_changed();
    wake();
  });
}

VncServer::~VncServer() {
  *alive_ = false;
  environment_.inputs.unobserve(observer_);
  if (attached_) display_.detach(*this);
  connections_.clear();
  for (const Listening& listening : listening_)
    if (!listening.path.empty()) ::unlink(listening.path.c_str());
}

Result<std::unique_ptr<VncServer>> VncServer::open(VncOptions options, VncEnvironment environment) {
  Display* display = options.display.empty() ? environment.displays.first()
                                             : environment.displays.find(options.display);
  if (!display && !options.display.empty())
    return fail(Errc::NotFound, "There is no graphics card '{}'", options.display);
  if (!display) return fail(Errc::Unsupported, "This machine has no graphics card");
  if (options.head != 0)
    return fail(Errc::InvalidArgument, "Head {} does not exist: graphics cards have one, 0",
                options.head);
  if (!options.password_secret.empty()) options.password = true;
  std::unique_ptr<VncServer> server(
      new VncServer(std::move(options), std::move(environment), *display));
  if (server->environment_.password) TRY(server->set_password(*server->environment_.password));
  TRY(server->listen());
  return server;
}

Result<void> VncServer::listen() {
  const VncPlace place = TRY(parse_vnc_place(options_.where, kFirstPort));
  if (options_.to && place.path.empty() && kFirstPort + u64{*options_.to} < place.port)
    return fail(Errc::InvalidArgument, "to={} lies before the first display", *options_.to);
  TRY(add_listener(place, options_.to ? kFirstPort + *options_.to : place.port, false));
  if (options_.websocket.empty() || options_.websocket == "off") return {};
  VncPlace web{.path = {}, .host = place.host, .port = 0};
  if (options_.websocket == "on" || options_.websocket.empty()) {
    if (!place.path.empty())
      return fail(Errc::InvalidArgument, "websocket=on needs a port where the server has a path");
    web.port = kFirstWebsocketPort + (place.port - kFirstPort);
  } else if (options_.websocket.find(':') != std::string::npos) {
    web = TRY(parse_vnc_place(options_.websocket, 0), "websocket");
  } else {
    web.port =
        static_cast<u32>(std::min<u64>(TRY(parse_u64(options_.websocket), "websocket"), 65536));
    if (web.port > 65535) return fail(Errc::OutOfRange, "websocket: ports go to 65535");
  }
  return add_listener(web, web.port, true);
}

Result<void> VncServer::add_listener(const VncPlace& place, u32 to, bool websocket) {
  for (auto& [fd, address] : TRY(vnc_listen(place, to))) {
    Listening& listening = listening_.emplace_back();
    listening.fd = std::move(fd);
    listening.websocket = websocket;
    listening.path = address.file_path();
    listening.watch =
        TRY(environment_.loop.watch(listening.fd.get(), {.readable = true},
                                    [this, &listening](FdEvents) { accept(listening); }));
  }
  return {};
}

void VncServer::accept(Listening& listening) {
  UniqueFd fd(::accept4(listening.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;  // gone again, or no descriptor left: the next one may have one
  if (connections_.size() >= options_.connections) return;  // closes it
  RfbHost& host = *this;
  auto client = std::make_unique<VncConnection>(
      environment_.loop, host, std::move(fd),
      VncConnection::Config{.websocket = listening.websocket, .tls = environment_.tls}, [this] {
        environment_.loop.post([this, alive = alive_] {
          if (*alive) sweep();
        });
      });
  VncConnection& added = *connections_.emplace_back(std::move(client));
  announce("VNC_CONNECTED", added);
  if (const Result<void> started = added.start(); !started) added.close(started.error().text);
}

// Takes the clients away that are gone.
void VncServer::sweep() {
  for (auto at = connections_.begin(); at != connections_.end();) {
    if (!(*at)->closed()) {
      ++at;
      continue;
    }
    const std::unique_ptr<VncConnection> gone = std::move(*at);
    at = connections_.erase(at);
    announce("VNC_DISCONNECTED", *gone);
  }
  const bool wanted = std::ranges::any_of(
      connections_, [](const auto& client) { return client->session().initialised(); });
  if (attached_ && !wanted) {
    display_.detach(*this);
    attached_ = false;
    timer_.cancel();
  }
}

void VncServer::announce(std::string event, const VncConnection& client) {
  if (!environment_.emit) return;
  const auto describe = [](const VncEndpoint& end, bool websocket) {
    Value value = Value::object();
    value.set("host", end.host);
    value.set("service", end.service);
    value.set("family", end.family);
    value.set("websocket", websocket);
    return value;
  };
  VncEndpoint own;
  const auto at = std::ranges::find(listening_, client.websocket(), &Listening::websocket);
  if (at != listening_.end()) own = VncEndpoint::of_socket(at->fd.get());
  Value server = describe(own, client.websocket());
  server.set("auth", auth_name());
  Value data = Value::object();
  data.set("server", std::move(server));
  data.set("client", describe(client.peer(), client.websocket()));
  environment_.emit(std::move(event), std::move(data));
}

// The clock

void VncServer::wake() {
  last_change_ns_ = environment_.loop.host_time().now_ns();
  if (attached_) arm(kFrameNs);
}

void VncServer::arm(i64 delay_ns) {
  const i64 at = environment_.loop.host_time().now_ns() + delay_ns;
  if (!timer_.armed() || timer_.deadline() > at) timer_.arm(at);
}

void VncServer::tick() {
  for (const std::unique_ptr<VncConnection>& client : connections_)
    if (client->session().initialised() && !std::exchange(client->announced, true))
      announce("VNC_INITIALIZED", *client);
  const bool wanted = std::ranges::any_of(connections_, [](const auto& client) {
    return !client->closed() && client->session().waits_for_update();
  });
  if (!wanted) return;  // the next request wakes us
  differed_ = false;
  display_.refresh();
  for (const std::unique_ptr<VncConnection>& client : connections_)
    if (!client->closed()) client->session().update();
  const i64 now = environment_.loop.host_time().now_ns();
  if (differed_) last_change_ns_ = now;
  i64 pace = kFrameNs;
  for (const auto& step : kPaces)
    if (now - last_change_ns_ >= step.still_ns) {
      pace = step.every_ns;
      break;
    }
  arm(pace);
}

// What a device says has changed often has not: only what differs is told.
void VncServer::changed(const Rect& rect) {
  const Surface& surface = display_.surface();
  for (u32 y = rect.y; y < rect.y + rect.height; y++) {
    const u32* now = surface.row(y);
    u32* before = &shown_[size_t{y} * surface.width()];
    const u32 end = rect.x + rect.width;
    for (u32 x = rect.x; x < end;) {
      const u32 tile_end = std::min(end, (x / DirtyTiles::kWidth + 1) * DirtyTiles::kWidth);
      if (std::memcmp(now + x, before + x, (tile_end - x) * sizeof(u32)) != 0) {
        std::copy(now + x, now + tile_end, before + x);
        differed_ = true;
        for (const std::unique_ptr<VncConnection>& client : connections_)
          client->session().changed({x, y, tile_end - x, 1});
      }
      x = tile_end;
    }
  }
}

void VncServer::resized() {
  const Surface& surface = display_.surface();
  shown_.assign(size_t{surface.width()} * surface.height(), 0);
  differed_ = true;
  for (const std::unique_ptr<VncConnection>& client : connections_) client->session().resized();
}

void VncServer::cursor_changed() {
  for (const std::unique_ptr<VncConnection>& client : connections_)
    client->session().cursor_changed();
  differed_ = true;
}

// For the sessions

std::string VncServer::desktop_name() {
  return environment_.name.empty() ? "menura" : format("menura ({})", environment_.name);
}

VncTls VncServer::tls() {
  if (!environment_.tls || listening_.empty()) return VncTls::Off;
  return environment_.tls->kind() == TlsCredentials::Kind::X509 ? VncTls::X509 : VncTls::Anon;
}

bool VncServer::admit(RfbSession& session, bool shared) {
  if (!attached_) {
    attached_ = true;
    display_.attach(*this);
    resized();
  }
  wake();
  if (options_.share == VncShare::Ignore) return true;
  const bool alone = !shared && options_.share == VncShare::AllowExclusive;
  if (options_.share == VncShare::ForceShared && !shared) return false;
  for (const std::unique_ptr<VncConnection>& client : connections_) {
    if (&client->session() == &session || !client->session().initialised()) continue;
    if (!alone && client->session().shared()) continue;
    if (!alone) return false;  // one is alone here already
    client->close("another client wants the screen alone");
  }
  return true;
}

void VncServer::random(Bytes to) { environment_.loop.tape().random(to); }

bool VncServer::check_response(ConstBytes challenge, ConstBytes response) {
  if (password_.empty()) return false;
  const i64 now_s = environment_.loop.tape().wall_clock_ns() / kNsPerSecond;
  if (expires_s_ && *expires_s_ <= now_s) return false;
  const std::array<std::byte, 16> right = vnc_response(password_, challenge);
  // In the same time, wherever they differ.
  std::byte difference{0};
  for (size_t i = 0; i < right.size(); i++) difference |= right[i] ^ response[i];
  return difference == std::byte{0};
}

Result<void> VncServer::set_password(std::string password) {
  if (!options_.password)
    return fail(Errc::InvalidArgument, "VNC server '{}' asks for no password (-vnc password=on)",
                id());
  password_ = std::move(password);
  return {};
}

void VncServer::encode(std::function<void()> work, std::function<void()> done) {
  environment_.workers.submit(std::move(work), [this, alive = alive_, done = std::move(done)] {
    if (!*alive) return;
    done();
    // A client that asked again meanwhile gets what gathered.
    if (attached_) arm(kFrameNs);
  });
}

// For query-vnc

std::vector<VncServer::Listener> VncServer::listeners() const {
  std::vector<Listener> list;
  for (const Listening& listening : listening_)
    list.push_back({VncEndpoint::of_socket(listening.fd.get()), listening.websocket});
  return list;
}

std::vector<VncServer::Client> VncServer::clients() const {
  std::vector<Client> list;
  for (const std::unique_ptr<VncConnection>& client : connections_)
    if (!client->closed()) list.push_back({client->peer(), client->websocket()});
  return list;
}

std::string VncServer::auth_name() const {
  if (environment_.tls) return "vencrypt";
  return options_.password ? "vnc" : "none";
}

std::string VncServer::vencrypt_name() const {
  if (!environment_.tls) return {};
  const bool x509 = environment_.tls->kind() == TlsCredentials::Kind::X509;
  return std::string(x509 ? "x509-" : "tls-") + (options_.password ? "vnc" : "none");
}

}  // namespace menura
