#include "hw/acpi/ich9_lpc.h"

#include "base/bits.h"
#include "base/trace.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

using R = Ich9PmReg;

TRACE_EVENT(kPirqRoute, "ich9.pirq_route", "PIRQ {} goes to ISA interrupt {}");

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x2918,
                                .class_code = 0x060100,
                                .revision = 0x02,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};

constexpr unsigned kPmBase = 0x40;
constexpr unsigned kAcpiCntl = 0x44;
constexpr u8 kAcpiEn = 1 << 7;
constexpr unsigned kRouteLow = 0x60, kRouteHigh = 0x68;  // PIRQA-D, PIRQE-H
constexpr u8 kPirqDisabled = 0x80;
// Interrupts that PIRQx_ROUT may name: 3 to 7, 9 to 12, 14 and 15; the other codes are reserved.
constexpr u16 kRoutable = 0xdef8;
constexpr unsigned kGenPmcon1 = 0xa0;
constexpr u16 kSmiLock = 1 << 4;
constexpr u8 kRstCntWritable = 0x0e;

constexpr u64 kPmPorts = 128;

// SMI_EN and SMI_STS.
constexpr u32 kGlobalSmi = 1 << 0;
constexpr u32 kApmcEnable = 1 << 5;
constexpr u32 kSmiEnWritable = 0x0000'e9fd;
constexpr u32 kApmStatus = 1 << 5;

constexpr size_t kRegisters = static_cast<size_t>(R::kCount);
constexpr RegisterTable<Ich9PmReg, kRegisters> kRegs{{{
    {R::Gpe0Sts, 0x20, 8, "gpe0_sts"},
    {R::Gpe0En, 0x28, 8, "gpe0_en", 0, 0xffff'ffff},
    {R::SmiEn, 0x30, 4, "smi_en", 0, kSmiEnWritable},
    {R::SmiSts, 0x34, 4, "smi_sts"},
}}};

constexpr ConfigRegister route_register(unsigned offset) {
  return {.offset = static_cast<u8>(offset),
          .name = "pirq_rout",
          .reset = kPirqDisabled,
          .writable = 0x8f};
}

// §13.1.
constexpr ConfigRegister kConfig[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .reset = 0x0007, .writable = 0x0140},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0200, .w1c = 0xf900},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "reserved"},
    {.offset = pci::kInterruptLine, .name = "reserved"},
    {.offset = kPmBase, .size = 4, .name = "pmbase", .reset = 1, .writable = 0xff80},
    {.offset = kAcpiCntl, .name = "acpi_cntl", .writable = kAcpiEn},
    {.offset = 0x48, .size = 4, .name = "gpiobase", .reset = 1, .writable = 0xffc0},
    {.offset = 0x4c, .name = "gc", .writable = 0x11},
    route_register(0x60),
    route_register(0x61),
    route_register(0x62),
    route_register(0x63),
    {.offset = 0x64, .name = "sirq_cntl", .reset = 0x10, .writable = 0xc3},
    route_register(0x68),
    route_register(0x69),
    route_register(0x6a),
    route_register(0x6b),
    {.offset = 0x80, .size = 2, .name = "lpc_io_dec", .writable = 0x1377},
    {.offset = 0x82, .size = 2, .name = "lpc_en", .writable = 0x3f0f},
    {.offset = 0x84, .size = 4, .name = "gen1_dec", .writable = 0x00fc'fffd},
    {.offset = kGenPmcon1, .size = 2, .name = "gen_pmcon_1", .writable = 0x1fff},
    {.offset = 0xa2, .size = 2, .name = "gen_pmcon_2", .writable = 0x00ff},
    {.offset = 0xa4, .size = 2, .name = "gen_pmcon_3", .writable = 0xffff},
    {.offset = 0xdc, .name = "bios_cntl", .writable = 0x1f},
    {.offset = 0xf0, .size = 4, .name = "rcba", .writable = 0xffff'c001},
};

}  // namespace

