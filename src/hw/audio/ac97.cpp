#include "hw/audio/ac97.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x2415,
                                .class_code = 0x040100,
                                .revision = 1,
                                .subsystem_vendor = 0x8086,
                                .subsystem = 0x0000};
constexpr u64 kMixerBytes = 256, kMasterBytes = 64;

// Of the codec.
enum : unsigned {
  kReset = 0x00,
  kMasterVolume = 0x02,
  kPcmVolume = 0x18,
  kPower = 0x26,
  kExtendedId = 0x28,
  kExtendedControl = 0x2a,
  kFrontRate = 0x2c,
  kAdcRate = 0x32,
  kMicRate = 0x34,
  kVendor1 = 0x7c,
  kVendor2 = 0x7e,
};
constexpr u16 kMute = 0x8000, kVariableRate = 1, kReady = 0x000f;
// AC'97 §5.7: values after a reset; writable bits. What is not listed is not there.
struct MixerRow {
  u8 reg;
  u16 reset, writable;
};
constexpr MixerRow kMixer[] = {
    {0x02, 0x8000, 0xbf3f}, {0x04, 0x8000, 0xbf3f}, {0x06, 0x8000, 0x803f}, {0x0a, 0x8000, 0x801e},
    {0x0c, 0x8008, 0x801f}, {0x0e, 0x8008, 0x805f}, {0x10, 0x8808, 0x9f1f}, {0x12, 0x8808, 0x9f1f},
    {0x14, 0x8808, 0x9f1f}, {0x16, 0x8808, 0x9f1f}, {0x18, 0x8808, 0x9f1f}, {0x1a, 0x0000, 0x0707},
    {0x1c, 0x8000, 0x8f0f}, {0x20, 0x0000, 0x2f80}, {0x26, 0x000f, 0xff00}, {0x28, 0x0001, 0x0000},
    {0x2a, 0x0000, 0x0001}, {0x2c, 0xbb80, 0xffff}, {0x32, 0xbb80, 0xffff}, {0x34, 0xbb80, 0xffff},
    {0x7c, 0x4d4e, 0x0000}, {0x7e, 0x5201, 0x0000},
};
constexpr u32 kFixedRate = 48000, kLeastRate = 4000;

// Of an engine.
enum : unsigned {
  kBdbar = 0x0,
  kCiv = 0x4,
  kLvi = 0x5,
  kSr = 0x6,
  kPicb = 0x8,
  kPiv = 0xa,
  kCr = 0xb
};
enum : u16 { kHalted = 1, kAtLast = 2, kLastDone = 4, kBufferDone = 8, kFifoError = 16 };
constexpr u16 kStatusClears = kLastDone | kBufferDone | kFifoError;
enum : u8 {
  kRun = 1,
  kResetEngine = 2,
  kLastInterrupt = 4,
  kFifoInterrupt = 8,
  kBufferInterrupt = 16
};
constexpr u8 kBuffers = 32;
constexpr u32 kInterruptOnEnd = 1u << 31;
// Global registers.
enum : unsigned { kGlobCnt = 0x2c, kGlobSta = 0x30, kCas = 0x34 };
constexpr u32 kColdReset = 1u << 1, kCodecReady = 1u << 8;
constexpr u32 kEngineInterrupt[] = {1u << 5, 1u << 6, 1u << 7};

// The driver is told of a buffer's end when it comes, but not more often than this; without such an
// end the guest's memory is looked at now and then.
constexpr i64 kLeastTurnNs = 200'000, kTurnNs = 5'000'000;
constexpr i64 kMostBehindNs = 200'000'000;  // of a busy host: what is beyond is left out

}  // namespace

Ac97::Ac97(std::string id, TimerQueue& time, AudioSink* sink, Device* parent)
    : PciFunction(id, kIdentity, parent),
      mixer_region_(Region::mmio(id + "-mixer", kMixerBytes, mixer_window_, {.handler_max = 2})),
      master_region_(
          Region::mmio(id + "-master", kMasterBytes, master_window_, {.handler_max = 4})),
      time_(time),
      sink_(sink),
      timer_(time, [this] {
        advance();
        arm();
      }) {
  add_bar(0, BarKind::Io, mixer_region_).value();
  add_bar(1, BarKind::Io, master_region_).value();
  set_interrupt_pin(IntxPin::A);
}

