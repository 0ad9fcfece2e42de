// DirtyTiles: what of a screen has changed, in tiles; and how it becomes rectangles.
//
// Owner: a client's session, and the server (what differs from the last look). Threads: a value.
// Example: `dirty.resize(800, 600);  dirty.add({0, 0, 10, 10});  for (Rect r : dirty.take(all)) send(r);`
#pragma once

#include <algorithm>
#include <vector>

#include "io/display.h"

namespace menura {

class DirtyTiles {
 public:
  static constexpr u32 kWidth = 64, kHeight = 16;

  void resize(u32 width, u32 height) {
    width_ = width;
    height_ = height;
    columns_ = (width + kWidth - 1) / kWidth;
    rows_ = (height + kHeight - 1) / kHeight;
    tiles_.assign(size_t{columns_} * rows_, 0);
    count_ = 0;
  }
  bool any() const { return count_ > 0; }
  void add_all() { add({0, 0, width_, height_}); }
  void add(const Rect& rect) {
    if (rect.width == 0 || rect.height == 0 || rect.x >= width_ || rect.y >= height_) return;
    const u32 last_column = std::min((rect.x + rect.width - 1) / kWidth, columns_ - 1);
    const u32 last_row = std::min((rect.y + rect.height - 1) / kHeight, rows_ - 1);
    for (u32 row = rect.y / kHeight; row <= last_row; row++)
      for (u32 column = rect.x / kWidth; column <= last_column; column++) {
        u8& tile = tiles_[size_t{row} * columns_ + column];
        count_ += tile == 0;
        tile = 1;
      }
  }
  // Takes the tiles that touch an area as rectangles: runs of a row, grown downwards.
  std::vector<Rect> take(const Rect& area) {
    std::vector<Rect> rects;
    if (area.width == 0 || area.height == 0) return rects;
    const u32 first_column = std::min(area.x / kWidth, columns_);
    const u32 end_column = std::min((area.x + area.width + kWidth - 1) / kWidth, columns_);
    const u32 end_row = std::min((area.y + area.height + kHeight - 1) / kHeight, rows_);
    for (u32 row = area.y / kHeight; row < end_row; row++)
      for (u32 column = first_column; column < end_column; column++) {
        if (!at(column, row)) continue;
        u32 end = column + 1;
        while (end < end_column && at(end, row)) end++;
        u32 bottom = row + 1;
        while (bottom < end_row && all(column, end, bottom)) bottom++;
        for (u32 r = row; r < bottom; r++)
          for (u32 c = column; c < end; c++) tiles_[size_t{r} * columns_ + c] = 0;
        count_ -= (bottom - row) * (end - column);
        const u32 x = column * kWidth, y = row * kHeight;
        rects.push_back(
            {x, y, std::min(end * kWidth, width_) - x, std::min(bottom * kHeight, height_) - y});
      }
    return rects;
  }

 private:
  bool at(u32 column, u32 row) const { return tiles_[size_t{row} * columns_ + column] != 0; }
  bool all(u32 first, u32 end, u32 row) const {
    for (u32 column = first; column < end; column++)
      if (!at(column, row)) return false;
    return true;
  }
  u32 width_ = 0, height_ = 0, columns_ = 0, rows_ = 0;
  std::vector<u8> tiles_;
  size_t count_ = 0;
};

}  // namespace menura
