#include "hw/net/dp8390.h"

#include <algorithm>

namespace menura {

namespace {

// CR
constexpr u8 kStp = 1 << 0;
constexpr u8 kSta = 1 << 1;
constexpr u8 kTxp = 1 << 2;
constexpr u8 kRemoteRead = 1 << 3;
constexpr u8 kRemoteWrite = 1 << 4;
constexpr u8 kRemoteMask = 7 << 3;
constexpr u8 kRemoteNone = 4 << 3;
constexpr unsigned kPageShift = 6;
// ISR
constexpr u8 kPrx = 1 << 0;
constexpr u8 kPtx = 1 << 1;
constexpr u8 kOvw = 1 << 4;
constexpr u8 kRdc = 1 << 6;
constexpr u8 kRst = 1 << 7;
// RCR
constexpr u8 kAb = 1 << 2;
constexpr u8 kAm = 1 << 3;
constexpr u8 kPro = 1 << 4;
constexpr u8 kMon = 1 << 5;
// RSR, TSR
constexpr u8 kRsrPrx = 1 << 0;
constexpr u8 kRsrPhy = 1 << 5;
constexpr u8 kTsrPtx = 1 << 0;
constexpr u8 kTcrLoopback = 3 << 1;
constexpr u8 kDcrWts = 1 << 0;

// Ports of the card.
constexpr unsigned kRegisters = 16;
constexpr unsigned kDataPort = 16;
constexpr unsigned kResetPort = 24;
constexpr u32 kPromBytes = 32;
constexpr u32 kBufferStart = 0x4000;
constexpr u32 kPage = 256;
constexpr u32 kHeader = 4;
constexpr std::byte kPromSignature{0x57};
// What page 0 holds of the RTL8029AS: "PC".
constexpr u8 kRtl8029Id[] = {0x50, 0x43};

}  // namespace

Dp8390::Dp8390(const Options& options, NetBackend& cable, std::function<void(bool)> interrupt)
    : options_(options), cable_(cable), interrupt_(std::move(interrupt)), buffer_(options.buffer) {
  reset();
  cable_.attach(this);
}

Dp8390::~Dp8390() { cable_.attach(nullptr); }

void Dp8390::reset() {
  std::ranges::fill(buffer_, std::byte{0});
  command_ = kStp | kRemoteNone;
  isr_ = kRst;
  pstart_ = pstop_ = bnry_ = tpsr_ = tsr_ = imr_ = rcr_ = tcr_ = rsr_ = curr_ = 0;
  dcr_ = 0x04;
  tbcr_ = rsar_ = rbcr_ = 0;
  par_ = {};
  mar_ = {};
  interrupt_(false);
}

void Dp8390::describe(StateVisitor& v) {
  v.field("buffer", buffer_);
  v.field("command", command_);
  v.field("pstart", pstart_);
  v.field("pstop", pstop_);
  v.field("bnry", bnry_);
  v.field("tpsr", tpsr_);
  v.field("tsr", tsr_);
  v.field("isr", isr_);
  v.field("imr", imr_);
  v.field("rcr", rcr_);
  v.field("tcr", tcr_);
  v.field("dcr", dcr_);
  v.field("rsr", rsr_);
  v.field("curr", curr_);
  v.field("tbcr", tbcr_);
  v.field("rsar", rsar_);
  v.field("rbcr", rbcr_);
  v.field("par", par_);
  v.field("mar", mar_);
}

Result<void> Dp8390::restored() {
  if (buffer_.size() != options_.buffer)
    return fail(Errc::Corrupt, "The packet buffer has {} bytes, not {}", options_.buffer,
                buffer_.size());
  cable_.accept_input();
  return {};
}

bool Dp8390::interrupt_level() const { return (isr_ & imr_ & 0x7f) != 0; }

void Dp8390::raise(u8 causes) {
  isr_ |= causes;
  interrupt_(interrupt_level());
}

// Ports

u64 Dp8390::read(Access access) {
  if (access.offset >= kResetPort) {
    // Its address decodes to the reset line.
    command_ = static_cast<u8>((command_ & ~(kSta | kTxp)) | kStp);
    raise(kRst);
    return 0;
  }
  if (access.offset >= kDataPort) return read_data(access.size);
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++)
    value |= u64{read_register(static_cast<unsigned>(access.offset + i) % kRegisters)} << (8 * i);
  return value;
}

void Dp8390::write(Access access, u64 value) {
  if (access.offset >= kResetPort) return;  // ends the reset
  if (access.offset >= kDataPort) return write_data(access.size, static_cast<u32>(value));
  for (unsigned i = 0; i < access.size; i++)
    write_register(static_cast<unsigned>(access.offset + i) % kRegisters,
                   static_cast<u8>(value >> (8 * i)));
}

