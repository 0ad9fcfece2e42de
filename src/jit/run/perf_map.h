// PerfMap: names of translated code for Linux' perf: /tmp/perf-PID.map, a line for each block.
//
// Owner: whoever translates. Threads: any (each line is one write). Format: Linux
// tools/perf/Documentation/jit-interface.txt. Example:
//   auto map = TRY(PerfMap::create());  map->add(host, size, "guest 0xffffffff81000000");
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace menura::jit {

class PerfMap {
 public:
  static Result<std::unique_ptr<PerfMap>> create();
  // `code` is where it runs. The name has no line end.
  void add(const void* code, u64 size, std::string_view name);
  const std::string& path() const { return path_; }

 private:
  PerfMap(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  UniqueFd file_;
  std::string path_;
};

}  // namespace menura::jit
