#include "hw/pci/pcie_root_port.h"

namespace menura {

PcieRootPort::PcieRootPort(std::string id, const PciExpress::Port& port, Ejected ejected,
                           Device* parent)
    : PciBridge(id, id, kIdentity, parent),
      express_(*this, PciExpress::Type::RootPort, port),
      ejected_(std::move(ejected)) {
  set_interrupt_pin(IntxPin::A);
  secondary_bus()->make_point_to_point();
  if (ejected_) secondary_bus()->set_hotplug(this);
}

bool PcieRootPort::occupied() { return !secondary_bus()->functions().empty(); }

bool PcieRootPort::powered_off() const {
  constexpr u16 kOff = PciExpress::kPowerOff | PciExpress::kPowerIndicatorOff;
  return (express_.slot_control() & kOff) == kOff;
}

// An empty slot begins without power.
void PcieRootPort::reset_chip(ResetKind kind) {
  PciBridge::reset_chip(kind);
  express_.set_present(occupied());
  if (!occupied())
    express_.set_slot_control(PciExpress::kPowerOff | PciExpress::kPowerIndicatorOff);
  was_off_ = powered_off();
  update_interrupt();
}

Result<void> PcieRootPort::restored_chip() {
  was_off_ = powered_off();
  interrupt_ = wants_interrupt();
  return PciBridge::restored_chip();
}

void PcieRootPort::config_written(unsigned offset, unsigned size) {
  PciBridge::config_written(offset, size);
  const bool off = powered_off();
  if (off && !was_off_ && occupied()) eject();
  was_off_ = off;
  update_interrupt();
}

void PcieRootPort::plugged(PciFunction&) {
  express_.set_present(true);
  express_.report(PciExpress::kPresenceChanged | PciExpress::kLinkChanged);
  update_interrupt();
}

// A slot without power, or whose events nobody wants, lets go at once.
bool PcieRootPort::request_eject(PciFunction&) {
  if ((express_.slot_control() & PciExpress::kHotplugInterrupt) == 0 || powered_off()) {
    eject();
    update_interrupt();
    return true;
  }
  express_.report(PciExpress::kButtonPressed);
  update_interrupt();
  return false;
}

void PcieRootPort::eject() {
  for (PciFunction* function : secondary_bus()->functions()) {
    secondary_bus()->remove(*function);
    ejected_(*function);
  }
  express_.set_present(false);
  express_.report(PciExpress::kPresenceChanged | PciExpress::kLinkChanged);
}

// §6.7.3.4: the enables of the control register lie where their events do in the status, but for that
// of the link.
bool PcieRootPort::wants_interrupt() const {
  constexpr u16 kSameBits = 0x001f, kLinkEnable = 1 << 12;
  const u16 control = express_.slot_control();
  u16 wanted = control & kSameBits;
  if (control & kLinkEnable) wanted |= PciExpress::kLinkChanged;
  return (control & PciExpress::kHotplugInterrupt) != 0 && (express_.slot_status() & wanted) != 0;
}

void PcieRootPort::update_interrupt() {
  const bool asserted = wants_interrupt();
  const bool rises = asserted && !interrupt_;
  interrupt_ = asserted;
  if (rises && msi_.enabled()) (void)msi_.notify(0);
  set_intx(asserted);
}

}  // namespace menura
