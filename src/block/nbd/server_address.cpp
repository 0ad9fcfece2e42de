#include "block/nbd/server_address.h"

#include "base/text.h"
#include "block/nbd/protocol.h"

namespace menura {

namespace {

constexpr std::string_view kTypes[] = {"inet", "unix"};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 3986 §2.1
Result<std::string> percent_decode(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return fail(Errc::InvalidArgument, "'%' in '{}' is not followed by two hexadecimal digits",
                  text);
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kPlain = "-._~/";
  std::string encoded;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != std::string_view::npos)
      encoded += c;
    else
      encoded += format("%{:02X}", static_cast<u8>(c));
  }
  return encoded;
}

Value options_of(const NbdServerAddress& address, const std::string& export_name) {
  Value server = Value::object();
  if (address.type == NbdServerAddress::Type::Unix) {
    server.set("type", "unix");
    server.set("path", address.path);
  } else {
    server.set("type", "inet");
    server.set("host", address.host);
    server.set("port", address.port);
  }
  Value options = Value::object();
  options.set("driver", "nbd");
  options.set("server", std::move(server));
  if (!export_name.empty()) options.set("export", export_name);
  return options;
}

// "host", "host:port", "[::1]:port".
Result<void> parse_authority(std::string_view text, NbdServerAddress& address) {
  std::string_view host = text, port = kNbdPort;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos)
      return fail(Errc::InvalidArgument, "'{}' has '[' without ']'", text);
    host = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (text.starts_with(':')) port = text.substr(1);
  } else if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  address.host = TRY(percent_decode(host));
  if (address.host.empty()) address.host = "localhost";
  address.port = port.empty() ? kNbdPort : port;
  return {};
}

Result<Value> parse_uri(std::string_view scheme, std::string_view rest) {
  NbdServerAddress address;
  std::string_view query;
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos)
    query = rest.substr(mark + 1), rest = rest.substr(0, mark);
  const size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  const std::string name =
      TRY(percent_decode(slash == std::string_view::npos ? "" : rest.substr(slash + 1)));
  constexpr std::string_view kSocket = "socket=";
  if (scheme != "nbd+unix") {
    if (!query.empty())
      return fail(Errc::InvalidArgument, "'?{}' has no meaning for a TCP server", query);
    TRY(parse_authority(authority, address));
    return options_of(address, name);
  }
  if (!authority.empty())
    return fail(Errc::InvalidArgument,
                "nbd+unix: takes no host, '{}': nbd+unix:///NAME?socket=PATH", authority);
  if (!query.starts_with(kSocket) || query.find('&') != std::string_view::npos)
    return fail(Errc::InvalidArgument, "nbd+unix: needs '?socket=PATH', and nothing more");
  address.type = NbdServerAddress::Type::Unix;
  address.path = TRY(percent_decode(query.substr(kSocket.size())));
  return options_of(address, name);
}

// host:port:exportname=x, unix:path:exportname=x
Result<Value> parse_short(std::string_view rest) {
  constexpr std::string_view kExport = ":exportname=", kUnix = "unix:";
  NbdServerAddress address;
  std::string name;
  if (const size_t at = rest.find(kExport); at != std::string_view::npos) {
    name = rest.substr(at + kExport.size());
    rest = rest.substr(0, at);
  }
  if (rest.starts_with(kUnix)) {
    address.type = NbdServerAddress::Type::Unix;
    address.path = rest.substr(kUnix.size());
    return options_of(address, name);
  }
  if (rest.rfind(':') == std::string_view::npos)
    return fail(Errc::InvalidArgument, "'nbd:{}' names no port", rest);
  TRY(parse_authority(rest, address));
  return options_of(address, name);
}

}  // namespace

std::span<const std::string_view> enum_names(NbdServerAddress::Type) { return kTypes; }

void NbdServerAddress::describe(PropertyVisitor& p) {
  p.required("type", type, "inet (TCP) or unix");
  p.field("host", host, "inet: name or address");
  p.field("port", port, "inet: number or service name");
  p.field("path", path, "unix: the socket");
  p.field("abstract", abstract, "unix: the path is a name in Linux's abstract space");
  p.field("ipv4", ipv4, "inet: the host may resolve to an IPv4 address");
  p.field("ipv6", ipv6, "inet: the host may resolve to an IPv6 address");
}

Result<SocketPlace> NbdServerAddress::place() const {
  if (type == Type::Unix) {
    if (path.empty()) return fail(Errc::InvalidArgument, "A unix address needs a 'path'");
    if (!host.empty() || !port.empty())
      return fail(Errc::InvalidArgument, "A unix address has no 'host' and no 'port'");
    return SocketPlace{.path = path, .abstract = abstract};
  }
  if (!path.empty()) return fail(Errc::InvalidArgument, "An inet address has no 'path'");
  if (port.empty()) return fail(Errc::InvalidArgument, "An inet address needs a 'port'");
  // Saying yes to one alone means the other is not wanted.
  return SocketPlace{.host = host,
                     .port = port,
                     .ipv4 = ipv4.value_or(!ipv6.value_or(false)),
                     .ipv6 = ipv6.value_or(!ipv4.value_or(false))};
}

std::string NbdServerAddress::uri(const std::string& export_name) const {
  const std::string name = percent_encode(export_name);
  if (type == Type::Unix) return format("nbd+unix:///{}?socket={}", name, percent_encode(path));
  const bool v6 = host.find(':') != std::string::npos;
  std::string text = v6 ? format("nbd://[{}]:{}", host, port) : format("nbd://{}:{}", host, port);
  return name.empty() ? text : text + "/" + name;
}

Result<Value> parse_nbd_filename(const std::string& filename) {
  const std::string_view all = filename;
  const size_t colon = all.find(':');
  ensure(colon != std::string_view::npos, "a name with a protocol");
  const std::string_view scheme = all.substr(0, colon), rest = all.substr(colon + 1);
  if (rest.starts_with("//"))
    return TRY(parse_uri(scheme, rest.substr(2)), "Reading the name '{}'", filename);
  if (scheme != "nbd")
    return fail(Errc::InvalidArgument, "'{}': '{}:' is followed by '//'", filename, scheme);
  return TRY(parse_short(rest), "Reading the name '{}'", filename);
}

}  // namespace menura
