#include "hw/acpi/piix4_pm.h"

#include "base/bits.h"
#include "base/trace.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

TRACE_EVENT(kApmc, "piix4_pm.apmc", "command {:#x}");
TRACE_EVENT(kSleep, "piix4_pm.sleep", "type {}");

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

// PMSTS and PMEN.
constexpr u16 kTimerOverflow = 1 << 0;
constexpr u16 kBusMaster = 1 << 4;
constexpr u16 kGlobal = 1 << 5;
constexpr u16 kPowerButton = 1 << 8;
constexpr u16 kSleepButton = 1 << 9;
constexpr u16 kRtc = 1 << 10;
constexpr u16 kPowerButtonOverride = 1 << 11;
constexpr u16 kResume = 1 << 15;
constexpr u16 kStatusBits = kTimerOverflow | kBusMaster | kGlobal | kPowerButton | kSleepButton |
                            kRtc | kPowerButtonOverride | kResume;
constexpr u16 kEnableBits = kTimerOverflow | kGlobal | kPowerButton | kSleepButton | kRtc;
// PMCNTRL.
constexpr u16 kSciEn = 1 << 0;
constexpr u16 kBusMasterReload = 1 << 1;
constexpr u16 kSusTypes = 7 << 10;
constexpr u16 kSusEn = 1 << 13;
// GPSTS and GPEN: THRM, USB, GP, RI, LID.
constexpr u16 kGpeBits = 0x0f01;
// GLBSTS and GLBCTL.
constexpr u16 kApmSts = 1 << 5;
constexpr u32 kSmiEn = 1 << 0;

constexpr RegisterTable<PmReg, static_cast<size_t>(PmReg::kCount)> kRegs{{{
    {PmReg::PmSts, 0x00, 2, "pmsts"},
    {PmReg::PmEn, 0x02, 2, "pmen", 0, kEnableBits},
    {PmReg::PmCntrl, 0x04, 2, "pmcntrl", 0, kSciEn | kBusMasterReload | kSusTypes},
    {PmReg::PmTmr, 0x08, 4, "pmtmr"},
    {PmReg::GpSts, 0x0c, 2, "gpsts"},
    {PmReg::GpEn, 0x0e, 2, "gpen", 0, kGpeBits},
    {PmReg::GlbSts, 0x18, 2, "glbsts"},
    {PmReg::GlbCtl, 0x28, 4, "glbctl", 0, kSmiEn},
}}};

}  // namespace

