// AudioSink: where devices' sound goes. Implemented by audio/, used by hw/.
//
// Owner: the machine. Threads: under the machine lock. A device plays a piece when guest time has come
// to its end, or before; pieces of several devices are mixed where they overlap, those of one voice
// that follow each other are joined. Example:
//   sink.play(this, {.rate = 48000, .channels = 2}, began_ns, samples);
#pragma once

#include <span>

#include "base/types.h"

namespace menura {

struct AudioFormat {
  u32 rate = 44100;  // frames a second
  u8 channels = 2;   // 1 or 2
};

class AudioSink {
 public:
  virtual ~AudioSink() = default;
  // Signed samples, those of a frame together. voice: tells one player from the others; at_ns: guest
  // time of the first one.
  virtual void play(const void* voice, const AudioFormat& format, i64 at_ns,
                    std::span<const i16> samples) = 0;
};

}  // namespace menura
