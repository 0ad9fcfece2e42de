// Display: one screen of the machine, between the device that draws it (a DisplaySource) and those
// who look at it (DisplayViewers: VNC clients, screendump).
//
// Owner: the device has its Display as a member and adds it to the machine's Displays. Threads:
// under the machine lock. Pull: nothing is drawn until a viewer calls refresh(); the source then
// draws what changed, and every viewer hears of it. While nobody watches, a source need not even
// keep account of changes. Example, of a source:
//   void refresh(Display& d) override {
//     d.resize(640, 480);  std::fill_n(d.row(7), 640, 0xff0000);  d.changed({0, 7, 640, 1}); }
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/types.h"

namespace menura {

struct Rect {
  u32 x = 0, y = 0, width = 0, height = 0;
  bool operator==(const Rect&) const = default;
};

// Pixels are 0x00RRGGBB, rows without gaps.
class Surface {
 public:
  static constexpr u32 kMaxSide = 16384;

  u32 width() const { return width_; }
  u32 height() const { return height_; }
  const u32* row(u32 y) const { return pixels_.data() + size_t{y} * width_; }
  u32* row(u32 y) { return pixels_.data() + size_t{y} * width_; }
  // Black at first.
  void resize(u32 width, u32 height);

 private:
  u32 width_ = 0;
  u32 height_ = 0;
  std::vector<u32> pixels_;
};

// A screen of characters, as a device with text modes knows it.
struct TextScreen {
  u32 columns = 0;
  u32 rows = 0;
  // Character codes and attributes as the guest wrote them: columns * rows.
  std::vector<u8> characters;
  std::vector<u8> attributes;
  std::optional<std::pair<u32, u32>> cursor;  // column, row
};

// A pointer that the guest does not draw itself. Pixels are 0xAARRGGBB, not premultiplied.
struct CursorImage {
  u32 width = 0, height = 0;
  u32 hot_x = 0, hot_y = 0;
  std::vector<u32> pixels;
  bool operator==(const CursorImage&) const = default;
};

class Display;

// The device's side.
class DisplaySource {
 public:
  virtual ~DisplaySource() = default;
  // Brings the surface up to date: resize(), row(), changed().
  virtual void refresh(Display& display) = 0;
  // All of it, whatever was kept account of: the next refresh() draws everything.
  virtual void invalidate() = 0;
  // Somebody watches from now on, or nobody does. Comes before the first refresh() of a watch.
  virtual void watched(bool /*on*/) {}
  // The screen as text, if that is what it shows.
  virtual std::optional<TextScreen> text() { return std::nullopt; }
  // A viewer's window has this size: a guest that can may take it as its mode. False: cannot.
  virtual bool suggest_size(u32 /*width*/, u32 /*height*/) { return false; }
};

// Who looks at the screen.
class DisplayViewer {
 public:
  virtual ~DisplayViewer() = default;
  virtual void changed(const Rect& rect) = 0;  // inside the surface
  virtual void resized() = 0;                  // everything changed, too
  virtual void cursor_changed() {}             // image, place or visibility
};

class Display {
 public:
  Display(std::string name, DisplaySource& source) : name_(std::move(name)), source_(source) {}
  ~Display();
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  const std::string& name() const { return name_; }  // the device's id
  const Surface& surface() const { return surface_; }

  // For viewers. A viewer that attaches sees everything as changed at the next refresh().
  void attach(DisplayViewer& viewer);
  void detach(DisplayViewer& viewer);
  void refresh() { source_.refresh(*this); }
  std::optional<TextScreen> text() { return source_.text(); }
  bool suggest_size(u32 width, u32 height) { return source_.suggest_size(width, height); }
  // Null: the guest draws its own, or has none.
  const CursorImage* cursor() const { return cursor_ ? &*cursor_ : nullptr; }
  std::pair<i32, i32> cursor_place() const { return {cursor_x_, cursor_y_}; }

  // For the source. Sides go to Surface::kMaxSide; the same size again changes nothing. resize()
  // is followed by drawing all of it.
  bool resize(u32 width, u32 height);
  u32* row(u32 y) { return surface_.row(y); }
  void changed(const Rect& rect);
  void set_cursor(std::optional<CursorImage> image);
  void move_cursor(i32 x, i32 y);

 private:
  // Wiring
  std::string name_;
  DisplaySource& source_;
  std::vector<DisplayViewer*> viewers_;
  Surface surface_;  // derived: what the guest has in its memory
  std::optional<CursorImage> cursor_;
  i32 cursor_x_ = 0, cursor_y_ = 0;
};

// A machine's screens, in the order of their adding; the first is what people mean.
class Displays {
 public:
  void add(Display& display) { all_.push_back(&display); }
  void remove(Display& display) { std::erase(all_, &display); }
  Display* first() const { return all_.empty() ? nullptr : all_.front(); }
  Display* find(std::string_view name) const;
  std::span<Display* const> all() const { return all_; }

 private:
  std::vector<Display*> all_;
};

}  // namespace menura
