#include "io/display.h"

#include <algorithm>

namespace menura {

void Surface::resize(u32 width, u32 height) {
  ensure(width <= kMaxSide && height <= kMaxSide, "a surface has sides that fit");
  width_ = width;
  height_ = height;
  pixels_.assign(size_t{width} * height, 0);
}

Display::~Display() { ensure(viewers_.empty(), "viewers leave before their display"); }

void Display::attach(DisplayViewer& viewer) {
  viewers_.push_back(&viewer);
  if (viewers_.size() == 1) source_.watched(true);
  source_.invalidate();
}

void Display::detach(DisplayViewer& viewer) {
  const size_t gone = std::erase(viewers_, &viewer);
  if (gone > 0 && viewers_.empty()) source_.watched(false);
}

bool Display::resize(u32 width, u32 height) {
  if (width == surface_.width() && height == surface_.height()) return false;
  surface_.resize(width, height);
  for (DisplayViewer* viewer : viewers_) viewer->resized();
  return true;
}

void Display::changed(const Rect& rect) {
  const u32 x = std::min(rect.x, surface_.width()), y = std::min(rect.y, surface_.height());
  const Rect inside{x, y, std::min(rect.width, surface_.width() - x),
                    std::min(rect.height, surface_.height() - y)};
  if (inside.width == 0 || inside.height == 0) return;
  for (DisplayViewer* viewer : viewers_) viewer->changed(inside);
}

void Display::set_cursor(std::optional<CursorImage> image) {
  if (image == cursor_) return;
  cursor_ = std::move(image);
  for (DisplayViewer* viewer : viewers_) viewer->cursor_changed();
}

void Display::move_cursor(i32 x, i32 y) {
  if (x == cursor_x_ && y == cursor_y_) return;
  cursor_x_ = x;
  cursor_y_ = y;
  for (DisplayViewer* viewer : viewers_) viewer->cursor_changed();
}

Display* Displays::find(std::string_view name) const {
  const auto at = std::ranges::find(all_, name, &Display::name);
  return at == all_.end() ? nullptr : *at;
}

}  // namespace menura
