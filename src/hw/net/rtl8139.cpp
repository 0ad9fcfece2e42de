#include "hw/net/rtl8139.h"

#include <algorithm>

#include "base/units.h"
#include "hw/net/frames.h"

namespace menura {

namespace {

using namespace rtl8139;

constexpr u32 kBytes = 256;
constexpr unsigned kEepromMac = 7;
constexpr u16 kEepromSignature = 0x8129;
constexpr i64 kTimerHz = 33'000'000;
constexpr u32 kReadAhead = 16;  // CAPR stands so far before the driver's place
constexpr u32 kHeader = 4;
constexpr size_t kLongest = 1792;  // a frame to send

// 9346CR
constexpr u8 kEecs = 1 << 3;
constexpr u8 kEesk = 1 << 2;
constexpr u8 kEedi = 1 << 1;
constexpr u8 kModeShift = 6;
constexpr u8 kModeProgram = 2;
constexpr u8 kModeConfig = 3;

// A received frame's status.
constexpr u16 kRok = 1 << 0;
constexpr u16 kBar = 1 << 13;
constexpr u16 kPam = 1 << 14;
constexpr u16 kMar = 1 << 15;

constexpr PciIdentity kIdentity = {.vendor = 0x10ec,
                                   .device = 0x8139,
                                   .class_code = 0x020000,
                                   .revision = 0x10,
                                   .subsystem_vendor = 0x1af4,
                                   .subsystem = 0x1100};

}  // namespace

Rtl8139::Rtl8139(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
                 OptionRom rom)
    : PciFunction(std::move(id), kIdentity),
      mac_(mac),
      cable_(cable),
      time_(time),
      rom_(std::move(rom)),
      port_region_(Region::mmio("rtl8139-ports", kBytes, window_, {.handler_max = 4})),
      memory_region_(Region::mmio("rtl8139-registers", kBytes, window_, {.handler_max = 4})),
      phy_({.id1 = 0x0000, .id2 = 0x8201, .gigabit = false}),
      timer_(time, [this] { raise(irq::kTimeOut); }) {
  add_bar(0, BarKind::Io, port_region_).value();
  add_bar(1, BarKind::Memory32, memory_region_).value();
  if (rom_) add_rom(rom_.region()).value();
  set_interrupt_pin(IntxPin::A);
  auto& words = eeprom_.words();
  words[0] = kEepromSignature;
  words[1] = kIdentity.vendor;
  words[2] = kIdentity.device;
  for (unsigned i = 0; i < 3; i++) words[kEepromMac + i] = load_le<u16>(bytes_of(mac_), 2 * i);
  cable_.attach(this);
}

Rtl8139::~Rtl8139() { cable_.attach(nullptr); }

void Rtl8139::reset_chip(ResetKind) {
  phy_.reset();
  eeprom_.reset();
  software_reset();
  regs_.set(Reg::Idr0, load_le<u32>(bytes_of(mac_), 0));
  regs_.set(Reg::Idr4, load_le<u16>(bytes_of(mac_), 4));
}

// CR.RST keeps the address.
void Rtl8139::software_reset() {
  const u64 idr0 = regs_.get(Reg::Idr0), idr4 = regs_.get(Reg::Idr4);
  regs_.reset();
  regs_.set(Reg::Idr0, idr0);
  regs_.set(Reg::Idr4, idr4);
  next_transmitter_ = 0;
  timer_.cancel();
  timer_start_ns_ = 0;
  phy_.set_link(cable_.link_up());
  set_intx(false);
}

void Rtl8139::config_written(unsigned, unsigned) { cable_.accept_input(); }

void Rtl8139::describe_chip(StateVisitor& v) {
  v.field("registers", regs_);
  v.field("phy", phy_);
  v.field("eeprom", eeprom_);
  v.field("next_transmitter", next_transmitter_);
  v.field("timer_start_ns", timer_start_ns_);
  v.field("timer", timer_);
}

Result<void> Rtl8139::restored_chip() {
  if (next_transmitter_ >= kTransmitters)
    return fail(Errc::Corrupt, "{}: there is no transmitter {}", id(), next_transmitter_);
  phy_.set_link(cable_.link_up());
  cable_.accept_input();
  return {};
}

u64 Rtl8139::read(Access access) {
  return regs_.read(access, [this](Reg reg) { return value_of(reg); });
}

void Rtl8139::write(Access access, u64 value) {
  regs_.write(access, value,
              [this](Reg reg, u64 merged, u64 mask) { write_register(reg, merged, mask); });
}

u64 Rtl8139::value_of(Reg reg) {
  switch (reg) {
    case Reg::Cr: return get(Reg::Cr) | (ring_used() == 0 ? cr::kBufe : 0u);
    case Reg::Tctr: return timer_count();
    case Reg::Cr9346: return (get(reg) & ~1u) | (eeprom_.data_out() ? 1u : 0u);
    case Reg::Msr: return get(reg) | (phy_.link() ? 0u : kMsrLinkb);
    case Reg::Tsads: {
      u32 all = 0;
      for (unsigned n = 0; n < kTransmitters; n++) {
        const u32 tsd = get(numbered(Reg::Tsd0, n));
        if (tsd & tsd::kOwn) all |= 1u << n;
        if (tsd & tsd::kTabt) all |= 1u << (4 + n);
        if (tsd & tsd::kTok) all |= 1u << (12 + n);
      }
      return all;
    }
    case Reg::Cscr: {
      // The change is told once.
      const u64 value = (regs_.get(reg) & ~u64{kCscrLinkOk}) | (phy_.link() ? kCscrLinkOk : 0u);
      regs_.set(reg, value & ~u64{kCscrLinkChanged});
      return value;
    }
    case Reg::Bmcr: return phy_.read(0);
    case Reg::Bmsr: return phy_.read(1);
    case Reg::Anar: return phy_.read(4);
    case Reg::Anlpar: return phy_.read(5);
    case Reg::Aner: return phy_.read(6);
    default: return regs_.get(reg);
  }
}

void Rtl8139::write_register(Reg reg, u64 value, u64 mask) {
  const bool may_configure = get(Reg::Cr9346) >> kModeShift == kModeConfig;
  switch (reg) {
    case Reg::Cr:
      if (value & cr::kRst) return software_reset();
      regs_.set_writable(reg, value, mask);
      run_transmitters();
      return cable_.accept_input();
    case Reg::Tsd0:
    case Reg::Tsd1:
    case Reg::Tsd2:
    case Reg::Tsd3:
      regs_.set(reg, value & 0x003fffff);  // the rest is status, which goes
      return run_transmitters();
    case Reg::Isr: regs_.set(reg, get(reg) & ~(value & mask)); return update_interrupt();
    case Reg::Imr: regs_.set_writable(reg, value, mask); return update_interrupt();
    case Reg::Capr:
    case Reg::Rcr:
    case Reg::Rbstart:
      regs_.set_writable(reg, value, mask);
      if (reg == Reg::Rbstart) regs_.set(Reg::Cbr, 0), regs_.set(Reg::Capr, 0xfff0);
      return cable_.accept_input();
    case Reg::Tctr: timer_start_ns_ = time_.now_ns(); return arm_timer();
    case Reg::TimerInt: regs_.set_writable(reg, value, mask); return arm_timer();
    case Reg::Mpc: return regs_.set(reg, 0);
    case Reg::Cr9346:
      regs_.set_writable(reg, value, mask);
      if (get(reg) >> kModeShift == kModeProgram)
        eeprom_.drive(get(reg) & kEecs, get(reg) & kEesk, get(reg) & kEedi);
      return;
    case Reg::Config1:
    case Reg::Config3:
    case Reg::Config4:
    case Reg::Idr0:
    case Reg::Idr4:
      if (may_configure) regs_.set_writable(reg, value, mask);
      return;
    case Reg::Bmcr:
      if (phy_.write(0, static_cast<u16>(value))) raise(irq::kLinkChange);
      return phy_.set_link(cable_.link_up());
    case Reg::Anar: (void)phy_.write(4, static_cast<u16>(value)); return;
    default: regs_.set_writable(reg, value, mask);
  }
}

void Rtl8139::raise(u32 causes) {
  regs_.set(Reg::Isr, get(Reg::Isr) | causes);
  update_interrupt();
}

void Rtl8139::update_interrupt() { set_intx((get(Reg::Isr) & get(Reg::Imr)) != 0); }

u32 Rtl8139::timer_count() const {
  const auto passed = static_cast<u64>(time_.now_ns() - timer_start_ns_);
  return static_cast<u32>(passed / 1000 * (kTimerHz / 1'000'000) +
                          passed % 1000 * (kTimerHz / 1'000'000) / 1000);
}

void Rtl8139::arm_timer() {
  timer_.cancel();
  const i64 count = get(Reg::TimerInt);
  if (count != 0) timer_.arm(timer_start_ns_ + count * kNsPerUs / (kTimerHz / 1'000'000));
}

void Rtl8139::link_changed() {
  phy_.set_link(cable_.link_up());
  regs_.set(Reg::Cscr, regs_.get(Reg::Cscr) | kCscrLinkChanged);
  raise(irq::kLinkChange);
}

// Receiving: frames one behind the other in a ring of bytes, each behind four of status and length.

u32 Rtl8139::ring_size() const { return 8192u << (get(Reg::Rcr) >> rcr::kRblenShift & 3); }

u32 Rtl8139::ring_used() const {
  return (get(Reg::Cbr) - (get(Reg::Capr) + kReadAhead)) & (ring_size() - 1);
}

bool Rtl8139::ready() {
  if (!(get(Reg::Cr) & cr::kRe) || !bus_master()) return false;
  return ring_size() - ring_used() > kHeader + kMaxPlainFrame + kVlanTag + kFcs + 4;
}

std::optional<u16> Rtl8139::match(ConstBytes frame) const {
  const u32 rcr = get(Reg::Rcr);
  const MacAddress to = destination_of(frame);
  MacAddress ours{};
  store_le<u32>(writable_bytes_of(ours), 0, get(Reg::Idr0));
  store_le<u16>(writable_bytes_of(ours), 4, static_cast<u16>(get(Reg::Idr4)));
  if (is_broadcast(to) && (rcr & (rcr::kAb | rcr::kAap))) return kBar;
  if (is_multicast(to) && !is_broadcast(to)) {
    const bool in_table = regs_.get(Reg::Mar) >> (address_crc(to) >> 26) & 1;
    if ((rcr & rcr::kAap) || ((rcr & rcr::kAm) && in_table)) return kMar;
  }
  if (to == ours && (rcr & (rcr::kApm | rcr::kAap))) return kPam;
  return rcr & rcr::kAap ? std::optional<u16>(u16{0}) : std::nullopt;
}

std::optional<NetFilter> Rtl8139::filter() const {
  const u32 rcr = get(Reg::Rcr);
  NetFilter filter;
  filter.promiscuous = (rcr & rcr::kAap) != 0;
  filter.unicast = filter.promiscuous ? NetFilter::Mode::All
                   : rcr & rcr::kApm  ? NetFilter::Mode::Normal
                                      : NetFilter::Mode::None;
  filter.multicast = filter.promiscuous ? NetFilter::Mode::All
                     : rcr & rcr::kAm   ? NetFilter::Mode::Normal
                                        : NetFilter::Mode::None;
  filter.broadcast = (rcr & (rcr::kAb | rcr::kAap)) != 0;
  filter.multicast_overflow = regs_.get(Reg::Mar) != 0;
  store_le<u32>(writable_bytes_of(filter.main_mac), 0, get(Reg::Idr0));
  store_le<u16>(writable_bytes_of(filter.main_mac), 4, static_cast<u16>(get(Reg::Idr4)));
  return filter;
}

void Rtl8139::receive(const NetPacket& packet) {
  const bool looped = (get(Reg::Tcr) >> kLoopbackShift & 3) == 3;
  if (phy_.link() && !looped) take_frame(packet.frame);
}

// With WRAP the driver has room behind the ring for the end of a frame.
void Rtl8139::put(u32& at, ConstBytes bytes) {
  const u64 base = get(Reg::Rbstart);
  const u32 size = ring_size();
  const size_t before_end = get(Reg::Rcr) & rcr::kWrap && size < 65536
                                ? bytes.size()
                                : std::min<size_t>(bytes.size(), size - std::min(at, size));
  // What cannot be reached is lost, as on the bus.
  (void)dma_write(GuestAddr{base + at}, bytes.first(before_end));
  at += static_cast<u32>(before_end);
  if (before_end == bytes.size()) return;
  (void)dma_write(GuestAddr{base}, bytes.subspan(before_end));
  at = static_cast<u32>(bytes.size() - before_end);
}

void Rtl8139::take_frame(ConstBytes frame) {
  const std::optional<u16> kind = match(frame);
  if (!kind || frame.size() > kMaxPlainFrame + kVlanTag) return;
  const u32 stored = static_cast<u32>(kHeader + frame.size() + kFcs + 3) & ~3u;
  if (stored >= ring_size() - ring_used()) {
    regs_.set(Reg::Mpc, (get(Reg::Mpc) + 1) & 0xffffff);
    return raise(irq::kRxovw);
  }
  std::vector<std::byte> bytes(stored);
  store_le<u16>(bytes, 0, kRok | *kind);
  store_le<u16>(bytes, 2, static_cast<u16>(frame.size() + kFcs));
  std::ranges::copy(frame, bytes.begin() + kHeader);
  u32 at = get(Reg::Cbr) & (ring_size() - 1);
  put(at, bytes);
  regs_.set(Reg::Cbr, at & (ring_size() - 1));
  raise(irq::kRok);
}

// Sending: four transmitters, one after the other.

void Rtl8139::run_transmitters() {
  // A frame that is looped back must not begin this anew.
  if (std::exchange(transmitting_, true)) return;
  for (unsigned done = 0; done < kTransmitters; done++) {
    const bool idle = (get(numbered(Reg::Tsd0, next_transmitter_)) & tsd::kOwn) != 0;
    if (idle || !(get(Reg::Cr) & cr::kTe) || !bus_master()) break;
    if (!transmit(next_transmitter_)) break;
    next_transmitter_ = static_cast<u8>((next_transmitter_ + 1) % kTransmitters);
  }
  transmitting_ = false;
}

bool Rtl8139::transmit(unsigned n) {
  const Reg reg = numbered(Reg::Tsd0, n);
  const u32 size = get(reg) & tsd::kSize;
  std::vector<std::byte> frame(std::min<size_t>(size, kLongest));
  const bool good = size <= kLongest &&
                    dma_read(GuestAddr{get(numbered(Reg::Tsad0, n))}, frame) == AccessStatus::Ok;
  if (good) {
    if ((get(Reg::Tcr) >> kLoopbackShift & 3) == 3) {
      if (ready()) take_frame(frame);
    } else if (phy_.link() && !cable_.send({.frame = frame})) {
      return false;
    }
  }
  regs_.set(reg, get(reg) | tsd::kOwn | (good ? tsd::kTok : tsd::kTabt));
  raise(good ? irq::kTok : irq::kTer);
  return true;
}

}  // namespace menura
