#include "accel/dummy/qtest_commands.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/base64.h"
#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

using Words = std::span<const std::string_view>;

// More in one request is refused: the reply must fit into memory.
constexpr u64 kMaxLength = 64 * MiB;

struct Request {
  QtestTarget& target;
  Words words;  // the command's name first

  std::string_view word(size_t i) const { return words[i]; }
  bool has(size_t i) const { return i < words.size(); }
  Result<u64> number(size_t i) const { return parse_u64(words[i]); }
  // A number of bytes to move.
  Result<u64> length(size_t i) const {
    const u64 value = TRY(number(i));
    if (value > kMaxLength)
      return fail(Errc::OutOfRange, "{} bytes are more than the {} that one request may move",
                  value, kMaxLength);
    return value;
  }
};

using Reply = Result<std::string>;

std::string hex_of(ConstBytes bytes) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string text = "0x";
  text.reserve(2 + 2 * bytes.size());
  for (std::byte b : bytes) {
    text += kHexDigits[static_cast<u8>(b) >> 4];
    text += kHexDigits[static_cast<u8>(b) & 15];
  }
  return text;
}

std::optional<u8> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<u8>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<u8>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<u8>(c - 'A' + 10);
  return {};
}

// "0x" and pairs of digits, as many as there are of `length` bytes; the rest is 0. A lone digit at
// the end is no byte.
Result<std::vector<std::byte>> bytes_from_hex(std::string_view text, u64 length) {
  if (text.size() < 3) return fail(Errc::InvalidArgument, "invalid argument size");
  if (!text.starts_with("0x"))
    return fail(Errc::InvalidArgument, "the bytes are hexadecimal after 0x");
  text.remove_prefix(2);
  std::vector<std::byte> bytes(length);
  for (size_t i = 0; i < std::min<u64>(length, text.size() / 2); i++) {
    const auto high = hex_digit(text[2 * i]);
    const auto low = hex_digit(text[2 * i + 1]);
    if (!high || !low) return fail(Errc::InvalidArgument, "the bytes are hexadecimal after 0x");
    bytes[i] = static_cast<std::byte>(*high << 4 | *low);
  }
  return bytes;
}

// The size of an access by its letter: inb, writew, readl, writeq.
unsigned size_of_suffix(std::string_view command) {
  switch (command.back()) {
    case 'b': return 1;
    case 'w': return 2;
    case 'l': return 4;
    default: return 8;
  }
}

Reply endianness(const Request&) { return std::string("OK little"); }

Result<GuestAddr> port(const Request& request) {
  const u64 number = TRY(request.number(1));
  if (number > 0xffff) return fail(Errc::OutOfRange, "port {:#x} lies above 0xffff", number);
  return GuestAddr{number};
}

Reply out(const Request& request) {
  const GuestAddr at = TRY(port(request));
  const u64 value = TRY(request.number(2));
  request.target.io.store(at, size_of_suffix(request.word(0)), value);
  return std::string("OK");
}

Reply in(const Request& request) {
  const GuestAddr at = TRY(port(request));
  return format("OK 0x{:04x}", request.target.io.load(at, size_of_suffix(request.word(0))));
}

Reply store(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  const u64 value = TRY(request.number(2));
  request.target.memory.store(at, size_of_suffix(request.word(0)), value);
  return std::string("OK");
}

Reply load(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  return format("OK 0x{:016x}", request.target.memory.load(at, size_of_suffix(request.word(0))));
}

Result<std::vector<std::byte>> read_bytes(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  const u64 length = TRY(request.length(2));
  if (length == 0) return fail(Errc::InvalidArgument, "a read of no bytes");
  std::vector<std::byte> bytes(length);
  (void)request.target.memory.read(at, bytes);
  return bytes;
}

Reply read(const Request& request) { return "OK " + hex_of(TRY(read_bytes(request))); }
Reply read_base64(const Request& request) {
  return "OK " + base64_encode(TRY(read_bytes(request)));
}

Reply write(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  const u64 length = TRY(request.length(2));
  if (length == 0) return fail(Errc::InvalidArgument, "a write of no bytes");
  const std::vector<std::byte> bytes = TRY(bytes_from_hex(request.word(3), length));
  (void)request.target.memory.write(at, bytes);
  return std::string("OK");
}

Reply write_base64(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  const u64 length = TRY(request.length(2));
  std::vector<std::byte> bytes = TRY(base64_decode(request.word(3)));
  // The shorter wins.
  bytes.resize(std::min<u64>(bytes.size(), length));
  (void)request.target.memory.write(at, bytes);
  return std::string("OK");
}

