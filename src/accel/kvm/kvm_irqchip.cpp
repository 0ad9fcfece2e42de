#include "accel/kvm/kvm_irqchip.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kLine, "kvm.irq_line", "gsi {} level {} status {}");
TRACE_EVENT(kMsi, "kvm.msi", "address {:#x} data {:#x} status {}");

// What KVM returns for a line.
IrqStatus status_of(int value) {
  if (value > 0) return IrqStatus::Delivered;
  return value == 0 ? IrqStatus::Coalesced : IrqStatus::Ignored;
}

kvm_irq_routing_entry chip_route(u32 gsi, u32 chip, u32 pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = chip;
  entry.u.irqchip.pin = pin;
  return entry;
}

kvm_irq_routing_entry msi_route(u32 gsi, const MsiMessage& message) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = static_cast<u32>(message.address);
  entry.u.msi.address_hi = static_cast<u32>(message.address >> 32);
  entry.u.msi.data = message.data;
  return entry;
}

// Builds the kernel's table; pins of chips that are not in the kernel have no entry, or the message
// that the IOAPIC in menura sends for them.
class RouteBuilder {
 public:
  RouteBuilder(const KvmSystem& system, IrqchipMode mode, const Ioapic* ioapic)
      : system_(system), mode_(mode), ioapic_(ioapic) {}

  void add(const GsiRoute& route) {
    std::visit([&](const auto& target) { add(route.gsi, target); }, route.target);
  }
  std::vector<kvm_irq_routing_entry> entries;

 private:
  void add(u32 gsi, const PicPin& pin) {
    if (mode_ != IrqchipMode::Kernel) return;
    const bool slave = pin.pin >= 8;
    entries.push_back(
        chip_route(gsi, slave ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, pin.pin % 8));
  }
  void add(u32 gsi, const IoapicPin& pin) {
    if (mode_ == IrqchipMode::Kernel) {
      entries.push_back(chip_route(gsi, KVM_IRQCHIP_IOAPIC, pin.pin));
    } else if (ioapic_ && pin.pin < IoapicState::kPins) {
      const u64 entry = ioapic_->state().ioredtbl[pin.pin];
      // Several GSIs may share a pin; its route bears the pin's number, once.
      const bool known = std::ranges::any_of(
          entries, [&](const kvm_irq_routing_entry& e) { return e.gsi == pin.pin; });
      if (!(entry & IoapicState::kMasked) && !known)
        entries.push_back(msi_route(pin.pin, Ioapic::message_of(entry)));
    }
  }
  void add(u32 gsi, const MsiMessage& message) { entries.push_back(msi_route(gsi, message)); }
  void add(u32 gsi, const HypervSint& sint) {
    if (!system_.has(KVM_CAP_HYPERV_SYNIC2)) return;  // one refused entry would refuse the table
    kvm_irq_routing_entry entry{};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_HV_SINT;
    entry.u.hv_sint.vcpu = sint.vcpu;
    entry.u.hv_sint.sint = sint.sint;
    entries.push_back(entry);
  }

  const KvmSystem& system_;
  const IrqchipMode mode_;
  const Ioapic* ioapic_;
};

}  // namespace

IrqStatus KvmIrqchip::set_irq(unsigned gsi, bool level) {
  kvm_irq_level line{};
  line.irq = gsi;
  line.level = level;
  const bool tells = vm_.system().has(KVM_CAP_IRQ_INJECT_STATUS);
  const int done = vm_.fd().call(tells ? KVM_IRQ_LINE_STATUS : KVM_IRQ_LINE, &line);
  IrqStatus status = IrqStatus::Ignored;
  if (done >= 0) status = tells ? status_of(line.status) : IrqStatus::Delivered;
  trace(kLine, gsi, level, static_cast<int>(status));
  return status;
}

IrqStatus KvmIrqchip::send_msi(const MsiMessage& message) {
  kvm_msi msi{};
  msi.address_lo = static_cast<u32>(message.address);
  msi.address_hi = static_cast<u32>(message.address >> 32);
  msi.data = message.data;
  const bool taken = vm_.fd().call(KVM_SIGNAL_MSI, &msi) > 0;
  const IrqStatus status = taken ? IrqStatus::Delivered : IrqStatus::Ignored;
  trace(kMsi, message.address, message.data, static_cast<int>(status));
  return status;
}

// A GSI of its own while there is a message.
class KvmIrqchip::EventRoute final : public MsiRoute {
 public:
  EventRoute(KvmIrqchip& chip, int fd) : chip_(chip), fd_(fd) {}
  ~EventRoute() override { clear(); }
  EventRoute(const EventRoute&) = delete;
  EventRoute& operator=(const EventRoute&) = delete;

