#include "audio/wav_file.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include "base/bytes.h"
#include "base/units.h"

namespace menura {
namespace {

struct WavFileTest : testing::Test {
  ~WavFileTest() override { ::unlink(path.c_str()); }
  std::vector<std::byte> content() {
    const std::string text = read_file(path, 64 * MiB).value();
    return {bytes_of(text).begin(), bytes_of(text).end()};
  }
  i16 sample(const std::vector<std::byte>& file, size_t frame, size_t channel) {
    return static_cast<i16>(load_le<u16>(file, 44 + 4 * frame + 2 * channel));
  }
  std::string path = testing::TempDir() + format("menura_{}.wav", ::getpid());
};

TEST_F(WavFileTest, HasItsHeader) {
  { WavFile::create(path).value(); }
  const std::vector<std::byte> file = content();
  ASSERT_EQ(file.size(), 44u);
  EXPECT_EQ(load_be<u32>(file, 0), 0x52494646u);
  EXPECT_EQ(load_le<u32>(file, 4), 36u);
  EXPECT_EQ(load_be<u32>(file, 8), 0x57415645u);
  EXPECT_EQ(load_le<u16>(file, 20), 1u) << "PCM";
  EXPECT_EQ(load_le<u32>(file, 24), 44100u);
  EXPECT_EQ(load_le<u32>(file, 28), 176400u);
  EXPECT_EQ(load_le<u32>(file, 40), 0u);
}

TEST_F(WavFileTest, MixesByTime) {
  {
    const std::unique_ptr<WavFile> wav = WavFile::create(path).value();
    const std::vector<i16> loud(2 * 44100, 20000), mono(22050, -5000);
    wav->play(this, {44100, 2}, 5'000'000'000, loud);
    wav->play(&loud, {44100, 2}, 5'500'000'000, loud);
    wav->play(this, {22050, 1}, 6'500'000'000, mono);
  }
  const std::vector<std::byte> file = content();
  EXPECT_EQ(load_le<u32>(file, 40), file.size() - 44);
  EXPECT_EQ(file.size() - 44, 4u * (44100 + 66150));
  EXPECT_EQ(sample(file, 0, 0), 20000);
  EXPECT_EQ(sample(file, 30000, 1), 32767) << "clipped";
  EXPECT_EQ(sample(file, 60000, 0), 20000);
  EXPECT_EQ(sample(file, 80000, 0), -5000);
  EXPECT_EQ(sample(file, 80000, 1), -5000) << "one channel is heard on both sides";
}

// Times are rounded, pieces have any length: neither gaps nor clicks come of that.
TEST_F(WavFileTest, JoinsWhatFollows) {
  {
    const std::unique_ptr<WavFile> wav = WavFile::create(path).value();
    i64 at_ns = 1'000'000'000;
    for (int piece = 0; piece < 200; piece++) {
      const std::vector<i16> samples(2 * (200 + piece % 7), 1000);
      wav->play(this, {48000, 2}, at_ns + piece % 3 * 20'000, samples);
      at_ns += (200 + piece % 7) * 1'000'000'000ll / 48000;
    }
  }
  const std::vector<std::byte> file = content();
  for (size_t frame = 0; frame < (file.size() - 44) / 4; frame++)
    ASSERT_EQ(sample(file, frame, 0), 1000);
}

TEST_F(WavFileTest, GapsAreSilent) {
  {
    const std::unique_ptr<WavFile> wav = WavFile::create(path).value();
    const std::vector<i16> tone(200, 1000);
    wav->play(this, {44100, 2}, 0, tone);
    wav->play(this, {44100, 2}, 10'000'000'000, tone);
    wav->play(this, {44100, 2}, 0, tone);  // long over
  }
  const std::vector<std::byte> file = content();
  EXPECT_EQ(file.size() - 44, 4u * (441000 + 100));
  EXPECT_EQ(sample(file, 50, 0), 1000);
  EXPECT_EQ(sample(file, 200000, 0), 0);
  EXPECT_EQ(sample(file, 441050, 0), 1000);
}

}  // namespace
}  // namespace menura
