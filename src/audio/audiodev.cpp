#include "audio/audiodev.h"

#include "audio/wav_file.h"

namespace menura {

namespace {

constexpr std::string_view kDrivers[] = {"none", "wav"};

class Silence final : public AudioSink {
  void play(const void*, const AudioFormat&, i64, std::span<const i16>) override {}
};

}  // namespace

std::span<const std::string_view> enum_names(AudioOptions::Driver) { return kDrivers; }

void AudioOptions::describe(PropertyVisitor& p) {
  p.required("driver", driver, "what becomes of the sound: nothing, or a WAV file");
  p.required("id", id, "its name");
  p.field("path", path, "the WAV file to write; menura.wav here");
}

Result<std::unique_ptr<AudioSink>> open_audiodev(const AudioOptions& options) {
  if (options.driver == AudioOptions::Driver::Wav)
    return std::unique_ptr<AudioSink>(
        TRY(WavFile::create(options.path.empty() ? "menura.wav" : options.path)));
  if (!options.path.empty())
    return fail(Errc::InvalidArgument, "audiodev '{}': none writes no file", options.id);
  return std::unique_ptr<AudioSink>(std::make_unique<Silence>());
}

}  // namespace menura
