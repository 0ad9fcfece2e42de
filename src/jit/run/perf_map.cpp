#include "jit/run/perf_map.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/format.h"

namespace menura::jit {

Result<std::unique_ptr<PerfMap>> PerfMap::create() {
  std::string path = fmt::format("/tmp/perf-{}.map", ::getpid());
  // A file of an earlier process with this number is nobody's any more; a link is not followed.
  ::unlink(path.c_str());
  UniqueFd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND), "perf map");
  return std::unique_ptr<PerfMap>(new PerfMap(std::move(file), std::move(path)));
}

void PerfMap::add(const void* code, u64 size, std::string_view name) {
  const std::string line = fmt::format("{:x} {:x} {}\n", reinterpret_cast<u64>(code), size, name);
  // Without it perf shows addresses: no reason to stop.
  (void)write_all(file_.get(), std::as_bytes(std::span(line)));
}

}  // namespace menura::jit
