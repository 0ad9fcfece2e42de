// A surface as the bytes of a picture file, and text screens as UTF-8.
//
// Owner: display. Threads: pure. Source: Netpbm's PPM; PNG through libpng; IBM's code page 437.
// Example: `std::vector<std::byte> file = TRY(encode_picture(display.surface(), PictureFormat::Png));`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/display.h"

namespace menura {

enum class PictureFormat : u8 { Ppm, Png };
std::span<const std::string_view> enum_names(PictureFormat);

// InvalidArgument for a surface without pixels.
Result<std::vector<std::byte>> encode_picture(const Surface& surface, PictureFormat format);

// A row of the screen without the spaces at its end.
std::string text_row(const TextScreen& screen, u32 row);

}  // namespace menura
