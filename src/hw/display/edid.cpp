#include "hw/display/edid.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace menura {

namespace {

using Block = std::array<u8, 128>;

// Standard timings (§3.9): width / 8 - 31, aspect ratio and refresh rate.
enum Aspect : u8 { k16to10 = 0, k4to3 = 1, k5to4 = 2, k16to9 = 3 };
struct Standard {
  u32 width;
  Aspect aspect;
};
constexpr Standard kStandard[] = {{1920, k16to9}, {1280, k16to9}, {1440, k16to10}, {1680, k16to10},
                                  {1280, k5to4},  {1280, k4to3},  {1600, k4to3},   {1024, k4to3}};

void put_standard(Block& block) {
  size_t at = 38;
  for (const Standard& mode : kStandard) {
    block[at++] = static_cast<u8>(mode.width / 8 - 31);
    block[at++] = static_cast<u8>(mode.aspect << 6);  // 60 Hz
  }
}

// Detailed timing (§3.10.2). CVT with reduced blanking: 160 dots beside, at least 460 us below.
void put_timing(Block& block, const EdidMode& mode) {
  constexpr u32 kHorizontalBlank = 160, kFront = 48, kSync = 32, kVerticalFront = 3,
                kVerticalSync = 6;
  const u64 line_ns = (1'000'000'000 / 60 - 460'000) / mode.height;
  const u32 vertical_blank =
      std::max<u32>(static_cast<u32>(460'000 / line_ns) + 1, kVerticalFront + kVerticalSync + 6);
  const u64 total = u64{mode.width + kHorizontalBlank} * (mode.height + vertical_blank);
  const auto clock = static_cast<u16>(std::min<u64>(total * 60 / 10'000, 0xffff));  // 10 kHz
  const u32 millimetres_x = mode.width * 254 / (mode.dpi * 10);
  const u32 millimetres_y = mode.height * 254 / (mode.dpi * 10);
  u8* d = &block[54];
  d[0] = static_cast<u8>(clock);
  d[1] = static_cast<u8>(clock >> 8);
  d[2] = static_cast<u8>(mode.width);
  d[3] = static_cast<u8>(kHorizontalBlank);
  d[4] = static_cast<u8>((mode.width >> 8) << 4 | kHorizontalBlank >> 8);
  d[5] = static_cast<u8>(mode.height);
  d[6] = static_cast<u8>(vertical_blank);
  d[7] = static_cast<u8>((mode.height >> 8) << 4 | vertical_blank >> 8);
  d[8] = kFront;
  d[9] = kSync;
  d[10] = static_cast<u8>(kVerticalFront << 4 | kVerticalSync);
  d[11] = 0;
  d[12] = static_cast<u8>(millimetres_x);
  d[13] = static_cast<u8>(millimetres_y);
  d[14] = static_cast<u8>((millimetres_x >> 8) << 4 | (millimetres_y >> 8));
  d[17] = 0x1a;  // digital, separate sync, horizontal positive
}

void put_descriptor(Block& block, size_t at, u8 tag, std::string_view text) {
  block[at + 3] = tag;
  std::fill_n(&block[at + 5], 13, u8{' '});
  std::copy(text.begin(), text.end(), &block[at + 5]);
  block[at + 5 + text.size()] = '\n';
}

}  // namespace

std::array<u8, 128> edid(const EdidMode& wanted) {
  EdidMode mode = wanted;
  mode.width = std::clamp<u32>(mode.width & ~7u, 64, 4088);
  mode.height = std::clamp<u32>(mode.height, 64, 4095);
  mode.dpi = std::clamp<u32>(mode.dpi, 10, 1000);
  Block block{};
  std::fill_n(&block[1], 6, u8{0xff});
  // Manufacturer "MNR": three letters of five bits.
  constexpr u16 kMaker = ('M' - 64) << 10 | ('N' - 64) << 5 | ('R' - 64);
  block[8] = static_cast<u8>(kMaker >> 8);
  block[9] = static_cast<u8>(kMaker & 0xff);
  block[10] = 0x01;
  block[16] = 1;
  block[17] = 2026 - 1990;
  block[18] = 1;
  block[19] = 4;
  block[20] = 0xa5;  // digital, 8 bits a colour, DisplayPort
  block[21] = static_cast<u8>(std::min<u32>(mode.width * 254 / (mode.dpi * 100), 255));  // cm
  block[22] = static_cast<u8>(std::min<u32>(mode.height * 254 / (mode.dpi * 100), 255));
  block[23] = 120;   // gamma 2.2
  block[24] = 0x06;  // sRGB, the first detailed timing is the native one
  constexpr u8 kSrgb[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
  std::copy(std::begin(kSrgb), std::end(kSrgb), &block[25]);
  block[35] = 0x21;  // 640x480 and 800x600 at 60 Hz
  block[36] = 0x08;  // 1024x768 at 60 Hz
  put_standard(block);
  put_timing(block, mode);
  put_descriptor(block, 72, 0xfc, "menura screen");
  // Range limits: 50 to 125 Hz, 30 to 160 kHz, up to 2550 MHz.
  block[90 + 3] = 0xfd;
  constexpr u8 kRange[] = {50, 125, 30, 160, 255, 1, '\n', ' ', ' ', ' ', ' ', ' ', ' '};
  std::copy(std::begin(kRange), std::end(kRange), &block[95]);
  block[108 + 3] = 0x10;  // unused
  const u8 sum = std::accumulate(block.begin(), block.end() - 1, u8{0},
                                 [](u8 a, u8 b) { return static_cast<u8>(a + b); });
  block[127] = static_cast<u8>(0x100 - sum);
  return block;
}

}  // namespace menura
