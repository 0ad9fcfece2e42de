// PciMsi: the MSI capability: up to 32 vectors that are dwords written to one address.
//
// Owner: a PciFunction (a member, made in its constructor). Threads: under the machine lock.
// Source: PCI Local Bus 3.0 §6.8.1. Example:
//   PciMsi msi_{*this, {.vectors = 4}};   if (msi_.enabled()) msi_.notify(0); else set_intx(true);
#pragma once

#include "hw/pci/pci_function.h"

namespace menura {

// Hears which message each vector would send now, for those who inject past the device: an
// accelerator's route and irqfd, vhost. Nothing is heard of a vector that stays silent.
class MsiListener {
 public:
  virtual ~MsiListener() = default;
  // The vector may send, and this is its message (again whenever it changes).
  virtual void vector_opened(unsigned vector, const MsiMessage& message) = 0;
  // Masked or disabled: interrupts must go through notify() until it opens again, so that the guest
  // finds them in the pending bits.
  virtual void vector_closed(unsigned vector) = 0;
};

// Tells a listener what changed, and only that.
class MsiAudience {
 public:
  explicit MsiAudience(unsigned vectors) : told_(vectors) {}
  void set_listener(MsiListener* listener);
  // nullopt: closed.
  void tell(unsigned vector, const std::optional<MsiMessage>& message);

 private:
  MsiListener* listener_ = nullptr;
  std::vector<std::optional<MsiMessage>> told_;
};

struct PciMsiConfig {
  unsigned vectors = 1;  // 1, 2, 4, 8, 16 or 32
  bool address64 = true;
  bool maskable = true;  // per-vector masking
};

class PciMsi final : public PciCapability {
 public:
  PciMsi(PciFunction& function, const PciMsiConfig& config);

  bool enabled() const;
  // How many vectors the guest allowed, at most those asked for.
  unsigned allocated() const;
  MsiMessage message(unsigned vector) const;
  bool masked(unsigned vector) const;
  // Sends the vector's message, or keeps it pending while masked. A vector past the allocated ones
  // is folded onto them (modulo). Ignored while disabled.
  IrqStatus notify(unsigned vector);
  // Null: nobody listens. The listener at once hears of the vectors that are open.
  void set_listener(MsiListener* listener) { audience_.set_listener(listener); }

 private:
  void config_written() override { update(); }
  void reset() override { update(); }
  Result<void> restored() override;
  bool replaces_intx() const override { return enabled(); }

  u16 control() const;
  unsigned data_offset() const { return offset() + (config_.address64 ? 12 : 8); }
  unsigned mask_offset() const { return offset() + (config_.address64 ? 16 : 12); }
  unsigned pending_offset() const { return mask_offset() + 4; }
  bool open(unsigned vector) const;
  void update();

  // Configuration
  PciMsiConfig config_;

  // Wiring
  MsiAudience audience_;
};

}  // namespace menura
