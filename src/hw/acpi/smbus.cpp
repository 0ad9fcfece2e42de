#include "hw/acpi/smbus.h"

#include <algorithm>

namespace menura {

SmbusEeprom::SmbusEeprom(std::string id, std::span<const u8> content, Device* parent)
    : Device(std::move(id), parent) {
  content_.fill(0xff);
  std::ranges::copy(content.first(std::min(content.size(), content_.size())), content_.begin());
}

bool SmbusEeprom::write(std::span<const u8> bytes) {
  if (bytes.empty()) return true;
  address_ = bytes[0];
  for (const u8 byte : bytes.subspan(1)) content_[address_++] = byte;
  return true;
}

bool SmbusEeprom::read(std::span<u8> bytes) {
  for (u8& byte : bytes) byte = content_[address_++];
  return true;
}

void SmbusEeprom::describe(StateVisitor& v) {
  v.field("content", content_);
  v.field("address", address_);
}

}  // namespace menura
