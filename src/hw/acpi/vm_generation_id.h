// VmGenerationId: a number that changes when a guest goes on in another life: the Virtual Machine
// Generation ID.
//
// Owner: the catalogue (-device vmgenid). Threads: under the machine lock. Source: Microsoft, "Virtual
// Machine Generation ID". The board puts it where the ACPI tables say. It is one and the same while this
// program runs, which has no way yet to bring a guest back. Example: `VmGenerationId id("vmgenid0", uuid);`
#pragma once

#include "base/uuid.h"
#include "hw/core/device.h"

namespace menura {

class VmGenerationId final : public Device {
 public:
  VmGenerationId(std::string id, const Uuid& uuid) : Device(std::move(id)), uuid_(uuid) {}
  std::string_view type() const override { return "vmgenid"; }
  const Uuid& uuid() const { return uuid_; }
  void reset(ResetKind) override {}
  void describe(StateVisitor&) override {}

 private:
  // Configuration
  const Uuid uuid_;
};

// The one of a machine; null: it has none.
inline const VmGenerationId* find_generation_id(const DeviceList& devices) {
  for (const Device* device : devices.all())
    if (device->type() == "vmgenid") return static_cast<const VmGenerationId*>(device);
  return nullptr;
}

}  // namespace menura
