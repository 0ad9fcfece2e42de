// QtestPins: a machine's devices and their pins, as the qtest protocol names them.
//
// Owner: Session. Threads: under the machine lock. Pins that can be watched and driven are the
// inputs of the interrupt controllers ("ioapic", "pic"); others are refused as Unsupported. A device
// is named by its id, its type, or a path that ends with either.
// Example: `QtestPins pins(machine);  pins.intercept_inputs("ioapic", report);`
#pragma once

#include "accel/dummy/qtest_target.h"
#include "machine/machine.h"

namespace menura {

class QtestPins final : public QtestDevices {
 public:
  explicit QtestPins(Machine& machine) : machine_(machine) {}

  Result<std::string> resolve(std::string_view path) override;
  Result<void> intercept_inputs(std::string_view device, Report report) override;
  Result<void> intercept_outputs(std::string_view device, std::string_view name,
                                 Report report) override;
  void stop_intercept() override;
  Result<void> set_input(std::string_view device, std::string_view name, unsigned pin,
                         bool level) override;

 private:
  // The number of inputs of an interrupt controller, all of which are GSIs.
  Result<unsigned> inputs_of(std::string_view device) const;

  // Wiring
  Machine& machine_;
};

}  // namespace menura
