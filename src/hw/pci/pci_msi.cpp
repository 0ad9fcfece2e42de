#include "hw/pci/pci_msi.h"

#include <algorithm>

#include "base/bits.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {
// Message Control.
constexpr u16 kEnable = 1 << 0;
constexpr unsigned kCapableShift = 1;
constexpr unsigned kAllowedShift = 4;
constexpr u16 kAllowedMask = 7 << kAllowedShift;
constexpr u16 kAddress64 = 1 << 7;
constexpr u16 kMaskable = 1 << 8;

unsigned capability_size(const PciMsiConfig& config) {
  if (config.maskable) return config.address64 ? 24 : 20;
  return config.address64 ? 14 : 10;
}
}  // namespace

void MsiAudience::set_listener(MsiListener* listener) {
  listener_ = listener;
  if (!listener_) return;
  for (unsigned vector = 0; vector < told_.size(); vector++)
    if (told_[vector]) listener_->vector_opened(vector, *told_[vector]);
}

void MsiAudience::tell(unsigned vector, const std::optional<MsiMessage>& message) {
  if (told_[vector] == message) return;
  told_[vector] = message;
  if (!listener_) return;
  if (message)
    listener_->vector_opened(vector, *message);
  else
    listener_->vector_closed(vector);
}

PciMsi::PciMsi(PciFunction& function, const PciMsiConfig& config)
    : PciCapability(function, pci::kCapMsi, capability_size(config)),
      config_(config),
      audience_(config.vectors) {
  ensure(is_power_of_two(config.vectors) && config.vectors <= 32, "MSI has 1 to 32 vectors");
  const u32 capable = static_cast<u32>(std::countr_zero(config.vectors)) << kCapableShift;
  const auto at = [&](unsigned offset) { return static_cast<u8>(offset); };
  ConfigSpace& space = this->config();
  space.define(
      {.offset = at(offset() + 2),
       .size = 2,
       .name = "msi_control",
       .reset = capable | (config.address64 ? kAddress64 : 0) | (config.maskable ? kMaskable : 0),
       .writable = kEnable | kAllowedMask});
  space.define(
      {.offset = at(offset() + 4), .size = 4, .name = "msi_address", .writable = 0xffff'fffc});
  if (config.address64)
    space.define({.offset = at(offset() + 8),
                  .size = 4,
                  .name = "msi_upper_address",
                  .writable = 0xffff'ffff});
  space.define({.offset = at(data_offset()), .size = 2, .name = "msi_data", .writable = 0xffff});
  if (!config.maskable) return;
  const u32 vectors = static_cast<u32>(low_mask(config.vectors));
  space.define({.offset = at(mask_offset()), .size = 4, .name = "msi_mask", .writable = vectors});
  space.define(
      {.offset = at(pending_offset()), .size = 4, .name = "msi_pending", .hardware = vectors});
}

u16 PciMsi::control() const { return config().get16(offset() + 2); }

bool PciMsi::enabled() const { return (control() & kEnable) != 0; }

unsigned PciMsi::allocated() const {
  const unsigned allowed = 1u << ((control() & kAllowedMask) >> kAllowedShift);
  return std::min(allowed, config_.vectors);
}

MsiMessage PciMsi::message(unsigned vector) const {
  MsiMessage message{.address = config().get32(offset() + 4)};
  if (config_.address64) message.address |= u64{config().get32(offset() + 8)} << 32;
  // The function may change the low bits that the vectors need, PCI 3.0 §6.8.3.4.
  const u32 vector_bits = allocated() - 1;
  message.data = (config().get16(data_offset()) & ~vector_bits) | (vector & vector_bits);
  return message;
}

bool PciMsi::masked(unsigned vector) const {
  return config_.maskable && test_bit(config().get32(mask_offset()), vector);
}

bool PciMsi::open(unsigned vector) const {
  return enabled() && can_send() && vector < allocated() && !masked(vector);
}

IrqStatus PciMsi::notify(unsigned vector) {
  if (!enabled()) return IrqStatus::Ignored;
  vector %= allocated();
  if (!masked(vector)) return send(message(vector));
  const u32 pending = config().get32(pending_offset());
  config().set(pending_offset(), 4, pending | static_cast<u32>(bit(vector)));
  return test_bit(pending, vector) ? IrqStatus::Coalesced : IrqStatus::Ignored;
}

void PciMsi::update() {
  for (unsigned vector = 0; vector < config_.vectors; vector++) {
    const bool is_open = open(vector);
    audience_.tell(vector, is_open ? std::optional(message(vector)) : std::nullopt);
    if (!is_open || !config_.maskable) continue;
    const u32 pending = config().get32(pending_offset());
    if (!test_bit(pending, vector)) continue;
    config().set(pending_offset(), 4, pending & ~static_cast<u32>(bit(vector)));
    (void)send(message(vector));
  }
}

Result<void> PciMsi::restored() {
  for (unsigned vector = 0; vector < config_.vectors; vector++)
    audience_.tell(vector, open(vector) ? std::optional(message(vector)) : std::nullopt);
  return {};
}

}  // namespace menura
