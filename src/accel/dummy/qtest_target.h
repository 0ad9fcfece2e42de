// QtestTarget: the machine as the qtest protocol sees it.
//
// Owner: the machine, which implements QtestDevices over its devices' pins. Threads: everything
// under the machine lock. Example: `QtestTarget target{memory, io, clock, timers, devices};`
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "event/clock.h"
#include "event/timer.h"
#include "memory/address_space.h"

namespace menura {

// The devices' pins, by path: a full one ("/machine/unattached/device[3]") or its unique end
// ("ioapic"). Errors become FAIL replies.
class QtestDevices {
 public:
  using Report = std::function<void(unsigned pin, bool level)>;
  virtual ~QtestDevices() = default;
  // The one true path of the device that `path` means.
  virtual Result<std::string> resolve(std::string_view path) = 0;
  // From now on reports each level that is driven on the device's unnamed inputs, which still get
  // it. Ends with stop_intercept().
  virtual Result<void> intercept_inputs(std::string_view device, Report report) = 0;
  // The same for its outputs: the unnamed ones no longer reach what they were connected to, named
  // ones do.
  virtual Result<void> intercept_outputs(std::string_view device, std::string_view name,
                                         Report report) = 0;
  virtual void stop_intercept() = 0;
  // Drives an input; name is empty for the unnamed ones.
  virtual Result<void> set_input(std::string_view device, std::string_view name, unsigned pin,
                                 bool level) = 0;
};

struct QtestTarget {
  AddressSpace& memory;
  AddressSpace& io;
  VirtualClock& clock;
  TimerQueue& timers;
  QtestDevices& devices;
  // Whether the clock commands exist: under the dummy accelerator, where no guest runs by it.
  bool steps_clock = true;
  // False while the machine is stopped: then time cannot be moved either. Empty: always.
  std::function<bool()> running = {};
};

}  // namespace menura
