// The handshake, and what the two halves share; messages are in rfb_messages.cpp, updates in
// rfb_updates.cpp.
#include "display/rfb_session.h"

#include "display/rfb_protocol.h"

namespace menura {

namespace {

constexpr std::string_view kHello = "RFB 003.008\n";

bool is_digit(std::byte b) { return b >= std::byte{'0'} && b <= std::byte{'9'}; }

}  // namespace

RfbSession::RfbSession(RfbHost& host, RfbWire& wire) : host_(host), wire_(wire) {
  settings_.level = 3;
}

RfbSession::~RfbSession() {
  *alive_ = false;
  release_keys();
}

void RfbSession::start() { wire_.send(bytes_of(kHello)); }

void RfbSession::end(std::string why) {
  if (std::exchange(ended_, true)) return;
  why_ = std::move(why);
}

size_t RfbSession::receive(ConstBytes bytes) {
  size_t used = 0;
  while (!ended_ && stage_ != Stage::Tls && used < bytes.size()) {
    const ConstBytes rest = bytes.subspan(used);
    size_t taken = 0;
    if (skip_ > 0) {
      taken = static_cast<size_t>(std::min<u64>(skip_, rest.size()));
      skip_ -= taken;
    } else {
      taken = stage_ == Stage::Running ? message(rest) : handshake(rest);
    }
    if (taken == 0) break;
    used += taken;
  }
  return used;
}

size_t RfbSession::handshake(ConstBytes bytes) {
  switch (stage_) {
    case Stage::Version: return version(bytes);
    case Stage::Security: return security(bytes);
    case Stage::VencryptVersion: {
      if (bytes.size() < 2) return 0;
      const bool known = load_be<u16>(bytes) == 0x0002;
      RfbWriter out;
      out.u8_(known ? 0 : 1);
      if (known && tls() == VncTls::X509)
        out.u8_(1).u32_(host_.auth() == VncAuth::Vnc ? rfb::kX509Vnc : rfb::kX509None);
      else if (known)
        out.u8_(1).u32_(host_.auth() == VncAuth::Vnc ? rfb::kTlsVnc : rfb::kTlsNone);
      send_now(out);
      if (!known) end("it speaks another version of VeNCrypt than 0.2");
      stage_ = Stage::VencryptType;
      return 2;
    }
    case Stage::VencryptType: return vencrypt_type(bytes);
    case Stage::Response: return response(bytes);
    case Stage::ClientInit: return client_init(bytes);
    case Stage::Tls:
    case Stage::Running: break;
  }
  return 0;
}

size_t RfbSession::version(ConstBytes bytes) {
  if (bytes.size() < kHello.size()) return 0;
  const ConstBytes hello = bytes.first(kHello.size());
  bool good = true;
  for (size_t i = 0; i < kHello.size(); i++)
    good &= i >= 4 && i != 7 && i != 11 ? is_digit(hello[i]) : hello[i] == std::byte(kHello[i]);
  if (!good) {
    end("it does not speak RFB");
    return kHello.size();
  }
  const unsigned minor = static_cast<unsigned>(hello[10]) - '0';
  minor_ = minor >= 8 ? 8 : minor == 7 ? 7 : 3;
  const u32 type = tls() != VncTls::Off           ? rfb::kVencrypt
                   : host_.auth() == VncAuth::Vnc ? rfb::kVncAuth
                                                  : rfb::kNone;
  RfbWriter out;
  if (minor_ >= 7) {
    out.u8_(1).u8_(type);
    stage_ = Stage::Security;
    send_now(out);
    return kHello.size();
  }
  if (type == rfb::kVencrypt) {
    send_now(out.u32_(rfb::kInvalid).text("This server wants TLS, which needs RFB 3.7 or later"));
    end("its protocol is too old for TLS");
    return kHello.size();
  }
  send_now(out.u32_(type));
  begin_auth(host_.auth());
  return kHello.size();
}

size_t RfbSession::security(ConstBytes bytes) {
  const u32 chosen = load_le<u8>(bytes);
  if (tls() != VncTls::Off && chosen == rfb::kVencrypt) {
    send_now(RfbWriter().u8_(0).u8_(2));
    stage_ = Stage::VencryptVersion;
  } else if (tls() == VncTls::Off && host_.auth() == VncAuth::Vnc && chosen == rfb::kVncAuth) {
    begin_auth(VncAuth::Vnc);
  } else if (tls() == VncTls::Off && host_.auth() == VncAuth::None && chosen == rfb::kNone) {
    begin_auth(VncAuth::None);
  } else {
    refuse("That security type was not offered");
  }
  return 1;
}

size_t RfbSession::vencrypt_type(ConstBytes bytes) {
  if (bytes.size() < 4) return 0;
  const bool x509 = tls() == VncTls::X509;
  const u32 offered = host_.auth() == VncAuth::Vnc ? (x509 ? rfb::kX509Vnc : rfb::kTlsVnc)
                                                   : (x509 ? rfb::kX509None : rfb::kTlsNone);
  const bool good = load_be<u32>(bytes) == offered;
  send_now(RfbWriter().u8_(good ? 1 : 0));
  if (!good) {
    end("it chose a VeNCrypt type that was not offered");
    return 4;
  }
  stage_ = Stage::Tls;
  wire_.start_tls();
  return 4;
}

void RfbSession::tls_ready() {
  if (stage_ == Stage::Tls) begin_auth(host_.auth());
}

void RfbSession::begin_auth(VncAuth auth) {
  auth_ = auth;
  if (auth == VncAuth::None) {
    if (minor_ >= 8) accepted();
    stage_ = Stage::ClientInit;
    return;
  }
  host_.random(challenge_);
  wire_.send(challenge_);
  stage_ = Stage::Response;
}

size_t RfbSession::response(ConstBytes bytes) {
  if (bytes.size() < challenge_.size()) return 0;
  if (!host_.check_response(challenge_, bytes.first(challenge_.size()))) {
    refuse("The password is not right");
  } else {
    accepted();
    stage_ = Stage::ClientInit;
  }
  return challenge_.size();
}

void RfbSession::accepted() { send_now(RfbWriter().u32_(0)); }

void RfbSession::refuse(std::string_view reason) {
  RfbWriter out;
  out.u32_(1);
  if (minor_ >= 8) out.text(reason);
  send_now(out);
  end(std::string(reason));
}

size_t RfbSession::client_init(ConstBytes bytes) {
  shared_ = load_le<u8>(bytes) != 0;
  if (!host_.admit(*this, shared_)) {
    end("another client has the screen for itself");
    return 1;
  }
  Display& display = host_.display();
  display.refresh();
  client_width_ = display.surface().width();
  client_height_ = display.surface().height();
  dirty_.resize(client_width_, client_height_);
  dirty_.add_all();
  RfbWriter out;
  out.u16_(client_width_).u16_(client_height_);
  settings_.format.write(out);
  out.text(host_.desktop_name());
  send_now(out);
  stage_ = Stage::Running;
  return 1;
}

}  // namespace menura
