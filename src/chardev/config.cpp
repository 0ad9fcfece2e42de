#include "chardev/config.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "chardev/kinds.h"

namespace menura {

namespace {

struct Row {
  ChardevKind kind;
  decltype(ChardevConfig::kind) defaults;
};

const std::array<Row, 6>& rows() {
  static const std::array<Row, 6> kRows = {{
      {{"null", "takes all output, gives no input"}, NullConfig{}},
      {{"stdio", "this program's standard input and output"}, StdioConfig{}},
      {{"file", "output to a file, input from another"}, FileConfig{}},
      {{"pty", "a new pseudo-terminal, for a terminal program to open"}, PtyConfig{}},
      {{"socket", "a UNIX or TCP socket, as server or client"}, SocketConfig{}},
      {{"ringbuf", "the newest output in memory, for the monitor"}, RingConfig{}},
  }};
  return kRows;
}

struct Opener {
  EventLoop& loop;
  const std::string& id;
  ChardevResult operator()(const NullConfig& c) { return open_null(loop, id, c); }
  ChardevResult operator()(const StdioConfig& c) { return open_stdio(loop, id, c); }
  ChardevResult operator()(const FileConfig& c) { return open_file_chardev(loop, id, c); }
  ChardevResult operator()(const PtyConfig& c) { return open_pty(loop, id, c); }
  ChardevResult operator()(const SocketConfig& c) { return open_socket(loop, id, c); }
  ChardevResult operator()(const RingConfig& c) { return open_ring(loop, id, c); }
};

}  // namespace

void StdioConfig::describe(PropertyVisitor& p) {
  p.field("signal", signal, "Ctrl-C and Ctrl-Z act on this program instead of being input");
}

void FileConfig::describe(PropertyVisitor& p) {
  p.required("path", path, "where output goes");
  p.field("append", append, "keep what the file holds");
  p.field("input-path", input_path, "where input comes from");
}

void SocketConfig::describe(PropertyVisitor& p) {
  p.field("path", path, "of a UNIX domain socket");
  p.field("abstract", abstract, "the path is a name in Linux's abstract space");
  p.field("host", host, "name or address of a TCP socket (a server's default: all addresses)");
  p.field("port", port, "number or service name of a TCP socket; 0 lets a server take any");
  p.field("ipv4", ipv4, "the host may resolve to an IPv4 address");
  p.field("ipv6", ipv6, "the host may resolve to an IPv6 address");
  p.field("nodelay", nodelay, "send small TCP packets at once");
  p.field("fd", fd,
          "a listening or connected socket: an inherited descriptor's number, or the name of one "
          "sent by "
          "getfd");
  p.field("server", server, "listen for a client");
  p.field("wait", wait, "a server waits for its first client before the machine starts");
  p.field("reconnect", reconnect, "seconds between a client's attempts (0: one attempt)");
}

void RingConfig::describe(PropertyVisitor& p) {
  p.field("size", size, "bytes kept, a power of two");
}

void ChardevConfig::describe(PropertyVisitor& p) {
  p.required("id", id, "its name");
  p.field("logfile", logfile, "a file that gets a copy of the output");
  p.field("logappend", logappend, "keep what the log file holds");
  std::visit([&](auto& options) { options.describe(p); }, kind);
}

std::span<const ChardevKind> chardev_kinds() {
  static const auto kKinds = [] {
    std::array<ChardevKind, 6> kinds;
    std::ranges::transform(rows(), kinds.begin(), &Row::kind);
    return kinds;
  }();
  return kKinds;
}

Result<ChardevConfig> chardev_config(std::string_view kind) {
  std::vector<std::string_view> names;
  for (const Row& row : rows()) {
    if (row.kind.name == kind) return ChardevConfig{.kind = row.defaults};
    names.push_back(row.kind.name);
  }
  return fail(Errc::NotFound, "There is no character device kind '{}'{}", kind,
              suggestion(kind, names));
}

ChardevResult open_chardev(EventLoop& loop, const ChardevConfig& config) {
  auto chardev = TRY(std::visit(Opener{loop, config.id}, config.kind),
                     "Opening character device '{}'", config.id);
  if (config.logfile.empty()) return ChardevResult(std::move(chardev));
  return with_logfile(std::move(chardev), config);
}

}  // namespace menura
