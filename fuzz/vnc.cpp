// A hostile VNC client, and a hostile browser: any bytes, in any pieces, before and after the
// handshake, with and without passwords. The first byte chooses which.
#include <fuzzer/FuzzedDataProvider.h>

#include "display/rfb_session.h"
#include "display/websocket.h"
#include "event/tape.h"

namespace menura {
namespace {

struct Picture final : DisplaySource {
  void refresh(Display& display) override {
    display.resize(130, 70);
    display.changed({0, 0, 130, 70});
  }
  void invalidate() override {}
};

struct Server final : RfbHost, RfbWire {
  Display& display() override { return screen; }
  Inputs& inputs() override { return input; }
  const Keymap& keymap() override { return *Keymap::of("en-us").value(); }
  std::string desktop_name() override { return "fuzz"; }
  VncAuth auth() override { return wanted_auth; }
  VncTls tls() override { return wanted_tls; }
  bool check_response(ConstBytes, ConstBytes response) override {
    return response[0] == std::byte{1};
  }
  void random(Bytes to) override { std::ranges::fill(to, std::byte{0}); }
  bool admit(RfbSession&, bool) override { return true; }
  void wake() override {}
  void encode(std::function<void()> work, std::function<void()> done) override {
    work();
    done();
  }
  void send(ConstBytes bytes) override { sent += bytes.size(); }
  size_t unsent() const override { return 0; }
  void start_tls() override {}
  ScriptedTape tape;
  Inputs input{tape};
  Picture picture;
  Display screen{"screen", picture};
  VncAuth wanted_auth = VncAuth::None;
  VncTls wanted_tls = VncTls::Off;
  size_t sent = 0;
};

void feed(RfbSession& session, std::vector<std::byte>& waiting, ConstBytes bytes) {
  waiting.insert(waiting.end(), bytes.begin(), bytes.end());
  const size_t used = session.receive(waiting);
  ensure(used <= waiting.size(), "a session takes what there is");
  waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(used));
  session.update();
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace menura;
  FuzzedDataProvider data(bytes, size);
  Server server;
  const u8 choice = data.ConsumeIntegral<u8>();
  if (choice & 1) server.wanted_auth = VncAuth::Vnc;
  if (choice & 2) server.wanted_tls = VncTls::X509;
  RfbSession session(server, server);
  session.start();
  std::vector<std::byte> waiting;
  WebSocket browser;
  if (choice & 4) feed(session, waiting, bytes_of(std::string_view("RFB 003.008\n\1\1")));
  if (choice & 8) {
    std::vector<std::byte> plain, reply;
    constexpr std::string_view kUpgrade =
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n";
    (void)browser.receive(bytes_of(kUpgrade), plain, reply);
  }
  while (data.remaining_bytes() > 0 && !session.ended()) {
    const std::vector<u8> piece = data.ConsumeBytes<u8>(data.ConsumeIntegralInRange<size_t>(1, 64));
    if (!(choice & 8)) {
      feed(session, waiting, bytes_of(piece));
      continue;
    }
    std::vector<std::byte> plain, reply;
    if (!browser.receive(bytes_of(piece), plain, reply)) break;
    feed(session, waiting, plain);
  }
  return 0;
}
