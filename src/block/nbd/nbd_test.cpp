// Names, and the order in which a read's bytes may come; connections are tested with other
// programs at their other end (tests/block/nbd_peers.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block/nbd/coverage.h"
#include "block/nbd/protocol.h"
#include "block/nbd/server_address.h"

namespace menura {
namespace {

std::string options_of(const std::string& name) {
  const Result<Value> options = parse_nbd_filename(name);
  return options ? to_json(*options) : "error: " + options.error().text;
}

TEST(NbdNames, AreReadAsQemuSpellsThem) {
  const auto inet = [](std::string_view host, std::string_view port, std::string_view name) {
    const std::string export_part = name.empty() ? "" : format(", \"export\": \"{}\"", name);
    return format(
        "{{\"driver\": \"nbd\", \"server\": {{\"type\": \"inet\", \"host\": \"{}\", \"port\": "
        "\"{}\"}}{}}}",
        host, port, export_part);
  };
  EXPECT_EQ(options_of("nbd://h"), inet("h", "10809", ""));
  EXPECT_EQ(options_of("nbd://h:1/a/b"), inet("h", "1", "a/b"));
  EXPECT_EQ(options_of("nbd+tcp://[::1]:2/x%20y"), inet("::1", "2", "x y"));
  EXPECT_EQ(options_of("nbd:h:3"), inet("h", "3", ""));
  EXPECT_EQ(options_of("nbd:[::1]:3:exportname=a:b"), inet("::1", "3", "a:b"));
  EXPECT_EQ(options_of("nbd+unix:///n?socket=/s%3f"),
            "{\"driver\": \"nbd\", \"server\": {\"type\": \"unix\", \"path\": \"/s?\"}, "
            "\"export\": \"n\"}");
  EXPECT_EQ(options_of("nbd:unix:/a:b"),
            "{\"driver\": \"nbd\", \"server\": {\"type\": \"unix\", \"path\": \"/a:b\"}}");
  for (const char* wrong : {"nbd:h", "nbd://[::1", "nbd+unix://h/x?socket=s", "nbd+unix:///x",
                            "nbd://h/%4", "nbd+tcp:h:1", "nbd://h/x?socket=y"})
    EXPECT_THAT(options_of(wrong), testing::StartsWith("error: ")) << wrong;
}

TEST(NbdNames, AreWrittenAsTheyAreRead) {
  for (const std::string name :
       {"nbd://h:1/a%20b", "nbd://[::1]:10809", "nbd+unix:///n?socket=/s"}) {
    const Result<Value> options = parse_nbd_filename(name);
    ASSERT_TRUE(options);
    NbdServerAddress address;
    ASSERT_TRUE(read_properties(address, *options->find("server"), "server"));
    const Value* exported = options->find("export");
    EXPECT_EQ(address.uri(exported ? *exported->as<std::string>() : ""), name);
  }
}

TEST(NbdCoverage, TakesEveryOrderOnce) {
  Coverage seen;
  EXPECT_TRUE(seen.is(100, 0));
  EXPECT_TRUE(seen.add(110, 10));
  EXPECT_TRUE(seen.add(100, 5));
  EXPECT_FALSE(seen.add(104, 2));
  EXPECT_FALSE(seen.add(119, 1));
  EXPECT_FALSE(seen.add(90, 100));
  EXPECT_FALSE(seen.add(112, 2));
  EXPECT_FALSE(seen.is(100, 20));
  EXPECT_TRUE(seen.add(105, 5));
  EXPECT_TRUE(seen.is(100, 20));
  EXPECT_FALSE(seen.is(100, 21));
  Coverage scattered;
  u64 at = 0;
  while (scattered.add(at, 1)) at += 2;
  EXPECT_GT(at, 1000u);  // and then it is no longer sincere
}

TEST(NbdMessages, ThatAreTooShortAreErrors) {
  NbdWriter writer;
  writer.add(u16{1}).counted("name").add(u64{5});
  NbdReader reader(writer.bytes());
  EXPECT_EQ(reader.take<u16>().value(), 1);
  EXPECT_EQ(reader.counted().value(), "name");
  EXPECT_EQ(reader.left(), 8u);
  EXPECT_EQ(reader.counted().value(), "");  // the upper half of 5
  EXPECT_FALSE(reader.take<u64>());
  EXPECT_EQ(reader.take<u32>().value(), 5u);
  NbdReader empty({});
  EXPECT_FALSE(empty.take<u32>());
  NbdWriter boast;
  boast.add(u32{0xffffffff});
  EXPECT_FALSE(NbdReader(boast.bytes()).counted());
}

TEST(NbdErrors, TravelThereAndBack) {
  for (const Errc code : {Errc::Permission, Errc::NoSpace, Errc::NoMemory, Errc::Unsupported})
    EXPECT_EQ(error_of_nbd(nbd_error_of(fail(code, "x")), "y").code, code);
  EXPECT_EQ(nbd_error_of(fail(Errc::Corrupt, "x")), kNbdEio);
  EXPECT_EQ(error_of_nbd(12345, "y").os_errno, 22);  // what is not known is EINVAL
}

}  // namespace
}  // namespace menura
