// Chardevs: a machine's character devices by id, and who is connected to them.
//
// Owner: Machine. Threads: under the machine lock. A device with mux=on serves several users, each
// with a port of its own; any other serves one.
// Example: `Chardev* console = TRY(chardevs.connect("serial0"));`
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "chardev/mux.h"
#include "chardev/ring.h"
#include "event/event_loop.h"
#include "io/chardev.h"
#include "machine/config.h"

namespace menura {

class Chardevs {
 public:
  // quit answers a multiplexed terminal's Ctrl-A x.
  Chardevs(EventLoop& loop, std::function<void()> quit);
  ~Chardevs();

  // -chardev: options.name is the kind.
  Result<void> create(const NamedOptions& options);
  // The device of that id becomes the described one; its user stays connected, and hears of the old
  // end's closing and the new one's opening. When the new one cannot be opened all is as before.
  // Errc::Unsupported for one with mux=on, Busy for the one that the request came through (asking).
  Result<void> change(const NamedOptions& options, const Chardev* asking);
  // For one more user, with did-you-mean; Busy when it serves another already.
  Result<Chardev*> connect(std::string_view id);

  // Its one user is gone for good, and the device with it; no matter if there is none.
  void disconnect(std::string_view id);
  // Errc::Busy while somebody is connected.
  Result<void> remove(std::string_view id);
  // Of a kind that a monitor reads and writes itself; InvalidArgument for others.
  Result<RingChardev*> ring(std::string_view id);

  // For query-chardev: id and where its other end is.
  struct Info {
    std::string id;
    std::string kind;
    std::string where;
    bool connected = false;
  };
  std::vector<Info> list() const;

 private:
  class Exchangeable;
  struct Entry {
    std::unique_ptr<Exchangeable> plain;  // or
    std::unique_ptr<Mux> mux;
    std::string kind;
    bool connected = false;
  };
  struct Opened {
    std::unique_ptr<Chardev> chardev;
    bool mux = false;
  };

  Result<Opened> open(const NamedOptions& options);
  using Entries = std::map<std::string, Entry, std::less<>>;
  Result<Entries::iterator> find(std::string_view id);

  // Wiring
  EventLoop& loop_;
  std::function<void()> quit_;
  Entries entries_;
};

}  // namespace menura
