#include "display/rfb_encodings.h"

#include <algorithm>

namespace menura {

// Streams

ZlibStream::~ZlibStream() {
  if (stream_) ::deflateEnd(&*stream_);
}

void ZlibStream::compress(ConstBytes from, int level, RfbWriter& out) {
  if (!stream_) {
    stream_.emplace();
    ensure(::deflateInit(&*stream_, level) == Z_OK, "zlib starts a stream");
    level_ = level;
  }
  z_stream& z = *stream_;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  z.avail_in = static_cast<uInt>(from.size());
  std::array<std::byte, 16384> chunk;
  const auto drain = [&](auto step) {
    do {
      z.next_out = reinterpret_cast<Bytef*>(chunk.data());
      z.avail_out = chunk.size();
      step();
      out.raw(ConstBytes(chunk).first(chunk.size() - z.avail_out));
    } while (z.avail_out == 0);
  };
  if (level != level_) {
    z.avail_in = 0;
    drain([&] { ::deflateParams(&z, level, Z_DEFAULT_STRATEGY); });
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
    z.avail_in = static_cast<uInt>(from.size());
    level_ = level;
  }
  drain([&] { ::deflate(&z, Z_SYNC_FLUSH); });
}

// Colours

FewColours::FewColours(const Pixels& pixels, size_t most) {
  slots_.fill(0xff);
  u32 last = ~u32{0};
  for (u32 y = 0; y < pixels.height; y++) {
    const u32* row = pixels.row(y);
    for (u32 x = 0; x < pixels.width; x++) {
      if (row[x] == last) continue;
      last = row[x];
      if (!add(last) || count_ > most) {
        too_many_ = true;
        return;
      }
    }
  }
}

bool FewColours::add(u32 rgb) {
  for (size_t at = slot(rgb);; at = (at + 1) % slots_.size()) {
    if (slots_[at] == 0xff) {
      if (count_ == colours_.size()) return false;
      slots_[at] = static_cast<u8>(count_);
      colours_[count_++] = rgb;
      return true;
    }
    if (colours_[slots_[at]] == rgb) return true;
  }
}

unsigned FewColours::index_of(u32 rgb) const {
  size_t at = slot(rgb);
  while (colours_[slots_[at]] != rgb) at = (at + 1) % slots_.size();
  return slots_[at];
}

// Rectangles

unsigned RfbEncoder::encode(const Settings& s, u32 x, u32 y, const Pixels& pixels, RfbWriter& out) {
  const auto one = [&](u32 dx, u32 dy, const Pixels& part) {
    out.rect(x + dx, y + dy, part.width, part.height, static_cast<i32>(s.encoding));
    switch (s.encoding) {
      case RfbEncoding::Hextile: return hextile(s, part, out);
      case RfbEncoding::Zlib: return zlib(s, part, out);
      case RfbEncoding::Zrle: return zrle(s, part, out);
      case RfbEncoding::Tight: return tight(s, part, out);
      case RfbEncoding::Raw:
      case RfbEncoding::CopyRect: return raw(s, part, out);
    }
  };
  if (s.encoding != RfbEncoding::Tight) {
    one(0, 0, pixels);
    return 1;
  }
  // Tight rectangles are at most 2048 wide, and small ones keep their colours few.
  constexpr u32 kWidth = 2048, kPixels = 65536;
  unsigned count = 0;
  for (u32 dx = 0; dx < pixels.width; dx += kWidth) {
    const u32 width = std::min(kWidth, pixels.width - dx);
    const u32 step = std::max<u32>(1, kPixels / width);
    for (u32 dy = 0; dy < pixels.height; dy += step, count++)
      one(dx, dy, pixels.part(dx, dy, width, std::min(step, pixels.height - dy)));
  }
  return count;
}

void RfbEncoder::raw(const Settings& s, const Pixels& pixels, RfbWriter& out) {
  for (u32 y = 0; y < pixels.height; y++) s.format.put_row(out, pixels.row(y), pixels.width);
}

void RfbEncoder::zlib(const Settings& s, const Pixels& pixels, RfbWriter& out) {
  RfbWriter plain;
  raw(s, pixels, plain);
  const size_t length_at = out.size();
  out.u32_(0);
  zlib_stream_.compress(plain.bytes(), s.level, out);
  out.patch_u32(length_at, static_cast<u32>(out.size() - length_at - 4));
}

// Hextile (RFC 6143 §7.7.4)

namespace {

enum HextileBits : u8 {
  kHextileRaw = 1,
  kBackground = 2,
  kForeground = 4,
  kSubrects = 8,
  kColoured = 16
};

// Runs of other than the background, grown downwards while the rows below have them too.
struct Subrect {
  u8 x, y, width, height;
  u32 colour;
};

std::vector<Subrect> subrects_of(const Pixels& tile, u32 background) {
  std::vector<Subrect> found;
  std::array<u16, 16> done{};  // a bit a pixel
  for (u32 y = 0; y < tile.height; y++) {
    for (u32 x = 0; x < tile.width; x++) {
      const u32 colour = tile.row(y)[x];
      if (colour == background || (done[y] >> x & 1)) continue;
      u32 end = x + 1;
      while (end < tile.width && tile.row(y)[end] == colour && !(done[y] >> end & 1)) end++;
      const auto same = [&](u32 row) {
        for (u32 i = x; i < end; i++)
          if (tile.row(row)[i] != colour || (done[row] >> i & 1)) return false;
        return true;
      };
      u32 bottom = y + 1;
      while (bottom < tile.height && same(bottom)) bottom++;
      for (u32 row = y; row < bottom; row++)
        for (u32 i = x; i < end; i++) done[row] = static_cast<u16>(done[row] | 1u << i);
      found.push_back({static_cast<u8>(x), static_cast<u8>(y), static_cast<u8>(end - x),
                       static_cast<u8>(bottom - y), colour});
      if (found.size() > 255) return found;
    }
  }
  return found;
}

u32 most_frequent(const Pixels& tile, const FewColours& colours) {
  std::array<u32, FewColours::kMost + 1> counts{};
  for (u32 y = 0; y < tile.height; y++)
    for (u32 x = 0; x < tile.width; x++) counts[colours.index_of(tile.row(y)[x])]++;
  return colours[static_cast<size_t>(std::ranges::max_element(counts) - counts.begin())];
}

void put_hextile(const PixelFormat& format, const Pixels& tile, RfbWriter& out,
                 std::optional<u32>& background) {
  const FewColours colours(tile, 16);
  const size_t plain = size_t{tile.width} * tile.height * format.bytes();
  if (!colours.too_many()) {
    const u32 back = most_frequent(tile, colours);
    const std::vector<Subrect> subrects = subrects_of(tile, back);
    const bool coloured = colours.size() > 2;
    const size_t cost =
        2 + 2 * format.bytes() + subrects.size() * (2 + (coloured ? format.bytes() : 0));
    if (subrects.size() <= 255 && cost < plain) {
      unsigned bits = subrects.empty() ? 0 : kSubrects | (coloured ? kColoured : kForeground);
      if (background != back) bits |= kBackground;
      background = back;
      out.u8_(bits);
      if (bits & kBackground) format.put(out, back);
      if (bits & kForeground) format.put(out, subrects[0].colour);
      if (!subrects.empty()) out.u8_(static_cast<unsigned>(subrects.size()));
      for (const Subrect& r : subrects) {
        if (coloured) format.put(out, r.colour);
        out.u8_(r.x << 4 | r.y).u8_((r.width - 1) << 4 | (r.height - 1));
      }
      return;
    }
  }
  out.u8_(kHextileRaw);
  background.reset();  // a raw tile leaves none that counts
  for (u32 y = 0; y < tile.height; y++) format.put_row(out, tile.row(y), tile.width);
}

}  // namespace

void RfbEncoder::hextile(const Settings& s, const Pixels& pixels, RfbWriter& out) {
  std::optional<u32> background;
  for (u32 y = 0; y < pixels.height; y += 16)
    for (u32 x = 0; x < pixels.width; x += 16)
      put_hextile(
          s.format,
          pixels.part(x, y, std::min(16u, pixels.width - x), std::min(16u, pixels.height - y)), out,
          background);
}

// ZRLE (RFC 6143 §7.7.6)

namespace {

// Rows follow each other in a tile, so runs go on over their ends.
template <class Visit>
void each_run(const Pixels& tile, Visit visit) {
  u32 colour = tile.row(0)[0];
  size_t length = 0;
  for (u32 y = 0; y < tile.height; y++)
    for (u32 x = 0; x < tile.width; x++) {
      if (tile.row(y)[x] == colour) {
        length++;
        continue;
      }
      visit(colour, length);
      colour = tile.row(y)[x];
      length = 1;
    }
  visit(colour, length);
}

void put_run_length(RfbWriter& out, size_t length) {
  for (length--; length >= 255; length -= 255) out.u8_(255);
  out.u8_(static_cast<unsigned>(length));
}

void put_packed(const FewColours& colours, const Pixels& tile, RfbWriter& out) {
  const unsigned bits = colours.size() <= 2 ? 1 : colours.size() <= 4 ? 2 : 4;
  for (u32 y = 0; y < tile.height; y++) {
    unsigned byte = 0, filled = 0;
    for (u32 x = 0; x < tile.width; x++) {
      byte = byte << bits | colours.index_of(tile.row(y)[x]);
      filled += bits;
      if (filled == 8) {
        out.u8_(byte & 0xff);
        byte = filled = 0;
      }
    }
    if (filled > 0) out.u8_((byte << (8 - filled)) & 0xff);
  }
}

void put_zrle_tile(const PixelFormat& format, const Pixels& tile, RfbWriter& out) {
  const FewColours colours(tile);
  if (!colours.too_many() && colours.size() == 1) {
    out.u8_(1);
    return format.put_compressed(out, colours[0]);
  }
  const size_t pixel = format.compressed_bytes();
  size_t runs = 0, singles = 0;
  each_run(tile, [&](u32, size_t length) { (length == 1 ? singles : runs)++; });
  const size_t plain = pixel * tile.width * tile.height;
  const size_t plain_rle = (pixel + 1) * (runs + singles);
  size_t palette_rle = ~size_t{0}, packed = ~size_t{0};
  if (!colours.too_many()) {
    palette_rle = pixel * colours.size() + 2 * runs + singles;
    const unsigned bits = colours.size() <= 2 ? 1 : colours.size() <= 4 ? 2 : 4;
    if (colours.size() <= 16)
      packed = pixel * colours.size() + size_t{(tile.width * bits + 7) / 8} * tile.height;
  }
  const size_t best = std::min({plain, plain_rle, palette_rle, packed});
  const auto palette = [&] {
    for (size_t i = 0; i < colours.size(); i++) format.put_compressed(out, colours[i]);
  };
  if (best == packed) {
    out.u8_(static_cast<unsigned>(colours.size()));
    palette();
    put_packed(colours, tile, out);
  } else if (best == palette_rle) {
    out.u8_(static_cast<unsigned>(128 + colours.size()));
    palette();
    each_run(tile, [&](u32 colour, size_t length) {
      out.u8_(colours.index_of(colour) | (length > 1 ? 128 : 0));
      if (length > 1) put_run_length(out, length);
    });
  } else if (best == plain_rle) {
    out.u8_(128);
    each_run(tile, [&](u32 colour, size_t length) {
      format.put_compressed(out, colour);
      put_run_length(out, length);
    });
  } else {
    out.u8_(0);
    for (u32 y = 0; y < tile.height; y++)
      for (u32 x = 0; x < tile.width; x++) format.put_compressed(out, tile.row(y)[x]);
  }
}

}  // namespace

void RfbEncoder::zrle(const Settings& s, const Pixels& pixels, RfbWriter& out) {
  RfbWriter plain;
  for (u32 y = 0; y < pixels.height; y += 64)
    for (u32 x = 0; x < pixels.width; x += 64)
      put_zrle_tile(
          s.format,
          pixels.part(x, y, std::min(64u, pixels.width - x), std::min(64u, pixels.height - y)),
          plain);
  const size_t length_at = out.size();
  out.u32_(0);
  zrle_stream_.compress(plain.bytes(), s.level, out);
  out.patch_u32(length_at, static_cast<u32>(out.size() - length_at - 4));
}

// Tight (rfbproto, "Tight Encoding")

namespace {

constexpr unsigned kTightFill = 0x80, kTightFilter = 0x40;
constexpr unsigned kPaletteFilter = 1;
// Which of the four streams.
constexpr unsigned kPlainStream = 0, kTwoColourStream = 1, kPaletteStream = 2;
constexpr size_t kUncompressed = 12;  // bytes below which nothing is compressed

void put_compact_length(RfbWriter& out, size_t length) {
  out.u8_(static_cast<unsigned>(length & 0x7f) | (length > 0x7f ? 0x80 : 0));
  if (length <= 0x7f) return;
  out.u8_(static_cast<unsigned>(length >> 7 & 0x7f) | (length > 0x3fff ? 0x80 : 0));
  if (length > 0x3fff) out.u8_(static_cast<unsigned>(length >> 14));
}

void put_tight_data(ZlibStream& stream, int level, ConstBytes data, RfbWriter& out) {
  if (data.size() < kUncompressed) {
    out.raw(data);
    return;
  }
  RfbWriter packed;
  stream.compress(data, level, packed);
  put_compact_length(out, packed.size());
  out.raw(packed.bytes());
}

}  // namespace

void RfbEncoder::tight(const Settings& s, const Pixels& pixels, RfbWriter& out) {
  const FewColours colours(pixels);
  RfbWriter data;
  if (colours.too_many()) {
    out.u8_(kPlainStream << 4);
    for (u32 y = 0; y < pixels.height; y++)
      for (u32 x = 0; x < pixels.width; x++) s.format.put_tight(data, pixels.row(y)[x]);
    return put_tight_data(tight_streams_[kPlainStream], s.level, data.bytes(), out);
  }
  if (colours.size() == 1) {
    out.u8_(kTightFill);
    return s.format.put_tight(out, colours[0]);
  }
  const bool two = colours.size() == 2;
  const unsigned stream = two ? kTwoColourStream : kPaletteStream;
  out.u8_(stream << 4 | kTightFilter).u8_(kPaletteFilter);
  out.u8_(static_cast<unsigned>(colours.size() - 1));
  for (size_t i = 0; i < colours.size(); i++) s.format.put_tight(out, colours[i]);
  if (two) {
    put_packed(colours, pixels, data);
  } else {
    for (u32 y = 0; y < pixels.height; y++)
      for (u32 x = 0; x < pixels.width; x++) data.u8_(colours.index_of(pixels.row(y)[x]));
  }
  put_tight_data(tight_streams_[stream], s.level, data.bytes(), out);
}

}  // namespace menura