void Ac97::reset_chip(ResetKind) {
  reset_codec();
  engines_ = {};
  global_control_ = 0;
  semaphore_ = false;
  timer_.cancel();
  update_irq();
}

void Ac97::reset_codec() {
  mixer_ = {};
  for (const MixerRow& row : kMixer) mixer_[row.reg / 2] = row.reset;
}

void Ac97::Engine::describe(StateVisitor& v) {
  v.field("list", list);
  v.field("civ", civ);
  v.field("lvi", lvi);
  v.field("piv", piv);
  v.field("control", control);
  v.field("status", status);
  v.field("picb", picb);
  v.field("address", address);
  v.field("interrupts", interrupts);
  v.field("since_ns", since_ns);
}

void Ac97::describe_chip(StateVisitor& v) {
  v.field("mixer", mixer_);
  v.field("engines", engines_);
  v.field("global_control", global_control_);
  v.field("semaphore", semaphore_);
  v.field("timer", timer_);
}

Result<void> Ac97::restored_chip() {
  for (Engine& engine : engines_) {
    engine.civ %= kBuffers;
    engine.lvi %= kBuffers;
    engine.piv %= kBuffers;
    // A state from elsewhere may know other times: what passed since is not played.
    if (engine.since_ns < 0 || engine.since_ns > time_.now_ns()) engine.since_ns = time_.now_ns();
  }
  return {};
}

// The codec

u64 Ac97::read_mixer(Access access) {
  semaphore_ = false;
  if (access.offset >= 128) return low_mask(8 * access.size);  // no second codec
  return u64{codec(static_cast<unsigned>(access.offset))} >> (8 * (access.offset & 1)) &
         low_mask(8 * access.size);
}

void Ac97::write_mixer(Access access, u64 value) {
  semaphore_ = false;
  if (access.size != 2 || access.offset >= 128) return;
  if (access.offset == kReset) return reset_codec();
  for (const MixerRow& row : kMixer) {
    if (row.reg != access.offset) continue;
    advance();  // at the old rate and volume
    u16& now = mixer_[row.reg / 2];
    now = static_cast<u16>((now & ~row.writable) | (value & row.writable));
    if (row.reg == kPower) now |= kReady;
    // Without variable rates all stay at theirs (AC'97 §5.8.3).
    if (!(codec(kExtendedControl) & kVariableRate))
      for (const unsigned reg : {kFrontRate, kAdcRate, kMicRate}) mixer_[reg / 2] = kFixedRate;
  }
}

u32 Ac97::rate(unsigned number) const {
  constexpr unsigned kRates[] = {kAdcRate, kFrontRate, kMicRate};
  return std::clamp<u32>(codec(kRates[number]), kLeastRate, kFixedRate);
}

// The bus master

u8 Ac97::read_master_byte(unsigned offset) {
  const unsigned number = offset / 16;
  if (offset >= kGlobCnt) {
    u32 value = 0;
    if (offset >= kGlobCnt && offset < kGlobCnt + 4) {
      value = global_control_;
    } else if (offset >= kGlobSta && offset < kGlobSta + 4) {
      value = global_control_ & kColdReset ? kCodecReady : 0;
      for (unsigned n = 0; n < kEngines; n++) {
        const Engine& e = engines_[n];
        if (((e.status & kLastDone) && (e.control & kLastInterrupt)) ||
            ((e.status & kBufferDone) && (e.control & kBufferInterrupt)))
          value |= kEngineInterrupt[n];
      }
    } else if (offset == kCas) {
      return std::exchange(semaphore_, true) ? 1 : 0;
    }
    return static_cast<u8>(value >> (8 * (offset & 3)));
  }
  const Engine& e = engines_[number];
  switch (offset % 16) {
    case kCiv: return e.civ;
    case kLvi: return e.lvi;
    case kSr: return static_cast<u8>(e.status);
    case kPicb: return static_cast<u8>(e.picb);
    case kPicb + 1: return static_cast<u8>(e.picb >> 8);
    case kPiv: return e.piv;
    case kCr: return e.control;
    case 0:
    case 1:
    case 2:
    case 3: return static_cast<u8>(e.list >> (8 * (offset & 3)));
    default: return 0;
  }
}

