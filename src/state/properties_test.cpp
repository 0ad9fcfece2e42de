#include "state/properties.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace menura {
namespace {

enum class Mode { Off, On, Auto };
constexpr std::string_view kModes[] = {"off", "on", "auto"};
std::span<const std::string_view> enum_names(Mode) { return kModes; }

struct Inner {
  u16 port = 80;
  void describe(PropertyVisitor& p) { p.field("port", port, "TCP port"); }
};
struct Config {
  std::string path;
  bool server = false;
  u8 small = 7;
  i32 negative = -1;
  Size size{64 * MiB};
  Mode mode = Mode::Auto;
  std::optional<u32> limit;
  std::vector<std::string> names;
  Inner inner;
  void describe(PropertyVisitor& p) {
    p.required("path", path, "where it is");
    p.field("server", server);
    p.field("small", small);
    p.field("negative", negative);
    p.field("size", size, "how large");
    p.field("mode", mode);
    p.field("limit", limit);
    p.field("names", names);
    p.field("inner", inner);
  }
};

Result<Config> read(std::string_view text, std::string_view implied = {}) {
  Config config;
  const Value value = TRY(parse_keyval(text, implied));
  TRY(read_properties(config, value, "socket"));
  return config;
}

std::string error_of(std::string_view text) {
  const Result<Config> config = read(text, "path");
  return config ? "no error" : config.error().text;
}

TEST(PropertiesTest, ReadsEveryType) {
  const Result<Config> c = read(
      "/tmp/a,,b,server,small=0x10,negative=-5,size=1.5G,mode=on,limit=9,names.0=x,names.1=y,"
      "inner.port=8080",
      "path");
  ASSERT_TRUE(c) << c.error().text;
  EXPECT_EQ(c->path, "/tmp/a,b");
  EXPECT_TRUE(c->server);
  EXPECT_EQ(c->small, 16);
  EXPECT_EQ(c->negative, -5);
  EXPECT_EQ(c->size.bytes, 1536 * MiB);
  EXPECT_EQ(c->mode, Mode::On);
  EXPECT_EQ(c->limit, 9u);
  EXPECT_EQ(c->names, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(c->inner.port, 8080);
}

TEST(PropertiesTest, ShortSwitches) {
  EXPECT_FALSE(read("path=x,noserver")->server);
  EXPECT_TRUE(read("path=x,server")->server);
}

TEST(PropertiesTest, ErrorsNameKeyExpectationAndNearest) {
  EXPECT_EQ(error_of("p,srver=on"),
            "socket: there is no property 'srver' (did you mean 'server'?)");
  EXPECT_EQ(error_of("p,small=300"),
            "socket: property 'small': expected a number from 0 to 255, not 300");
  EXPECT_EQ(error_of("p,mode=aut"),
            "socket: property 'mode': expected one of off, on, auto, not 'aut' (did you mean "
            "'auto'?)");
  EXPECT_EQ(error_of("p,server=maybe"),
            "socket: property 'server': expected on or off, not 'maybe'");
  EXPECT_EQ(error_of("p,inner.prt=1"),
            "socket: there is no property 'inner.prt' (did you mean 'port'?)");
  EXPECT_EQ(error_of("p,inner=1"), "socket: expected an object, not a string");
  EXPECT_EQ(error_of("path.a=1"), "socket: property 'path': expected a string, not an object");
  EXPECT_EQ(error_of("server=on"), "socket: property 'path': must be given (str)");
}

TEST(PropertiesTest, ListsAndWritesBack) {
  const std::vector<PropertyInfo> list = list_properties<Config>();
  ASSERT_EQ(list.size(), 9u);
  EXPECT_EQ(list[0].name, "path");
  EXPECT_TRUE(list[0].required);
  EXPECT_EQ(list[5].type, "off|on|auto");
  EXPECT_EQ(list[5].default_value, "auto");
  EXPECT_EQ(list[8].name, "inner.port");
  EXPECT_NE(print_properties(list).find("size=<size>"), std::string::npos);

  Config config;
  config.path = "q";
  const Value written = write_properties(config);
  Config again;
  ASSERT_TRUE(read_properties(again, written, "x"));
  EXPECT_EQ(again.path, "q");
  EXPECT_EQ(again.size.bytes, 64 * MiB);
}

TEST(KeyvalTest, Grammar) {
  EXPECT_EQ(to_json(parse_keyval("a=1,b=x=y,c=").value()), R"({"a": "1", "b": "x=y", "c": ""})");
  EXPECT_EQ(to_json(parse_keyval("e1000,mac=52:54:00", "driver").value()),
            R"({"driver": "e1000", "mac": "52:54:00"})");
  EXPECT_EQ(to_json(parse_keyval("a=1,a=2").value()), R"({"a": "2"})");
  EXPECT_EQ(to_json(parse_keyval("").value()), "{}");
  EXPECT_FALSE(parse_keyval("a=1,a.b=2"));
  EXPECT_FALSE(parse_keyval("a..b=2"));
  EXPECT_FALSE(parse_keyval("=2"));
}

TEST(JsonTest, ReadsAndWrites) {
  const char* text =
      R"({"a": [1, -2, 3.5, true, null, "x\"\\\nÄ"], "b": {"c": 18446744073709551615}})";
  const Result<Value> value = parse_json(text);
  ASSERT_TRUE(value) << value.error().text;
  EXPECT_EQ(parse_json(to_json(*value)).value(), *value);
  EXPECT_EQ(*value->find("b")->find("c")->as<u64>(), ~u64{0});
}

TEST(JsonTest, RefusesWithAPosition) {
  for (const char* bad :
       {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "nul", "\"\x01\"", "1 2", "{\"a\" 1}"})
    EXPECT_FALSE(parse_json(bad)) << bad;
  EXPECT_NE(parse_json("[1, x]").error().text.find("near character 5"), std::string::npos);
  EXPECT_FALSE(parse_json(std::string(100'000, '[')));
}

// The parser is the judge of what UTF-8 is: all pairs of first bytes, with tails.
TEST(Json, TextIsAlwaysUtf8) {
  for (unsigned pair = 0; pair < 0x10000; pair++) {
    for (const std::string_view tail : {"", "\x80", "\xbf\x80", "x", "\x80x"}) {
      std::string text{static_cast<char>(pair >> 8), static_cast<char>(pair)};
      text += tail;
      const auto back = parse_json(to_json(Value(text)));
      ASSERT_TRUE(back) << pair;
      if (parse_json("\"" + text + "\"") && text.find_first_of("\\\"") == std::string::npos) {
        ASSERT_EQ(*back->as<std::string>(), text) << pair;
      }
    }
  }
  EXPECT_EQ(to_json(Value("a\xff\xc3\xa9")), "\"a\\ufffd\xc3\xa9\"");
}

}  // namespace
}  // namespace menura
