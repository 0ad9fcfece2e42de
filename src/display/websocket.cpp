#include "display/websocket.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/text.h"

namespace menura {

namespace {

constexpr size_t kMaxRequest = 8192;
constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 §1.3

enum Opcode : u8 { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// "a, B" has "b".
bool list_has(std::string_view list, std::string_view word) {
  for (const std::string_view part : split(list, ','))
    if (lower(trim(part)) == word) return true;
  return false;
}

std::string accept_of(std::string_view key) {
  const std::string text = std::string(key) + std::string(kGuid);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  ensure(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) == 1,
         "SHA-1 is there");
  return base64_encode(bytes_of(digest).first(size));
}

void append(std::vector<std::byte>& to, std::string_view text) {
  const ConstBytes bytes = bytes_of(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void put_header(std::vector<std::byte>& out, u8 opcode, size_t size) {
  out.push_back(static_cast<std::byte>(0x80 | opcode));
  if (size < 126) {
    out.push_back(static_cast<std::byte>(size));
    return;
  }
  const unsigned bytes = size < 0x10000 ? 2 : 8;
  out.push_back(static_cast<std::byte>(bytes == 2 ? 126 : 127));
  for (unsigned i = bytes; i-- > 0;) out.push_back(static_cast<std::byte>(u64{size} >> (8 * i)));
}

// The headers of a request by their names in lower case.
std::map<std::string, std::string> headers_of(std::string_view request) {
  std::map<std::string, std::string> headers;
  for (std::string_view line : split(request, '\n')) {
    line = trim(line);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    headers[lower(trim(line.substr(0, colon)))] = std::string(trim(line.substr(colon + 1)));
  }
  return headers;
}

}  // namespace

Result<void> WebSocket::receive(ConstBytes bytes, std::vector<std::byte>& plain,
                                std::vector<std::byte>& reply) {
  input_.insert(input_.end(), bytes.begin(), bytes.end());
  if (!open_) TRY(upgrade(reply));
  if (open_) TRY(frames(plain, reply));
  return {};
}

Result<void> WebSocket::upgrade(std::vector<std::byte>& reply) {
  const std::string_view text(reinterpret_cast<const char*>(input_.data()), input_.size());
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (input_.size() > kMaxRequest)
      return fail(Errc::OutOfRange, "Its HTTP request is longer than {} bytes", kMaxRequest);
    return {};
  }
  const std::string_view request = text.substr(0, end);
  auto headers = headers_of(request);
  const auto bad = [&](std::string_view why) -> Result<void> {
    append(reply, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return fail(Errc::InvalidArgument, "Its HTTP request {}", why);
  };
  if (end > kMaxRequest) return bad("is too long");
  if (!request.starts_with("GET ")) return bad("is not a GET");
  if (!list_has(headers["upgrade"], "websocket") || !list_has(headers["connection"], "upgrade"))
    return bad("does not ask for a WebSocket");
  if (headers["sec-websocket-version"] != "13") return bad("is not of version 13");
  const std::string& key = headers["sec-websocket-key"];
  if (key.empty()) return bad("has no key");
  const bool named = headers.contains("sec-websocket-protocol");
  if (named && !list_has(headers["sec-websocket-protocol"], "binary"))
    return bad("asks for other protocols than 'binary'");
  append(reply,
         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
  append(reply, "Sec-WebSocket-Accept: " + accept_of(key) + "\r\n");
  if (named) append(reply, "Sec-WebSocket-Protocol: binary\r\n");
  append(reply, "\r\n");
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(end + 4));
  open_ = true;
  return {};
}

Result<bool> WebSocket::header() {
  if (input_.size() < 2) return false;
  const u8 first = load_le<u8>(input_, 0), second = load_le<u8>(input_, 1);
  const unsigned extra = (second & 0x7f) == 126 ? 2 : (second & 0x7f) == 127 ? 8 : 0;
  if (!(second & 0x80)) return fail(Errc::InvalidArgument, "It sent a frame without a mask");
  if (input_.size() < 2 + extra + 4) return false;
  opcode_ = first & 0x0f;
  const bool is_control = opcode_ >= kClose;
  if ((first & 0x70) || (opcode_ > kBinary && opcode_ < kClose) || opcode_ > kPong)
    return fail(Errc::InvalidArgument, "It sent a frame of an unknown kind");
  if (opcode_ == kText) return fail(Errc::InvalidArgument, "It sent text, not bytes");
  left_ = second & 0x7f;
  if (extra == 2) left_ = load_be<u16>(input_, 2);
  if (extra == 8) left_ = load_be<u64>(input_, 2);
  if (is_control && (left_ > 125 || !(first & 0x80)))
    return fail(Errc::InvalidArgument, "It sent a control frame that is too long");
  std::copy_n(input_.begin() + 2 + extra, 4, mask_.begin());
  mask_at_ = 0;
  control_.clear();
  input_.erase(input_.begin(), input_.begin() + 6 + extra);
  return true;
}

Result<void> WebSocket::frames(std::vector<std::byte>& plain, std::vector<std::byte>& reply) {
  while (!closed_) {
    if (!in_frame_) {
      if (!TRY(header())) return {};
      in_frame_ = true;
    }
    const auto size = static_cast<size_t>(std::min<u64>(left_, input_.size()));
    std::vector<std::byte>& to = opcode_ >= kClose ? control_ : plain;
    for (size_t i = 0; i < size; i++) to.push_back(input_[i] ^ mask_[mask_at_++ % 4]);
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(size));
    left_ -= size;
    if (left_ > 0) return {};
    in_frame_ = false;
    if (opcode_ >= kClose) control(reply);
  }
  return {};
}

void WebSocket::control(std::vector<std::byte>& reply) {
  if (opcode_ == kPong) return;
  put_header(reply, opcode_ == kPing ? kPong : kClose, control_.size());
  reply.insert(reply.end(), control_.begin(), control_.end());
  closed_ = opcode_ == kClose;
}

void WebSocket::frame(ConstBytes bytes, std::vector<std::byte>& out) {
  put_header(out, kBinary, bytes.size());
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace menura