u64 Ac97::read_master(Access access) {
  advance();
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++)
    value |= u64{read_master_byte(static_cast<unsigned>(access.offset) + i)} << (8 * i);
  return value;
}

void Ac97::write_master(Access access, u64 value) {
  const unsigned offset = static_cast<unsigned>(access.offset);
  // What ends just now was not in the status that the driver acknowledges.
  const bool acknowledges = offset < kGlobCnt && offset % 16 == kSr;
  if (!acknowledges) advance();
  if (offset < kGlobCnt) {
    write_engine(offset / 16, offset % 16, access.size, static_cast<u32>(value));
  } else if (offset == kGlobCnt) {
    const u32 before = global_control_;
    global_control_ = static_cast<u32>(value) & 0x3f;
    global_control_ &= ~u32{4};  // a warm reset is over at once
    if (!(global_control_ & kColdReset) && (before & kColdReset)) {
      engines_ = {};
      reset_codec();
    }
  }
  update_irq();
  arm();
}

// Registers that lie in one access each get their part of it.
void Ac97::write_engine(unsigned number, unsigned offset, unsigned size, u32 value) {
  Engine& e = engines_[number];
  const auto part = [&](unsigned reg) { return static_cast<u8>(value >> (8 * (reg - offset))); };
  const auto hit = [&](unsigned reg) { return offset <= reg && reg < offset + size; };
  if (offset == kBdbar && size == 4) e.list = value & ~7u;
  if (hit(kSr)) e.status &= static_cast<u16>(~(part(kSr) & kStatusClears));
  if (hit(kLvi)) {
    e.lvi = part(kLvi) % kBuffers;
    // More buffers for one that had come to the end.
    if ((e.control & kRun) && (e.status & kHalted) && (e.status & kAtLast)) {
      e.status &= static_cast<u16>(~(kHalted | kAtLast));
      e.civ = e.piv;
      e.since_ns = time_.now_ns();
      if (!load_buffer(e)) e.status |= kHalted;
    }
  }
  if (hit(kCr)) write_control(number, part(kCr));
}

void Ac97::write_control(unsigned number, u8 value) {
  Engine& e = engines_[number];
  if ((value & kResetEngine) && !(value & kRun)) {
    e = {.control = static_cast<u8>(value & (kLastInterrupt | kFifoInterrupt | kBufferInterrupt))};
    return;
  }
  const bool starts = (value & kRun) && !(e.control & kRun);
  e.control = value & 0x1d;
  if (!(value & kRun)) {
    e.status |= kHalted;
  } else if (starts) {
    e.status &= static_cast<u16>(~(kHalted | kAtLast));
    e.since_ns = time_.now_ns();
    if (e.picb == 0) {
      e.civ = e.piv;
      if (!load_buffer(e)) e.status |= kHalted;
    }
  }
}

// The descriptor at CIV.
bool Ac97::load_buffer(Engine& e) {
  std::array<std::byte, 8> raw;
  if (dma_read({e.list + 8u * e.civ}, raw) != AccessStatus::Ok) return false;
  e.address = load_le<u32>(raw, 0) & ~1u;
  e.picb = load_le<u16>(raw, 4);
  e.interrupts = (load_le<u32>(raw, 4) & kInterruptOnEnd) != 0;
  e.piv = (e.civ + 1) % kBuffers;
  return true;
}

