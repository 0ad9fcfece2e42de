#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/core/test_machine.h"
#include "hw/display/vga_card.h"
#include "hw/pci/pci_bus.h"

namespace menura {
namespace {

// The registers of BIOS modes, as IBM's tables have them.
struct BiosMode {
  u8 miscellaneous;
  std::array<u8, 5> sr;
  std::array<u8, 25> cr;
  std::array<u8, 9> gr;
  std::array<u8, 21> ar;
};
constexpr BiosMode kMode3{
    0x67,
    {0x03, 0x00, 0x03, 0x00, 0x02},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
     0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00}};
constexpr BiosMode kMode4{
    0x63,
    {0x03, 0x09, 0x03, 0x00, 0x02},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x00, 0x00, 0x00,
     0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x0f, 0x00, 0xff},
    {0x00, 0x13, 0x15, 0x17, 0x02, 0x04, 0x06, 0x07, 0x10, 0x11, 0x12,
     0x13, 0x14, 0x15, 0x16, 0x17, 0x01, 0x00, 0x03, 0x00, 0x00}};
constexpr BiosMode kMode12{
    0xe3,
    {0x03, 0x01, 0x0f, 0x00, 0x06},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00,
     0x00, 0x00, 0x00, 0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x01, 0x00, 0x0f, 0x00, 0x00}};
constexpr BiosMode kMode13{
    0x63,
    {0x03, 0x01, 0x0f, 0x00, 0x0e},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00,
     0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
     0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x41, 0x00, 0x0f, 0x00, 0x00}};

struct Watcher final : DisplayViewer {
  void changed(const Rect& rect) override { rects.push_back(rect); }
  void resized() override { sizes++; }
  std::vector<Rect> rects;
  unsigned sizes = 0;
};

struct VgaTest : testing::Test {
  VgaTest() {
    vga.reset(ResetKind::PowerOn);
    vga.config_write(0x10, 4, kFramebuffer);
    vga.config_write(0x18, 4, kRegisters);
    vga.config_write(0x04, 2, 0x0003);
  }
  ~VgaTest() override {
    if (attached) vga.display().detach(watcher);
  }
  void watch() {
    vga.display().attach(watcher);
    attached = true;
    vga.display().refresh();
    watcher.rects.clear();
  }
  void indexed(u16 port, u8 index, u8 value) {
    m.out8(port, index);
    m.out8(static_cast<u16>(port + 1), value);
  }
  void set_mode(const BiosMode& mode) {
    m.out8(0x3c2, mode.miscellaneous);
    for (u8 i = 0; i < mode.sr.size(); i++) indexed(0x3c4, i, mode.sr[i]);
    indexed(0x3d4, 0x11, 0);
    for (u8 i = 0; i < mode.cr.size(); i++) indexed(0x3d4, i, mode.cr[i]);
    for (u8 i = 0; i < mode.gr.size(); i++) indexed(0x3ce, i, mode.gr[i]);
    m.in8(0x3da);
    for (u8 i = 0; i < mode.ar.size(); i++) {
      m.out8(0x3c0, i);
      m.out8(0x3c0, mode.ar[i]);
    }
    m.out8(0x3c0, 0x20);
  }
  void set_colour(u8 index, u8 red, u8 green, u8 blue) {
    m.out8(0x3c8, index);
    for (const u8 part : {red, green, blue}) m.out8(0x3c9, part);
  }
  void dispi(u16 index, u16 value) {
    m.out16(0x1ce, index);
    m.out16(0x1cf, value);
  }
  void set_vbe(u16 width, u16 height, u16 bits) {
    m.in8(0x3da);
    m.out8(0x3c0, 0x20);
    dispi(Vbe::kEnable, 0);
    dispi(Vbe::kXres, width);
    dispi(Vbe::kYres, height);
    dispi(Vbe::kBpp, bits);
    dispi(Vbe::kEnable, Vbe::kOn | Vbe::kLinear);
  }
  u32 pixel(u32 x, u32 y) {
    vga.display().refresh();
    return vga.display().surface().row(y)[x];
  }
  bool window_is_memory() { return m.memory.view()->find(GuestAddr{0xa0000})->ram != nullptr; }

