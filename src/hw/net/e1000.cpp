// Registers, interrupts, link and sending; the receiving half is e1000_receive.cpp.
#include "hw/net/e1000.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/trace.h"
#include "base/units.h"
#include "hw/net/frames.h"

namespace menura {

namespace {

using namespace e1000;

TRACE_EVENT(kTraceRead, "e1000.read", "{} = {:#x}");
TRACE_EVENT(kTraceWrite, "e1000.write", "{} = {:#x}");

constexpr u16 kDevice = 0x100e;
constexpr u32 kEthernetClass = 0x020000;
constexpr unsigned kRegisterBar = 0;
constexpr unsigned kPortBar = 2;
constexpr u32 kPortBytes = 64;
constexpr u32 kIoAddr = 0;
constexpr u32 kIoData = 4;
constexpr u32 kAddressValid = 1u << 31;
constexpr i64 kItrUnitNs = 256;
constexpr i64 kDelayUnitNs = 1024;
constexpr u32 kDescriptorSize = 16;

// EERD, MDIC
constexpr u32 kEerdStart = 1u << 0;
constexpr u32 kEerdDone = 1u << 4;
constexpr u32 kMdicWrite = 1u << 26;
constexpr u32 kMdicRead = 2u << 26;
constexpr u32 kMdicReady = 1u << 28;
constexpr u32 kMdicInterrupt = 1u << 29;
constexpr u32 kMdicError = 1u << 30;
constexpr u32 kPhyAddress = 1;
// The transceiver inside of the 82540EM.
constexpr MiiPhy::Identity kPhy = {.id1 = 0x0141, .id2 = 0x0c20, .gigabit = true};
constexpr unsigned kPhySpecificStatus = 17;

// EEPROM words (§5.6).
constexpr unsigned kWordSubsystem = 0x0b;
constexpr unsigned kWordChecksum = 0x3f;
constexpr u16 kChecksum = 0xbaba;

void fill_eeprom(SerialEeprom& eeprom, const MacAddress& mac, const PciIdentity& identity) {
  auto& words = eeprom.words();
  for (size_t i = 0; i < 3; i++) words[i] = static_cast<u16>(mac[2 * i] | mac[2 * i + 1] << 8);
  words[0x0a] = 0x4408;  // initialisation control 1: signature, identifiers as below
  words[kWordSubsystem] = identity.subsystem;
  words[kWordSubsystem + 1] = identity.subsystem_vendor;
  words[kWordSubsystem + 2] = identity.device;
  words[kWordSubsystem + 3] = identity.vendor;
  words[0x0f] = 0x3040;  // initialisation control 2
  u16 sum = 0;
  for (unsigned i = 0; i < kWordChecksum; i++) sum = static_cast<u16>(sum + words[i]);
  words[kWordChecksum] = static_cast<u16>(kChecksum - sum);
}

// The register at each offset, or none: guests reach them a million times a second.
constexpr u8 kNone = 0xff;
constexpr auto kByOffset = [] {
  std::array<u8, 0x6000 / 4> ids{};
  for (u8& id : ids) id = kNone;
  for (size_t i = 0; i < kE1000Registers.size(); i++)
    ids[kE1000Registers[i].offset / 4] = static_cast<u8>(i);
  return ids;
}();

constexpr PciIdentity kIdentity = {.vendor = 0x8086,
                                   .device = kDevice,
                                   .class_code = kEthernetClass,
                                   .revision = 3,
                                   .subsystem_vendor = 0x1af4,
                                   .subsystem = 0x1100};

}  // namespace

E1000::E1000(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
             OptionRom rom)
    : PciFunction(std::move(id), kIdentity),
      mac_(mac),
      cable_(cable),
      time_(time),
      rom_(std::move(rom)),
      register_region_(Region::mmio("e1000-registers", kRegisterBytes, register_window_,
                                    {.handler_min = 4, .handler_max = 4})),
      port_region_(Region::mmio("e1000-ports", kPortBytes, port_window_,
                                {.handler_min = 4, .handler_max = 4})),
      phy_(kPhy),
      throttle_(time, [this] { update_interrupt(); }),
      receive_delay_(time, [this] { receive_waited(); }),
      receive_limit_(time, [this] { receive_waited(); }),
      transmit_delay_(time, [this] { transmit_waited(); }),
      transmit_limit_(time, [this] { transmit_waited(); }),
      more_to_send_(time, [this] { run_transmitter(); }) {
  add_bar(kRegisterBar, BarKind::Memory32, register_region_).value();
  add_bar(kPortBar, BarKind::Io, port_region_).value();
  if (rom_) add_rom(rom_.region()).value();
  set_interrupt_pin(IntxPin::A);
  fill_eeprom(eeprom_, mac_, kIdentity);
  cable_.attach(this);
}

E1000::~E1000() { cable_.attach(nullptr); }

void E1000::reset_chip(ResetKind) {
  phy_.reset();
  io_address_ = 0;
  mta_ = {};
  vfta_ = {};
  ra_ = {};
  software_reset();
}

// CTRL.RST: all but the transceiver and the configuration space; the address comes from the EEPROM.
void E1000::software_reset() {
  regs_.reset();
  eeprom_.reset();
  transmitter_.reset();
  statistics_.reset();
  for (Timer* timer : {&throttle_, &receive_delay_, &receive_limit_, &transmit_delay_,
                       &transmit_limit_, &more_to_send_})
    timer->cancel();
  ra_[0] = load_le<u32>(bytes_of(mac_), 0);
  ra_[1] = load_le<u16>(bytes_of(mac_), 4) | kAddressValid;
  update_link();
  set_intx(false);
}

void E1000::config_written(unsigned, unsigned) {
  cable_.accept_input();  // bus mastering may be on now
}

void E1000::describe_chip(StateVisitor& v) {
  v.field("registers", regs_);
  v.field("mta", mta_);
  v.field("ra", ra_);
  v.field("vfta", vfta_);
  v.field("statistics", statistics_);
  v.field("phy", phy_);
  v.field("eeprom", eeprom_);
  v.field("transmitter", transmitter_);
  v.field("io_address", io_address_);
  v.field("throttle", throttle_);
  v.field("receive_delay", receive_delay_);
  v.field("receive_limit", receive_limit_);
  v.field("transmit_delay", transmit_delay_);
  v.field("transmit_limit", transmit_limit_);
  v.field("more_to_send", more_to_send_);
}

Result<void> E1000::restored_chip() {
  TRY(transmitter_.check(), "{}", id());
  update_link();
  cable_.accept_input();
  return {};
}

// Registers

u32* E1000::table_entry(u32 offset) {
  if (offset >= kMta && offset < kMta + 4 * kMtaWords) return &mta_[(offset - kMta) / 4];
  if (offset >= kRa && offset < kRa + 8 * kRaPairs) return &ra_[(offset - kRa) / 4];
  if (offset >= kVfta && offset < kVfta + 4 * kVftaWords) return &vfta_[(offset - kVfta) / 4];
  return nullptr;
}

u64 E1000::read_registers(Access access) {
  const u32 offset = static_cast<u32>(access.offset) & ~3u;
  if (offset / 4 < kByOffset.size() && kByOffset[offset / 4] != kNone) {
    const auto reg = static_cast<Reg>(kByOffset[offset / 4]);
    const u32 value = read_register(reg);
    trace(kTraceRead, kE1000Registers[static_cast<size_t>(reg)].name, value);
    return value;
  }
  if (offset >= kStatistics && offset < kStatistics + E1000Statistics::kBytes)
    return statistics_.read(offset - kStatistics);
  const u32* entry = table_entry(offset);
  return entry ? *entry : 0;
}

void E1000::write_registers(Access access, u64 value) {
  const u32 offset = static_cast<u32>(access.offset) & ~3u;
  if (offset / 4 < kByOffset.size() && kByOffset[offset / 4] != kNone) {
    const auto reg = static_cast<Reg>(kByOffset[offset / 4]);
    trace(kTraceWrite, kE1000Registers[static_cast<size_t>(reg)].name, static_cast<u32>(value));
    return write_register(reg, static_cast<u32>(value));
  }
  if (u32* entry = table_entry(offset)) *entry = static_cast<u32>(value);
}

u64 E1000::read_ports(Access access) {
  if (access.offset == kIoAddr) return io_address_;
  if (access.offset == kIoData && io_address_ < kRegisterBytes)
    return read_registers({io_address_, 4});
  return 0;
}

void E1000::write_ports(Access access, u64 value) {
  if (access.offset == kIoAddr) io_address_ = static_cast<u32>(value);
  if (access.offset == kIoData && io_address_ < kRegisterBytes)
    write_registers({io_address_, 4}, value);
}

u32 E1000::read_register(Reg reg) {
  switch (reg) {
    case Reg::Icr: {
      const u32 causes = get(Reg::Icr);
      regs_.set(Reg::Icr, 0);
      update_interrupt();
      return causes;
    }
    case Reg::Ics:
    case Reg::Imc: return 0;  // write-only
    case Reg::Eecd:
      return (get(Reg::Eecd) & ~eecd::kDo) | (eeprom_.data_out() ? eecd::kDo : 0) |
             (get(Reg::Eecd) & eecd::kReq ? eecd::kGnt : 0);
    default: return get(reg);
  }
}

void E1000::write_register(Reg reg, u32 value) {
  switch (reg) {
    case Reg::Ctrl: return write_ctrl(value);
    case Reg::Eecd: return write_eecd(value);
    case Reg::Eerd:
      if (value & kEerdStart)
        regs_.set(Reg::Eerd, (value & 0xff00) | kEerdDone |
                                 static_cast<u32>(eeprom_.word(value >> 8 & 0xff)) << 16);
      return;
    case Reg::Mdic: return write_mdic(value);
    case Reg::Icr:  // ones clear
      regs_.set(Reg::Icr, get(Reg::Icr) & ~value);
      return update_interrupt();
    case Reg::Ics: return raise(value);
    case Reg::Ims:
      regs_.set(Reg::Ims, get(Reg::Ims) | (value & 0x1ffff));
      return update_interrupt();
    case Reg::Imc: regs_.set(Reg::Ims, get(Reg::Ims) & ~value); return update_interrupt();
    case Reg::Tctl:
    case Reg::Tdt: regs_.set_writable(reg, value); return run_transmitter();
    case Reg::Rctl:
    case Reg::Rdt: regs_.set_writable(reg, value); return cable_.accept_input();
    default: regs_.set_writable(reg, value);
  }
}

void E1000::write_ctrl(u32 value) {
  if (value & ctrl::kRst) {
    software_reset();
    return;
  }
  if (value & ctrl::kPhyRst) phy_.reset();
  regs_.set(Reg::Ctrl, value & ~ctrl::kPhyRst);
  update_link();
}

void E1000::write_eecd(u32 value) {
  regs_.set_writable(Reg::Eecd, value);
  eeprom_.drive(value & eecd::kCs, value & eecd::kSk, value & eecd::kDi);
}

void E1000::write_mdic(u32 value) {
  const u32 phy_register = value >> 16 & 0x1f;
  u32 result = (value & ~kMdicError) | kMdicReady;
  if ((value >> 21 & 0x1f) != kPhyAddress) {
    result |= kMdicError;
  } else if (value & kMdicRead) {
    u16 data = phy_.read(phy_register);
    // Link, resolved, full duplex at 1000 Mb/s.
    if (phy_register == kPhySpecificStatus) data = link() ? u16{0xac00} : u16{0x0000};
    result = (result & 0xffff0000) | data;
  } else if (value & kMdicWrite) {
    if (phy_.write(phy_register, static_cast<u16>(value))) {
      update_link();
      if (link()) raise(irq::kLsc);
    }
  } else {
    result |= kMdicError;
  }
  regs_.set(Reg::Mdic, result);
  if (value & kMdicInterrupt) raise(irq::kMdac);
}

// Interrupts

void E1000::raise(u32 causes) {
  regs_.set(Reg::Icr, get(Reg::Icr) | (causes & 0x1ffff));
  update_interrupt();
}

// The pin follows the causes; once it rose, it does not again before the throttle's time is over.
void E1000::update_interrupt() {
  const bool wanted = (get(Reg::Icr) & get(Reg::Ims)) != 0;
  if (!wanted) return set_intx(false);
  if (intx() || throttle_.armed()) return;
  set_intx(true);
  if (const u32 interval = get(Reg::Itr); interval != 0)
    throttle_.arm(time_.now_ns() + interval * kItrUnitNs);
}

// Link

void E1000::update_link() {
  phy_.set_link(cable_.link_up());
  const bool up = phy_.link() && (get(Reg::Ctrl) & ctrl::kSlu);
  const u32 status = get(Reg::Status) & ~status::kLu;
  regs_.set(Reg::Status, status | (up ? status::kLu : 0));
}

void E1000::link_changed() {
  const bool before = link();
  update_link();
  if (link() != before) raise(irq::kLsc);
}

bool E1000::looped_back() const {
  return phy_.loopback() || (get(Reg::Rctl) >> rctl::kLbmShift & 3) != 0;
}

// Sending

void E1000::run_transmitter() {
  // Frames that come back to us, and reports, must not begin it anew.
  if (std::exchange(transmitting_, true)) return;
  const u32 count = get(Reg::Tdlen) / kDescriptorSize;
  E1000Transmitter::Ring ring{.base = get(Reg::Tdbal) | u64{get(Reg::Tdbah)} << 32,
                              .count = count,
                              .head = get(Reg::Tdh),
                              .tail = get(Reg::Tdt)};
  const bool enabled = (get(Reg::Tctl) & tctl::kEn) && bus_master();
  if (enabled && ring.head < count && ring.tail < count) {
    const bool had_work = ring.head != ring.tail;
    const E1000Transmitter::Outcome outcome = transmitter_.run(ring, *this);
    regs_.set(Reg::Tdh, ring.head);
    statistics_.segmented(transmitter_.take_segmented_packets());
    if (outcome == E1000Transmitter::Outcome::BudgetSpent) more_to_send_.arm(time_.now_ns());
    if (outcome == E1000Transmitter::Outcome::Empty && had_work) raise(irq::kTxqe);
  } else if (enabled && count > 0) {
    guest_error(id(), "transmit ring of {} descriptors, head {}, tail {}", count, ring.head,
                ring.tail);
  }
  transmitting_ = false;
}

bool E1000::transmit(ConstBytes frame) {
  std::array<std::byte, kMinFrame> padded{};
  if (frame.size() < kMinFrame && (get(Reg::Tctl) & tctl::kPsp)) {
    std::ranges::copy(frame, padded.begin());
    frame = padded;
  }
  if (looped_back()) {
    if (ready()) take_frame(frame);
  } else if (link() && !cable_.send({.frame = frame})) {
    return false;
  }
  statistics_.sent(frame);
  return true;
}

void E1000::reported(bool delayed) {
  const u32 delay = get(Reg::Tidv);
  if (!delayed || delay == 0) return transmit_waited();
  const i64 now = time_.now_ns();
  transmit_delay_.arm(now + delay * kDelayUnitNs);
  if (const u32 limit = get(Reg::Tadv); limit != 0 && !transmit_limit_.armed())
    transmit_limit_.arm(now + limit * kDelayUnitNs);
}

void E1000::transmit_waited() {
  transmit_delay_.cancel();
  transmit_limit_.cancel();
  raise(irq::kTxdw);
}

}  // namespace menura
