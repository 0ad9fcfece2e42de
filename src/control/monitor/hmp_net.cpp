#include "control/monitor/hmp_net.h"

#include "control/monitor/qmp_net.h"
#include "machine/netdevs.h"
#include "net/user_net.h"

namespace menura::hmp {

namespace {

using Answer = Result<std::string>;

Netdevs& netdevs_of(HmpContext& context) { return context.target.machine.netdevs(); }

}  // namespace

Answer add_netdev(HmpContext& context, HmpWords words) {
  if (words.size() != 1)
    return fail(Errc::InvalidArgument, "netdev_add: expected kind,id=ID[,property=value...]");
  TRY(netdev_add(context.target, TRY(NetdevAdd::read(TRY(parse_keyval(words[0], "type"))))));
  return std::string();
}

Answer remove_netdev(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "netdev_del: expected an id");
  TRY(netdevs_of(context).remove(words[0]));
  return std::string();
}

Answer change_link(HmpContext& context, HmpWords words) {
  if (words.size() != 2 || (words[1] != "on" && words[1] != "off"))
    return fail(Errc::InvalidArgument, "set_link: expected a card or back end, and on or off");
  TRY(netdevs_of(context).set_link(words[0], words[1] == "on"));
  return std::string();
}

Answer add_hostfwd(HmpContext& context, HmpWords words) {
  if (words.empty() || words.size() > 2)
    return fail(Errc::InvalidArgument,
                "hostfwd_add: expected [netdev] [tcp|udp]:[host]:port-[guest]:port");
  UserNet* const net = TRY(netdevs_of(context).user_net(words.size() == 2 ? words[0] : ""));
  TRY(net->add_hostfwd(std::string(words.back())));
  return std::string();
}

Answer remove_hostfwd(HmpContext& context, HmpWords words) {
  if (words.empty() || words.size() > 2)
    return fail(Errc::InvalidArgument, "hostfwd_remove: expected [netdev] [tcp|udp]:[host]:port");
  UserNet* const net = TRY(netdevs_of(context).user_net(words.size() == 2 ? words[0] : ""));
  TRY(net->remove_hostfwd(std::string(words.back())));
  return format("{} is forwarded no more\n", words.back());
}

// Each card with its back end below, then the back ends without one.
Answer info_network(HmpContext& context, HmpWords) {
  std::string text;
  const auto end = [](const Netdevs::Info& info) {
    return format("{}: index=0,type={},{}{}\n", info.id, info.kind, info.port->netdev()->where(),
                  info.port->link_up() ? "" : ",link=down");
  };
  for (const Netdevs::Nic& nic : netdevs_of(context).nics()) {
    text += format("{}: index=0,type=nic,model={},macaddr={}{}\n", nic.id, nic.model,
                   print_mac(nic.mac), nic.port->link_up() ? "" : ",link=down");
    for (const Netdevs::Info& info : netdevs_of(context).list())
      if (info.port == nic.port) text += " \\ " + end(info);
  }
  for (const Netdevs::Info& info : netdevs_of(context).list())
    if (!info.port->card()) text += end(info);
  return text;
}

Answer info_usernet(HmpContext& context, HmpWords) {
  std::string text;
  for (const Netdevs::Info& info : netdevs_of(context).list())
    if (UserNet* const net = info.port->netdev()->user_net())
      text += format("User network '{}':\n{}", info.id, net->connections());
  return text;
}

std::vector<std::string> complete_netdev(HmpContext& context) {
  std::vector<std::string> ids;
  for (Netdevs::Info& info : netdevs_of(context).list()) ids.push_back(std::move(info.id));
  return ids;
}

std::vector<std::string> complete_link(HmpContext& context) {
  std::vector<std::string> ids = complete_netdev(context);
  for (Netdevs::Nic& nic : netdevs_of(context).nics()) ids.push_back(std::move(nic.id));
  return ids;
}

}  // namespace menura::hmp
