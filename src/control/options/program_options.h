// ProgramOptions: a command line, understood: the machine, and what the program does around it.
//
// Owner: the program. Threads: a value.
// Example: `ProgramOptions options = TRY(parse_command_line(arguments, catalogue()));`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/code_log.h"
#include "control/sandbox/sandbox.h"
#include "display/vnc_server.h"
#include "machine/catalogue.h"
#include "machine/config.h"

namespace menura {

// -mon, -monitor, -qmp
struct MonitorOptions {
  enum class Mode : u8 { Readline, Control };
  std::string chardev;
  std::string id;
  Mode mode = Mode::Readline;
  bool pretty = false;  // QMP with line breaks and indentation
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(MonitorOptions::Mode);

// -overcommit
struct OvercommitOptions {
  bool mem_lock = false;
  void describe(PropertyVisitor& p);
};

// -name
struct NameOptions {
  std::string guest;
  bool debug_threads = true;
  void describe(PropertyVisitor& p);
};

// -add-fd
struct FdOptions {
  u32 set = 0;
  i32 fd = -1;
  std::string opaque;
  void describe(PropertyVisitor& p);
};

// -msg
struct MessageOptions {
  bool timestamp = false;
  void describe(PropertyVisitor& p);
};

struct ProgramOptions {
  MachineConfig machine;
  std::vector<MonitorOptions> monitors;
  std::string gdb_chardev;    // empty: none
  std::string qtest_chardev;  // empty: none
  std::string qtest_log;      // a path; empty: none
  std::vector<VncOptions> vncs;
  std::vector<std::string> audiodevs;     // ids
  std::string keyboard_layout = "en-us";  // -k
  std::string pidfile;
  std::string user;  // -runas; empty: stays who it is
  bool daemonize = false;
  bool guest_errors = false;          // -d guest_errors
  std::string log_file;               // -D; empty: stderr
  u32 code_log = 0;                   // -d: a bit per LogItem
  std::vector<LogRange> code_ranges;  // -dfilter
  std::vector<std::string> traces;
  MessageOptions messages;
  OvercommitOptions overcommit;
  SandboxOptions sandbox;

  // Not empty: the user asked for help or the version. To be printed; nothing else is to be done.
  std::string answer;
};

// Arguments without the program's name. Errors are one line that names the option, says what it
// expects, and proposes what may have been meant.
Result<ProgramOptions> parse_command_line(std::span<const std::string_view> arguments,
                                          const Catalogue& catalogue);

// The QEMU release whose command line and monitor protocol menura speaks.
inline constexpr unsigned kQemuVersion[3] = {8, 2, 0};
// "QEMU emulator version 8.2.0 (menura 0.1.0)": the form that clients look for.
std::string version_line();

}  // namespace menura
