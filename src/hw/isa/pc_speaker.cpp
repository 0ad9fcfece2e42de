#include "hw/isa/pc_speaker.h"

#include <algorithm>
#include <vector>

#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kRate = 44100;
constexpr i16 kAmplitude = 8000;
constexpr i64 kTurnNs = 5 * kNsPerMs, kMostBehindNs = 200 * kNsPerMs;

}  // namespace

PcSpeaker::PcSpeaker(std::string id, TimerQueue& time, AudioSink& sink,
                     std::function<u32()> tone_hz)
    : Device(std::move(id)),
      time_(time),
      sink_(sink),
      tone_hz_(std::move(tone_hz)),
      timer_(time, [this] {
        play();
        timer_.arm(time_.now_ns() + kTurnNs);
      }) {}

void PcSpeaker::reset(ResetKind) {
  on_ = false;
  since_ns_ = 0;
  frame_ = 0;
  timer_.cancel();
}

void PcSpeaker::describe(StateVisitor& v) {
  v.field("on", on_);
  v.field("since_ns", since_ns_);
  v.field("frame", frame_);
  v.field("timer", timer_);
}

Result<void> PcSpeaker::restored() {
  if (since_ns_ < 0 || since_ns_ > time_.now_ns()) since_ns_ = time_.now_ns();
  return {};
}

void PcSpeaker::set(bool on) {
  if (on == on_) return;
  if (on_) play();
  on_ = on;
  since_ns_ = time_.now_ns();
  frame_ = 0;
  if (on)
    timer_.arm(since_ns_ + kTurnNs);
  else
    timer_.cancel();
}

void PcSpeaker::play() {
  const i64 now = time_.now_ns();
  since_ns_ = std::max(since_ns_, now - kMostBehindNs);
  const u64 frames = static_cast<u64>(now - since_ns_) * kRate / kNsPerSecond;
  const u32 tone = tone_hz_();
  if (frames > 0 && tone > 0) {
    std::vector<i16> wave(frames);
    for (i16& sample : wave) sample = frame_++ * tone * 2 / kRate % 2 ? -kAmplitude : kAmplitude;
    sink_.play(this, {.rate = kRate, .channels = 1}, since_ns_, wave);
  }
  since_ns_ += static_cast<i64>(frames * u64{kNsPerSecond} / kRate);
}

}  // namespace menura
