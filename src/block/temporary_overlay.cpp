#include "block/temporary_overlay.h"

#include <unistd.h>

#include <cstdlib>

#include "base/fd.h"
#include "block/core/graph.h"

namespace menura {

namespace {

Result<NodePtr> open_overlay(Node& image, const std::string& path) {
  TRY(image.graph().create("qcow2", path, (image.size() + 511) & ~u64{511}, Value::object()));
  Value file = Value::object();
  file.set("driver", "file");
  file.set("filename", path);
  Value overlay = Value::object();
  overlay.set("driver", "qcow2");
  overlay.set("file", std::move(file));
  overlay.set("backing", image.name());
  overlay.set("discard", "unmap");
  Value cache = Value::object();
  cache.set("no-flush", true);
  overlay.set("cache", std::move(cache));
  return image.graph().open(std::move(overlay));
}

}  // namespace

Result<NodePtr> open_temporary_overlay(NodePtr image) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = format("{}/menura-overlay-XXXXXX", folder ? folder : "/var/tmp");
  const UniqueFd made(::mkstemp(path.data()));
  if (!made) return fail_errno(errno, "Making the temporary overlay '{}'", path);
  Result<NodePtr> overlay = open_overlay(*image, path);
  ::unlink(path.c_str());
  return TRY(std::move(overlay), "Making the temporary overlay '{}'", path);
}

}  // namespace menura
