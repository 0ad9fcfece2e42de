#include "block/core/filename.h"

#include <algorithm>

namespace menura {

std::string_view protocol_of(std::string_view name) {
  const size_t end = name.find_first_of(":/");
  if (end == std::string_view::npos || end == 0 || name[end] != ':') return {};
  return name.substr(0, end);
}

std::string resolve_beside(std::string_view beside, const std::string& name) {
  if (name.empty() || name[0] == '/' || !protocol_of(name).empty()) return name;
  const size_t slash = beside.rfind('/');
  if (slash != std::string_view::npos) return std::string(beside.substr(0, slash + 1)) + name;
  // Beside "nbd:x" or "file:x": the prefix stays.
  const std::string_view protocol = protocol_of(beside);
  if (protocol.empty()) return name;
  return std::string(protocol) + ":" + name;
}

}  // namespace menura
