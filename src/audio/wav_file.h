// WavFile: mixes what devices play into a WAV file of 44100 frames a second, in stereo.
//
// Owner: the machine. Threads: under the machine lock. Source: Microsoft/IBM "Multimedia Programming
// Interface and Data Specifications 1.0" (RIFF WAVE). The file begins with the first sound; it is
// whole after each second, and at the end. Other rates are brought to it by the nearest sample.
// Example: `auto file = TRY(WavFile::create("out.wav"));  file->play(this, format, now_ns, samples);`
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "io/audio.h"

namespace menura {

class WavFile final : public AudioSink {
 public:
  static constexpr u32 kRate = 44100;
  static constexpr u32 kChannels = 2;

  static Result<std::unique_ptr<WavFile>> create(const std::string& path);
  ~WavFile() override;

  void play(const void* voice, const AudioFormat& format, i64 at_ns,
            std::span<const i16> samples) override;

 private:
  // A player since its sound began: where that is in the file, and how much there was.
  struct Voice {
    u32 rate = 0;
    i64 end_ns = 0;
    u64 start = 0;   // frame of the file
    u64 played = 0;  // frames of its own rate
  };
  Voice& voice_at(const void* voice, const AudioFormat& format, i64 at_ns);

  explicit WavFile(UniqueFd file) : file_(std::move(file)) {}
  void write_until(u64 frame);
  void write_header();

  // Wiring
  UniqueFd file_;

  // State
  std::map<const void*, Voice> voices_;
  i64 start_ns_ = -1;     // of the first sound; negative: there was none
  u64 written_ = 0;       // frames in the file
  std::vector<i32> mix_;  // what follows them, not clipped yet
  bool failed_ = false;   // the host's disk is full, say: no more is written
};

}  // namespace menura
