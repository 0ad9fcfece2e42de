// PcSpeaker: the PC's loudspeaker, a square wave as the timer's counter 2 makes it.
//
// Owner: the board. Threads: under the machine lock. Source: IBM PC/AT technical reference (port 61h,
// 8254 channel 2). It asks for the tone every few milliseconds of guest time while it is on: shorter
// tones, and sampled sound made by switching it fast, are not heard. Example:
//   PcSpeaker speaker("pcspk", time, sink, [&] { return pit.tone_hz(); });   speaker.set(true);
#pragma once

#include <functional>

#include "event/timer.h"
#include "hw/core/device.h"
#include "io/audio.h"

namespace menura {

class PcSpeaker final : public Device {
 public:
  // tone_hz: 0 is silence.
  PcSpeaker(std::string id, TimerQueue& time, AudioSink& sink, std::function<u32()> tone_hz);

  std::string_view type() const override { return "isa-pcspk"; }
  // Port 61h lets the wave through.
  void set(bool on);

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  void play();

  // Wiring
  TimerQueue& time_;
  AudioSink& sink_;
  std::function<u32()> tone_hz_;
  Timer timer_;

  // State
  bool on_ = false;
  i64 since_ns_ = 0;  // up to when it was played
  u64 frame_ = 0;     // of the tone, for its phase
};

}  // namespace menura