  Result<void> set_message(const std::optional<MsiMessage>& message) override {
    if (!message) {
      clear();
      return {};
    }
    GsiRouting& routing = *chip_.routing_;
    if (gsi_) {
      routing.update_msi(*gsi_, *message);
      routing.commit();
      return {};
    }
    const u32 gsi = TRY(routing.add_msi(*message));
    routing.commit();  // before the signals that wait already
    if (Result<void> done = chip_.attach_irqfd(gsi, fd_, -1); !done) {
      routing.remove(gsi);
      routing.commit();
      return std::move(done.error());
    }
    gsi_ = gsi;
    return {};
  }

 private:
  void clear() {
    if (!gsi_) return;
    chip_.detach_irqfd(*gsi_, fd_);
    chip_.routing_->remove(*gsi_);
    chip_.routing_->commit();
    gsi_.reset();
  }

  KvmIrqchip& chip_;
  const int fd_;
  std::optional<u32> gsi_;
};

std::unique_ptr<MsiRoute> KvmIrqchip::make_route(int fd) {
  if (!routing_ || !vm_.system().has(KVM_CAP_IRQFD)) return nullptr;
  return std::make_unique<EventRoute>(*this, fd);
}

void KvmIrqchip::mirror(GsiRouting& routing, Ioapic* ioapic) {
  routing_ = &routing;
  ioapic_ = ioapic;
  routing.on_change([this](const GsiRouting&) { rebuild(); });
  if (ioapic_) ioapic_->on_entry_changed([this](unsigned) { rebuild(); });
  rebuild();
}

void KvmIrqchip::rebuild() {
  RouteBuilder builder(vm_.system(), vm_.options().irqchip, ioapic_);
  for (const GsiRoute& route : routing_->entries()) builder.add(route);
  const size_t limit = static_cast<size_t>(vm_.system().capability(KVM_CAP_IRQ_ROUTING));
  if (builder.entries.size() > limit) {
    log_error("kvm: {} interrupt routes, but this host's KVM has room for {}",
              builder.entries.size(), limit);
    return;
  }
  std::vector<std::byte> storage(sizeof(kvm_irq_routing) +
                                 builder.entries.size() * sizeof(kvm_irq_routing_entry));
  auto* table = reinterpret_cast<kvm_irq_routing*>(storage.data());
  table->nr = static_cast<u32>(builder.entries.size());
  std::ranges::copy(builder.entries, table->entries);
  if (vm_.fd().call(KVM_SET_GSI_ROUTING, table) < 0) {
    log_error("kvm: Setting {} interrupt routes: {}", table->nr, std::strerror(errno));
    return;
  }
  routes_ = builder.entries.size();
}

// With the IOAPIC in menura the kernel hears nothing of EOIs, so that resampling is ours, too.
Result<void> KvmIrqchip::attach_irqfd(unsigned gsi, int fd, int resample_fd) {
  kvm_irqfd k{};
  k.fd = static_cast<u32>(fd);
  k.gsi = gsi;
  if (resample_fd >= 0 && ioapic_) {
    resamples_[gsi] = resample_fd;
  } else if (resample_fd >= 0) {
    k.flags = KVM_IRQFD_FLAG_RESAMPLE;
    k.resamplefd = static_cast<u32>(resample_fd);
  }
  TRY(vm_.fd().require(KVM_IRQFD, &k, format("Raising GSI {} by eventfd", gsi)));
  return {};
}

void KvmIrqchip::detach_irqfd(unsigned gsi, int fd) {
  resamples_.erase(gsi);
  kvm_irqfd k{};
  k.fd = static_cast<u32>(fd);
  k.gsi = gsi;
  k.flags = KVM_IRQFD_FLAG_DEASSIGN;
  if (vm_.fd().call(KVM_IRQFD, &k) < 0)
    log_warning("kvm: Detaching the eventfd of GSI {}: {}", gsi, std::strerror(errno));
}

void KvmIrqchip::eoi(u8 vector) {
  if (!ioapic_) return;
  ioapic_->eoi(vector);
  for (const auto& [gsi, fd] : resamples_) {
    const u64 entry = gsi < IoapicState::kPins ? ioapic_->state().ioredtbl[gsi] : 0;
    if ((entry & 0xff) == vector && (entry & IoapicState::kLevelTriggered))
      (void)::eventfd_write(fd, 1);
  }
}

}  // namespace menura
