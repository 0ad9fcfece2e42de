// Pictures through every encoding and back: the decoders below are written from the specification
// and know nothing of the encoders.
#include "display/rfb_encodings.h"

#include <gtest/gtest.h>

#include <random>

namespace menura {
namespace {

struct Picture {
  Picture(u32 w, u32 h) : width(w), height(h), pixels(size_t{w} * h) {}
  Pixels view() const { return {pixels.data(), width, width, height}; }
  u32 width, height;
  std::vector<u32> pixels;
};

struct Reader {
  ConstBytes bytes;
  size_t at = 0;
  u8 u8_() { return load_le<u8>(bytes, at++); }
  u16 u16_() {
    at += 2;
    return load_be<u16>(bytes, at - 2);
  }
  u32 u32_() {
    at += 4;
    return load_be<u32>(bytes, at - 4);
  }
  u32 native() {
    at += 4;
    return load_le<u32>(bytes, at - 4);
  }
  u32 three() {  // CPIXEL of the native format: blue, green, red
    const u32 b = u8_(), g = u8_(), r = u8_();
    return r << 16 | g << 8 | b;
  }
  u32 tight() {  // TPIXEL: red, green, blue
    const u32 r = u8_(), g = u8_(), b = u8_();
    return r << 16 | g << 8 | b;
  }
  ConstBytes take(size_t size) {
    at += size;
    return bytes.subspan(at - size, size);
  }
};

struct Inflater {
  Inflater() { EXPECT_EQ(::inflateInit(&z), Z_OK); }
  ~Inflater() { ::inflateEnd(&z); }
  std::vector<std::byte> operator()(ConstBytes from) {
    std::vector<std::byte> out, chunk(65536);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
    z.avail_in = static_cast<uInt>(from.size());
    do {
      z.next_out = reinterpret_cast<Bytef*>(chunk.data());
      z.avail_out = static_cast<uInt>(chunk.size());
      const int status = ::inflate(&z, Z_SYNC_FLUSH);
      EXPECT_TRUE(status == Z_OK || status == Z_BUF_ERROR);
      out.insert(out.end(), chunk.begin(), chunk.end() - z.avail_out);
    } while (z.avail_out == 0);
    EXPECT_EQ(z.avail_in, 0u);
    return out;
  }
  z_stream z{};
};

struct Decoder {
  void rect(Reader& in, Picture& to) {
    const u32 x = in.u16_(), y = in.u16_(), w = in.u16_(), h = in.u16_();
    switch (static_cast<RfbEncoding>(in.u32_())) {
      case RfbEncoding::Raw: return raw(in, to, x, y, w, h);
      case RfbEncoding::Hextile: return hextile(in, to, x, y, w, h);
      case RfbEncoding::Zlib: {
        const std::vector<std::byte> plain = zlib(in.take(in.u32_()));
        Reader inner{plain};
        return raw(inner, to, x, y, w, h);
      }
      case RfbEncoding::Zrle: {
        const std::vector<std::byte> plain = zrle(in.take(in.u32_()));
        Reader inner{plain};
        zrle_tiles(inner, to, x, y, w, h);
        EXPECT_EQ(inner.at, plain.size());
        return;
      }
      case RfbEncoding::Tight: return tight(in, to, x, y, w, h);
      default: FAIL() << "unknown encoding";
    }
  }
  static void put(Picture& to, u32 x, u32 y, u32 colour) {
    ASSERT_LT(x, to.width);
    ASSERT_LT(y, to.height);
    to.pixels[size_t{y} * to.width + x] = colour;
  }
  static void fill(Picture& to, u32 x, u32 y, u32 w, u32 h, u32 colour) {
    for (u32 dy = 0; dy < h; dy++)
      for (u32 dx = 0; dx < w; dx++) put(to, x + dx, y + dy, colour);
  }
  void raw(Reader& in, Picture& to, u32 x, u32 y, u32 w, u32 h) {
    for (u32 dy = 0; dy < h; dy++)
      for (u32 dx = 0; dx < w; dx++) put(to, x + dx, y + dy, in.native());
  }
  void hextile(Reader& in, Picture& to, u32 x, u32 y, u32 w, u32 h) {
    u32 background = 0, foreground = 0;
    for (u32 ty = 0; ty < h; ty += 16)
      for (u32 tx = 0; tx < w; tx += 16) {
        const u32 tw = std::min(16u, w - tx), th = std::min(16u, h - ty);
        const u8 bits = in.u8_();
        if (bits & 1) {
          raw(in, to, x + tx, y + ty, tw, th);
          continue;
        }
        if (bits & 2) background = in.native();
        if (bits & 4) foreground = in.native();
        fill(to, x + tx, y + ty, tw, th, background);
        const unsigned count = bits & 8 ? in.u8_() : 0;
        for (unsigned i = 0; i < count; i++) {
          const u32 colour = bits & 16 ? in.native() : foreground;
          const u8 place = in.u8_(), size = in.u8_();
          fill(to, x + tx + (place >> 4), y + ty + (place & 15), (size >> 4) + 1u, (size & 15) + 1u,
               colour);
        }
      }
  }
  static u32 run(Reader& in) {
    u32 length = 1, byte = 255;
    while (byte == 255) length += byte = in.u8_();
    return length;
  }
  void zrle_tiles(Reader& in, Picture& to, u32 x, u32 y, u32 w, u32 h) {
    for (u32 ty = 0; ty < h; ty += 64)
      for (u32 tx = 0; tx < w; tx += 64) {
        const u32 tw = std::min(64u, w - tx), th = std::min(64u, h - ty);
        const u8 kind = in.u8_();
        std::vector<u32> palette((kind & 127) > 0 ? kind & 127 : 0), tile;
        for (u32& colour : palette) colour = in.three();
        if (kind == 0) {
          for (u32 i = 0; i < tw * th; i++) tile.push_back(in.three());
        } else if (kind == 1) {
          tile.assign(tw * th, palette[0]);
        } else if (kind <= 16) {
          const unsigned bits = kind == 2 ? 1 : kind <= 4 ? 2 : 4;
          for (u32 dy = 0; dy < th; dy++)
            for (u32 dx = 0; dx < tw;) {
              const u8 byte = in.u8_();
              for (unsigned i = 0; i < 8 && dx < tw; i += bits, dx++)
                tile.push_back(palette[(byte >> (8 - bits - i)) & ((1u << bits) - 1)]);
            }
        } else {
          ASSERT_GE(kind, 128);
          ASSERT_NE(kind, 129);
          while (tile.size() < tw * th) {
            const u8 index = kind == 128 ? 0 : in.u8_();
            const u32 colour = kind == 128 ? in.three() : palette.at(index & 127);
            const u32 length = kind == 128 || (index & 128) ? run(in) : 1;
            tile.insert(tile.end(), length, colour);
          }
        }
        ASSERT_EQ(tile.size(), size_t{tw} * th);
        for (u32 i = 0; i < tile.size(); i++) put(to, x + tx + i % tw, y + ty + i / tw, tile[i]);
      }
  }
  std::vector<std::byte> tight_data(Reader& in, unsigned stream, size_t size) {
    if (size < 12) {
      const ConstBytes plain = in.take(size);
      return {plain.begin(), plain.end()};
    }
    u32 length = in.u8_();
    if (length & 0x80) {
      length = (length & 0x7f) | u32{in.u8_()} << 7;
      if (length & 0x4000) length = (length & 0x3fff) | u32{in.u8_()} << 14;
    }
    return tight_streams[stream](in.take(length));
  }
  void tight(Reader& in, Picture& to, u32 x, u32 y, u32 w, u32 h) {
    ASSERT_LE(w, 2048u);
    const u8 control = in.u8_();
    if (control >> 4 == 8) return fill(to, x, y, w, h, in.tight());
    ASSERT_LT(control >> 4, 8);
    const unsigned stream = (control >> 4) & 3;
    const u8 filter = control & 0x40 ? in.u8_() : 0;
    if (filter == 0) {
      const std::vector<std::byte> data = tight_data(in, stream, size_t{w} * h * 3);
      Reader inner{data};
      for (u32 i = 0; i < w * h; i++) put(to, x + i % w, y + i / w, inner.tight());
      return;
    }
    ASSERT_EQ(filter, 1);
    std::vector<u32> palette(in.u8_() + 1u);
    for (u32& colour : palette) colour = in.tight();
    const size_t row = palette.size() == 2 ? (w + 7) / 8 : w;
    const std::vector<std::byte> data = tight_data(in, stream, row * h);
    for (u32 dy = 0; dy < h; dy++)
      for (u32 dx = 0; dx < w; dx++) {
        const auto byte =
            static_cast<unsigned>(data.at(dy * row + (palette.size() == 2 ? dx / 8 : dx)));
        put(to, x + dx, y + dy,
            palette.at(palette.size() == 2 ? (byte >> (7 - dx % 8)) & 1 : byte));
      }
  }
  Inflater zlib, zrle;
  std::array<Inflater, 4> tight_streams;
};

std::vector<Picture> pictures() {
  std::vector<Picture> all;
  std::mt19937 random(7);
  for (const auto& [w, h] :
       {std::pair{1u, 1u}, {3u, 2u}, {17u, 33u}, {64u, 64u}, {200u, 70u}, {2100u, 40u}}) {
    for (const u32 colours : {1u, 2u, 3u, 16u, 17u, 100u, 200u, 0u}) {
      Picture picture(w, h);
      for (size_t i = 0; i < picture.pixels.size(); i++) {
        // Runs of every length, of some colours or of all.
        if (i > 0 && random() % 8 != 0) {
          picture.pixels[i] = picture.pixels[i - 1];
          continue;
        }
        const u32 value = random();
        picture.pixels[i] = (colours ? value % colours * 0x010307u : value) & 0xffffff;
      }
      all.push_back(std::move(picture));
    }
  }
  Picture long_run(64, 64);
  long_run.pixels[4000] = 0xff;
  all.push_back(std::move(long_run));
  return all;
}

class EncodingTest : public testing::TestWithParam<RfbEncoding> {};

// Thrice through the same streams, which go on from a rectangle to the next.
TEST_P(EncodingTest, PicturesComeBack) {
  RfbEncoder encoder;
  Decoder decoder;
  for (const int level : {6, 1}) {
    for (const Picture& picture : pictures()) {
      RfbWriter out;
      const unsigned count =
          encoder.encode({.encoding = GetParam(), .level = level}, 5, 7, picture.view(), out);
      Picture shown(picture.width + 5, picture.height + 7);
      Reader in{out.bytes()};
      for (unsigned i = 0; i < count; i++) decoder.rect(in, shown);
      ASSERT_EQ(in.at, out.size());
      for (u32 y = 0; y < picture.height; y++)
        for (u32 x = 0; x < picture.width; x++)
          ASSERT_EQ(shown.pixels[size_t{y + 7} * shown.width + x + 5],
                    picture.pixels[size_t{y} * picture.width + x])
              << picture.width << "x" << picture.height << " at " << x << "," << y;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EncodingTest,
                         testing::Values(RfbEncoding::Raw, RfbEncoding::Hextile, RfbEncoding::Zlib,
                                         RfbEncoding::Tight, RfbEncoding::Zrle));

PixelFormat format_of(std::array<u8, 16> bytes) {
  return PixelFormat::parse(std::as_bytes(std::span(bytes))).value();
}

TEST(PixelFormat, EveryOrderAndDepth) {
  RfbWriter out;
  format_of({16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0}).put(out, 0xff8000);
  EXPECT_EQ(load_be<u16>(out.bytes()), 31 << 11 | 32 << 5);
  out.truncate(0);
  format_of({32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0}).put(out, 0x123456);
  EXPECT_EQ(load_be<u32>(out.bytes()), 0x00123456u);
  out.truncate(0);
  format_of({8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}).put(out, 0xffff00);
  EXPECT_EQ(load_le<u8>(out.bytes()), 0xfc);
  // Colours in the upper three bytes: CPIXEL leaves the lowest out.
  out.truncate(0);
  const PixelFormat upper = format_of({32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 24, 16, 8});
  EXPECT_EQ(upper.compressed_bytes(), 3u);
  upper.put_compressed(out, 0x123456);
  EXPECT_EQ(load_le<u8>(out.bytes(), 0), 0x56);
  EXPECT_EQ(load_le<u8>(out.bytes(), 2), 0x12);
}

TEST(PixelFormat, ImpossibleOnesAreRefused) {
  const auto refused = [](std::array<u8, 16> bytes) {
    return !PixelFormat::parse(std::as_bytes(std::span(bytes)));
  };
  EXPECT_TRUE(refused({24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0}));
  EXPECT_TRUE(refused({16, 16, 0, 0}));
  EXPECT_TRUE(refused({32, 24, 0, 1, 0, 0, 0, 255, 0, 255, 16, 8, 0}));
  EXPECT_TRUE(refused({32, 24, 0, 1, 0, 254, 0, 255, 0, 255, 16, 8, 0}));
  EXPECT_TRUE(refused({32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 32, 8, 0}));
  EXPECT_TRUE(refused({8, 8, 0, 1, 0, 255, 0, 7, 0, 3, 1, 2, 0}));
}

}  // namespace
}  // namespace menura
