#include "control/monitor/qmp_net.h"

#include "control/monitor/qmp_objects.h"
#include "machine/netdevs.h"
#include "net/config.h"

namespace menura {

Shape NetdevAdd::shape() {
  Shape shape{.kind = Shape::Kind::Object, .tag = "type"};
  Shape types{.kind = Shape::Kind::Choice};
  for (const NetdevKind& kind : netdev_kinds()) {
    types.choices.emplace_back(kind.name);
    NetdevConfig config = netdev_config(kind.name).value();
    PropertyShaper shaper;
    std::visit([&](auto& options) { options.describe(shaper); }, config.kind);
    shape.variants.push_back({std::string(kind.name), std::move(shaper.shape)});
  }
  shape.members.push_back(
      {.name = "type", .help = "the kind", .shape = std::move(types), .required = true});
  shape.members.push_back(
      {.name = "id", .help = "its name", .shape = {.kind = Shape::Kind::Text}, .required = true});
  return shape;
}

Result<NetdevAdd> NetdevAdd::read(const Value& given) {
  NetdevAdd add;
  add.netdev.options = given;
  add.netdev.name = TRY(take_text(add.netdev.options, "type"));
  add.netdev.id = TRY(take_text(add.netdev.options, "id"));
  return add;
}

Result<Nothing> netdev_add(MonitorTarget& target, const NetdevAdd& arguments) {
  TRY(target.machine.netdevs().create(arguments.netdev));
  return Nothing{};
}

Result<Nothing> netdev_del(MonitorTarget& target, const IdArgument& arguments) {
  TRY(target.machine.netdevs().remove(arguments.id));
  return Nothing{};
}

void LinkArguments::describe(PropertyVisitor& p) {
  p.required("name", name, "id of a card or a back end");
  p.required("up", up, "plug the cable in, or out");
}
Result<Nothing> set_link(MonitorTarget& target, const LinkArguments& arguments) {
  TRY(target.machine.netdevs().set_link(arguments.name, arguments.up));
  return Nothing{};
}

void FilterQuery::describe(PropertyVisitor& p) { p.field("name", name, "only of this card"); }

std::span<const std::string_view> enum_names(NetFilter::Mode) {
  static constexpr std::string_view kNames[] = {"none", "normal", "all"};
  return kNames;
}

void FilterReply::describe(PropertyVisitor& p) {
  const auto print = [](const std::vector<MacAddress>& macs) {
    std::vector<std::string> texts;
    for (const MacAddress& mac : macs) texts.push_back(print_mac(mac));
    return texts;
  };
  std::string main_mac = print_mac(filter.main_mac);
  std::vector<std::string> unicast = print(filter.unicast_table);
  std::vector<std::string> multicast = print(filter.multicast_table);
  p.field("name", name);
  p.field("promiscuous", filter.promiscuous);
  p.field("multicast", filter.multicast);
  p.field("unicast", filter.unicast);
  p.field("vlan", filter.vlan);
  p.field("broadcast-allowed", filter.broadcast);
  p.field("multicast-overflow", filter.multicast_overflow);
  p.field("unicast-overflow", filter.unicast_overflow);
  p.field("main-mac", main_mac);
  p.field("vlan-table", filter.vlan_table);
  p.field("unicast-table", unicast);
  p.field("multicast-table", multicast);
}

Result<std::vector<FilterReply>> query_rx_filter(MonitorTarget& target, const FilterQuery& query) {
  std::vector<FilterReply> replies;
  bool found = false;
  for (const Netdevs::Nic& nic : target.machine.netdevs().nics()) {
    if (query.name && nic.id != *query.name) continue;
    found = true;
    if (std::optional<NetFilter> filter = nic.port->card()->filter())
      replies.push_back({nic.id, std::move(*filter)});
    else if (query.name)
      return fail(Errc::Unsupported, "Card '{}' does not tell what it lets in", nic.id);
  }
  if (query.name && !found)
    return fail(Errc::NotFound, "There is no network card '{}'", *query.name);
  return replies;
}

}  // namespace menura
