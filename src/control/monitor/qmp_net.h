// QMP commands about the network: back ends, links and what cards let in.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&netdev_add>("netdev_add", "Make a network back end")`
#pragma once

#include "control/monitor/qmp_objects.h"
#include "io/net_backend.h"

namespace menura {

// Further members are the kind's properties.
struct NetdevAdd {
  NamedOptions netdev;
  static Result<NetdevAdd> read(const Value& given);
  static Shape shape();
};
Result<Nothing> netdev_add(MonitorTarget& target, const NetdevAdd& arguments);
Result<Nothing> netdev_del(MonitorTarget& target, const IdArgument& arguments);

struct LinkArguments {
  std::string name;
  bool up = false;
  void describe(PropertyVisitor& p);
};
Result<Nothing> set_link(MonitorTarget& target, const LinkArguments& arguments);

struct FilterQuery {
  std::optional<std::string> name;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(NetFilter::Mode);
struct FilterReply {
  std::string name;
  NetFilter filter;
  void describe(PropertyVisitor& p);
};
Result<std::vector<FilterReply>> query_rx_filter(MonitorTarget& target, const FilterQuery& query);

}  // namespace menura
