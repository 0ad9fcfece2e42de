// QMP commands on the image graph.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&blockdev_add>("blockdev-add", "Open a node")`
#pragma once

#include "block/core/throttle.h"
#include "control/monitor/command.h"

namespace menura {

// A node's options, as -blockdev takes them; which there are beside these depends on the driver.
struct BlockdevAdd {
  Value options;
  static Result<BlockdevAdd> read(const Value& given);
  static Shape shape();
};
Result<Nothing> blockdev_add(MonitorTarget& target, const BlockdevAdd& arguments);

struct NodeName {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_del(MonitorTarget& target, const NodeName& arguments);

struct BlockResize {
  std::optional<std::string> device, node;
  Size size;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_resize(MonitorTarget& target, const BlockResize& arguments);

// Zeroes all over: no limits any more.
struct BlockThrottle {
  std::optional<std::string> device, id, group;
  ThrottleLimits limits;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_set_io_throttle(MonitorTarget& target, const BlockThrottle& arguments);

}  // namespace menura
