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

}  // namespace menura
