// QMP commands about the memory balloon, and the properties of its that qom-get and qom-set know.
//
// Owner: control/monitor. Threads: under the machine lock. Errc::NotFound without a
// balloon. Example: `command<&query_balloon>("query-balloon", "How much RAM the guest keeps")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

class Device;

struct BalloonTarget {
  u64 value = 0;
  void describe(PropertyVisitor& p);
};
Result<Nothing> qmp_balloon(MonitorTarget& target, const BalloonTarget& arguments);

struct BalloonReply {
  u64 actual = 0;
  void describe(PropertyVisitor& p);
};
Result<BalloonReply> query_balloon(MonitorTarget& target, const Nothing&);

// Of a device that is a balloon: guest-stats and guest-stats-polling-interval; null for others.
std::optional<Value> balloon_value(Device& device, std::string_view property);

struct PropertySet {
  std::string path;
  std::string property;
  Value value;
  void describe(PropertyVisitor& p);
};
Result<Nothing> qom_set(MonitorTarget& target, const PropertySet& arguments);

}  // namespace menura
