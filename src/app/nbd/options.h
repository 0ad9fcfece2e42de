// menura-nbd's command line, read: qemu-nbd(8)'s letters and names.
//
// Owner: app/nbd. Threads: values. Errors name the option.
// Example: `const Options options = TRY(read_options(words));`
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/socket_address.h"
#include "block/nbd_server/export.h"
#include "block/tool/image_session.h"

namespace menura::nbd {

struct Options {
  enum class Task : u8 { Serve, List, Help, Version };
  Task task = Task::Serve;
  bool verbose = false;
  std::vector<std::string> objects;
  std::vector<std::string> traces;
  // Where to listen; for a list, whom to ask
  SocketPlace place;
  bool place_given = false;
  std::string tls_creds, tls_hostname;
  // The server
  unsigned shared = 1;  // clients at once; 0: as many as the server can
  bool persistent = false;
  std::chrono::seconds handshake_limit{10};
  bool fork = false;
  std::string pid_file;
  // The image
  std::string file;
  OpenImage image;
  bool snapshot = false;
  std::string load_snapshot;
  std::optional<u64> offset;
  NbdExportOptions exported;
};

Result<Options> read_options(const std::vector<std::string>& words);
std::string help_text();

}  // namespace menura::nbd
