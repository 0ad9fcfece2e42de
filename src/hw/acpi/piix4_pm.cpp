#include "hw/acpi/piix4_pm.h"

#include "base/bits.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

// Revision 3: systems read the timer of earlier steppings three times because of an erratum.
constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x7113, .class_code = 0x068000, .revision = 0x03};

constexpr unsigned kPmBase = 0x40;
constexpr unsigned kDevActB = 0x58;
constexpr unsigned kPmRegMisc = 0x80;
constexpr unsigned kSmbBa = 0x90;
constexpr unsigned kSmbHstCfg = 0xd2;

constexpr u32 kApmcEn = u32{1} << 25;
constexpr u8 kPmIose = 1 << 0;
constexpr u8 kSmbHstEn = 1 << 0;
constexpr unsigned kIntrselIrq9 = 4;  // in bits 3 to 1

constexpr u64 kPmPorts = 64;

// §7.1 of the data sheet.
constexpr ConfigRegister kConfig[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .writable = pci::kCommandIo},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0280, .w1c = 0x7800},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "reserved"},
    {.offset = kPmBase, .size = 4, .name = "pmba", .reset = 1, .writable = 0xffc0},
    {.offset = kPmRegMisc, .name = "pmregmisc", .writable = kPmIose},
    {.offset = kSmbBa, .size = 4, .name = "smbba", .reset = 1, .writable = 0xfff0},
    {.offset = kSmbHstCfg, .name = "smbhstcfg", .writable = 0x0f},
};

// GPSTS and GPEN: THRM, USB, GP, RI, LID.
constexpr u16 kGpeBits = 0x0f01;
// GLBSTS and GLBCTL.
constexpr u16 kApmSts = 1 << 5;
constexpr u32 kSmiEn = 1 << 0;

constexpr RegisterTable<PmReg, static_cast<size_t>(PmReg::kCount)> kRegs{{{
    {PmReg::GpSts, 0x0c, 2, "gpsts"},
    {PmReg::GpEn, 0x0e, 2, "gpen", 0, kGpeBits},
    {PmReg::GlbSts, 0x18, 2, "glbsts"},
    {PmReg::GlbCtl, 0x28, 4, "glbctl", 0, kSmiEn},
}}};

}  // namespace

Piix4Pm::Piix4Pm(std::string id, Piix4PmWiring wiring, const SleepConfig& config, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      wiring_(std::move(wiring)),
      pm_region_(Region::mmio("piix4-pm", kPmPorts, pm_window_)),
      smbus_region_(Region::mmio("piix4-smbus", SmbusHost::kPorts, smbus_window_)),
      regs_(kRegs),
      pm1_({.time = wiring_.time,
            .changed = [this] { update_sci(); },
            .on_sleep = wiring_.on_sleep,
            .smm = wiring_.smi != nullptr,
            .apm_written = [this] { raise_smi(); }},
           config),
      smbus_([this] { update_sci(); }) {
  this->config().define(kConfig);
  this->config().define({.offset = kDevActB,
                         .size = 4,
                         .name = "devactb",
                         .reset = wiring_.smi ? 0 : kApmcEn,
                         .writable = kApmcEn});
  set_interrupt_pin(IntxPin::A);
}

bool Piix4Pm::smbus_on_irq9() const {
  return bits(config().get8(kSmbHstCfg), 3, 1) == kIntrselIrq9 && smbus_.interrupt();
}

bool Piix4Pm::sci_level() const {
  const u64 gpe = regs_.get(PmReg::GpSts) & regs_.get(PmReg::GpEn);
  return (pm1_.sci_enabled() && (pm1_.pending() || gpe != 0)) || smbus_on_irq9();
}

void Piix4Pm::update_sci() {
  if (sci_level() != wiring_.sci.level()) (void)wiring_.sci.set(sci_level());
}

void Piix4Pm::raise_gpe(unsigned number) {
  ensure(number < 16 && test_bit(kGpeBits, number), "a general purpose event of the PIIX4");
  regs_.set(PmReg::GpSts, regs_.get(PmReg::GpSts) | bit(number));
  update_sci();
}

// Each block answers for its own ports.
u64 Piix4Pm::read_pm(Access access) {
  return pm1_.read(access) | regs_.read(access, [this](PmReg reg) { return regs_.get(reg); });
}

void Piix4Pm::write_pm(Access access, u64 value) {
  pm1_.write(access, value);
  regs_.write(access, value,
              [this](PmReg reg, u64 merged, u64 mask) { written(reg, merged, mask); });
  update_sci();
}

void Piix4Pm::written(PmReg reg, u64 value, u64 mask) {
  const u64 ones = value & mask;
  switch (reg) {
    case PmReg::GpSts: regs_.set(reg, regs_.get(reg) & ~(ones & kGpeBits)); break;
    case PmReg::GlbSts: regs_.set(reg, regs_.get(reg) & ~(ones & kApmSts)); break;
    case PmReg::GpEn:
    case PmReg::GlbCtl: regs_.set_writable(reg, value, mask); break;
    case PmReg::kCount: unreachable();
  }
}

void Piix4Pm::raise_smi() {
  if (!wiring_.smi || (config().get32(kDevActB) & kApmcEn) == 0) return;
  regs_.set(PmReg::GlbSts, regs_.get(PmReg::GlbSts) | kApmSts);
  if ((regs_.get(PmReg::GlbCtl) & kSmiEn) != 0) wiring_.smi();
}

void Piix4Pm::place(Region& region, std::optional<u64> at) {
  Region& ports = bus()->space(PciSpace::Io);
  const bool moves = region.mapped() && at && region.address() != *at;
  if (region.mapped() && (!at || moves)) ports.unmap(region);
  if (at && !region.mapped()) ports.map(*at, region, PciBus::kPriority);
}

u16 Piix4Pm::pm_base() const {
  const bool on = (config().get8(kPmRegMisc) & kPmIose) != 0;
  return on ? config().get32(kPmBase) & 0xffc0 : 0;
}

void Piix4Pm::update_ports() {
  if (!bus()) return;
  const u64 smbus_base = config().get32(kSmbBa) & 0xfff0;
  const bool smbus_on = (config().get8(kSmbHstCfg) & kSmbHstEn) != 0 &&
                        (config().get16(pci::kCommand) & pci::kCommandIo) != 0 && smbus_base != 0;
  Transaction transaction(bus()->wiring()->io);
  place(pm_region_, pm_base() ? std::optional<u64>(pm_base()) : std::nullopt);
  place(smbus_region_, smbus_on ? std::optional(smbus_base) : std::nullopt);
}

void Piix4Pm::config_written(unsigned, unsigned) {
  update_ports();
  update_sci();  // SMBHSTCFG names the interrupt
}

void Piix4Pm::reset_chip(ResetKind) {
  regs_.reset();
  pm1_.reset();
  update_ports();
  smbus_.reset();  // updates SCI
}

void Piix4Pm::describe_chip(StateVisitor& v) {
  v.field("registers", regs_);
  v.field("pm1", pm1_);
  v.field("smbus", smbus_);
}

Result<void> Piix4Pm::restored_chip() {
  update_ports();
  TRY(pm1_.restored());
  wiring_.sci.import(sci_level());
  return {};
}

}  // namespace menura
