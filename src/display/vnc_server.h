// VncServer: shows a machine's screen to VNC clients, and takes their keys and pointers.
//
// Owner: the program's session, made after the machine. Threads: in the loop, under the machine
// lock; encoding on workers. While nobody is connected nothing runs; while nothing changes on the
// screen it is looked at ever more seldom. Source: RFC 6143 and rfbproto. Example:
//   VncOptions options{.where = "127.0.0.1:1"};
//   auto server = TRY(VncServer::open(options, environment));
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "display/vnc_connection.h"
#include "event/worker_pool.h"
#include "state/properties.h"

namespace menura {

enum class VncShare : u8 { AllowExclusive, ForceShared, Ignore };
std::span<const std::string_view> enum_names(VncShare);

// -vnc
struct VncOptions {
  std::string where;  // "host:display", "unix:PATH", "none"
  std::string id = "default";
  std::optional<u32> to;
  VncShare share = VncShare::AllowExclusive;
  bool password = false;
  std::string password_secret;
  std::string websocket;  // "on", a port, or host:port; empty: none
  std::string tls_creds;
  u32 connections = 32;
  std::string display;
  u32 head = 0;
  std::string audiodev;
  void describe(PropertyVisitor& p);
};

struct VncEnvironment {
  EventLoop& loop;
  WorkerPool& workers;
  Displays& displays;
  Inputs& inputs;
  std::string name;  // of the machine, for the client's title
  const Keymap* keymap = nullptr;
  std::shared_ptr<const TlsCredentials> tls = {};
  std::optional<std::string> password = {};  // of password-secret
  // VNC_CONNECTED and its like.
  std::function<void(std::string event, Value data)> emit;
};

class VncServer final : private RfbHost, private DisplayViewer {
 public:
  static Result<std::unique_ptr<VncServer>> open(VncOptions options, VncEnvironment environment);
  ~VncServer() override;

  // Passwords count where the options ask for one. An empty one lets nobody in.
  Result<void> set_password(std::string password);
  // Wall-clock time in seconds since 1970; nullopt: never.
  void expire_password(std::optional<i64> at_s) { expires_s_ = at_s; }
  bool takes_password() const { return options_.password; }

  const VncOptions& options() const { return options_; }
  const std::string& id() const { return options_.id; }
  struct Listener {
    VncEndpoint at;
    bool websocket = false;
  };
  std::vector<Listener> listeners() const;
  struct Client {
    VncEndpoint peer;
    bool websocket = false;
  };
  std::vector<Client> clients() const;
  // "none", "vnc", "vencrypt"; and which of VeNCrypt's.
  std::string auth_name() const;
  std::string vencrypt_name() const;

 private:
  struct Listening {
    UniqueFd fd;
    bool websocket = false;
    std::string path;  // ours to remove
    Watch watch;
  };
  VncServer(VncOptions options, VncEnvironment environment, Display& display);
  Result<void> listen();
  Result<void> add_listener(const VncPlace& place, u32 to, bool websocket);
  void accept(Listening& listening);
  void tick();
  void sweep();
  void announce(std::string event, const VncConnection& client);
  void arm(i64 delay_ns);

  // RfbHost
  Display& display() override { return display_; }
  Inputs& inputs() override { return environment_.inputs; }
  const Keymap& keymap() override { return *environment_.keymap; }
  std::string desktop_name() override;
  VncAuth auth() override { return options_.password ? VncAuth::Vnc : VncAuth::None; }
  VncTls tls() override;
  bool check_response(ConstBytes challenge, ConstBytes response) override;
  void random(Bytes to) override;
  bool admit(RfbSession& session, bool shared) override;
  void wake() override;
  void encode(std::function<void()> work, std::function<void()> done) override;
  // DisplayViewer
  void changed(const Rect& rect) override;
  void resized() override;
  void cursor_changed() override;

  // Configuration
  VncOptions options_;
  // Wiring
  VncEnvironment environment_;
  Display& display_;
  std::list<Listening> listening_;
  std::list<std::unique_ptr<VncConnection>> connections_;
  Timer timer_;  // host time
  unsigned observer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // State
  bool attached_ = false;
  std::vector<u32> shown_;  // the screen as clients were told, to find what really differs
  bool differed_ = false;
  i64 last_change_ns_ = 0;
  std::string password_;
  std::optional<i64> expires_s_;
};

// A DES response to a challenge (RFC 6143 §7.2.2).
std::array<std::byte, 16> vnc_response(std::string_view password, ConstBytes challenge);

}  // namespace menura
