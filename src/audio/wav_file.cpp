#include "audio/wav_file.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr size_t kHeader = 44;
constexpr u32 kFrameBytes = WavFile::kChannels * sizeof(i16);
// Devices are not so far behind each other: what is older than this goes to the file.
constexpr u64 kLatest = WavFile::kRate;
constexpr i64 kJoinNs = 3 * kNsPerMs;
constexpr u64 kMostFrames = 0xf000'0000u / kFrameBytes;  // the header's sizes have 32 bits

}  // namespace

Result<std::unique_ptr<WavFile>> WavFile::create(const std::string& path) {
  UniqueFd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  auto wav = std::unique_ptr<WavFile>(new WavFile(std::move(file)));
  wav->write_header();
  return wav;
}

WavFile::~WavFile() { write_until(written_ + mix_.size() / kChannels); }

void WavFile::write_header() {
  std::array<std::byte, kHeader> header{};
  const auto text = [&](size_t at, std::string_view word) {
    std::ranges::copy(std::as_bytes(std::span(word)), header.begin() + static_cast<ptrdiff_t>(at));
  };
  const u32 size = static_cast<u32>(written_ * kFrameBytes);
  const Bytes to(header);
  text(0, "RIFF");
  store_le<u32>(to, 4, size + kHeader - 8);
  text(8, "WAVEfmt ");
  store_le<u32>(to, 16, 16);
  store_le<u16>(to, 20, 1);  // PCM
  store_le<u16>(to, 22, kChannels);
  store_le<u32>(to, 24, kRate);
  store_le<u32>(to, 28, kRate * kFrameBytes);
  store_le<u16>(to, 32, kFrameBytes);
  store_le<u16>(to, 34, 16);
  text(36, "data");
  store_le<u32>(to, 40, size);
  failed_ |= !pwrite_all(file_.get(), header, 0).ok();
}

// What begins where the voice's last piece ended goes on there, whatever rounding made of the times.
WavFile::Voice& WavFile::voice_at(const void* voice, const AudioFormat& format, i64 at_ns) {
  Voice& v = voices_[voice];
  const bool goes_on = v.rate == format.rate && std::abs(at_ns - v.end_ns) <= kJoinNs;
  if (!goes_on) {
    if (start_ns_ < 0) start_ns_ = at_ns;
    const u64 after_ns = static_cast<u64>(std::max<i64>(at_ns - start_ns_, 0));
    v = {.rate = format.rate, .start = after_ns / 1000 * kRate / 1'000'000};
  }
  return v;
}

void WavFile::play(const void* voice, const AudioFormat& format, i64 at_ns,
                   std::span<const i16> samples) {
  const u64 frames = samples.size() / format.channels;
  if (frames == 0 || format.rate == 0) return;
  Voice& v = voice_at(voice, format, at_ns);
  const u64 before = v.played;
  v.played += frames;
  v.end_ns = at_ns + static_cast<i64>(frames * u64{kNsPerSecond} / format.rate);
  const u64 first = v.start + before * kRate / format.rate,
            last = v.start + v.played * kRate / format.rate;
  if (last > kMostFrames) return;
  if (last > written_ + kLatest) write_until(last - kLatest);
  if (last <= written_) return;
  if (mix_.size() < (last - written_) * kChannels) mix_.resize((last - written_) * kChannels);
  for (u64 frame = std::max(first, written_); frame < last; frame++) {
    const u64 there = (frame - v.start) * format.rate / kRate;
    const u64 from = std::min(there - std::min(there, before), frames - 1);
    for (u32 channel = 0; channel < kChannels; channel++)
      mix_[(frame - written_) * kChannels + channel] +=
          samples[from * format.channels + std::min<u32>(channel, format.channels - 1u)];
  }
}

void WavFile::write_until(u64 frame) {
  if (frame <= written_ || failed_) return;
  const u64 mixed = std::min<u64>(frame - written_, mix_.size() / kChannels);
  std::vector<std::byte> bytes(mixed * kFrameBytes);
  for (size_t i = 0; i < mixed * kChannels; i++)
    store_le(Bytes(bytes), i * sizeof(i16), static_cast<u16>(std::clamp(mix_[i], -32768, 32767)));
  mix_.erase(mix_.begin(), mix_.begin() + static_cast<ptrdiff_t>(mixed * kChannels));
  const Result<void> outcome = pwrite_all(file_.get(), bytes, kHeader + written_ * kFrameBytes);
  failed_ |= !outcome.ok();
  // Silence in between is a hole of the file.
  written_ = frame;
  write_header();
  if (failed_) log_warning("Writing the WAV file failed; the rest of the sound is lost");
}

}  // namespace menura
