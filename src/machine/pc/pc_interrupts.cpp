#include "machine/pc/pc_interrupts.h"

namespace menura {

namespace {

constexpr u64 kIoapicBase = 0xfec0'0000;
constexpr u64 kApicMessages = 0xfee0'0000;
constexpr unsigned kTimerPin = 2;  // of the IOAPIC, for IRQ0

}  // namespace

void PcInterrupts::build() {
  KernelIrqchip* kernel = machine_.accelerator().kernel_irqchip();
  switch (machine_.accelerator().irqchip_mode()) {
    case IrqchipMode::User:
      apic_bus_ = std::make_unique<ApicBus>();
      machine_.memory_root().map(kApicMessages, apic_bus_->messages());
      build_user_chips(*apic_bus_);
      apic_bus_->add(*ioapic_);
      apic_bus_->set_extint(*pic_);
      msi_ = apic_bus_.get();
      break;
    case IrqchipMode::Split:
      build_user_chips(*kernel);
      kernel->mirror(*routing_, ioapic_.get());
      msi_ = kernel;
      break;
    case IrqchipMode::Kernel:
      build_routing({});
      kernel->mirror(*routing_, nullptr);
      gsis_ = kernel;
      msi_ = kernel;
      break;
  }
  statistics_ = std::make_unique<IrqStatistics>(*gsis_);
  for (unsigned irq = 0; irq < kIsaIrqs; irq++)
    isa_or_[irq] = std::make_unique<IrqOr>(IrqLine(*statistics_, irq));
}

void PcInterrupts::build_user_chips(MsiSink& messages) {
  intr_ = std::make_unique<IrqFunction>([this](unsigned, bool level) { return drive_intr(level); });
  pic_ = std::make_unique<Pic>("pic", IrqLine(*intr_, 0));
  ioapic_ = std::make_unique<Ioapic>("ioapic", Ioapic::Config{}, messages);
  build_routing({.pic = pic_.get(), .ioapic = ioapic_.get(), .msi = &messages});
  gsis_ = routing_.get();
  Region& io = machine_.io_root();
  io.map(0x20, pic_->master_ports());
  io.map(0xa0, pic_->slave_ports());
  io.map(0x4d0, pic_->elcr_ports());
  machine_.memory_root().map(kIoapicBase, ioapic_->registers());
  machine_.devices().add(*pic_);
  machine_.devices().add(*ioapic_);
}

void PcInterrupts::build_routing(GsiRouting::Chips chips) {
  routing_ = std::make_unique<GsiRouting>(chips);
  routing_->set_default_pc();
}

std::array<IrqLine, PcInterrupts::kIsaIrqs> PcInterrupts::pirq_targets() {
  std::array<IrqLine, kIsaIrqs> lines;
  for (unsigned irq = 0; irq < lines.size(); irq++) lines[irq] = isa_from_pirq(irq);
  return lines;
}

void PcInterrupts::on_timer_taken(const std::function<void()>& notify) {
  if (pic_) pic_->on_timer_taken(notify);
  if (ioapic_) ioapic_->on_taken(kTimerPin, notify);
}

// The PIC's INT is wired to LINT0 of the local APICs; where those are in the kernel, to the pin of
// the bootstrap processor.
IrqStatus PcInterrupts::drive_intr(bool level) {
  if (apic_bus_) return apic_bus_->set_irq(0, level);
  if (bootstrap_) bootstrap_->set_intr(level);
  return level ? IrqStatus::Delivered : IrqStatus::Ignored;
}

void PcInterrupts::prepare_cpu(unsigned index, u32 apic_id, u64 tsc_hz, VcpuConfig& vcpu) {
  if (machine_.accelerator().irqchip_mode() == IrqchipMode::Split && index == 0)
    vcpu.interrupts = pic_.get();
  if (!apic_bus_) return;
  auto lapic = std::make_unique<Lapic>(
      format("apic{}", index),
      Lapic::Config{.apic_id = apic_id, .bootstrap = index == 0, .tsc_hz = tsc_hz}, *apic_bus_,
      machine_.loop().virtual_time());
  vcpu.interrupts = lapic.get();
  vcpu.lapic = lapic.get();
  machine_.devices().add(*lapic);
  lapics_.push_back(std::move(lapic));
}

void PcInterrupts::connect_cpu(unsigned index, CpuInterrupts& cpu) {
  if (index == 0) bootstrap_ = &cpu;
  if (index < lapics_.size()) lapics_[index]->connect(cpu);
}

}  // namespace menura
