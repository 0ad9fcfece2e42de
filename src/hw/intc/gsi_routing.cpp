#include "hw/intc/gsi_routing.h"

#include <algorithm>

namespace menura {

namespace {

// The fate of a level that several targets got.
IrqStatus better(IrqStatus a, IrqStatus b) { return std::max(a, b); }
static_assert(IrqStatus::Ignored < IrqStatus::Coalesced &&
              IrqStatus::Coalesced < IrqStatus::Delivered);

}  // namespace

void GsiRouting::set_default_pc() {
  table_.assign(kFirstMsi, {});
  for (u8 gsi = 0; gsi < kFirstMsi; gsi++) {
    // IR2 is the cascade. The IOAPIC's pin 2 gets IRQ0; by its own number the HPET reaches it.
    if (gsi < 16 && gsi != 2) table_[gsi].push_back(PicPin{gsi});
    table_[gsi].push_back(IoapicPin{gsi == 0 ? u8{2} : gsi});
  }
  routes_ = 0;
  for (const std::vector<GsiTarget>& targets : table_) routes_ += targets.size();
  changed_ = true;
}

Result<void> GsiRouting::add(u32 gsi, const GsiTarget& target) {
  if (routes_ >= kMaxRoutes || gsi >= kMaxRoutes)
    return fail(Errc::NoSpace, "Routing interrupt {}: all {} routes are in use", gsi, kMaxRoutes);
  if (gsi >= table_.size()) table_.resize(gsi + 1);
  table_[gsi].push_back(target);
  routes_++;
  changed_ = true;
  return {};
}

void GsiRouting::remove(u32 gsi) {
  if (gsi >= table_.size() || table_[gsi].empty()) return;
  routes_ -= table_[gsi].size();
  table_[gsi].clear();
  changed_ = true;
}

Result<u32> GsiRouting::add_msi(const MsiMessage& message) {
  u32 gsi = kFirstMsi;
  while (gsi < table_.size() && !table_[gsi].empty()) gsi++;
  TRY(add(gsi, message));
  return gsi;
}

void GsiRouting::update_msi(u32 gsi, const MsiMessage& message) {
  ensure(gsi < table_.size() && table_[gsi].size() == 1, "a message's route has one target");
  if (table_[gsi][0] == GsiTarget{message}) return;
  table_[gsi][0] = message;
  changed_ = true;
}

void GsiRouting::commit() {
  if (!std::exchange(changed_, false)) return;
  if (mirror_) mirror_(*this);
}

std::vector<GsiRoute> GsiRouting::entries() const {
  std::vector<GsiRoute> routes;
  routes.reserve(routes_);
  for (u32 gsi = 0; gsi < table_.size(); gsi++)
    for (const GsiTarget& target : table_[gsi]) routes.push_back({gsi, target});
  return routes;
}

IrqStatus GsiRouting::set_irq(unsigned gsi, bool level) {
  IrqStatus status = IrqStatus::Ignored;
  if (gsi >= table_.size()) return status;
  for (const GsiTarget& target : table_[gsi]) status = better(status, drive(target, level));
  return status;
}

IrqStatus GsiRouting::send_msi(const MsiMessage& message) {
  return chips_.msi ? chips_.msi->send_msi(message) : IrqStatus::Ignored;
}

IrqStatus GsiRouting::drive(const GsiTarget& target, bool level) {
  if (const PicPin* pic = std::get_if<PicPin>(&target))
    return chips_.pic ? chips_.pic->set_irq(pic->pin, level) : IrqStatus::Ignored;
  if (const IoapicPin* ioapic = std::get_if<IoapicPin>(&target))
    return chips_.ioapic ? chips_.ioapic->set_irq(ioapic->pin, level) : IrqStatus::Ignored;
  if (const MsiMessage* message = std::get_if<MsiMessage>(&target))
    return level ? send_msi(*message) : IrqStatus::Ignored;
  return IrqStatus::Ignored;  // HypervSint: no user-space chip has it
}

}  // namespace menura
