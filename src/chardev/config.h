// What can be said about a character device: one struct of options for each kind, and the table of
// kinds. `-chardev KIND,id=...`, its help and chardev-add all derive from describe().
//
// Owner: the machine's configuration. Threads: values.
// Example: `ChardevConfig config = TRY(chardev_config("pty"));  TRY(read_properties(config, value,
// "chardev")); auto chardev = TRY(open_chardev(loop, config));`
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "io/chardev.h"
#include "state/properties.h"

namespace menura {

class EventLoop;

// Takes everything, sends nothing.
struct NullConfig {
  void describe(PropertyVisitor&) {}
};

// The program's standard input and output; a terminal is put into raw mode. One in a process.
struct StdioConfig {
  bool signal = true;
  void describe(PropertyVisitor& p);
};

// Output to a file, and perhaps input from another.
struct FileConfig {
  std::string path;
  bool append = false;
  std::string input_path;
  void describe(PropertyVisitor& p);
};

// A new pseudo-terminal; where() tells its path.
struct PtyConfig {
  void describe(PropertyVisitor&) {}
};

// A stream socket: UNIX domain (path), TCP (host and port), or one that somebody else opened
// (fd, see base/fd_sets.h).
struct SocketConfig {
  std::string path;
  bool abstract = false;
  std::string host;
  std::string port;
  bool ipv4 = true;
  bool ipv6 = true;
  bool nodelay = true;
  std::string fd;
  bool server = false;
  bool wait = true;
  u32 reconnect = 0;  // seconds
  void describe(PropertyVisitor& p);
};

// The newest output in memory, for the monitor to read (chardev/ring.h).
struct RingConfig {
  Size size{64 * 1024};
  void describe(PropertyVisitor& p);
};

struct ChardevConfig {
  std::string id;
  std::string logfile;
  bool logappend = false;
  std::variant<NullConfig, StdioConfig, FileConfig, PtyConfig, SocketConfig, RingConfig> kind;
  // The common options and those of the kind, side by side.
  void describe(PropertyVisitor& p);
};

struct ChardevKind {
  std::string_view name;  // QEMU's
  std::string_view help;  // one line
};
std::span<const ChardevKind> chardev_kinds();

// The kind's defaults; Errc::NotFound with a suggestion for an unknown name.
Result<ChardevConfig> chardev_config(std::string_view kind);

// Opens it. Blocks for a server socket with wait=on, and for name resolution.
Result<std::unique_ptr<Chardev>> open_chardev(EventLoop& loop, const ChardevConfig& config);

}  // namespace menura