Ich9Lpc::Ich9Lpc(std::string id, Ich9LpcWiring wiring, const SleepConfig& config, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      wiring_(std::move(wiring)),
      pm_region_(Region::mmio("ich9-pm", kPmPorts, pm_window_)),
      pm1_({.time = wiring_.time,
            .changed = [this] { update_sci(); },
            .on_sleep = wiring_.on_sleep,
            .smm = wiring_.smi != nullptr,
            .apm_written = [this] { raise_smi(); }},
           config),
      regs_(kRegs),
      rst_cnt_(kRstCntWritable, wiring_.request_reset) {
  this->config().define(kConfig);
}

int Ich9Lpc::route(unsigned pirq) const {
  const u8 control = config().get8(pirq < 4 ? kRouteLow + pirq : kRouteHigh + pirq - 4);
  const unsigned irq = control & 0x0f;
  return (control & kPirqDisabled) == 0 && test_bit(kRoutable, irq) ? static_cast<int>(irq) : -1;
}

bool Ich9Lpc::isa_level(unsigned irq) const {
  for (unsigned pirq = 0; pirq < kPirqs; pirq++)
    if (test_bit(pirq_levels_, pirq) && route(pirq) == static_cast<int>(irq)) return true;
  return false;
}

// The fate told is the IOAPIC's, or the 8259A's where that one takes it.
IrqStatus Ich9Lpc::set_irq(unsigned pin, bool level) {
  pirq_levels_ = with_bits(pirq_levels_, pin, pin, level);
  const IrqStatus status = wiring_.gsis[pin].set(level);
  const int irq = route(pin);
  if (irq < 0) return status;
  const IrqStatus isa =
      wiring_.isa_irqs[static_cast<unsigned>(irq)].set(isa_level(static_cast<unsigned>(irq)));
  return isa == IrqStatus::Ignored ? status : isa;
}

void Ich9Lpc::drive_isa_irqs() {
  for (unsigned irq = 0; irq < wiring_.isa_irqs.size(); irq++)
    if (isa_level(irq) != wiring_.isa_irqs[irq].level())
      (void)wiring_.isa_irqs[irq].set(isa_level(irq));
}

bool Ich9Lpc::sci_level() const {
  const u64 gpe = regs_.get(R::Gpe0Sts) & regs_.get(R::Gpe0En);
  return pm1_.sci_enabled() && (pm1_.pending() || gpe != 0);
}

void Ich9Lpc::update_sci() {
  if (sci_level() != wiring_.sci.level()) (void)wiring_.sci.set(sci_level());
}

// Each block answers for its own ports.
u64 Ich9Lpc::read_pm(Access access) {
  return pm1_.read(access) | regs_.read(access, [this](R reg) { return regs_.get(reg); });
}

void Ich9Lpc::write_pm(Access access, u64 value) {
  pm1_.write(access, value);
  regs_.write(access, value, [this](R reg, u64 merged, u64 mask) { written(reg, merged, mask); });
  update_sci();
}

void Ich9Lpc::written(R reg, u64 value, u64 mask) {
  switch (reg) {
    case R::Gpe0Sts:
    case R::SmiSts: regs_.set(reg, regs_.get(reg) & ~(value & mask)); break;
    case R::Gpe0En: regs_.set_writable(reg, value, mask); break;
    case R::SmiEn:
      // SMI_LOCK holds GBL_SMI_EN.
      if ((config().get16(kGenPmcon1) & kSmiLock) != 0) mask &= ~u64{kGlobalSmi};
      regs_.set_writable(reg, value, mask);
      break;
    case R::kCount: unreachable();
  }
}

void Ich9Lpc::raise_smi() {
  constexpr u64 kBoth = kGlobalSmi | kApmcEnable;
  if (!wiring_.smi || (regs_.get(R::SmiEn) & kApmcEnable) == 0) return;
  regs_.set(R::SmiSts, regs_.get(R::SmiSts) | kApmStatus);
  if ((regs_.get(R::SmiEn) & kBoth) == kBoth) wiring_.smi();
}

u16 Ich9Lpc::pm_base() const {
  const bool on = (config().get8(kAcpiCntl) & kAcpiEn) != 0;
  return on ? config().get32(kPmBase) & 0xff80 : 0;
}

void Ich9Lpc::update_ports() {
  if (!bus()) return;
  Region& ports = bus()->space(PciSpace::Io);
  const u16 base = pm_base();
  if (pm_region_.mapped() && pm_region_.address() == base) return;
  const Transaction transaction(bus()->wiring()->io);
  if (pm_region_.mapped()) ports.unmap(pm_region_);
  if (base) ports.map(base, pm_region_, PciBus::kPriority);
}

void Ich9Lpc::config_written(unsigned offset, unsigned size) {
  update_ports();
  if (offset >= kRouteHigh + 4 || offset + size <= kRouteLow) return;
  for (unsigned pirq = 0; pirq < kPirqs; pirq++) trace(kPirqRoute, pirq, route(pirq));
  drive_isa_irqs();
}

void Ich9Lpc::reset_chip(ResetKind) {
  regs_.reset();
  if (!wiring_.smi) regs_.set(R::SmiEn, kApmcEnable);
  pm1_.reset();
  rst_cnt_.reset();
  update_ports();
  // The PIRQ lines stay as their devices drive them; nothing is routed any more.
  drive_isa_irqs();
  update_sci();
}

void Ich9Lpc::describe_chip(StateVisitor& v) {
  v.field("pm1", pm1_);
  v.field("registers", regs_);
  v.field("rst_cnt", rst_cnt_);
  v.field("pirq_levels", pirq_levels_);
}

Result<void> Ich9Lpc::restored_chip() {
  update_ports();
  TRY(pm1_.restored());
  for (unsigned irq = 0; irq < wiring_.isa_irqs.size(); irq++)
    wiring_.isa_irqs[irq].import(isa_level(irq));
  for (unsigned pirq = 0; pirq < kPirqs; pirq++)
    wiring_.gsis[pirq].import(test_bit(pirq_levels_, pirq));
  wiring_.sci.import(sci_level());
  return {};
}

}  // namespace menura
