#include "display/websocket.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace menura {
namespace {

// The handshake of RFC 6455 §1.3, with the subprotocol that noVNC names.
constexpr std::string_view kRequest =
    "GET /websockify HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
    "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: chat, binary\r\nSec-WebSocket-Version: 13\r\n\r\n";

struct WebSocketTest : testing::Test {
  Result<void> feed(ConstBytes bytes) { return ws.receive(bytes, plain, reply); }
  static std::string text(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  WebSocket ws;
  std::vector<std::byte> plain, reply;
};

TEST_F(WebSocketTest, TheUpgradeIsTheOneOfTheRfc) {
  for (const char c : kRequest) ASSERT_TRUE(feed(bytes_of(std::string_view(&c, 1))));
  EXPECT_TRUE(ws.open());
  const std::string answer = text(reply);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 101"));
  EXPECT_NE(answer.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), answer.npos);
  EXPECT_NE(answer.find("Sec-WebSocket-Protocol: binary\r\n"), answer.npos);
}

TEST_F(WebSocketTest, MaskedFramesAreReadBytewise) {
  ASSERT_TRUE(feed(bytes_of(kRequest)));
  // RFC 6455 §5.7: a masked "Hello", here as binary; then a ping that is answered.
  constexpr u8 kHello[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
                           0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
  reply.clear();
  for (const u8 byte : kHello) ASSERT_TRUE(feed(bytes_of(std::array{byte})));
  EXPECT_EQ(text(plain), "Hello");
  EXPECT_EQ(text(reply), "\x8a\x05Hello");
}

TEST_F(WebSocketTest, FramesOfEveryLength) {
  std::vector<std::byte> out;
  WebSocket::frame(std::vector<std::byte>(125), out);
  EXPECT_EQ(out.size(), 127u);
  out.clear();
  WebSocket::frame(std::vector<std::byte>(126), out);
  EXPECT_EQ(out.size(), 130u);
  EXPECT_EQ(load_be<u16>(out, 2), 126u);
  out.clear();
  WebSocket::frame(std::vector<std::byte>(70000), out);
  EXPECT_EQ(load_be<u64>(out, 2), 70000u);
}

TEST_F(WebSocketTest, WhatIsNotAWebSocketIsRefused) {
  EXPECT_FALSE(feed(bytes_of(std::string_view("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))));
  EXPECT_TRUE(text(reply).starts_with("HTTP/1.1 400"));
  WebSocket other;
  const std::string endless(10000, 'x');
  EXPECT_FALSE(other.receive(bytes_of(endless), plain, reply));
}

TEST_F(WebSocketTest, FramesMustBeMaskedBinaryAndShort) {
  constexpr u8 kWrong[][10] = {{0x82, 0x05, 'H', 'e', 'l', 'l', 'o'},  // no mask
                               {0x81, 0x80, 0, 0, 0, 0},               // text
                               {0x83, 0x80, 0, 0, 0, 0},               // reserved
                               {0xc2, 0x80, 0, 0, 0, 0},               // extension bits
                               {0x89, 0xfe, 0, 200, 0, 0, 0, 0}};      // a long ping
  for (const auto& frame : kWrong) {
    WebSocket fresh;
    ASSERT_TRUE(fresh.receive(bytes_of(kRequest), plain, reply));
    EXPECT_FALSE(fresh.receive(bytes_of(frame), plain, reply));
  }
}

TEST_F(WebSocketTest, ACloseIsAnsweredAndEndsIt) {
  ASSERT_TRUE(feed(bytes_of(kRequest)));
  reply.clear();
  constexpr u8 kClose[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
  ASSERT_TRUE(feed(bytes_of(kClose)));
  EXPECT_TRUE(ws.closed());
  EXPECT_EQ(text(reply), "\x88\x02\x03\xe8");
}

}  // namespace
}  // namespace menura
