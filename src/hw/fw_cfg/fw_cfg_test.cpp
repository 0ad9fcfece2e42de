#include "hw/fw_cfg/fw_cfg.h"

#include <gtest/gtest.h>

#include "hw/core/test_machine.h"

namespace menura {
namespace {

std::vector<std::byte> content(std::string_view text) {
  const ConstBytes view = bytes_of(text);
  return {view.begin(), view.end()};
}

struct FwCfgTest : testing::Test {
  FwCfgTest() {
    m.io_root.map(0x510, fw_cfg.control_ports());
    m.io_root.map(0x514, fw_cfg.dma_ports());
  }
  std::string read_port(u16 key, size_t n) {
    m.out16(0x510, key);
    std::string text;
    for (size_t i = 0; i < n; i++) text += static_cast<char>(m.in8(0x511));
    return text;
  }
  // Builds a descriptor at 1000h, starts it, returns the control word left behind.
  u32 dma(u32 control, u32 length, u64 address) {
    std::array<std::byte, 16> raw;
    store_be(Bytes(raw), 0, control);
    store_be(Bytes(raw), 4, length);
    store_be(Bytes(raw), 8, address);
    m.ram->write(0x1000, raw);
    m.out32(0x514, 0);
    m.out32(0x518, byte_swap(u32{0x1000}));
    return byte_swap(m.ram->load<u32>(0x1000));
  }
  std::string ram_text(u64 at, size_t n) {
    std::string text(n, '\0');
    m.ram->read(at, writable_bytes_of(text));
    return text;
  }

  TestMachine m;
  FwCfg fw_cfg{"fw_cfg", m.memory};
};

TEST_F(FwCfgTest, SignatureAndFeatures) {
  EXPECT_EQ(read_port(0x0000, 4), "QEMU");
  EXPECT_EQ(read_port(0x0001, 4), std::string("\3\0\0\0", 4));
  // The DMA register reads as "QEMU CFG", most significant byte first.
  std::string signature;
  for (u16 port = 0x514; port < 0x51c; port++) signature += static_cast<char>(m.in8(port));
  EXPECT_EQ(signature, "QEMU CFG");
  EXPECT_EQ(m.in32(0x514), byte_swap(u32{0x51454d55}));
}

TEST_F(FwCfgTest, UnknownItemsAndEndsReadZero) {
  EXPECT_EQ(read_port(0x1234, 2), std::string(2, '\0'));
  EXPECT_EQ(read_port(0x0000, 6), std::string("QEMU\0\0", 6));
}

TEST_F(FwCfgTest, DirectoryListsFilesByName) {
  ASSERT_TRUE(fw_cfg.add_file("etc/zebra", content("zz")));
  ASSERT_TRUE(fw_cfg.add_file("bootorder", content("disk")));
  const std::string directory = read_port(0x19, 4 + 2 * 64);
  const ConstBytes raw = bytes_of(directory);
  EXPECT_EQ(load_be<u32>(raw, 0), 2u);
  EXPECT_EQ(load_be<u32>(raw, 4), 4u);
  EXPECT_EQ(load_be<u16>(raw, 8), 0x20);
  EXPECT_STREQ(directory.c_str() + 12, "bootorder");
  EXPECT_EQ(load_be<u16>(raw, 4 + 64 + 4), 0x21);
  EXPECT_STREQ(directory.c_str() + 12 + 64, "etc/zebra");
  EXPECT_EQ(read_port(0x21, 2), "zz");
}

TEST_F(FwCfgTest, RefusesBadNames) {
  EXPECT_FALSE(fw_cfg.add_file("", content("x")));
  EXPECT_TRUE(fw_cfg.add_file(std::string(55, 'n'), content("x")));
  const Result<void> tooLong = fw_cfg.add_file(std::string(56, 'n'), content("x"));
  ASSERT_FALSE(tooLong);
  EXPECT_NE(tooLong.error().text.find("1 to 55 characters"), std::string::npos);
}

TEST_F(FwCfgTest, DmaReadsSelectsAndPads) {
  ASSERT_TRUE(fw_cfg.add_file("etc/file", content("hello")));
  m.ram->fill(0x2000, 16, std::byte{0xaa});
  EXPECT_EQ(dma(0x0020'000a, 8, 0x2000), 0u);
  EXPECT_EQ(ram_text(0x2000, 9), std::string("hello\0\0\0\xaa", 9));
}

TEST_F(FwCfgTest, DmaSkipsAndContinues) {
  ASSERT_TRUE(fw_cfg.add_file("etc/file", content("hello")));
  EXPECT_EQ(dma(0x0020'000c, 2, 0), 0u);
  EXPECT_EQ(dma(0x02, 3, 0x2000), 0u);
  EXPECT_EQ(ram_text(0x2000, 3), "llo");
}

TEST_F(FwCfgTest, DmaOutsideRamFailsWithoutHarm) {
  ASSERT_TRUE(fw_cfg.add_file("etc/file", content("hello")));
  EXPECT_EQ(dma(0x0020'000a, 5, 0xffff'ffff'ffff'fff0), 1u);
  EXPECT_EQ(dma(0x0020'000a, 0xffff'ffff, 0x2000), 1u) << "longer than RAM";
  // A descriptor that is not in RAM is ignored.
  m.out32(0x514, byte_swap(u32{0xffff'ffff}));
  m.out32(0x518, byte_swap(u32{0xffff'fff0}));
}

TEST_F(FwCfgTest, OnlyWritableFilesAreWritten) {
  std::string heard;
  ASSERT_TRUE(fw_cfg.add_file("a", content("readonly")));
  ASSERT_TRUE(fw_cfg.add_writable_file("b", content("????"), [&](ConstBytes now) {
    heard.assign(reinterpret_cast<const char*>(now.data()), now.size());
  }));
  m.ram->write(0x3000, bytes_of(std::string_view("written")));
  EXPECT_EQ(dma(0x0020'0018, 4, 0x3000), 1u);
  EXPECT_EQ(read_port(0x20, 8), "readonly");
  EXPECT_EQ(dma(0x0021'0018, 4, 0x3000), 0u);
  EXPECT_EQ(heard, "writ");
  EXPECT_EQ(dma(0x0021'0018, 5, 0x3000), 1u) << "past its end";
}

TEST_F(FwCfgTest, RoundTripInMidItem) {
  ASSERT_TRUE(fw_cfg.add_writable_file("w", content("1234"), [](ConstBytes) {}));
  read_port(0x20, 2);
  m.out32(0x514, 0x1234);
  TestMachine other;
  FwCfg twin("fw_cfg", other.memory);
  ASSERT_TRUE(twin.add_writable_file("w", content("????"), [](ConstBytes) {}));
  EXPECT_EQ(TestMachine::round_trip(fw_cfg, twin), std::vector<std::string>{});
  other.io_root.map(0x510, twin.control_ports());
  EXPECT_EQ(other.in8(0x511), '3');
}

}  // namespace
}  // namespace menura
