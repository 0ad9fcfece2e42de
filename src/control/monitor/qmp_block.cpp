#include "control/monitor/qmp_block.h"

#include "block/core/driver.h"
#include "block/drivers.h"
#include "machine/drives.h"

namespace menura {

Result<BlockdevAdd> BlockdevAdd::read(const Value& given) {
  if (!given.find("driver")) return fail(Errc::InvalidArgument, "Parameter 'driver' is missing");
  return BlockdevAdd{given};
}

Shape BlockdevAdd::shape() {
  Shape shape = shape_of<NodeOptions>();
  for (Shape::Member& member : shape.members) {
    if (member.name != "driver") continue;
    member.shape = {.kind = Shape::Kind::Choice};
    for (const Driver* driver : all_drivers())
      if (driver->open) member.shape.choices.emplace_back(driver->name);
    member.required = true;  // here; an image's file name or content may say it elsewhere
  }
  return shape;
}

Result<Nothing> blockdev_add(MonitorTarget& target, const BlockdevAdd& arguments) {
  TRY(target.machine.drives().add_node(arguments.options));
  return Nothing{};
}

void NodeName::describe(PropertyVisitor& p) { p.required("node-name", name, "the node"); }
Result<Nothing> blockdev_del(MonitorTarget& target, const NodeName& arguments) {
  TRY(target.machine.drives().graph().remove(arguments.name));
  return Nothing{};
}

void BlockResize::describe(PropertyVisitor& p) {
  p.field("device", device, "the drive, or");
  p.field("node-name", node, "the node");
  p.required("size", size, "the new one, in bytes");
}
Result<Nothing> block_resize(MonitorTarget& target, const BlockResize& arguments) {
  Drives& drives = target.machine.drives();
  Node* node = arguments.node ? drives.graph().find(*arguments.node) : nullptr;
  for (const std::unique_ptr<Drive>& drive : drives.all())
    if (arguments.device && drive->options.id == *arguments.device) node = &drive->disk->node();
  if (!node)
    return fail(Errc::NotFound, "Resizing: no drive is called '{}', no node '{}'",
                arguments.device.value_or(""), arguments.node.value_or(""));
  const Graph::Change change(drives.graph());
  TRY(node->truncate(arguments.size.bytes));
  return Nothing{};
}

void BlockThrottle::describe(PropertyVisitor& p) {
  p.field("device", device, "the drive");
  p.field("id", id, "the same");
  p.field("group", group, "drives of one group share its limits; else the drive has its own");
  struct Limit {
    const char *name, *burst, *length;  // of the arguments
    ThrottleLimits::Rate& rate;
    const char* help;
  };
  const Limit all[] = {
      {"bps", "bps_max", "bps_max_length", limits.bps_total, "bytes a second"},
      {"bps_rd", "bps_rd_max", "bps_rd_max_length", limits.bps_read, "bytes read a second"},
      {"bps_wr", "bps_wr_max", "bps_wr_max_length", limits.bps_write, "bytes written a second"},
      {"iops", "iops_max", "iops_max_length", limits.iops_total, "requests a second"},
      {"iops_rd", "iops_rd_max", "iops_rd_max_length", limits.iops_read, "reads a second"},
      {"iops_wr", "iops_wr_max", "iops_wr_max_length", limits.iops_write, "writes a second"},
  };
  for (const Limit& limit : all) {
    p.required(limit.name, limit.rate.mean, limit.help);
    p.field(limit.burst, limit.rate.burst, "the same, in a burst");
    p.field(limit.length, limit.rate.burst_seconds, "seconds of a burst");
  }
  p.field("iops_size", limits.iops_size, "bytes that count as one request");
}
Result<Nothing> block_set_io_throttle(MonitorTarget& target, const BlockThrottle& arguments) {
  Drives& drives = target.machine.drives();
  if (arguments.device.has_value() == arguments.id.has_value())
    return fail(Errc::InvalidArgument, "Limits are for a drive: either 'device' or 'id' names it");
  const std::string& name = arguments.device ? *arguments.device : *arguments.id;
  const Drive* drive = drives.find(name);
  if (!drive) return fail(Errc::NotFound, "There is no drive '{}'", name);
  TRY(arguments.limits.check());
  if (!arguments.limits.any()) {
    drive->disk->set_limits(nullptr);
    return Nothing{};
  }
  const std::string& group = arguments.group ? *arguments.group : name;
  std::shared_ptr<Throttle> throttle = drives.graph().throttle_groups().find_or_make(group);
  throttle->limit(arguments.limits);
  drive->disk->set_limits(std::move(throttle));
  return Nothing{};
}

}  // namespace menura
