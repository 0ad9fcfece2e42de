// VncConnection: a VNC client's socket, with TLS and WebSocket as it needs, under an RfbSession.
//
// Owner: VncServer. Threads: in the loop, under the machine lock. Nothing blocks: what the client
// does not take waits here, and no further update is made meanwhile; a client that lets replies
// gather beyond a limit is dropped.
// Example: `VncConnection client(loop, host, std::move(fd), {.websocket = true}, ended);`
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "display/rfb_session.h"
#include "display/vnc_address.h"
#include "display/websocket.h"
#include "event/event_loop.h"
#include "tls/session.h"

namespace menura {

class VncConnection final : private RfbWire, private TlsTransport {
 public:
  struct Config {
    bool websocket = false;
    std::shared_ptr<const TlsCredentials> tls = {};
  };
  // ended() is called once, in the loop; it may not destroy the connection at once.
  VncConnection(EventLoop& loop, RfbHost& host, UniqueFd fd, Config config,
                std::function<void()> ended);
  ~VncConnection() override;

  Result<void> start();
  void close(std::string why);
  bool closed() const { return closed_; }

  RfbSession& session() { return session_; }
  bool websocket() const { return config_.websocket; }
  const VncEndpoint& peer() const { return peer_; }
  // Said VNC_INITIALIZED of it; kept by the server.
  bool announced = false;

 private:
  // RfbWire
  void send(ConstBytes bytes) override;
  size_t unsent() const override { return output_.size() - output_sent_; }
  void start_tls() override;
  bool is_secure() const override { return config_.websocket && config_.tls; }
  // TlsTransport
  i64 pull(Bytes to) override;
  i64 push(ConstBytes from) override;

  void on_ready(FdEvents events);
  void read_socket();
  void advance();
  bool decrypt();
  void deliver(ConstBytes bytes);
  void feed_session();
  void encrypt(ConstBytes bytes);
  void begin_tls();
  void flush();
  void update_interest();

  // Configuration
  Config config_;
  VncEndpoint peer_;
  // Wiring
  EventLoop& loop_;
  UniqueFd fd_;
  Watch watch_;
  std::function<void()> ended_;
  Timer deadline_;  // of the handshake
  std::unique_ptr<TlsSession> tls_;
  WebSocket websocket_;
  RfbSession session_;
  // State
  enum class Tls : u8 { Off, Handshake, On };
  Tls tls_state_ = Tls::Off;
  bool tls_of_session_ = false;  // asked for by VeNCrypt
  std::string tls_failure_;
  bool closed_ = false;
  std::vector<std::byte> input_;   // from the socket, for TLS
  std::vector<std::byte> plain_;   // for the session
  std::vector<std::byte> output_;  // for the socket
  size_t output_sent_ = 0;
};

}  // namespace menura
