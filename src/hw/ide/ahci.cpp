#include "hw/ide/ahci.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

using R = AhciReg;

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x2922,
                                .class_code = 0x010601,
                                .revision = 0x02,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};
constexpr unsigned kAbar = 5;

// ICH9 §13: AHCI mode; which ports are enabled.
constexpr ConfigRegister kConfig[] = {
    {.offset = 0x90, .name = "map", .reset = 0x40, .writable = 0xc0},
    {.offset = 0x92, .size = 2, .name = "pcs", .writable = 0x003f},
};

// 64-bit addresses, NCQ, command list override, 3 Gb/s, AHCI only, 32 slots, 6 ports.
constexpr u32 kCapabilities =
    1u << 31 | 1u << 30 | 1u << 24 | 2u << 20 | 1u << 18 | 31u << 8 | (Ahci::kPorts - 1);
enum GlobalControl : u32 { kReset = 1, kInterruptEnable = 1 << 1, kAhciEnable = 1u << 31 };

constexpr size_t kRegisters = static_cast<size_t>(R::kCount);
constexpr RegisterTable<AhciReg, kRegisters> kTable{{{
    {R::Cap, 0x00, 4, "cap", kCapabilities},
    {R::Ghc, 0x04, 4, "ghc", kAhciEnable, kInterruptEnable},
    {R::Is, 0x08, 4, "is"},
    {R::Pi, 0x0c, 4, "pi", (1u << Ahci::kPorts) - 1},
    {R::Vs, 0x10, 4, "vs", 0x0001'0301},
}}};

constexpr u64 kPortsAt = 0x100, kPortSize = 0x80;
constexpr u64 kAbarSize = 4 * KiB;

}  // namespace

Ahci::Ahci(std::string id, const std::string& connectors, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      region_(Region::mmio("ahci", kAbarSize, window_, {.handler_max = 4})),
      regs_(kTable) {
  config().define(kConfig);
  add_bar(kAbar, BarKind::Memory32, region_).value();
  set_interrupt_pin(IntxPin::A);
  const AhciDma dma{.read = [this](GuestAddr at, Bytes to) { return dma_read(at, to); },
                    .write = [this](GuestAddr at, ConstBytes from) { return dma_write(at, from); }};
  for (unsigned n = 0; n < kPorts; n++)
    ports_[n] =
        std::make_unique<AhciPort>(format("{}.{}", connectors, n), dma,
                                   [this](AhciPort::Interrupt news) { update_interrupt(news); });
}

Ahci::~Ahci() = default;

u64 Ahci::read_registers(Access access) {
  const u64 port = (access.offset - kPortsAt) / kPortSize;
  if (access.offset >= kPortsAt)
    return port < kPorts ? ports_[port]->read({access.offset % kPortSize, access.size}) : 0;
  return regs_.read(access, [this](R reg) { return regs_.get(reg); });
}

void Ahci::write_registers(Access access, u64 value) {
  const u64 port = (access.offset - kPortsAt) / kPortSize;
  if (access.offset < kPortsAt)
    regs_.write(access, value, [this](R reg, u64 merged, u64 mask) { written(reg, merged, mask); });
  else if (port < kPorts)
    ports_[port]->write({access.offset % kPortSize, access.size}, value);
}

void Ahci::written(R reg, u64 value, u64 mask) {
  switch (reg) {
    case R::Ghc:
      if (value & mask & kReset) {
        regs_.reset();
        for (const auto& port : ports_) port->reset_by_controller();
      } else {
        regs_.set_writable(reg, value, mask);
      }
      return update_interrupt(AhciPort::Interrupt::Came);
    case R::Is:
      regs_.set(reg, regs_.get(reg) & ~(value & mask));
      return update_interrupt(AhciPort::Interrupt::Came);
    case R::Cap:
    case R::Pi:
    case R::Vs: return;
    case R::kCount: unreachable();
  }
}

bool Ahci::wants_interrupt() const {
  return (regs_.get(R::Ghc) & kInterruptEnable) != 0 && regs_.get(R::Is) != 0;
}

// A port that still has something pending shows again right after its bit was cleared. A message is
// sent for every event, and when the guest lets go of some but not of all (§10.6.2.1): it sees no level.
void Ahci::update_interrupt(AhciPort::Interrupt news) {
  u64 pending = regs_.get(R::Is);
  for (unsigned n = 0; n < kPorts; n++)
    if (ports_[n] && ports_[n]->pending()) pending |= bit(n);
  regs_.set(R::Is, pending);
  set_intx(wants_interrupt());
  if (news == AhciPort::Interrupt::Came && wants_interrupt() && msi_.enabled())
    (void)msi_.notify(0);
}

void Ahci::reset_chip(ResetKind) {
  regs_.reset();
  for (const auto& port : ports_) port->reset();
  update_interrupt(AhciPort::Interrupt::Gone);
}

void Ahci::describe_chip(StateVisitor& v) {
  v.field("registers", regs_);
  for (unsigned n = 0; n < kPorts; n++) v.field(format("port{}", n), *ports_[n]);
}

Result<void> Ahci::restored_chip() {
  for (const auto& port : ports_) TRY(port->restored());
  return {};
}

}  // namespace menura