Reply fill(const Request& request) {
  const GuestAddr at{TRY(request.number(1))};
  const u64 length = TRY(request.length(2));
  const u64 value = TRY(request.number(3));
  const std::vector<std::byte> bytes(length, static_cast<std::byte>(value));
  (void)request.target.memory.write(at, bytes);
  return std::string("OK");
}

// Moves to `to`, running each timer at its own time. False: a timer is armed again and again, and
// the request would never end.
bool move_clock(QtestTarget& target, i64 to) {
  constexpr u64 kMaxRounds = 20'000'000;
  for (u64 rounds = 0; target.timers.next_deadline() <= to; rounds++) {
    if (rounds == kMaxRounds) return false;
    target.clock.advance_to(target.timers.next_deadline());
    target.timers.run_expired();
  }
  target.clock.advance_to(to);
  return true;
}

Reply move_clock_and_tell(QtestTarget& target, i64 to) {
  const bool running = !target.running || target.running();
  const bool forward = to >= target.clock.now_ns();
  const bool moved = running && forward && move_clock(target, to);
  return format("{} {}", moved ? "OK" : "FAIL", target.clock.now_ns());
}

Result<i64> nanoseconds(const Request& request) {
  const u64 value = TRY(request.number(1));
  if (value > static_cast<u64>(std::numeric_limits<i64>::max()))
    return fail(Errc::OutOfRange, "{} ns are more than 292 years", value);
  return static_cast<i64>(value);
}

Reply clock_step(const Request& request) {
  QtestTarget& target = request.target;
  const i64 now = target.clock.now_ns();
  if (!request.has(1)) {
    const i64 next = target.timers.next_deadline();
    if (next == TimerQueue::kNever) return format("FAIL {}", now);
    return move_clock_and_tell(target, std::max(now, next));
  }
  const i64 step = TRY(nanoseconds(request));
  if (step >= TimerQueue::kNever - now)
    return fail(Errc::OutOfRange, "{} ns from now are past the end of time", step);
  return move_clock_and_tell(target, now + step);
}

Reply clock_set(const Request& request) {
  const i64 to = TRY(nanoseconds(request));
  if (to == TimerQueue::kNever) return fail(Errc::OutOfRange, "{} is past the end of time", to);
  return move_clock_and_tell(request.target, to);
}

Reply set_irq_in(const Request& request) {
  QtestDevices& devices = request.target.devices;
  const std::string device = TRY(devices.resolve(request.word(1)));
  const std::string_view name = request.word(2) == "unnamed-gpio-in" ? "" : request.word(2);
  const u64 pin = TRY(request.number(3));
  const u64 level = TRY(request.number(4));
  if (pin > std::numeric_limits<unsigned>::max())
    return fail(Errc::OutOfRange, "there is no pin {}", pin);
  TRY(devices.set_input(device, name, static_cast<unsigned>(pin), level != 0));
  return std::string("OK");
}

struct Command {
  std::string_view name;
  unsigned min_arguments, max_arguments;
  Reply (*run)(const Request&);
  bool moves_clock = false;
};

constexpr Command kCommands[] = {
    {"endianness", 0, 0, endianness},
    {"outb", 2, 2, out},
    {"outw", 2, 2, out},
    {"outl", 2, 2, out},
    {"inb", 1, 1, in},
    {"inw", 1, 1, in},
    {"inl", 1, 1, in},
    {"writeb", 2, 2, store},
    {"writew", 2, 2, store},
    {"writel", 2, 2, store},
    {"writeq", 2, 2, store},
    {"readb", 1, 1, load},
    {"readw", 1, 1, load},
    {"readl", 1, 1, load},
    {"readq", 1, 1, load},
    {"read", 2, 2, read},
    {"write", 3, 3, write},
    {"b64read", 2, 2, read_base64},
    {"b64write", 3, 3, write_base64},
    {"memset", 3, 3, fill},
    {"clock_step", 0, 1, clock_step, true},
    {"clock_set", 1, 1, clock_set, true},
    {"set_irq_in", 4, 4, set_irq_in},
};

}  // namespace

std::string run_qtest_command(QtestTarget& target, Words words) {
  const auto command = std::ranges::find(kCommands, words[0], &Command::name);
  if (command == std::end(kCommands) || (command->moves_clock && !target.steps_clock))
    return format("FAIL Unknown command '{}'", words[0].substr(0, 40));
  const size_t arguments = words.size() - 1;
  if (arguments < command->min_arguments || arguments > command->max_arguments)
    return format("ERR {} takes {} arguments, not {}", words[0], command->max_arguments, arguments);
  const Reply reply = command->run({target, words});
  return reply ? *reply : "ERR " + reply.error().text;
}

}  // namespace menura
