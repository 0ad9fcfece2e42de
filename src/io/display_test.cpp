#include "io/display.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

struct Painter final : DisplaySource {
  void refresh(Display& display) override {
    display.resize(width, height);
    if (!std::exchange(dirty, false)) return;
    display.row(1)[2] = 0x123456;
    display.changed({0, 1, 100, 1});
  }
  void invalidate() override { dirty = true; }
  void watched(bool on) override { is_watched = on; }
  u32 width = 8, height = 4;
  bool dirty = false;
  bool is_watched = false;
};

struct Watcher final : DisplayViewer {
  void changed(const Rect& rect) override { rects.push_back(rect); }
  void resized() override { sizes++; }
  void cursor_changed() override { cursors++; }
  std::vector<Rect> rects;
  unsigned sizes = 0;
  unsigned cursors = 0;
};

TEST(Display, ViewersHearOfChangesInsideTheSurface) {
  Painter painter;
  Display display("vga", painter);
  Watcher one, two;
  display.attach(one);
  EXPECT_TRUE(painter.is_watched);
  display.refresh();
  EXPECT_EQ(one.sizes, 1u);
  ASSERT_EQ(one.rects.size(), 1u);
  EXPECT_EQ(one.rects[0], (Rect{0, 1, 8, 1}));
  EXPECT_EQ(display.surface().row(1)[2], 0x123456u);
  display.refresh();
  EXPECT_EQ(one.rects.size(), 1u);
  display.attach(two);
  display.refresh();
  EXPECT_EQ(two.rects.size(), 1u);
  display.detach(one);
  EXPECT_TRUE(painter.is_watched);
  display.detach(two);
  EXPECT_FALSE(painter.is_watched);
}

TEST(Display, CursorsAreToldOnceAChange) {
  Painter painter;
  Display display("vga", painter);
  Watcher watcher;
  display.attach(watcher);
  const CursorImage arrow{.width = 1, .height = 1, .pixels = {0xff000000}};
  display.set_cursor(arrow);
  display.set_cursor(arrow);
  display.move_cursor(3, 4);
  display.move_cursor(3, 4);
  EXPECT_EQ(watcher.cursors, 2u);
  display.set_cursor(std::nullopt);
  EXPECT_EQ(display.cursor(), nullptr);
  display.detach(watcher);
}

TEST(Displays, AreFoundByName) {
  Painter painter;
  Display display("vga", painter);
  Displays displays;
  EXPECT_EQ(displays.first(), nullptr);
  displays.add(display);
  EXPECT_EQ(displays.first(), &display);
  EXPECT_EQ(displays.find("vga"), &display);
  EXPECT_EQ(displays.find("other"), nullptr);
  displays.remove(display);
  EXPECT_EQ(displays.first(), nullptr);
}

}  // namespace
}  // namespace menura
