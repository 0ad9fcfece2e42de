// What can be said about a place for sound to go: -audiodev.
//
// Owner: the machine's configuration. Threads: values. Example:
//   std::unique_ptr<AudioSink> sink = TRY(open_audiodev({.driver = AudioOptions::Driver::Wav, ...}));
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "io/audio.h"
#include "state/properties.h"

namespace menura {

struct AudioOptions {
  enum class Driver : u8 { None, Wav };
  Driver driver = Driver::None;
  std::string id;
  std::string path;  // Wav
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(AudioOptions::Driver);

Result<std::unique_ptr<AudioSink>> open_audiodev(const AudioOptions& options);

}  // namespace menura
