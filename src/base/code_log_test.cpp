#include "base/code_log.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

TEST(CodeLog, ItemsAreFoundByName) {
  EXPECT_EQ(find_log_item("in_asm"), LogItem::InAsm);
  EXPECT_EQ(find_log_item("nochain"), LogItem::NoChain);
  EXPECT_EQ(find_log_item("in_asn"), std::nullopt);
}

TEST(CodeLog, RangesInAllForms) {
  const auto ranges = parse_log_ranges("0x1000..0x1fff,0x8000+0x10,0x9010-16").value();
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].first, 0x1000u);
  EXPECT_EQ(ranges[0].last, 0x1fffu);
  EXPECT_EQ(ranges[1].last, 0x800fu);
  EXPECT_EQ(ranges[2].first, 0x9001u);
  EXPECT_EQ(ranges[2].last, 0x9010u);
  for (const char* wrong : {"", "0x1000", "0x10..0x1", "1+0", "x..y", "0xffffffffffffffff+2"})
    EXPECT_FALSE(parse_log_ranges(wrong)) << wrong;
}

TEST(CodeLog, WantsWhatIsInARange) {
  EXPECT_TRUE(code_log_wants(5));
  set_code_log_ranges({{10, 20}});
  EXPECT_FALSE(code_log_wants(9));
  EXPECT_TRUE(code_log_wants(10));
  EXPECT_TRUE(code_log_wants(20));
  EXPECT_FALSE(code_log_wants(21));
  set_code_log_ranges({});
}

TEST(CodeLog, GoesToItsSink) {
  std::string seen;
  set_code_log_sink([&](std::string_view text) { seen += text; });
  EXPECT_FALSE(code_logged(LogItem::Int));
  set_code_log(1u << static_cast<unsigned>(LogItem::Int));
  EXPECT_TRUE(code_logged(LogItem::Int));
  EXPECT_FALSE(code_logged(LogItem::Mmu));
  code_log("a\n");
  EXPECT_EQ(seen, "a\n");
  set_code_log(0);
  set_code_log_sink({});
}

}  // namespace
}  // namespace menura
