#include "machine/loader/bzimage.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/bytes.h"
#include "base/fd.h"
#include "machine/loader/boot_parameters.h"

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
  const std::vector<std::byte> page = make_zero_page(
      image, {.command_line = 0x2'0000,
              .rsdp = 0x7ff'0000,
              .modules = {{.address = 0x1'2345'6000, .size = 0x1000}},
              .map = {{0, 0x9fc00, E820Type::Ram}, {0x10'0000, 0x700'0000, E820Type::Ram}}});
  EXPECT_EQ(load_le<u32>(page, 0x202), 0x5372'6448u);
  EXPECT_EQ(load_le<u64>(page, 0x070), 0x7ff'0000u);
  EXPECT_EQ(load_le<u32>(page, 0x218), 0x2345'6000u);
  EXPECT_EQ(load_le<u32>(page, 0x0c0), 1u);
  EXPECT_EQ(load_le<u32>(page, 0x228), 0x2'0000u);
  EXPECT_EQ(static_cast<int>(page[0x1e8]), 2);
  EXPECT_EQ(load_le<u64>(page, 0x2d0 + 20), 0x10'0000u);
  EXPECT_EQ(load_le<u32>(page, 0x2d0 + 36), 1u);
}

TEST(BzImageTest, TheSetupCodeIsToldWhereThingsLie) {
  std::vector<std::byte> file = tiny_kernel();
  const LinuxSetup s = prepare_setup(parse_bzimage(file, "k").value(), 0x123'4000, 0x5678);
  EXPECT_EQ(s.setup.size(), 2048u);
  EXPECT_EQ(s.code_address, 0x10'0000u);
  EXPECT_EQ(load_le<u32>(s.setup, 0x218), 0x123'4000u);
  EXPECT_EQ(load_le<u32>(s.setup, 0x21c), 0x5678u);
  EXPECT_EQ(load_le<u32>(s.setup, 0x228), s.command_line_address);
  EXPECT_EQ(s.setup[0x211] & std::byte{0x81}, std::byte{0x81}) << "LOADED_HIGH and CAN_USE_HEAP";
  EXPECT_LT(s.setup_address + load_le<u16>(s.setup, 0x224) + 0x200, s.command_line_address);
}

// Protocol 2.00 passes the command line through two words of the boot sector, and a zImage's code
// lies below 640 KiB.
TEST(BzImageTest, OldKernels) {
  std::vector<std::byte> file = tiny_kernel();
  store_le(Bytes(file), 0x206, u16{0x0200});
  file[0x211] = std::byte{0};
  const LinuxImage image = parse_bzimage(file, "k").value();
  EXPECT_FALSE(image.direct());
  EXPECT_FALSE(image.entry64);
  EXPECT_EQ(image.initrd_limit, 0x37ff'ffffu);
  EXPECT_EQ(image.command_line_limit, 255u);
  const LinuxSetup s = prepare_setup(image, 0, 0);
  EXPECT_EQ(s.setup_address, 0x9'0000u);
  EXPECT_EQ(s.code_address, 0x1'0000u);
  EXPECT_EQ(load_le<u16>(s.setup, 0x20), 0xa33fu);
  EXPECT_EQ(s.setup_address + load_le<u16>(s.setup, 0x22), s.command_line_address);
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
