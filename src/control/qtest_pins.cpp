#include "control/qtest_pins.h"

#include "base/text.h"
#include "hw/intc/irq_statistics.h"

namespace menura {

Result<std::string> QtestPins::resolve(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  std::vector<std::string_view> ids;
  const Device* by_type = nullptr;
  for (const Device* device : machine_.all_devices()) {
    if (device->id() == name) return device->id();
    if (device->type() == name) by_type = device;
    ids.push_back(device->id());
  }
  if (by_type) return by_type->id();
  return fail(Errc::NotFound, "Unknown device '{}'{}", path, suggestion(name, ids));
}

Result<unsigned> QtestPins::inputs_of(std::string_view device) const {
  constexpr unsigned kPicInputs = 16;
  constexpr unsigned kIoapicInputs = 24;
  if (machine_.board().irqs()) {
    if (device == "pic") return kPicInputs;
    if (device == "ioapic") return kIoapicInputs;
  }
  return fail(Errc::Unsupported, "The inputs of '{}' cannot be watched or driven", device);
}

Result<void> QtestPins::intercept_inputs(std::string_view device, Report report) {
  const unsigned inputs = TRY(inputs_of(device));
  machine_.board().irqs()->watch([inputs, report](unsigned gsi, bool level) {
    if (gsi < inputs) report(gsi, level);
  });
  return {};
}

Result<void> QtestPins::intercept_outputs(std::string_view device, std::string_view, Report) {
  return fail(Errc::Unsupported, "The outputs of '{}' cannot be intercepted", device);
}

void QtestPins::stop_intercept() {
  if (machine_.board().irqs()) machine_.board().irqs()->watch({});
}

Result<void> QtestPins::set_input(std::string_view device, std::string_view name, unsigned pin,
                                  bool level) {
  const unsigned inputs = TRY(inputs_of(device));
  if (!name.empty())
    return fail(Errc::NotFound, "Device '{}' has no inputs called '{}'", device, name);
  if (pin >= inputs)
    return fail(Errc::OutOfRange, "Device '{}' has inputs 0 to {}, not {}", device, inputs - 1,
                pin);
  machine_.board().irqs()->set_irq(pin, level);
  return {};
}

}  // namespace menura
