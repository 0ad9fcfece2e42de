// The makers of the kinds, inside this room; everybody else calls open_chardev().
//
// Owner: chardev. Threads: as Chardev. Errors name the path or address that was tried.
// Example: `auto pty = TRY(open_pty(loop, "serial0", config));`
#pragma once

#include <memory>

#include "chardev/config.h"

namespace menura {

using ChardevResult = Result<std::unique_ptr<Chardev>>;

ChardevResult open_null(EventLoop& loop, const std::string& id, const NullConfig& config);
ChardevResult open_stdio(EventLoop& loop, const std::string& id, const StdioConfig& config);
ChardevResult open_file_chardev(EventLoop& loop, const std::string& id, const FileConfig& config);
ChardevResult open_pty(EventLoop& loop, const std::string& id, const PtyConfig& config);
ChardevResult open_socket(EventLoop& loop, const std::string& id, const SocketConfig& config);
ChardevResult open_ring(EventLoop& loop, const std::string& id, const RingConfig& config);

// Passes everything on, and copies what was taken as output to the file.
ChardevResult with_logfile(std::unique_ptr<Chardev> inner, const ChardevConfig& config);

}  // namespace menura