  static constexpr u32 kFramebuffer = 0xe000'0000, kRegisters = 0xf000'0000;
  TestMachine m;
  PciBus bus{"pci.0", {m.memory, m.io, m.memory_root, m.io_root}};
  Displays displays;
  std::shared_ptr<RamBlock> vram = RamBlock::create({.size = 16 * MiB}).value();
  VgaCard vga{"vga", {}, {m.io_root, m.memory_root, m.time, displays, {}}, vram, nullptr};
  bool plugged = bus.add(vga, PciBus::devfn(2, 0)).ok();
  Watcher watcher;
  bool attached = false;
};

TEST_F(VgaTest, IdentityAndBars) {
  EXPECT_EQ(vga.config_read(0, 4), 0x1111'1234u);
  EXPECT_EQ(vga.config_read(8, 4) >> 8, 0x030000u);
  vga.config_write(0x10, 4, 0xffff'ffff);
  EXPECT_EQ(vga.config_read(0x10, 4), 0xff00'0008u);
  EXPECT_EQ(displays.first(), &vga.display());
}

TEST_F(VgaTest, PortsOfTheOtherMonitorAreSilent) {
  m.out8(0x3c2, 0x01);
  indexed(0x3d4, 0x0f, 0x5a);
  EXPECT_EQ(m.in8(0x3d5), 0x5a);
  EXPECT_EQ(m.in8(0x3b5), 0xff);
  m.out8(0x3c2, 0x00);
  m.out8(0x3b4, 0x0f);
  EXPECT_EQ(m.in8(0x3b5), 0x5a);
  EXPECT_EQ(m.in8(0x3d5), 0xff);
}

TEST_F(VgaTest, TimingsCanBeProtected) {
  m.out8(0x3c2, 0x01);
  indexed(0x3d4, 0x00, 0x12);
  indexed(0x3d4, 0x11, 0x80);
  indexed(0x3d4, 0x00, 0x34);
  indexed(0x3d4, 0x07, 0xff);
  m.out8(0x3d4, 0x00);
  EXPECT_EQ(m.in8(0x3d5), 0x12);
  m.out8(0x3d4, 0x07);
  EXPECT_EQ(m.in8(0x3d5), 0x10);  // bit 8 of the line compare is not protected
}

TEST_F(VgaTest, TheDacTakesThreeBytesAnEntry) {
  set_colour(5, 0x3f, 0x20, 0xff);
  m.out8(0x3c7, 5);
  EXPECT_EQ(m.in8(0x3c7), 3);
  EXPECT_EQ(m.in8(0x3c9), 0x3f);
  EXPECT_EQ(m.in8(0x3c9), 0x20);
  EXPECT_EQ(m.in8(0x3c9), 0x3f);  // six bits
  EXPECT_EQ(m.in8(0x3c8), 6);
}

TEST_F(VgaTest, TheRetraceComesAndGoesWithTime) {
  m.out8(0x3c2, 0x01);
  m.clock.start();
  unsigned seen = 0;
  for (int i = 0; i < 1000; i++) {
    seen |= 1u << ((m.in8(0x3da) >> 3) & 1);
    m.tape.advance(20'000);
  }
  EXPECT_EQ(seen, 3u);
}

TEST_F(VgaTest, TextModeShowsCharactersOfTheFont) {
  set_mode(kMode3);
  set_colour(7, 0x2a, 0x2a, 0x2a);
  set_colour(1, 0, 0, 0x2a);
  // The shape of 'A' in plane 2: one full line, its third.
  indexed(0x3c4, 2, 4);
  indexed(0x3c4, 4, 6);
  indexed(0x3ce, 5, 0);
  indexed(0x3ce, 6, 4);
  m.write_mem(0xa0000 + 'A' * 32 + 2, 1, 0xff);
  indexed(0x3c4, 2, 3);
  indexed(0x3c4, 4, 2);
  indexed(0x3ce, 5, 0x10);
  indexed(0x3ce, 6, 0x0e);
  m.write_mem(0xb8000 + 2 * (80 + 3), 2, 0x1741);  // line 1, column 3: grey on blue
  EXPECT_EQ(m.read_mem(0xb8000 + 2 * (80 + 3), 2), 0x1741u);
  vga.display().refresh();
  EXPECT_EQ(vga.display().surface().width(), 720u);
  EXPECT_EQ(vga.display().surface().height(), 400u);
  EXPECT_EQ(pixel(3 * 9, 16 + 2), 0xaaaaaau);
  EXPECT_EQ(pixel(3 * 9 + 7, 16 + 2), 0xaaaaaau);
  EXPECT_EQ(pixel(3 * 9 + 8, 16 + 2), 0x0000aau);  // the ninth dot
  EXPECT_EQ(pixel(3 * 9, 16 + 3), 0x0000aau);
  const std::optional<TextScreen> text = vga.display().text();
  ASSERT_TRUE(text);
  EXPECT_EQ(text->columns, 80u);
  EXPECT_EQ(text->rows, 25u);
  EXPECT_EQ(text->characters[83], 'A');
  EXPECT_EQ(text->attributes[83], 0x17);
}

TEST_F(VgaTest, OneCharacterIsOneChange) {
  set_mode(kMode3);
  watch();
  m.write_mem(0xb8000 + 2 * 81, 1, 'x');
  vga.display().refresh();
  EXPECT_THAT(watcher.rects, testing::ElementsAre(Rect{9, 16, 9, 16}));
  watcher.rects.clear();
  vga.display().refresh();
  EXPECT_THAT(watcher.rects, testing::IsEmpty());
}

TEST_F(VgaTest, TheCursorStandsWhereItWasPut) {
  set_mode(kMode3);
  indexed(0x3d4, 0x0f, 5);
  EXPECT_EQ(vga.display().text()->cursor, (std::pair<u32, u32>{5, 0}));
  indexed(0x3d4, 0x0a, 0x2d);
  EXPECT_FALSE(vga.display().text()->cursor);
}

TEST_F(VgaTest, Mode13IsPlainMemoryWithTwoDotsAPixel) {
  set_mode(kMode13);
  set_colour(9, 0x3f, 0, 0);
  EXPECT_TRUE(window_is_memory());
  m.write_mem(0xa0000 + 320 * 3 + 10, 1, 9);
  EXPECT_EQ(pixel(20, 6), 0xff0000u);
  EXPECT_EQ(pixel(21, 7), 0xff0000u);
  EXPECT_EQ(pixel(22, 6), 0u);
  EXPECT_EQ(vga.display().surface().width(), 640u);
  EXPECT_EQ(vga.display().surface().height(), 400u);
}

// Mode X: the same screen without chaining, four pixels an address.
TEST_F(VgaTest, ModeXHasFourPlanes) {
  set_mode(kMode13);
  indexed(0x3c4, 4, 0x06);
  indexed(0x3d4, 0x14, 0x00);
  indexed(0x3d4, 0x17, 0xe3);
  EXPECT_FALSE(window_is_memory());
  set_colour(7, 0, 0x3f, 0);
  indexed(0x3c4, 2, 1 << 2);
  m.write_mem(0xa0000 + 80 * 3 + 1, 1, 7);  // pixel 4 + 2 of line 3
  EXPECT_EQ(pixel(12, 6), 0x00ff00u);
  EXPECT_EQ(pixel(14, 6), 0u);
}

TEST_F(VgaTest, PlanarWritesGoThroughTheLogic) {
  set_mode(kMode12);
  set_colour(0x3a, 0x3f, 0x3f, 0);
  // Set/reset: colour 10 on the bits of the mask.
  indexed(0x3ce, 0, 10);
  indexed(0x3ce, 1, 15);
  indexed(0x3ce, 8, 0x80);
  m.write_mem(0xa0000, 1, 0);
  EXPECT_EQ(pixel(0, 0), 0xffff00u);
  EXPECT_EQ(pixel(1, 0), 0u);
  // Read mode 1: which pixels have colour 10?
  indexed(0x3ce, 2, 10);
  indexed(0x3ce, 7, 15);
  indexed(0x3ce, 5, 8);
  EXPECT_EQ(m.read_mem(0xa0000, 1), 0x80u);
  // Write mode 1 copies the latches.
  indexed(0x3ce, 5, 1);
  m.read_mem(0xa0000, 1);
  m.write_mem(0xa0050, 1, 0);
  EXPECT_EQ(pixel(0, 1), 0xffff00u);
  // Write mode 2: the value is the colour; XOR with what is there makes it 0.
  indexed(0x3ce, 5, 2);
  indexed(0x3ce, 3, 0x18);
  m.read_mem(0xa0050, 1);
  m.write_mem(0xa0050, 1, 10);
  EXPECT_EQ(pixel(0, 1), 0u);
  // Write mode 3: the value selects the bits that get the set/reset colour.
  indexed(0x3ce, 5, 3);
  indexed(0x3ce, 3, 0);
  indexed(0x3ce, 8, 0xff);
  m.read_mem(0xa00a0, 1);
  m.write_mem(0xa00a0, 1, 0x01);
  EXPECT_EQ(pixel(7, 2), 0xffff00u);
  EXPECT_EQ(pixel(6, 2), 0u);
}

TEST_F(VgaTest, CgaLinesAreInterleaved) {
  set_mode(kMode4);
  set_colour(0x13, 0x3f, 0, 0);
  set_colour(0x15, 0, 0x3f, 0);
  m.write_mem(0xb8000, 1, 0x40);  // pixel 0 of line 0: colour 1
  m.write_mem(0xba000, 1, 0x20);  // pixel 1 of line 1: colour 2
  EXPECT_EQ(vga.display().surface().width(), 0u);
  EXPECT_EQ(pixel(0, 0), 0xff0000u);
  EXPECT_EQ(pixel(1, 1), 0xff0000u);
  EXPECT_EQ(pixel(2, 2), 0x00ff00u);
  EXPECT_EQ(pixel(0, 4), 0u);
  EXPECT_EQ(vga.display().surface().width(), 640u);
  EXPECT_EQ(vga.display().surface().height(), 400u);
}

TEST_F(VgaTest, ASplitScreenStartsAgain) {
  set_mode(kMode13);
  set_colour(1, 0x3f, 0x3f, 0x3f);
  m.write_mem(0xa0000, 1, 1);
  indexed(0x3d4, 0x0d, 80);  // the upper part begins at line 1
  indexed(0x3d4, 0x18, 99);  // and ends with the monitor's line 99
  indexed(0x3d4, 0x07, 0x0f);
  indexed(0x3d4, 0x09, 0x01);
  EXPECT_EQ(pixel(0, 0), 0u);
  EXPECT_EQ(pixel(0, 100), 0xffffffu);
}

TEST_F(VgaTest, AScreenTurnedOffIsBlack) {
  set_mode(kMode13);
  set_colour(0, 0x3f, 0, 0);
  EXPECT_EQ(pixel(0, 0), 0xff0000u);
  m.in8(0x3da);
  m.out8(0x3c0, 0x00);
  EXPECT_EQ(pixel(0, 0), 0u);
}

TEST_F(VgaTest, LinearModesOfEveryDepth) {
  set_vbe(640, 480, 32);
  m.write_mem(kFramebuffer + 2560 * 2 + 4, 4, 0xff123456);
  EXPECT_EQ(pixel(1, 2), 0x123456u);
  set_vbe(640, 480, 24);
  m.write_mem(kFramebuffer + 3, 2, 0x5678);
  EXPECT_EQ(pixel(1, 0), 0x005678u);
  set_vbe(640, 480, 16);
  m.write_mem(kFramebuffer, 2, 0xf800);
  EXPECT_EQ(pixel(0, 0), 0xff0000u);
  set_vbe(640, 480, 15);
  m.write_mem(kFramebuffer, 2, 0x03e0);
  EXPECT_EQ(pixel(0, 0), 0x00ff00u);
  set_vbe(640, 480, 8);
  set_colour(3, 0, 0, 0x3f);
  m.write_mem(kFramebuffer, 1, 3);
  EXPECT_EQ(pixel(0, 0), 0x0000ffu);
}

TEST_F(VgaTest, TheWindowShowsABank) {
  m.out8(0x3c2, 0x03);
  set_vbe(1024, 768, 32);
  dispi(Vbe::kBank, 5);
  EXPECT_TRUE(window_is_memory());
  m.write_mem(0xa0010, 4, 0xabcdef);
  EXPECT_EQ(m.read_mem(kFramebuffer + 5 * 65536 + 0x10, 4), 0xabcdefu);
}

TEST_F(VgaTest, OnlyWrittenLinesAreDrawn) {
  set_vbe(1024, 768, 32);
  watch();
  EXPECT_EQ(watcher.sizes, 1u);
  vga.display().refresh();
  EXPECT_THAT(watcher.rects, testing::IsEmpty());
  m.write_mem(kFramebuffer + 4096 * 100, 4, 0xffffff);
  m.write_mem(kFramebuffer + 4096 * 101, 4, 0xffffff);
  m.write_mem(kFramebuffer + 4096 * 200, 4, 0xffffff);
  vga.display().refresh();
  EXPECT_THAT(watcher.rects, testing::ElementsAre(Rect{0, 100, 1024, 2}, Rect{0, 200, 1024, 1}));
}

TEST_F(VgaTest, MemoryIsWatchedOnlyWhileSomebodyLooks) {
  EXPECT_FALSE(vram->tracks_dirty(DirtyClient::Display));
  watch();
  EXPECT_TRUE(vram->tracks_dirty(DirtyClient::Display));
  vga.display().detach(watcher);
  attached = false;
  EXPECT_FALSE(vram->tracks_dirty(DirtyClient::Display));
}

TEST_F(VgaTest, RegistersInMemory) {
  EXPECT_EQ(m.read_mem(kRegisters, 4), 0xffff'ff00u);  // EDID's header
  EXPECT_EQ(m.read_mem(kRegisters + 0x500, 2), 0xb0c5u);
  m.write_mem(kRegisters + 0x500 + 2 * Vbe::kXres, 2, 800);
  m.out16(0x1ce, Vbe::kXres);
  EXPECT_EQ(m.in16(0x1cf), 800u);
  EXPECT_EQ(m.in16(0x1d0), 800u);
  m.write_mem(kRegisters + 0x400 + 0x0c, 1, 0xff);
  EXPECT_EQ(m.read_mem(kRegisters + 0x604, 4), 0x1e1e1e1eu);
}

TEST_F(VgaTest, StateMovesToATwin) {
  set_mode(kMode12);
  set_vbe(800, 600, 8);
  dispi(Vbe::kEnable, Vbe::kOn | Vbe::kLinear | Vbe::kWideDac);
  m.out8(0x3c8, 1);
  for (const u8 part : {0xff, 0x80, 0x01}) m.out8(0x3c9, part);
  TestMachine other;
  Displays others;
  VgaCard twin{"vga",
               {},
               {other.io_root, other.memory_root, other.time, others, {}},
               RamBlock::create({.size = 16 * MiB}).value(),
               nullptr};
  twin.reset(ResetKind::PowerOn);
  EXPECT_THAT(TestMachine::round_trip(vga, twin), testing::IsEmpty());
  other.out8(0x3c7, 1);
  EXPECT_EQ(other.in8(0x3c9), 0xff);
  EXPECT_EQ(other.in8(0x3c9), 0x80);
}

}  // namespace
}  // namespace menura
