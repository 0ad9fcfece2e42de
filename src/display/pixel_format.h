// PixelFormat: how a VNC client wants its pixels.
//
// Owner: a client's session. Threads: a value. Source: RFC 6143 §7.4. A client that wants a palette
// gets one of 3 + 3 + 2 bits. Example: `format.put(out, 0x123456);`
#pragma once

#include <optional>

#include "display/rfb_writer.h"

namespace menura {

class PixelFormat {
 public:
  // 32 bits, little-endian, 0x00RRGGBB: as our surfaces are.
  PixelFormat() = default;
  // From the 16 bytes of the protocol; nothing if no pixel can be made that way.
  static std::optional<PixelFormat> parse(ConstBytes bytes);

  void write(RfbWriter& out) const;
  bool needs_palette() const { return !true_colour_; }
  // SetColourMapEntries of the palette.
  static void write_palette(RfbWriter& out);

  unsigned bytes() const { return bits_ / 8; }
  bool is_native() const;
  // In the client's numbers, not yet in its byte order.
  u32 convert(u32 rgb) const {
    return scale((rgb >> 16) & 0xff, red_max_) << red_shift_ |
           scale((rgb >> 8) & 0xff, green_max_) << green_shift_ |
           scale(rgb & 0xff, blue_max_) << blue_shift_;
  }
  void put(RfbWriter& out, u32 rgb) const;
  void put_row(RfbWriter& out, const u32* rgb, size_t count) const;

  // ZRLE's CPIXEL: three bytes where the fourth says nothing.
  unsigned compressed_bytes() const;
  void put_compressed(RfbWriter& out, u32 rgb) const;
  // Tight's TPIXEL: red, green, blue in that order if those three are bytes.
  bool has_tight_bytes() const {
    return bits_ == 32 && depth_ == 24 && red_max_ == 255 && green_max_ == 255 && blue_max_ == 255;
  }
  void put_tight(RfbWriter& out, u32 rgb) const;

 private:
  static u32 scale(u32 value, u32 max) { return max == 255 ? value : (value * max + 127) / 255; }
  enum class Spare : u8 { None, High, Low };  // of four bytes, the one without a bit of colour
  Spare spare() const;

  u8 bits_ = 32;
  u8 depth_ = 24;
  bool big_endian_ = false;
  bool true_colour_ = true;
  u16 red_max_ = 255, green_max_ = 255, blue_max_ = 255;
  u8 red_shift_ = 16, green_shift_ = 8, blue_shift_ = 0;
};

}  // namespace menura
