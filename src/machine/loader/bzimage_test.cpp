#include "machine/loader/bzimage.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/bytes.h"
#include "base/fd.h"

namespace menura {
namespace {

std::vector<std::byte> tiny_kernel() {
  std::vector<std::byte> file(8192);
  store_le(Bytes(file), 0x202, u32{0x5372'6448});
  store_le(Bytes(file), 0x206, u16{0x020f});
  file[0x1f1] = std::byte{3};
  file[0x201] = std::byte{0x66};
  file[0x211] = std::byte{1};
  file[0x234] = std::byte{1};
  store_le(Bytes(file), 0x236, u16{1});
  store_le(Bytes(file), 0x22c, u32{0x7fff'ffff});
  store_le(Bytes(file), 0x258, u64{0x100'0000});
  store_le(Bytes(file), 0x260, u32{0x20'0000});
  return file;
}

TEST(BzImageTest, ReadsTheHeader) {
  const std::vector<std::byte> file = tiny_kernel();
  const LinuxImage image = parse_bzimage(file, "k").value();
  EXPECT_EQ(image.setup_size, 4u * 512);
  EXPECT_TRUE(image.entry64);
  EXPECT_EQ(image.preferred_address, 0x100'0000u);
  EXPECT_EQ(image.init_size, 0x20'0000u);
  EXPECT_EQ(image.protected_mode_code().size(), 8192u - 2048);
}

TEST(BzImageTest, ZeroPageCarriesEverything) {
  const std::vector<std::byte> file = tiny_kernel();
  const LinuxImage image = parse_bzimage(file, "k").value();
  const E820Entry map[] = {{0, 0x9fc00, E820Type::Ram}, {0x10'0000, 0x700'0000, E820Type::Ram}};
  const std::vector<std::byte> page = make_zero_page(image, {.command_line = 0x2'0000,
                                                             .initrd = 0x1'2345'6000,
                                                             .initrd_size = 0x1000,
                                                             .rsdp = 0x7ff'0000,
                                                             .memory_map = map});
  EXPECT_EQ(load_le<u32>(page, 0x202), 0x5372'6448u);
  EXPECT_EQ(load_le<u64>(page, 0x070), 0x7ff'0000u);
  EXPECT_EQ(load_le<u32>(page, 0x218), 0x2345'6000u);
  EXPECT_EQ(load_le<u32>(page, 0x0c0), 1u);
  EXPECT_EQ(load_le<u32>(page, 0x228), 0x2'0000u);
  EXPECT_EQ(static_cast<int>(page[0x1e8]), 2);
  EXPECT_EQ(load_le<u64>(page, 0x2d0 + 20), 0x10'0000u);
  EXPECT_EQ(load_le<u32>(page, 0x2d0 + 36), 1u);
}

TEST(BzImageTest, SaysWhatAFileIsInstead) {
  const auto text = [](std::string_view magic) {
    std::vector<std::byte> file(1024);
    std::ranges::copy(bytes_of(magic), file.begin());
    return parse_bzimage(file, "x").error().text;
  };
  EXPECT_EQ(text("\x7f"
                 "ELF"),
            "'x' is no Linux kernel but an ELF file");
  EXPECT_EQ(text("\x1f\x8b"), "'x' is no Linux kernel but a gzip file (is it an initrd?)");
  EXPECT_EQ(parse_bzimage({}, "x").error().text, "'x' is no Linux kernel but an empty file");
}

TEST(BzImageTest, DamagedHeadersAreErrorsOrHarmless) {
  for (size_t at = 0x1f0; at < 0x268; at++) {
    for (const u8 value : {0x00, 0x7f, 0xff}) {
      std::vector<std::byte> file = tiny_kernel();
      file[at] = std::byte{value};
      const Result<LinuxImage> image = parse_bzimage(file, "k");
      if (!image) continue;
      EXPECT_LE(image->setup_size, file.size());
      EXPECT_EQ(make_zero_page(*image, {}).size(), 4096u);
    }
  }
}

// A real kernel, where the host has one.
TEST(BzImageTest, HostKernels) {
  int seen = 0;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/boot", none)) {
    if (!entry.path().filename().string().starts_with("vmlinuz")) continue;
    const std::string file = read_file(entry.path().string(), u64{64} << 20).value();
    const Result<LinuxImage> image = parse_bzimage(bytes_of(file), entry.path().string());
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_TRUE(image->entry64);
    EXPECT_NE(entry.path().string().find(image->version.substr(0, image->version.find(' '))),
              std::string::npos);
    seen++;
  }
  if (seen == 0) GTEST_SKIP() << "SKIPPED: no kernel in /boot";
}

}  // namespace
}  // namespace menura
