#include "hw/net/pcnet.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/units.h"
#include "hw/net/frames.h"

namespace menura {

namespace {

constexpr u32 kBytes = 32;
constexpr i64 kLookAgainNs = 200 * kNsPerUs;
constexpr u32 kMostDescriptors = 512;  // of a ring; and the bound of work at a time
constexpr size_t kLongest = 4096;

// CSR0
constexpr u16 kInit = 1 << 0;
constexpr u16 kStrt = 1 << 1;
constexpr u16 kStop = 1 << 2;
constexpr u16 kTdmd = 1 << 3;
constexpr u16 kTxon = 1 << 4;
constexpr u16 kRxon = 1 << 5;
constexpr u16 kIena = 1 << 6;
constexpr u16 kIntr = 1 << 7;
constexpr u16 kIdon = 1 << 8;
constexpr u16 kTint = 1 << 9;
constexpr u16 kRint = 1 << 10;
constexpr u16 kMerr = 1 << 11;
constexpr u16 kMiss = 1 << 12;
constexpr u16 kErr = 1 << 15;
constexpr u16 kCauses = 0x7f00;
constexpr u16 kErrors = 0x7800;  // BABL, CERR, MISS, MERR
// CSR3 masks causes at their places in CSR0; CSR4 and CSR5 hold further ones.
constexpr u16 kMaskable = 0x5f00;
constexpr u16 kAutoPad = 1 << 11;   // CSR4 APAD_XMT
constexpr u16 kStripPad = 1 << 10;  // CSR4 ASTRP_RCV
constexpr u16 kSuspend = 1 << 0;    // CSR5 SPND
// CSR15, the mode
constexpr u16 kModeDrx = 1 << 0;
constexpr u16 kModeDtx = 1 << 1;
constexpr u16 kModeLoop = 1 << 2;
constexpr u16 kModeDrcvbc = 1 << 14;
constexpr u16 kModeProm = 1 << 15;
// BCR18, BCR20
constexpr u16 kDwio = 1 << 7;
constexpr u16 kSsize32 = 1 << 8;
// Descriptors
constexpr u32 kOwn = 1u << 31;
constexpr u32 kDescriptorErr = 1u << 30;
constexpr u32 kBuff = 1u << 26;
constexpr u32 kStp = 1u << 25;
constexpr u32 kEnp = 1u << 24;
constexpr u32 kPam = 1u << 22;
constexpr u32 kLafm = 1u << 21;
constexpr u32 kBam = 1u << 20;

constexpr unsigned kCsrLadrf = 8;
constexpr unsigned kCsrPadr = 12;
constexpr unsigned kCsrMode = 15;
constexpr unsigned kCsrReceiveRing = 24;
constexpr unsigned kCsrTransmitRing = 30;
constexpr unsigned kCsrStyle = 58;
constexpr unsigned kCsrReceiveLength = 76;
constexpr unsigned kCsrTransmitLength = 78;
constexpr unsigned kCsrChip = 88;  // and 89: part 2621h of AMD
constexpr unsigned kCsrMissed = 112;
constexpr unsigned kBcrBus = 18;
constexpr unsigned kBcrStyle = 20;

constexpr PciIdentity kIdentity = {.vendor = 0x1022,
                                   .device = 0x2000,
                                   .class_code = 0x020000,
                                   .revision = 0x16,
                                   .subsystem_vendor = 0x1af4,
                                   .subsystem = 0x1100};

}  // namespace

Pcnet::Pcnet(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
             OptionRom rom)
    : PciFunction(std::move(id), kIdentity),
      mac_(mac),
      cable_(cable),
      time_(time),
      rom_(std::move(rom)),
      port_region_(Region::mmio("pcnet-ports", kBytes, window_, {.handler_max = 4})),
      memory_region_(Region::mmio("pcnet-registers", kBytes, window_, {.handler_max = 4})),
      look_again_(time, [this] { cable_.accept_input(); }) {
  add_bar(0, BarKind::Io, port_region_).value();
  add_bar(1, BarKind::Memory32, memory_region_).value();
  if (rom_) add_rom(rom_.region()).value();
  set_interrupt_pin(IntxPin::A);
  cable_.attach(this);
}

Pcnet::~Pcnet() { cable_.attach(nullptr); }

// H_RESET.
void Pcnet::reset_chip(ResetKind) {
  prom_ = {};
  std::ranges::copy(mac_, prom_.begin());
  prom_[14] = prom_[15] = 0x57;
  u16 sum = 0;
  for (const u8 byte : prom_) sum = static_cast<u16>(sum + byte);
  prom_[12] = static_cast<u8>(sum);
  prom_[13] = static_cast<u8>(sum >> 8);
  bcr_ = {};
  bcr_[0] = bcr_[1] = 5;
  bcr_[2] = 2;       // ASEL
  bcr_[4] = 0x00c0;  // link LED
  bcr_[5] = 0x0084;
  bcr_[6] = 0x0088;
  bcr_[7] = 0x0090;
  bcr_[kBcrBus] = 0x9001;
  bcr_[kBcrStyle] = 0x0200;
  dword_io_ = false;
  csr_ = {};
  software_reset();
}

// S_RESET: what reading the reset port does.
void Pcnet::software_reset() {
  stop();
  csr_ = {};
  csr_[0] = kStop;
  csr_[4] = 0x0115;
  csr_[kCsrStyle] = bcr_[kBcrStyle];
  csr_[kCsrReceiveLength] = csr_[kCsrTransmitLength] = 0xffff;
  csr_[80] = 0x1410;
  csr_[kCsrChip] = 0x1003;
  csr_[kCsrChip + 1] = 0x0262;
  rap_ = 0;
  update_interrupt();
}

void Pcnet::stop() {
  csr_[0] = kStop;
  csr_[5] &= static_cast<u16>(~kSuspend);
  receive_index_ = transmit_index_ = 0;
  frame_.clear();
  frame_begun_ = frame_ready_ = false;
  look_again_.cancel();
}

void Pcnet::config_written(unsigned, unsigned) { cable_.accept_input(); }

void Pcnet::describe_chip(StateVisitor& v) {
  v.field("prom", prom_);
  v.field("csr", csr_);
  v.field("bcr", bcr_);
  v.field("rap", rap_);
  v.field("dword_io", dword_io_);
  v.field("receive_index", receive_index_);
  v.field("transmit_index", transmit_index_);
  v.field("frame", frame_);
  v.field("frame_begun", frame_begun_);
  v.field("frame_ready", frame_ready_);
  v.field("look_again", look_again_);
}

Result<void> Pcnet::restored_chip() {
  if (receive_index_ > 0xffff || transmit_index_ > 0xffff || frame_.size() > kLongest)
    return fail(Errc::Corrupt, "{}: a place in its rings that there is not", id());
  cable_.accept_input();
  return {};
}

// Ports: 16 bytes of PROM, then data, address, reset and bus registers, as words or double words.

u64 Pcnet::read(Access access) {
  const u64 offset = access.offset;
  if (offset < 16) {
    u64 value = 0;
    for (unsigned i = 0; i < access.size && offset + i < 16; i++)
      value |= u64{prom_[offset + i]} << (8 * i);
    return value;
  }
  switch ((offset - 16) / (dword_io_ ? 4 : 2)) {
    case 0: return read_csr(rap_);
    case 1: return rap_;
    case 2: software_reset(); return 0;
    case 3: return read_bcr(rap_);
    default: return 0xffff;
  }
}

void Pcnet::write(Access access, u64 value) {
  const u64 offset = access.offset;
  if (offset < 16) {
    if (!(bcr_[2] & 0x0100)) return;  // APROMWE
    for (unsigned i = 0; i < access.size && offset + i < 16; i++)
      prom_[offset + i] = static_cast<u8>(value >> (8 * i));
    return;
  }
  // The first double word written to the data port turns words into double words.
  if (offset == 16 && access.size == 4 && !dword_io_) {
    dword_io_ = true;
    bcr_[kBcrBus] |= kDwio;
  }
  switch ((offset - 16) / (dword_io_ ? 4 : 2)) {
    case 0: return write_csr(rap_, static_cast<u16>(value));
    case 1: rap_ = static_cast<u8>(value & 0x7f); return;
    case 3: return write_bcr(rap_, static_cast<u16>(value));
    default: return;
  }
}

u16 Pcnet::read_csr(unsigned n) {
  switch (n) {
    case 0: {
      u16 value = csr_[0];
      if (value & kErrors) value |= kErr;
      if (intx()) value |= kIntr;
      return value;
    }
    case 16: return csr_[1];
    case 17: return csr_[2];
    default: return csr_[n];
  }
}

void Pcnet::write_csr(unsigned n, u16 value) {
  const bool stopped = (csr_[0] & kStop) != 0;
  switch (n) {
    case 0: return write_csr0(value);
    case 3: csr_[3] = value & 0x5f7c; return update_interrupt();
    case 4:
      // Causes are cleared by ones, their masks and the rest are storage.
      csr_[4] = static_cast<u16>((csr_[4] & 0x026a & ~value) | (value & 0xfd95));
      return update_interrupt();
    case 5:
      csr_[5] = static_cast<u16>((csr_[5] & 0x0a90 & ~value) | (value & 0xf50f));
      run_transmitter();
      return cable_.accept_input();
    case 16: return write_csr(1, value);
    case 17: return write_csr(2, value);
    case kCsrStyle: return write_bcr(kBcrStyle, value);
    case kCsrMode: csr_[n] = value; return;
    case kCsrChip:
    case kCsrChip + 1: return;
    case kCsrMissed: return;
    default:
      // Addresses and rings may change only at rest.
      if (stopped || (csr_[5] & kSuspend) || n == 46 || n == 47 || n == 82 || n == 112)
        csr_[n] = value;
  }
}

u16 Pcnet::read_bcr(unsigned n) const {
  if (n >= kBcrs) return 0;
  // The link LED's pin state.
  if (n == 4) return static_cast<u16>((bcr_[4] & 0x7fff) | (cable_.link_up() ? 0x8000 : 0));
  return bcr_[n];
}

void Pcnet::write_bcr(unsigned n, u16 value) {
  if (n == kBcrStyle) {
    if (!(csr_[0] & kStop)) return;
    // Style 0 has 16-bit structures, 2 and 3 have 32-bit ones; others are as 0.
    const u16 style = value & 0xff;
    const u16 known = style == 2 || style == 3 ? style : u16{0};
    bcr_[n] = csr_[kCsrStyle] = static_cast<u16>(known | (known != 0 ? kSsize32 : 0x0200));
    return;
  }
  if (n == 2 || n == 4 || n == 5 || n == 6 || n == 7 || n == 9 || n == kBcrBus || n == 19 ||
      n == 22)
    bcr_[n] = value;
}

bool Pcnet::wide() const { return (bcr_[kBcrStyle] & kSsize32) != 0; }
u32 Pcnet::high_address() const { return wide() ? 0 : u32{csr_[2]} << 16 & 0xff000000; }

void Pcnet::write_csr0(u16 value) {
  if (value & kStop) {
    stop();
    return update_interrupt();
  }
  csr_[0] &= static_cast<u16>(~(value & kCauses));
  csr_[0] = static_cast<u16>((csr_[0] & ~kIena) | (value & kIena));
  if ((value & kInit) && !(csr_[0] & kInit)) initialise();
  if ((value & kStrt) && !(csr_[0] & kStrt)) {
    csr_[0] &= static_cast<u16>(~kStop);
    csr_[0] |= kStrt;
    if (!(csr_[kCsrMode] & kModeDtx)) csr_[0] |= kTxon;
    if (!(csr_[kCsrMode] & kModeDrx)) csr_[0] |= kRxon;
  }
  update_interrupt();
  if (value & kTdmd) run_transmitter();
  cable_.accept_input();
}

// Reads the initialisation block (data sheet, "Initialization Block").
void Pcnet::initialise() {
  std::array<std::byte, 28> block{};
  const u64 at = csr_[1] | u64{csr_[2]} << 16;
  const size_t size = wide() ? 28 : 24;
  if (dma_read(GuestAddr{at}, Bytes(block).first(size)) != AccessStatus::Ok) return raise(kMerr);
  csr_[kCsrMode] = load_le<u16>(block, 0);
  const size_t padr = wide() ? 4 : 2;
  const size_t ladrf = wide() ? 12 : 8;
  for (unsigned i = 0; i < 3; i++) csr_[kCsrPadr + i] = load_le<u16>(block, padr + 2 * i);
  for (unsigned i = 0; i < 4; i++) csr_[kCsrLadrf + i] = load_le<u16>(block, ladrf + 2 * i);
  const u32 rdra = load_le<u32>(block, wide() ? 20 : 16);
  const u32 tdra = load_le<u32>(block, wide() ? 24 : 20);
  const unsigned rlen = wide() ? static_cast<unsigned>(block[2]) >> 4 : rdra >> 29;
  const unsigned tlen = wide() ? static_cast<unsigned>(block[3]) >> 4 : tdra >> 29;
  const auto set_ring = [&](unsigned csr, unsigned length_csr, u32 address, unsigned log) {
    if (!wide()) address = (address & 0x00ffffff) | high_address();
    csr_[csr] = static_cast<u16>(address);
    csr_[csr + 1] = static_cast<u16>(address >> 16);
    csr_[length_csr] = static_cast<u16>(65536u - (1u << std::min(log, 9u)));
  };
  set_ring(kCsrReceiveRing, kCsrReceiveLength, rdra, rlen);
  set_ring(kCsrTransmitRing, kCsrTransmitLength, tdra, tlen);
  receive_index_ = transmit_index_ = 0;
  csr_[0] &= static_cast<u16>(~kStop);
  csr_[0] |= kInit;
  raise(kIdon);
}

void Pcnet::raise(u16 causes) {
  csr_[0] |= causes;
  update_interrupt();
}

void Pcnet::update_interrupt() {
  const u16 pending = csr_[0] & kMaskable & static_cast<u16>(~csr_[3]);
  set_intx(pending != 0 && (csr_[0] & kIena));
}

// Rings

std::optional<Pcnet::Descriptor> Pcnet::fetch(u64 ring, u32 index) {
  Descriptor d;
  std::array<std::byte, 16> bytes{};
  const size_t size = wide() ? 16 : 8;
  d.at = ring + u64{index} * size;
  if (dma_read(GuestAddr{d.at}, Bytes(bytes).first(size)) != AccessStatus::Ok) return {};
  if (!wide()) {
    d.flags = static_cast<u32>(load_le<u16>(bytes, 2) & 0xff00) << 16;
    d.address = (load_le<u32>(bytes, 0) & 0x00ffffff) | high_address();
    d.length = 4096 - (load_le<u16>(bytes, 4) & 0xfff);
    return d;
  }
  const bool swapped = (bcr_[kBcrStyle] & 0xff) == 3;
  d.flags = load_le<u32>(bytes, 4) & 0xff000000;
  d.address = load_le<u32>(bytes, swapped ? 8 : 0);
  d.length = 4096 - (load_le<u32>(bytes, 4) & 0xfff);
  return d;
}

void Pcnet::store_flags(const Descriptor& d, u32 flags, std::optional<u32> message_length) {
  // What cannot be reached is lost, as on the bus. The owner's bit is written last.
  if (wide()) {
    const bool swapped = (bcr_[kBcrStyle] & 0xff) == 3;
    std::array<std::byte, 4> word;
    if (message_length) {
      store_le<u32>(word, 0, *message_length);
      (void)dma_write(GuestAddr{d.at + (swapped ? 0 : 8)}, word);
    }
    store_le<u32>(word, 0, flags | 0xf000 | (-d.length & 0xfff));
    (void)dma_write(GuestAddr{d.at + 4}, word);
    return;
  }
  std::array<std::byte, 2> half;
  if (message_length) {
    store_le<u16>(half, 0, static_cast<u16>(*message_length));
    (void)dma_write(GuestAddr{d.at + 6}, half);
  }
  const std::byte status[] = {static_cast<std::byte>(flags >> 24)};
  (void)dma_write(GuestAddr{d.at + 3}, status);
}

// Receiving

MacAddress Pcnet::address() const {
  MacAddress mac{};
  for (unsigned i = 0; i < 3; i++) store_le<u16>(writable_bytes_of(mac), 2 * i, csr_[kCsrPadr + i]);
  return mac;
}

u32 Pcnet::match(ConstBytes frame) const {
  const u16 mode = csr_[kCsrMode];
  const MacAddress to = destination_of(frame);
  const u32 others = mode & kModeProm ? kStp : 0;  // any flag: let in
  if (is_broadcast(to)) return mode & kModeDrcvbc ? others : kBam;
  if (is_multicast(to)) {
    // The filter takes the CRC's bits from the other end.
    u32 hash = 0;
    const u32 crc = address_crc(to);
    for (unsigned bit = 0; bit < 6; bit++) hash = hash << 1 | (crc >> bit & 1);
    return csr_[kCsrLadrf + (hash >> 4)] >> (hash & 15) & 1 ? kLafm : others;
  }
  return to == address() ? kPam : others;
}

std::optional<NetFilter> Pcnet::filter() const {
  const u16 mode = csr_[kCsrMode];
  NetFilter filter;
  filter.promiscuous = (mode & kModeProm) != 0;
  filter.unicast = filter.promiscuous ? NetFilter::Mode::All : NetFilter::Mode::Normal;
  filter.multicast = filter.unicast;
  filter.broadcast = !(mode & kModeDrcvbc) || filter.promiscuous;
  for (unsigned i = 0; i < 4; i++) filter.multicast_overflow |= csr_[kCsrLadrf + i] != 0;
  filter.main_mac = address();
  return filter;
}

// The room in descriptors that are ours, one after the other, as far as is wanted.
u32 Pcnet::free_receive_bytes(u32 wanted) {
  const u32 length = ring_length(kCsrReceiveLength);
  const u64 ring = ring_address(kCsrReceiveRing);
  u32 room = 0;
  for (u32 i = 0; i < std::min(length, kMostDescriptors) && room < wanted; i++) {
    const std::optional<Descriptor> d = fetch(ring, (receive_index_ + i) % length);
    if (!d || !(d->flags & kOwn)) break;
    room += d->length;
  }
  return room;
}

bool Pcnet::ready() {
  if (!(csr_[0] & kRxon) || (csr_[5] & kSuspend) || !bus_master()) return false;
  constexpr u32 kWanted = kMaxPlainFrame + kFcs;
  if (free_receive_bytes(kWanted) >= kWanted) return true;
  if (!look_again_.armed()) look_again_.arm(time_.now_ns() + kLookAgainNs);
  return false;
}

void Pcnet::receive(const NetPacket& packet) {
  if (!(csr_[kCsrMode] & kModeLoop)) take_frame(packet.frame);
}

void Pcnet::take_frame(ConstBytes frame) {
  const u32 kind = match(frame);
  if (kind == 0 || frame.size() > kLongest - kFcs) return;
  std::vector<std::byte> bytes(frame.begin(), frame.end());
  // A frame of IEEE 802.3 tells its length, behind which lies padding.
  const u16 length = ethertype_of(frame);
  const bool strip = (csr_[4] & kStripPad) && length < 46 && frame.size() <= kMinFrame;
  bytes.resize(strip ? kEthernetHeader + length : frame.size() + kFcs);
  const u32 total = static_cast<u32>(bytes.size());
  const u32 ring_size = ring_length(kCsrReceiveLength);
  const u64 ring = ring_address(kCsrReceiveRing);
  if (free_receive_bytes(total) < total) {
    csr_[kCsrMissed]++;
    return raise(kMiss);
  }
  u32 flags = kStp;
  for (u32 at = 0; at < total;) {
    const std::optional<Descriptor> d = fetch(ring, receive_index_);
    if (!d) return raise(kMerr);
    const u32 size = std::min(d->length, total - at);
    if (dma_write(GuestAddr{d->address}, ConstBytes(bytes).subspan(at, size)) != AccessStatus::Ok)
      flags |= kDescriptorErr | kBuff;
    at += size;
    const bool last = at == total;
    store_flags(*d, flags | (last ? kEnp | (kind & (kPam | kLafm | kBam)) : 0),
                last ? std::optional(total) : std::nullopt);
    flags = 0;
    receive_index_ = (receive_index_ + 1) % ring_size;
  }
  raise(kRint);
}

// Sending

void Pcnet::run_transmitter() {
  // A frame that is looped back must not begin this anew.
  if (std::exchange(transmitting_, true)) return;
  const u32 length = ring_length(kCsrTransmitLength);
  const u64 ring = ring_address(kCsrTransmitRing);
  for (u32 work = 0; work < kMostDescriptors; work++) {
    if (!(csr_[0] & kTxon) || (csr_[5] & kSuspend) || !bus_master()) break;
    if (frame_ready_ && !finish_frame()) break;
    transmit_index_ %= length;
    const std::optional<Descriptor> d = fetch(ring, transmit_index_);
    if (!d || !(d->flags & kOwn)) break;
    if (d->flags & kStp) {
      frame_.clear();
      frame_begun_ = true;
    }
    bool good = frame_begun_ && frame_.size() + d->length <= kLongest;
    if (good) {
      const size_t at = frame_.size();
      frame_.resize(at + d->length);
      good = dma_read(GuestAddr{d->address}, Bytes(frame_).subspan(at)) == AccessStatus::Ok;
    }
    if (!good) frame_begun_ = false;  // the rest of it is passed over
    frame_ready_ = good && (d->flags & kEnp);
    store_flags(*d, (d->flags & ~kOwn) | (good ? 0 : kDescriptorErr), std::nullopt);
    transmit_index_ = (transmit_index_ + 1) % length;
    if ((d->flags & kEnp) && !good) raise(kTint);
  }
  if (frame_ready_) (void)finish_frame();
  transmitting_ = false;
}

// False when the wire takes none now.
bool Pcnet::finish_frame() {
  std::vector<std::byte> padded = frame_;
  if ((csr_[4] & kAutoPad) && padded.size() < kMinFrame) padded.resize(kMinFrame);
  if (csr_[kCsrMode] & kModeLoop) {
    if (ready()) take_frame(padded);
  } else if (cable_.link_up() && !cable_.send({.frame = padded})) {
    return false;
  }
  frame_.clear();
  frame_begun_ = frame_ready_ = false;
  raise(kTint);
  return true;
}

}  // namespace menura
