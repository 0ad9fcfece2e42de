// RfbSession: the server's side of one VNC connection: handshake, messages, updates; no sockets.
//
// Owner: its connection (VncConnection), which feeds bytes in and carries bytes out. Threads: under
// the machine lock; pixels are encoded on a worker, from a copy. Source: rfb_protocol.h. Whatever a
// client sends is answered or ends the session: lengths are bounded before anything is stored.
// Example: `size_t used = session.receive(bytes);  if (session.ended()) close();`
#pragma once

#include <bitset>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "display/keymap.h"
#include "display/pixel_format.h"
#include "display/rfb_encodings.h"
#include "display/tiles.h"
#include "io/display.h"
#include "io/input.h"

namespace menura {

enum class VncAuth : u8 { None, Vnc };
enum class VncTls : u8 { Off, Anon, X509 };

// What a session needs of its server.
class RfbHost {
 public:
  virtual ~RfbHost() = default;
  virtual Display& display() = 0;
  virtual Inputs& inputs() = 0;
  virtual const Keymap& keymap() = 0;
  virtual std::string desktop_name() = 0;
  virtual VncAuth auth() = 0;
  virtual VncTls tls() = 0;
  // Of the password now, 16 bytes; false: refuse whoever comes.
  virtual bool check_response(ConstBytes challenge, ConstBytes response) = 0;
  virtual void random(Bytes to) = 0;
  // A client that wants the screen alone, or shares it: false refuses it.
  virtual bool admit(class RfbSession& session, bool shared) = 0;
  // Wants the screen brought up to date soon.
  virtual void wake() = 0;
  // Runs work on a worker, then done in the loop.
  virtual void encode(std::function<void()> work, std::function<void()> done) = 0;
};

// What a session needs of its connection.
class RfbWire {
 public:
  virtual ~RfbWire() = default;
  virtual void send(ConstBytes bytes) = 0;
  virtual size_t unsent() const = 0;
  // The bytes from here on are TLS's; tls_ready() follows.
  virtual void start_tls() = 0;
  // They are TLS's already: a browser's.
  virtual bool is_secure() const { return false; }
};

class RfbSession {
 public:
  RfbSession(RfbHost& host, RfbWire& wire);
  ~RfbSession();
  RfbSession(const RfbSession&) = delete;
  RfbSession& operator=(const RfbSession&) = delete;

  // Says hello.
  void start();
  // Takes whole messages; how many bytes these were. The rest is to be offered again.
  size_t receive(ConstBytes bytes);
  void tls_ready();
  bool ended() const { return ended_; }
  const std::string& why() const { return why_; }  // it ended; empty: the client's wish
  bool initialised() const { return stage_ == Stage::Running; }
  bool shared() const { return shared_; }

  // From the display and the inputs.
  void changed(const Rect& rect) { dirty_.add(rect); }
  void resized();
  void cursor_changed() { cursor_dirty_ = true; }
  void inputs_changed();
  // Sends what changed, if the client waits for it and its wire has room.
  void update();
  bool waits_for_update() const;

 private:
  enum class Stage : u8 {
    Version,
    Security,
    VencryptVersion,
    VencryptType,
    Tls,
    Response,
    ClientInit,
    Running
  };
  struct Job;

  VncTls tls() { return wire_.is_secure() ? VncTls::Off : host_.tls(); }
  size_t handshake(ConstBytes bytes);
  size_t message(ConstBytes bytes);
  size_t qemu_message(ConstBytes bytes);
  size_t version(ConstBytes bytes);
  size_t security(ConstBytes bytes);
  size_t vencrypt_type(ConstBytes bytes);
  size_t response(ConstBytes bytes);
  size_t client_init(ConstBytes bytes);
  void begin_auth(VncAuth auth);
  void accepted();
  void refuse(std::string_view reason);

  size_t set_pixel_format(ConstBytes bytes);
  size_t set_encodings(ConstBytes bytes);
  size_t update_request(ConstBytes bytes);
  size_t cut_text(ConstBytes bytes);
  size_t continuous_updates(ConstBytes bytes);
  size_t fence(ConstBytes bytes);
  size_t set_desktop_size(ConstBytes bytes);
  size_t key_event(ConstBytes bytes);
  size_t extended_key(ConstBytes bytes);
  size_t pointer_event(ConstBytes bytes);
  void choose_encodings(const std::vector<i32>& wanted);
  void type(u32 keysym, bool down);
  void press(Key key, bool down);
  void release_keys();
  void end(std::string why);

  unsigned put_pseudo_rects(RfbWriter& out);
  void put_size(RfbWriter& out, u32 reason, u32 status);
  void send_now(const RfbWriter& out) { wire_.send(out.bytes()); }
  void finish(const std::shared_ptr<Job>& job);

  // Wiring
  RfbHost& host_;
  RfbWire& wire_;
  std::shared_ptr<RfbEncoder> encoder_ = std::make_shared<RfbEncoder>();
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // State
  Stage stage_ = Stage::Version;
  unsigned minor_ = 8;  // of the protocol's version 3
  VncAuth auth_ = VncAuth::None;
  std::array<std::byte, 16> challenge_{};
  bool shared_ = true;
  bool ended_ = false;
  std::string why_;
  RfbEncoder::Settings settings_;
  struct {
    bool desktop_size, extended_size, cursor, pointer_type, extended_key, led_state, fence,
        continuous, last_rect;
  } can_{};
  bool requested_ = false;
  bool continuous_ = false;
  bool encoding_ = false;  // a worker is at it
  Rect area_;              // of interest, of the last request or of continuous updates
  DirtyTiles dirty_;
  bool size_dirty_ = false;
  bool cursor_dirty_ = false;
  bool pointer_dirty_ = false;
  bool led_dirty_ = false;
  bool keys_dirty_ = false;                     // that extended keys are understood is to be told
  std::optional<std::pair<u16, u16>> pointer_;  // where it was, for movements
  u8 buttons_ = 0;
  std::bitset<static_cast<size_t>(Key::kCount)> down_;
  u32 client_width_ = 0, client_height_ = 0;  // as the client knows the screen
  u64 skip_ = 0;                              // bytes of a message that says nothing to us
  std::vector<std::byte> fence_;              // an answer that waits for the update under way
};

}  // namespace menura
