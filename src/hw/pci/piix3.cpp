#include "hw/pci/piix3.h"

#include "base/bits.h"
#include "base/trace.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

TRACE_EVENT(kPirqRoute, "piix3.pirq_route", "PIRQ {} goes to ISA interrupt {}");

constexpr PciIdentity kIdentity{.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100};
constexpr unsigned kPirqrc = 0x60;
constexpr unsigned kPirqs = 4;
constexpr u8 kPirqDisabled = 0x80;
// Interrupts that PIRQRC may name: 3 to 7, 9 to 12, 14 and 15; the other codes are reserved.
constexpr u16 kRoutable = 0xdef8;

constexpr u8 kRcrWritable = 0x06;

// §2.2 of the data sheet.
constexpr ConfigRegister kRegisters[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .reset = 0x0007, .writable = 0x0108},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0200, .w1c = 0x7800},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "reserved"},
    {.offset = pci::kInterruptLine, .name = "reserved"},
    {.offset = 0x4c, .name = "iort", .reset = 0x4d, .writable = 0xff},
    {.offset = 0x4e, .size = 2, .name = "xbcs", .reset = 0x0003, .writable = 0x01ff},
    {.offset = 0x60, .name = "pirqrca", .reset = kPirqDisabled, .writable = 0x8f},
    {.offset = 0x61, .name = "pirqrcb", .reset = kPirqDisabled, .writable = 0x8f},
    {.offset = 0x62, .name = "pirqrcc", .reset = kPirqDisabled, .writable = 0x8f},
    {.offset = 0x63, .name = "pirqrcd", .reset = kPirqDisabled, .writable = 0x8f},
    {.offset = 0x69, .name = "tom", .reset = 0x02, .writable = 0xfe},
    {.offset = 0x6a, .size = 2, .name = "mstat", .writable = 0x00d0},
    {.offset = 0x70, .name = "mbirq0", .reset = 0x80, .writable = 0xef},
    {.offset = 0x76, .name = "mbdma0", .reset = 0x0c, .writable = 0x8f},
    {.offset = 0x77, .name = "mbdma1", .reset = 0x0c, .writable = 0x8f},
    {.offset = 0x78, .size = 2, .name = "pcsc", .reset = 0x0002, .writable = 0xffff},
    {.offset = 0x80, .name = "apicbase"},
    {.offset = 0x82, .name = "dlc", .writable = 0x0f},
    {.offset = 0xa0, .name = "smicntl", .reset = 0x08, .writable = 0x1f},
    {.offset = 0xa2, .size = 2, .name = "smien", .writable = 0x00ff},
    {.offset = 0xa4, .size = 4, .name = "see", .writable = 0xe000'fffb},
    {.offset = 0xa8, .name = "ftmr", .reset = 0x0f, .writable = 0xff},
    {.offset = 0xaa, .size = 2, .name = "smireq", .w1c = 0x00ff},
    {.offset = 0xac, .name = "ctltmr", .writable = 0xff},
    {.offset = 0xae, .name = "cthtmr", .writable = 0xff},
};

}  // namespace

Piix3::Piix3(std::string id, const std::array<IrqLine, 16>& isa_irqs,
             std::function<void(Reset)> request_reset, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      isa_irqs_(isa_irqs),
      rcr_(kRcrWritable, std::move(request_reset)) {
  config().define(kRegisters);
}

int Piix3::route(unsigned pirq) const {
  const u8 control = config().get8(kPirqrc + pirq);
  const unsigned irq = control & 0x0f;
  return (control & kPirqDisabled) == 0 && test_bit(kRoutable, irq) ? static_cast<int>(irq) : -1;
}

bool Piix3::isa_level(unsigned irq) const {
  for (unsigned pirq = 0; pirq < kPirqs; pirq++)
    if (test_bit(pirq_levels_, pirq) && route(pirq) == static_cast<int>(irq)) return true;
  return false;
}

IrqStatus Piix3::set_irq(unsigned pin, bool level) {
  pirq_levels_ = with_bits(pirq_levels_, pin, pin, level);
  const int irq = route(pin);
  if (irq < 0) return IrqStatus::Ignored;
  return isa_irqs_[static_cast<unsigned>(irq)].set(isa_level(static_cast<unsigned>(irq)));
}

void Piix3::drive_isa_irqs() {
  for (unsigned irq = 0; irq < isa_irqs_.size(); irq++)
    if (isa_level(irq) != isa_irqs_[irq].level()) (void)isa_irqs_[irq].set(isa_level(irq));
}

void Piix3::config_written(unsigned offset, unsigned size) {
  if (offset >= kPirqrc + kPirqs || offset + size <= kPirqrc) return;
  for (unsigned pirq = 0; pirq < kPirqs; pirq++) trace(kPirqRoute, pirq, route(pirq));
  drive_isa_irqs();
}

void Piix3::reset_chip(ResetKind) {
  // The PIRQ lines stay as their devices drive them; nothing is routed any more.
  rcr_.reset();
  drive_isa_irqs();
}

void Piix3::describe_chip(StateVisitor& v) {
  v.field("pirq_levels", pirq_levels_);
  v.field("rcr", rcr_);
}

Result<void> Piix3::restored_chip() {
  for (unsigned irq = 0; irq < isa_irqs_.size(); irq++) isa_irqs_[irq].import(isa_level(irq));
  return {};
}

}  // namespace menura
