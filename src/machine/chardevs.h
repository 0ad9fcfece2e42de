// Chardevs: a machine's character devices by id.
//
// Owner: Machine. Threads: under the machine lock.
// Example: `Chardev* console = TRY(chardevs.find("serial0"));`
#pragma once

#include <map>
#include <memory>
#include <string>

#include "event/event_loop.h"
#include "io/chardev.h"
#include "machine/config.h"

namespace menura {

class Chardevs {
 public:
  explicit Chardevs(EventLoop& loop) : loop_(loop) {}

  // -chardev: options.name is the kind.
  Result<void> create(const NamedOptions& options);
  // Takes one made elsewhere.
  Result<void> adopt(std::string id, std::unique_ptr<Chardev> chardev);
  // With did-you-mean.
  Result<Chardev*> find(std::string_view id) const;
  const std::map<std::string, std::unique_ptr<Chardev>, std::less<>>& all() const {
    return chardevs_;
  }

 private:
  EventLoop& loop_;
  std::map<std::string, std::unique_ptr<Chardev>, std::less<>> chardevs_;
};

}  // namespace menura
