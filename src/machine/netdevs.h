// Netdevs: a machine's network back ends by id, the cards plugged into them, and captures.
//
// Owner: Machine. Threads: under the machine lock. A card takes the cable's end with plug(), attaches
// itself to it, and detaches when it goes.
// Example: `NicCable cable = TRY(netdevs.plug({id, "e1000"}, config));
//           auto card = std::make_unique<E1000>(id, *cable.port, cable.mac, time);`
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "machine/config.h"
#include "net/hub.h"
#include "net/net_port.h"
#include "net/pcap.h"

namespace menura {

class Chardevs;

// What every card's properties have.
struct NicOptions {
  std::string netdev;
  std::string mac;
  void describe(PropertyVisitor& p);
};

struct NicCable {
  NetPort* port = nullptr;
  MacAddress mac{};
};

// "52:54:00:12:34:56", also with '-'.
Result<MacAddress> parse_mac(std::string_view text);
std::string print_mac(const MacAddress& mac);

// -object filter-dump
struct FilterDumpOptions {
  enum class Status : u8 { On, Off };
  std::string netdev;
  std::string file;
  u32 maxlen = 65536;
  PcapFile::Queue queue = PcapFile::Queue::All;
  Status status = Status::On;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(FilterDumpOptions::Status);

class Netdevs {
 public:
  static constexpr std::string_view kFilterDump = "filter-dump";

  Netdevs(EventLoop& loop, Chardevs& chardevs);
  ~Netdevs();

  // -netdev: options.name is the kind.
  Result<void> create(const NamedOptions& options);
  // netdev_del: a card that uses it keeps a dead cable.
  Result<void> remove(std::string_view id);

  struct Card {
    std::string id;
    std::string_view model;
  };
  // For a card: its cable, to a back end of its own or to nowhere, and its address. Busy when
  // another card has the back end.
  Result<NicCable> plug(const Card& card, const NicOptions& options);
  // By the card's or the back end's id.
  Result<void> set_link(std::string_view name, bool up);
  // Frames reach cards only while the machine runs.
  void set_running(bool running);

  Result<void> create_filter(const NamedOptions& options);
  bool remove_filter(std::string_view id);

  struct Nic {
    std::string id;
    std::string_view model;
    MacAddress mac{};
    NetPort* port = nullptr;
  };
  // Those that are plugged in now.
  std::vector<Nic> nics() const;
  struct Info {
    std::string id;
    std::string kind;
    NetPort* port = nullptr;
  };
  // In the order of their making.
  std::vector<Info> list() const;
  // The one of this id, or of all if it is empty and there is but one; for hostfwd_add.
  Result<UserNet*> user_net(std::string_view id) const;

 private:
  struct Entry {
    std::string id;  // empty: a cable without a back end, or whose back end was removed
    std::string kind;
    std::unique_ptr<NetPort> port;
  };
  struct Filter {
    std::string id;
    std::string netdev;
    std::unique_ptr<PcapFile> file;
  };
  Result<Entry*> find(std::string_view id);
  Result<MacAddress> choose_mac(const std::string& given);
  NetPort& add(Entry entry);
  void drop_loose_ends();

  // Wiring
  EventLoop& loop_;
  Chardevs& chardevs_;
  NetHubs hubs_;
  // State
  std::vector<Entry> entries_;
  std::vector<Nic> nics_;
  std::vector<Filter> filters_;
  bool running_ = false;
};

}  // namespace menura
