#include "hw/core/device.h"

#include <algorithm>

namespace menura {

Device::Device(std::string id, Device* parent) : id_(std::move(id)), parent_(parent) {
  if (parent_) parent_->children_.push_back(this);
}

Device::~Device() {
  if (parent_) std::erase(parent_->children_, this);
  for (Device* child : children_) child->parent_ = nullptr;
}

void DeviceList::remove(Device& device) { std::erase(devices_, &device); }

Device* DeviceList::find(std::string_view id) const {
  const auto at = std::ranges::find_if(devices_, [&](Device* d) { return d->id() == id; });
  return at == devices_.end() ? nullptr : *at;
}

void DeviceList::reset(ResetKind kind) {
  for (Device* device : devices_) device->reset(kind);
}

void DeviceList::pause() {
  for (Device* device : devices_) device->pause();
}

void DeviceList::resume() {
  for (Device* device : devices_) device->resume();
}

}  // namespace menura