void Ac97::end_buffer(Engine& e) {
  if (e.interrupts) e.status |= kBufferDone;
  if (e.civ == e.lvi) {
    e.status |= kLastDone | kAtLast | kHalted;
    return;
  }
  e.civ = e.piv;
  if (!load_buffer(e)) e.status |= kHalted | kFifoError;
}

// Samples of the present buffer, to the sink or, as silence, to the guest.
bool Ac97::move(unsigned number, u32 samples, i64 at_ns) {
  Engine& e = engines_[number];
  std::vector<i16> pcm(samples);
  const u64 at = e.address;
  e.address += samples * 2;
  if (number != kPcmOut) return dma_write({at}, std::as_bytes(std::span(pcm))) == AccessStatus::Ok;
  if (dma_read({at}, std::as_writable_bytes(std::span(pcm))) != AccessStatus::Ok) return false;
  if (!sink_) return true;
  const auto gain = [&](unsigned reg, unsigned shift, u16 mask, double zero) {
    const u16 volume = codec(reg);
    return volume & kMute ? 0.0 : std::pow(10.0, -1.5 * ((volume >> shift & mask) - zero) / 20);
  };
  const double left = gain(kMasterVolume, 8, 0x3f, 0) * gain(kPcmVolume, 8, 0x1f, 8),
               right = gain(kMasterVolume, 0, 0x3f, 0) * gain(kPcmVolume, 0, 0x1f, 8);
  for (size_t i = 0; i < pcm.size(); i++)
    pcm[i] = static_cast<i16>(std::clamp(pcm[i] * (i % 2 ? right : left), -32768.0, 32767.0));
  sink_->play(this, {.rate = rate(number), .channels = 2}, at_ns, pcm);
  return true;
}

// Up to now, buffer after buffer.
void Ac97::run(unsigned number) {
  Engine& e = engines_[number];
  const i64 now = time_.now_ns();
  if (now - e.since_ns > kMostBehindNs) e.since_ns = now - kMostBehindNs;
  const i64 per_second = i64{rate(number)};
  i64 frames = (now - e.since_ns) * per_second / kNsPerSecond;
  for (unsigned buffers = 0; frames > 0 && !(e.status & kHalted) && buffers <= 2 * kBuffers;
       buffers++) {
    const u32 samples = static_cast<u32>(std::min<i64>(e.picb, frames * channels(number)));
    const i64 moved = samples / channels(number);
    if (samples > 0 && !move(number, samples, e.since_ns)) {
      e.status |= kHalted | kFifoError;
      return;
    }
    e.picb = static_cast<u16>(e.picb - samples);
    frames -= moved;
    e.since_ns += moved * kNsPerSecond / per_second;
    if (e.picb == 0) end_buffer(e);
  }
}

void Ac97::advance() {
  for (unsigned n = 0; n < kEngines; n++)
    if ((engines_[n].control & kRun) && !(engines_[n].status & kHalted)) run(n);
  update_irq();
}

void Ac97::arm() {
  const i64 now = time_.now_ns();
  std::optional<i64> next;
  for (unsigned n = 0; n < kEngines; n++) {
    const Engine& e = engines_[n];
    if (!(e.control & kRun) || (e.status & kHalted)) continue;
    const i64 frames = e.picb / channels(n) + 1;
    const i64 end = e.since_ns + frames * kNsPerSecond / i64{rate(n)};
    const i64 turn = e.interrupts || e.civ == e.lvi ? std::min(end, now + kTurnNs) : now + kTurnNs;
    const i64 at = std::max(turn, now + kLeastTurnNs);
    next = std::min(next.value_or(at), at);
  }
  if (!next) return timer_.cancel();
  timer_.arm(*next);
}

void Ac97::update_irq() {
  bool pending = false;
  for (const Engine& e : engines_)
    pending |= ((e.status & kLastDone) && (e.control & kLastInterrupt)) ||
               ((e.status & kBufferDone) && (e.control & kBufferInterrupt)) ||
               ((e.status & kFifoError) && (e.control & kFifoInterrupt));
  set_intx(pending);
}

}  // namespace menura