u8 Dp8390::read_register(unsigned at) {
  if (at == 0) return command_;
  switch (command_ >> kPageShift) {
    case 0: return read_page0(at);
    case 1: return at < 7 ? par_[at - 1] : at == 7 ? curr_ : mar_[at - 8];
    case 2: {
      const u8 page2[kRegisters] = {0, pstart_, pstop_, 0, tpsr_, 0,    0,    0,
                                    0, 0,       0,      0, rcr_,  tcr_, dcr_, imr_};
      return page2[at];
    }
    default: return 0;  // of the RTL8029's configuration: half duplex, no boot ROM
  }
}

u8 Dp8390::read_page0(unsigned at) const {
  switch (at) {
    case 3: return bnry_;
    case 4: return tsr_;
    case 7: return isr_;
    case 8: return static_cast<u8>(rsar_);
    case 9: return static_cast<u8>(rsar_ >> 8);
    case 10:
    case 11: return options_.rtl8029 ? kRtl8029Id[at - 10] : u8{0xff};
    case 12: return rsr_;
    default: return 0;
  }
}

void Dp8390::write_register(unsigned at, u8 value) {
  if (at == 0) return write_command(value);
  switch (command_ >> kPageShift) {
    case 0: return write_page0(at, value);
    case 1:
      if (at < 7)
        par_[at - 1] = value;
      else if (at == 7)
        curr_ = value;
      else
        mar_[at - 8] = value;
      return cable_.accept_input();
    default: return;
  }
}

void Dp8390::write_page0(unsigned at, u8 value) {
  const auto low = [&](u16& word) { word = static_cast<u16>((word & 0xff00) | value); };
  const auto high = [&](u16& word) { word = static_cast<u16>((word & 0x00ff) | value << 8); };
  switch (at) {
    case 1: pstart_ = value; break;
    case 2: pstop_ = value; break;
    case 3: bnry_ = value; break;
    case 4: tpsr_ = value; break;
    case 5: low(tbcr_); break;
    case 6: high(tbcr_); break;
    case 7:
      isr_ &= static_cast<u8>(~value | kRst);
      raise(0);
      break;
    case 8: low(rsar_); break;
    case 9: high(rsar_); break;
    case 10: low(rbcr_); break;
    case 11: high(rbcr_); break;
    case 12: rcr_ = value & 0x3f; break;
    case 13: tcr_ = value & 0x1f; break;
    case 14: dcr_ = value & 0x7f; break;
    case 15:
      imr_ = value & 0x7f;
      raise(0);
      break;
    default: break;
  }
  cable_.accept_input();
}

void Dp8390::write_command(u8 value) {
  // Neither start nor stop: it goes on as it was (drivers turn pages that way while frames come in).
  if (!(value & (kStp | kSta))) value |= command_ & (kStp | kSta);
  // Only its own end clears a transmission.
  command_ = static_cast<u8>(value | (command_ & kTxp));
  if (value & kStp) {
    command_ &= static_cast<u8>(~kTxp);
    raise(kRst);
    return;
  }
  if (value & kSta) isr_ &= static_cast<u8>(~kRst);
  const u8 remote = value & kRemoteMask;
  if ((remote == kRemoteRead || remote == kRemoteWrite) && rbcr_ == 0) raise(kRdc);
  transmit();
  cable_.accept_input();
}

// Remote DMA

u8* Dp8390::memory(u32 address) {
  if (address < kBufferStart || address - kBufferStart >= buffer_.size()) return nullptr;
  return reinterpret_cast<u8*>(&buffer_[address - kBufferStart]);
}

// Wraps at the end of the ring, as the chip's address counter does.
void Dp8390::remote_step() {
  rsar_++;
  if (rsar_ == pstop_ * kPage) rsar_ = static_cast<u16>(pstart_ * kPage);
  if (rbcr_ != 0 && --rbcr_ == 0) raise(kRdc);
}

// Words move whole, also when a driver takes but a byte of them.
unsigned Dp8390::transfer_width(unsigned size) const {
  return dcr_ & kDcrWts ? std::max(2u, size) : 1;
}

u32 Dp8390::read_data(unsigned size) {
  u32 value = 0;
  for (unsigned i = 0; i < transfer_width(size); i++) {
    u8 byte = 0xff;
    if (rsar_ < kPromBytes) {
      // Each byte of the PROM appears on both halves of the bus.
      const unsigned at = rsar_ / 2;
      byte = at < 6 ? options_.mac[at] : at >= 14 ? static_cast<u8>(kPromSignature) : u8{0};
    } else if (const u8* there = memory(rsar_)) {
      byte = *there;
    }
    value |= static_cast<u32>(byte) << (8 * i);
    remote_step();
  }
  return value;  // a byte of a word, if that was asked for
}

