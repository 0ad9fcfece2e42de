// RFB encodings: rectangles of pixels as a client wants them.
//
// Owner: a client's session; the state of the compressed streams lives as long. Threads: one at a
// time. Source: RFC 6143 §7.7; the RFB community's specification (rfbproto) for Tight.
// Example: `encoder.encode({x, y, w, h}, pixels, pitch, format, out);`
#pragma once

#include <zlib.h>

#include <array>
#include <memory>
#include <optional>

#include "display/pixel_format.h"
#include "io/display.h"

namespace menura {

enum class RfbEncoding : i32 { Raw = 0, CopyRect = 1, Hextile = 5, Zlib = 6, Tight = 7, Zrle = 16 };

// A view of pixels, 0x00RRGGBB.
struct Pixels {
  const u32* first = nullptr;
  size_t pitch = 0;  // pixels from a row to the next
  u32 width = 0, height = 0;
  const u32* row(u32 y) const { return first + pitch * y; }
  Pixels part(u32 x, u32 y, u32 w, u32 h) const { return {row(y) + x, pitch, w, h}; }
};

// A zlib stream that lasts for the whole connection; each piece can be read at once.
class ZlibStream {
 public:
  ZlibStream() = default;
  ~ZlibStream();
  ZlibStream(const ZlibStream&) = delete;
  ZlibStream& operator=(const ZlibStream&) = delete;
  // Appends what `from` becomes.
  void compress(ConstBytes from, int level, RfbWriter& out);

 private:
  std::optional<z_stream> stream_;
  int level_ = 0;
};

class RfbEncoder {
 public:
  struct Settings {
    RfbEncoding encoding = RfbEncoding::Raw;
    PixelFormat format;
    int level = 6;  // zlib's, 0 to 9
  };
  // Appends rectangles, headers and all, that show the pixels at (x, y); returns how many. Large
  // ones are split where the encoding has limits.
  unsigned encode(const Settings& settings, u32 x, u32 y, const Pixels& pixels, RfbWriter& out);

 private:
  void raw(const Settings& s, const Pixels& pixels, RfbWriter& out);
  void hextile(const Settings& s, const Pixels& pixels, RfbWriter& out);
  void zlib(const Settings& s, const Pixels& pixels, RfbWriter& out);
  void zrle(const Settings& s, const Pixels& pixels, RfbWriter& out);
  void tight(const Settings& s, const Pixels& pixels, RfbWriter& out);

  ZlibStream zlib_stream_;
  ZlibStream zrle_stream_;
  std::array<ZlibStream, 4> tight_streams_;
};

// The colours of a rectangle, as long as there are few.
class FewColours {
 public:
  static constexpr size_t kMost = 127;
  explicit FewColours(const Pixels& pixels, size_t most = kMost);
  bool too_many() const { return too_many_; }
  size_t size() const { return count_; }
  u32 operator[](size_t i) const { return colours_[i]; }
  unsigned index_of(u32 rgb) const;

 private:
  bool add(u32 rgb);
  static size_t slot(u32 rgb) { return (rgb * 2654435761u) >> 24; }
  std::array<u32, kMost + 1> colours_;
  std::array<u8, 256> slots_;  // open addressing; 0xff: free
  size_t count_ = 0;
  bool too_many_ = false;
};

}  // namespace menura
