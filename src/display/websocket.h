// WebSocket: the server's side of RFC 6455 over somebody's bytes: the HTTP upgrade, then frames.
//
// Owner: its connection. Threads: none. Bounded: a request has at most 8 KiB, frames come through as
// they arrive, control frames have at most 125 bytes.
// Example: `TRY(ws.receive(bytes, plain, reply));  send(reply);  use(plain);`
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class WebSocket {
 public:
  // Appends the payload to plain and what must be answered to reply. An error ends the connection
  // (after the reply, if there is one).
  Result<void> receive(ConstBytes bytes, std::vector<std::byte>& plain,
                       std::vector<std::byte>& reply);
  // A binary frame around bytes; only once open().
  static void frame(ConstBytes bytes, std::vector<std::byte>& out);
  bool open() const { return open_; }
  bool closed() const { return closed_; }  // by a close frame

 private:
  Result<void> upgrade(std::vector<std::byte>& reply);
  Result<void> frames(std::vector<std::byte>& plain, std::vector<std::byte>& reply);
  Result<bool> header();  // false: not whole yet
  void control(std::vector<std::byte>& reply);

  // State
  bool open_ = false;
  bool closed_ = false;
  std::vector<std::byte> input_;  // a request or header that is not whole
  bool in_frame_ = false;
  u8 opcode_ = 0;
  u64 left_ = 0;  // of the frame's payload
  std::array<std::byte, 4> mask_{};
  u64 mask_at_ = 0;
  std::vector<std::byte> control_;  // payload of a control frame
};

}  // namespace menura