void Dp8390::write_data(unsigned size, u32 value) {
  for (unsigned i = 0; i < transfer_width(size) && rbcr_ != 0; i++) {
    if (u8* there = memory(rsar_)) *there = static_cast<u8>(value >> (8 * i));
    remote_step();
  }
}

// Receiving: a ring of pages from PSTART to PSTOP, filled at CURR, emptied up to BNRY.

u32 Dp8390::free_bytes() const {
  if (pstop_ <= pstart_ || curr_ < pstart_ || curr_ >= pstop_) return 0;
  const u32 pages = curr_ < bnry_ ? bnry_ - curr_ : pstop_ - pstart_ - (curr_ - bnry_);
  return static_cast<u32>(std::min<i64>(pages, pstop_ - pstart_)) * kPage;
}

bool Dp8390::ready() {
  if ((command_ & kStp) || !(command_ & kSta) || (rcr_ & kMon)) return false;
  if (free_bytes() > kHeader + kMaxPlainFrame + kVlanTag + kFcs + kPage) return true;
  // What came in is still there, though its interrupt may have been answered: drivers take some
  // frames at a time, and on a wire the next one would interrupt again.
  if (!(isr_ & (kPrx | kOvw)) && curr_ != bnry_) raise(kPrx);
  return false;
}

std::optional<u8> Dp8390::match(ConstBytes frame) const {
  const MacAddress to = destination_of(frame);
  if (is_broadcast(to)) {
    if (!(rcr_ & (kAb | kPro))) return {};
    return kRsrPhy;
  }
  if (is_multicast(to)) {
    const u32 hash = address_crc(to) >> 26;
    if (!(rcr_ & kAm) || !(mar_[hash >> 3] >> (hash & 7) & 1)) return {};
    return kRsrPhy;
  }
  if (!(rcr_ & kPro) && to != par_) return {};
  return u8{0};
}

std::optional<NetFilter> Dp8390::filter() const {
  NetFilter filter;
  filter.promiscuous = (rcr_ & kPro) != 0;
  filter.unicast = filter.promiscuous ? NetFilter::Mode::All : NetFilter::Mode::Normal;
  filter.multicast = rcr_ & kAm ? NetFilter::Mode::Normal : NetFilter::Mode::None;
  filter.broadcast = (rcr_ & (kAb | kPro)) != 0;
  filter.multicast_overflow = std::ranges::any_of(mar_, [](u8 byte) { return byte != 0; });
  filter.main_mac = par_;
  return filter;
}

void Dp8390::receive(const NetPacket& packet) {
  if (tcr_ & kTcrLoopback || packet.frame.size() > kMaxPlainFrame + kVlanTag) return;
  if (const std::optional<u8> status = match(packet.frame)) store(packet.frame, *status);
}

void Dp8390::store(ConstBytes frame, u8 status) {
  const u32 count = static_cast<u32>(frame.size() + kFcs);
  const u32 pages = (kHeader + count + kPage - 1) / kPage;
  if (pages * kPage >= free_bytes()) return raise(kOvw);
  u32 next = curr_ + pages;
  if (next >= pstop_) next -= pstop_ - pstart_;
  rsr_ = kRsrPrx | status;
  std::vector<std::byte> bytes(kHeader + count);
  bytes[0] = static_cast<std::byte>(rsr_);
  bytes[1] = static_cast<std::byte>(next);
  store_le<u16>(bytes, 2, static_cast<u16>(count));
  std::ranges::copy(frame, bytes.begin() + kHeader);
  u32 at = curr_ * kPage;
  for (const std::byte byte : bytes) {
    if (u8* there = memory(at)) *there = static_cast<u8>(byte);
    if (++at == pstop_ * kPage) at = pstart_ * kPage;
  }
  curr_ = static_cast<u8>(next);
  raise(kPrx);
}

// Sending

void Dp8390::transmit() {
  if (!(command_ & kTxp) || (command_ & kStp)) return;
  if (!(tcr_ & kTcrLoopback)) {
    std::vector<std::byte> frame(std::min<size_t>(tbcr_, kMaxPlainFrame + kVlanTag));
    for (size_t i = 0; i < frame.size(); i++)
      if (const u8* from = memory(static_cast<u32>(tpsr_ * kPage + i)))
        frame[i] = static_cast<std::byte>(*from);
    if (cable_.link_up() && !cable_.send({.frame = frame})) return;
  }
  command_ &= static_cast<u8>(~kTxp);
  tsr_ = kTsrPtx;
  raise(kPtx);
}

}  // namespace menura