Piix4Pm::Piix4Pm(std::string id, Piix4PmWiring wiring, const Piix4PmConfig& config, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      chip_config_(config),
      wiring_(std::move(wiring)),
      pm_region_(Region::mmio("piix4-pm", kPmPorts, pm_window_)),
      smbus_region_(Region::mmio("piix4-smbus", SmbusHost::kPorts, smbus_window_)),
      apm_region_(Region::mmio("apm", 2, apm_window_, {.handler_max = 1})),
      regs_(kRegs),
      timer_(wiring_.time, [this] { update_sci(); }),
      smbus_([this] { update_sci(); }) {
  this->config().define(kConfig);
  this->config().define({.offset = kDevActB,
                         .size = 4,
                         .name = "devactb",
                         .reset = wiring_.smi ? 0 : kApmcEn,
                         .writable = kApmcEn});
  set_interrupt_pin(IntxPin::A);
}

u16 Piix4Pm::pm_status() const {
  return static_cast<u16>(regs_.get(PmReg::PmSts)) | (timer_.overflowed() ? kTimerOverflow : 0);
}

void Piix4Pm::set_pm_status(u16 bits) {
  regs_.set(PmReg::PmSts, regs_.get(PmReg::PmSts) | bits);
  update_sci();
}

bool Piix4Pm::sci_enabled() const { return (regs_.get(PmReg::PmCntrl) & kSciEn) != 0; }

bool Piix4Pm::smbus_on_irq9() const {
  return bits(config().get8(kSmbHstCfg), 3, 1) == kIntrselIrq9 && smbus_.interrupt();
}

bool Piix4Pm::sci_level() const {
  const u64 pm = pm_status() & regs_.get(PmReg::PmEn);
  const u64 gpe = regs_.get(PmReg::GpSts) & regs_.get(PmReg::GpEn);
  return (sci_enabled() && (pm | gpe) != 0) || smbus_on_irq9();
}

void Piix4Pm::update_sci() {
  if (sci_level() != wiring_.sci.level()) (void)wiring_.sci.set(sci_level());
}

bool Piix4Pm::rtc_wakes() const { return (regs_.get(PmReg::PmEn) & kRtc) != 0; }

void Piix4Pm::press_power_button() { set_pm_status(kPowerButton); }

void Piix4Pm::press_sleep_button() { set_pm_status(kSleepButton); }

void Piix4Pm::woken(WakeReason reason) {
  u16 status = kResume;
  switch (reason) {
    case WakeReason::Other: break;
    case WakeReason::PowerButton: status |= kPowerButton; break;
    case WakeReason::SleepButton: status |= kSleepButton; break;
    case WakeReason::Rtc: status |= kRtc; break;
  }
  set_pm_status(status);
}

void Piix4Pm::raise_gpe(unsigned number) {
  ensure(number < 16 && test_bit(kGpeBits, number), "a general purpose event of the PIIX4");
  regs_.set(PmReg::GpSts, regs_.get(PmReg::GpSts) | bit(number));
  update_sci();
}

u64 Piix4Pm::read_pm(Access access) {
  return regs_.read(access, [this](PmReg reg) -> u64 {
    if (reg == PmReg::PmSts) return pm_status();
    if (reg == PmReg::PmTmr) return timer_.value();
    return regs_.get(reg);
  });
}

void Piix4Pm::write_pm(Access access, u64 value) {
  regs_.write(access, value,
              [this](PmReg reg, u64 merged, u64 mask) { written(reg, merged, mask); });
  update_sci();
}

void Piix4Pm::written(PmReg reg, u64 value, u64 mask) {
  const u64 ones = value & mask;
  switch (reg) {
    case PmReg::PmSts:
      regs_.set(reg, regs_.get(reg) & ~(ones & kStatusBits));
      if ((ones & kTimerOverflow) != 0) timer_.clear_overflow();
      break;
    case PmReg::PmEn:
      regs_.set_writable(reg, value, mask);
      timer_.watch((regs_.get(reg) & kTimerOverflow) != 0);
      break;
    case PmReg::PmCntrl: write_control(value, mask); break;
    case PmReg::GpSts: regs_.set(reg, regs_.get(reg) & ~(ones & kGpeBits)); break;
    case PmReg::GlbSts: regs_.set(reg, regs_.get(reg) & ~(ones & kApmSts)); break;
    case PmReg::PmTmr: break;  // read-only
    case PmReg::GpEn:
    case PmReg::GlbCtl: regs_.set_writable(reg, value, mask); break;
    case PmReg::kCount: unreachable();
  }
}

// Always on where no SMI could turn it on.
void Piix4Pm::set_acpi_mode(bool on) {
  const u64 control = regs_.get(PmReg::PmCntrl);
  regs_.set(PmReg::PmCntrl, on || !wiring_.smi ? control | kSciEn : control & ~u64{kSciEn});
}

void Piix4Pm::write_control(u64 value, u64 mask) {
  regs_.set_writable(PmReg::PmCntrl, value, mask);
  set_acpi_mode(sci_enabled());
  if ((value & mask & kSusEn) == 0) return;
  const unsigned type = static_cast<unsigned>(bits(regs_.get(PmReg::PmCntrl), 12, 10));
  trace(kSleep, type);
  if (type == 0) wiring_.on_sleep(SleepState::S5);
  if (type == 1 && !chip_config_.disable_s3) wiring_.on_sleep(SleepState::S3);
  if (type == 2 && !chip_config_.disable_s4) wiring_.on_sleep(SleepState::S4);
}

u64 Piix4Pm::read_apm(Access access) { return access.offset == 0 ? apmc_ : apms_; }

void Piix4Pm::write_apm(Access access, u64 value) {
  if (access.offset == 0)
    apmc_written(static_cast<u8>(value));
  else
    apms_ = static_cast<u8>(value);
}

void Piix4Pm::apmc_written(u8 value) {
  apmc_ = value;
  trace(kApmc, value);
  if (value == kAcpiEnable) set_acpi_mode(true);
  if (value == kAcpiDisable) set_acpi_mode(false);
  update_sci();
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
  set_acpi_mode(false);
  timer_.reset();
  apmc_ = apms_ = 0;
  update_ports();
  smbus_.reset();  // updates SCI
}

void Piix4Pm::describe_chip(StateVisitor& v) {
  v.field("registers", regs_);
  v.field("timer", timer_);
  v.field("smbus", smbus_);
  v.field("apmc", apmc_);
  v.field("apms", apms_);
}

Result<void> Piix4Pm::restored_chip() {
  update_ports();
  TRY(timer_.restored());
  wiring_.sci.import(sci_level());
  return {};
}

}  // namespace menura
