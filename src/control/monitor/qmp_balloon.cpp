#include "control/monitor/qmp_balloon.h"

#include "control/monitor/qom_tree.h"
#include "hw/virtio/virtio_balloon.h"
#include "machine/catalogue/virtio_kinds.h"

namespace menura {

namespace {

constexpr std::string_view kStats = "guest-stats";
constexpr std::string_view kInterval = "guest-stats-polling-interval";
constexpr i64 kSecond = 1'000'000'000;

Result<VirtioBalloon*> find_balloon(MonitorTarget& target) {
  for (Device* device : target.machine.devices().all())
    if (VirtioBalloon* balloon = balloon_of(*device)) return balloon;
  return fail(Errc::NotFound, "This machine has no balloon, or its driver does not run");
}

Value statistics_of(const VirtioBalloon& balloon) {
  Value stats = Value::object();
  for (size_t i = 0; i < VirtioBalloon::kStatistics.size(); i++)
    stats.set(VirtioBalloon::kStatistics[i], balloon.statistics()[i]);
  Value value = Value::object();
  value.set("stats", std::move(stats));
  value.set("last-update", balloon.statistics_time_ns() / kSecond);
  return value;
}

}  // namespace

void BalloonTarget::describe(PropertyVisitor& p) {
  p.required("value", value, "RAM that the guest shall keep, in bytes");
}

Result<Nothing> qmp_balloon(MonitorTarget& target, const BalloonTarget& arguments) {
  VirtioBalloon* balloon = TRY(find_balloon(target));
  if (arguments.value == 0) return fail(Errc::OutOfRange, "A guest cannot do without any RAM");
  balloon->set_target(arguments.value);
  return Nothing{};
}

void BalloonReply::describe(PropertyVisitor& p) {
  p.field("actual", actual, "RAM that the guest keeps, in bytes");
}

Result<BalloonReply> query_balloon(MonitorTarget& target, const Nothing&) {
  return BalloonReply{.actual = TRY(find_balloon(target))->actual()};
}

std::optional<Value> balloon_value(Device& device, std::string_view property) {
  VirtioBalloon* balloon = balloon_of(device);
  if (!balloon) return std::nullopt;
  if (property == kStats) return statistics_of(*balloon);
  if (property == kInterval) return Value(balloon->polling_interval());
  return std::nullopt;
}

void PropertySet::describe(PropertyVisitor& p) {
  p.required("path", path, "an object's path, or its name");
  p.required("property", property, "one of its properties");
  p.required("value", value, "what it shall be");
}

Result<Nothing> qom_set(MonitorTarget& target, const PropertySet& arguments) {
  Device* device = TRY(qom_device(target, arguments.path));
  VirtioBalloon* balloon = device ? balloon_of(*device) : nullptr;
  if (!balloon || arguments.property != kInterval)
    return fail(Errc::Unsupported, "Property '{}' of '{}' cannot be set", arguments.property,
                arguments.path);
  balloon->set_polling_interval(TRY(detail::convert<u32>(arguments.value), "{}", kInterval));
  return Nothing{};
}

}  // namespace menura
