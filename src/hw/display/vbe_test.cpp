#include "hw/display/vbe.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

constexpr u64 kMemory = 16 << 20;

struct VbeTest : testing::Test {
  void mode(u16 width, u16 height, u16 bits, u16 flags = Vbe::kOn | Vbe::kLinear) {
    vbe.write(Vbe::kEnable, 0);
    vbe.write(Vbe::kXres, width);
    vbe.write(Vbe::kYres, height);
    vbe.write(Vbe::kBpp, bits);
    vbe.write(Vbe::kEnable, flags);
  }
  VbeTest() { vbe.reset(); }
  u64 cleared = 0;
  Vbe vbe{kMemory, [] {}, [this](u64 bytes) { cleared = bytes; }};
};

TEST_F(VbeTest, TheVersionIsNegotiated) {
  EXPECT_EQ(vbe.read(Vbe::kId), 0xb0c5);
  vbe.write(Vbe::kId, 0xb0c0);
  EXPECT_EQ(vbe.read(Vbe::kId), 0xb0c0);
  vbe.write(Vbe::kId, 0xb0c6);
  EXPECT_EQ(vbe.read(Vbe::kId), 0xb0c0);
  EXPECT_EQ(vbe.read(Vbe::kMemory64K), kMemory >> 16);
}

TEST_F(VbeTest, CapabilitiesAreTheLargestSizes) {
  vbe.write(Vbe::kEnable, Vbe::kGetCapabilities);
  EXPECT_EQ(vbe.read(Vbe::kXres), 16000);
  EXPECT_EQ(vbe.read(Vbe::kYres), 12000);
  EXPECT_EQ(vbe.read(Vbe::kBpp), 32);
}

TEST_F(VbeTest, AModeHasItsPitchAndClearsItsMemory) {
  mode(1024, 768, 32);
  EXPECT_TRUE(vbe.enabled());
  EXPECT_EQ(vbe.pitch(), 4096u);
  EXPECT_EQ(cleared, 4096u * 768);
  EXPECT_EQ(vbe.read(Vbe::kVirtHeight), kMemory / 4096);
  cleared = 0;
  mode(800, 600, 16, Vbe::kOn | Vbe::kKeepMemory);
  EXPECT_EQ(cleared, 0u);
  EXPECT_EQ(vbe.pitch(), 1600u);
}

TEST_F(VbeTest, FlippingMovesTheStart) {
  mode(640, 480, 32);
  vbe.write(Vbe::kYOffset, 480);
  EXPECT_EQ(vbe.start(), 480u * 2560);
  vbe.write(Vbe::kVirtWidth, 1280);
  vbe.write(Vbe::kXOffset, 640);
  EXPECT_EQ(vbe.start(), 480u * 5120 + 2560);
}

TEST_F(VbeTest, NoPictureReachesBeyondTheMemory) {
  for (const u16 width : {0, 1, 640, 3840, 16000, 0xffff})
    for (const u16 height : {0, 1, 480, 2160, 12000, 0xffff})
      for (const u16 bits : {0, 4, 8, 15, 16, 24, 32, 33}) {
        mode(width, height, bits);
        for (const u16 offset : {0, 100, 0xffff}) {
          vbe.write(Vbe::kXOffset, offset);
          vbe.write(Vbe::kYOffset, offset);
          vbe.write(Vbe::kVirtWidth, offset);
          ASSERT_LE(vbe.start() + vbe.pitch() * (vbe.height() - 1), kMemory);
          ASSERT_GT(vbe.width(), 0u);
          ASSERT_GT(vbe.height(), 0u);
        }
      }
}

}  // namespace
}  // namespace menura
