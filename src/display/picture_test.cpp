#include "display/picture.h"

#include <gtest/gtest.h>
#include <png.h>

#include "base/bytes.h"

namespace menura {
namespace {

Surface flag() {
  Surface surface;
  surface.resize(3, 2);
  surface.row(0)[0] = 0xff0000;
  surface.row(1)[2] = 0x123456;
  return surface;
}

TEST(Picture, PpmIsItsHeaderAndThePixels) {
  const std::vector<std::byte> file = encode_picture(flag(), PictureFormat::Ppm).value();
  const std::string text(reinterpret_cast<const char*>(file.data()), file.size());
  EXPECT_EQ(text.substr(0, 11), "P6\n3 2\n255\n");
  ASSERT_EQ(text.size(), 11u + 18);
  EXPECT_EQ(text.substr(11, 3), std::string("\xff\0\0", 3));
  EXPECT_EQ(text.substr(26), "\x12\x34\x56");
}

TEST(Picture, LibpngReadsThePng) {
  const std::vector<std::byte> file = encode_picture(flag(), PictureFormat::Png).value();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_TRUE(png_image_begin_read_from_memory(&image, file.data(), file.size()));
  EXPECT_EQ(image.width, 3u);
  image.format = PNG_FORMAT_RGB;
  std::vector<u8> rgb(PNG_IMAGE_SIZE(image));
  ASSERT_TRUE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr));
  EXPECT_EQ(rgb[0], 0xff);
  EXPECT_EQ(rgb[17], 0x56);
}

TEST(Picture, AnEmptyScreenIsAnError) {
  EXPECT_FALSE(encode_picture({}, PictureFormat::Png));
  EXPECT_FALSE(encode_picture({}, PictureFormat::Ppm));
}

TEST(Text, RowsAreUtf8WithoutTrailingSpaces) {
  const TextScreen screen{.columns = 4,
                          .rows = 2,
                          .characters = {'A', 0xc9, 0x81, ' ', 0, ' ', ' ', ' '},
                          .attributes = std::vector<u8>(8)};
  EXPECT_EQ(text_row(screen, 0), "A\u2554\u00fc");
  EXPECT_EQ(text_row(screen, 1), "");
  EXPECT_EQ(text_row(screen, 2), "");
}

}  // namespace
}  // namespace menura
