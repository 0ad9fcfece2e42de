#include "display/picture.h"

#include <png.h>

#include "base/bytes.h"

namespace menura {

namespace {

// Code page 437 as Unicode.
constexpr char16_t kCodePage437[257] =
    u" \u263a\u263b\u2665\u2666\u2663\u2660\u2022\u25d8\u25cb\u25d9\u2642\u2640\u266a\u266b\u263c"
    u"\u25ba\u25c4\u2195\u203c\u00b6\u00a7\u25ac\u21a8\u2191\u2193\u2192\u2190\u221f\u2194\u25b2"
    u"\u25bc"
    u" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz"
    u"{|}~\u2302"
    u"\u00c7\u00fc\u00e9\u00e2\u00e4\u00e0\u00e5\u00e7\u00ea\u00eb\u00e8\u00ef\u00ee\u00ec\u00c4"
    u"\u00c5"
    u"\u00c9\u00e6\u00c6\u00f4\u00f6\u00f2\u00fb\u00f9\u00ff\u00d6\u00dc\u00a2\u00a3\u00a5\u20a7"
    u"\u0192"
    u"\u00e1\u00ed\u00f3\u00fa\u00f1\u00d1\u00aa\u00ba\u00bf\u2310\u00ac\u00bd\u00bc\u00a1\u00ab"
    u"\u00bb"
    u"\u2591\u2592\u2593\u2502\u2524\u2561\u2562\u2556\u2555\u2563\u2551\u2557\u255d\u255c\u255b"
    u"\u2510"
    u"\u2514\u2534\u252c\u251c\u2500\u253c\u255e\u255f\u255a\u2554\u2569\u2566\u2560\u2550\u256c"
    u"\u2567"
    u"\u2568\u2564\u2565\u2559\u2558\u2552\u2553\u256b\u256a\u2518\u250c\u2588\u2584\u258c\u2590"
    u"\u2580"
    u"\u03b1\u00df\u0393\u03c0\u03a3\u03c3\u00b5\u03c4\u03a6\u0398\u03a9\u03b4\u221e\u03c6\u03b5"
    u"\u2229"
    u"\u2261\u00b1\u2265\u2264\u2320\u2321\u00f7\u2248\u00b0\u2219\u00b7\u221a\u207f\u00b2\u25a0"
    u"\u00a0";

void append_utf8(std::string& text, char16_t c) {
  if (c < 0x80) {
    text.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    text.push_back(static_cast<char>(0xc0 | c >> 6));
    text.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    text.push_back(static_cast<char>(0xe0 | c >> 12));
    text.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    text.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

std::vector<u8> rgb_of(const Surface& surface) {
  std::vector<u8> rgb;
  rgb.reserve(size_t{surface.width()} * surface.height() * 3);
  for (u32 y = 0; y < surface.height(); y++)
    for (u32 x = 0; x < surface.width(); x++)
      for (const unsigned shift : {16u, 8u, 0u})
        rgb.push_back(static_cast<u8>(surface.row(y)[x] >> shift));
  return rgb;
}

std::vector<std::byte> encode_ppm(const Surface& surface) {
  const std::string head = format("P6\n{} {}\n255\n", surface.width(), surface.height());
  const std::vector<u8> rgb = rgb_of(surface);
  std::vector<std::byte> file;
  file.reserve(head.size() + rgb.size());
  for (const char c : head) file.push_back(static_cast<std::byte>(c));
  for (const u8 part : rgb) file.push_back(static_cast<std::byte>(part));
  return file;
}

Result<std::vector<std::byte>> encode_png(const Surface& surface) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = surface.width();
  image.height = surface.height();
  image.format = PNG_FORMAT_RGB;
  const std::vector<u8> rgb = rgb_of(surface);
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> file(size);
  if (!png_image_write_to_memory(&image, file.data(), &size, 0, rgb.data(), 0, nullptr))
    return fail(Errc::Internal, "Making a PNG of {}x{} pixels: {}", image.width, image.height,
                std::string_view(image.message));
  file.resize(size);
  return file;
}

}  // namespace

std::span<const std::string_view> enum_names(PictureFormat) {
  static constexpr std::string_view kNames[] = {"ppm", "png"};
  return kNames;
}

Result<std::vector<std::byte>> encode_picture(const Surface& surface, PictureFormat format) {
  if (surface.width() == 0 || surface.height() == 0)
    return fail(Errc::InvalidArgument, "The screen has no pixels");
  if (format == PictureFormat::Png) return encode_png(surface);
  return encode_ppm(surface);
}

std::string text_row(const TextScreen& screen, u32 row) {
  std::string text;
  if (row >= screen.rows) return text;
  for (u32 column = 0; column < screen.columns; column++)
    append_utf8(text, kCodePage437[screen.characters[size_t{row} * screen.columns + column]]);
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace menura
