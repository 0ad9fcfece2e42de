// What is special to each filter; conformance_test.cpp runs them all over a file.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/units.h"
#include "block/core/graph.h"
#include "block/drivers.h"

namespace menura {
namespace {

struct FiltersTest : testing::Test {
  FiltersTest() {
    folder = std::filesystem::temp_directory_path() / format("menura-filters-{}", ::getpid());
    std::filesystem::create_directory(folder);
  }
  ~FiltersTest() override { std::filesystem::remove_all(folder); }
  std::string path(std::string_view name) const { return (folder / name).string(); }
  Child open(const std::string& json) {
    Result<NodePtr> node = graph.open(parse_json(json).value());
    EXPECT_TRUE(node) << node.error().text;
    Result<Child> user =
        Child::attach(std::move(node).value(),
                      {"the test", "root", {kConsistentRead | kWrite | kResize, kConsistentRead}});
    EXPECT_TRUE(user) << user.error().text;
    return std::move(user).value();
  }
  std::filesystem::path folder;
  Graph graph{all_drivers()};
};

TEST_F(FiltersTest, ThrottleHoldsRequestsToTheirRate) {
  ASSERT_TRUE(graph.throttle_groups().add("g0", {.bps_total = {.mean = 1 * MiB}}));
  const Child disk = open(
      R"({"driver":"throttle","throttle-group":"g0","file":{"driver":"memory","size":4194304}})");
  std::vector<std::byte> bytes(128 * KiB);
  const auto begin = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < 6; i++) ASSERT_TRUE(disk->write(i * bytes.size(), bytes));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  // 640 KiB go before the last may: the first 100 KiB at once.
  EXPECT_GT(took.count(), 0.4);
  EXPECT_LT(took.count(), 3);
  EXPECT_EQ(graph.throttle_groups().remove("g0").error().code, Errc::Busy);
}

TEST_F(FiltersTest, ThrottledRequestsGoWhenTheGraphChanges) {
  ASSERT_TRUE(graph.throttle_groups().add("g0", {.iops_total = {.mean = 1}}));
  const Child disk = open(
      R"({"driver":"throttle","throttle-group":"g0","file":{"driver":"memory","size":4194304}})");
  std::vector<std::byte> bytes(512);
  std::thread writer([&] {
    for (unsigned i = 0; i < 20; i++) {
      const Graph::Pass pass(graph);
      EXPECT_TRUE(disk->write(0, bytes));
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto begin = std::chrono::steady_clock::now();
  { const Graph::Change change(graph); }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(900));
  graph.throttle_groups().find("g0").value()->limit({});
  writer.join();
}

TEST_F(FiltersTest, ThrottleLimitsAreChecked) {
  EXPECT_FALSE(graph.throttle_groups().add("g", {.bps_total = {1}, .bps_read = {1}}));
  EXPECT_FALSE(graph.throttle_groups().add("g", {.bps_total = {.mean = 10, .burst = 5}}));
  EXPECT_FALSE(graph.throttle_groups().add("g", {.bps_total = {.burst = 5}}));
  EXPECT_TRUE(graph.throttle_groups().add("g", {.bps_total = {.mean = 10, .burst = 50}}));
  EXPECT_EQ(graph.throttle_groups().add("g", {}).error().code, Errc::Exists);
}

TEST_F(FiltersTest, CopyOnReadKeepsWhatWasReadAndLosesNoWrite) {
  std::ofstream(path("base"), std::ios::binary) << std::string(1 * MiB, 'b');
  ASSERT_TRUE(graph.create("qcow2", path("top"), 1 * MiB, Value::object()));
  const Child disk = open(format(
      R"({{"driver":"copy-on-read","file":{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}},)"
      R"("backing":{{"driver":"raw","file":{{"driver":"file","filename":"{}"}}}}}}}})",
      path("top"), path("base")));
  Node& top = *disk->first_child();
  std::vector<std::byte> bytes(1000);
  ASSERT_TRUE(disk->read(100'000, bytes));
  EXPECT_EQ(bytes[7], std::byte{'b'});
  EXPECT_EQ(top.map(65536, 65536).value().kind, ExtentKind::Data);
  EXPECT_EQ(top.map(0, 65536).value().kind, ExtentKind::Hole);
  // Readers fill while a writer writes: what he wrote stays.
  std::vector<std::byte> mine(512, std::byte{'w'});
  std::thread reader([&] {
    std::vector<std::byte> all(64 * KiB);
    for (u64 at = 128 * KiB; at < 1 * MiB; at += all.size()) EXPECT_TRUE(disk->read(at, all));
  });
  for (u64 at = 128 * KiB; at < 1 * MiB; at += 64 * KiB) ASSERT_TRUE(disk->write(at + 512, mine));
  reader.join();
  for (u64 at = 128 * KiB; at < 1 * MiB; at += 64 * KiB) {
    std::vector<std::byte> there(1024);
    ASSERT_TRUE(disk->read(at, there));
    EXPECT_EQ(there[511], std::byte{'b'});
    EXPECT_EQ(there[512], std::byte{'w'});
  }
}

TEST_F(FiltersTest, BlkdebugFailsWhatItsRulesSay) {
  std::ofstream(path("rules"))
      << "# a comment\n[inject-error]\nevent = \"l2_load\"\nerrno = \"5\"\n"
         "once = \"on\"\n\n[set-state]\nevent = \"l1_update\"\nnew_state = \"2\"\n"
         "[inject-error]\nevent = \"none\"\niotype = \"read\"\nsector = \"9999\"\n"
         "errno = \"28\"\n";
  ASSERT_TRUE(graph.create("qcow2", path("a"), 1 * MiB, Value::object()));
  const Child disk = open(format(
      R"({{"driver":"qcow2","file":{{"driver":"blkdebug","config":"{}","image":{{"driver":"file","filename":"{}"}}}}}})",
      path("rules"), path("a")));
  std::vector<std::byte> bytes(512);
  const Result<void> first = disk->write(0, bytes);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().os_errno, EIO);
  EXPECT_TRUE(disk->write(0, bytes));  // once
  EXPECT_FALSE(graph.open(parse_json(R"({"driver":"blkdebug","image":{"driver":"memory","size":512},
                                         "inject-error":[{"event":"l2_laod"}]})")
                              .value()));
}

TEST_F(FiltersTest, BlkdebugStopsRequestsUntilTheyAreResumed) {
  ASSERT_TRUE(graph.create("qcow2", path("a"), 1 * MiB, Value::object()));
  const Child disk = open(format(
      R"({{"driver":"qcow2","file":{{"driver":"blkdebug","image":{{"driver":"file","filename":"{}"}}}}}})",
      path("a")));
  Breakpoints* points = disk->first_child()->image().breakpoints();
  ASSERT_NE(points, nullptr);
  ASSERT_TRUE(points->set("write_aio", "A"));
  EXPECT_FALSE(points->set("no_such_point", "B"));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    EXPECT_TRUE(disk->write(0, std::vector<std::byte>(65536, std::byte{7})));
    done = true;
  });
  while (!points->is_stopped("A")) std::this_thread::yield();
  EXPECT_FALSE(done);
  std::vector<std::byte> bytes(512);
  ASSERT_TRUE(disk->read(0, bytes));
  EXPECT_EQ(bytes[0], std::byte{0});  // not yet
  ASSERT_TRUE(points->resume("A"));
  writer.join();
  ASSERT_TRUE(disk->read(0, bytes));
  EXPECT_EQ(bytes[0], std::byte{7});
  EXPECT_FALSE(points->remove("A"));
}

TEST_F(FiltersTest, BlkverifySeesADifference) {
  std::ofstream(path("a"), std::ios::binary) << std::string(4096, 'x');
  std::ofstream(path("b"), std::ios::binary) << std::string(4096, 'x');
  const auto json = format(
      R"({{"driver":"blkverify","test":{{"driver":"raw","file":{{"driver":"file","filename":"{}"}}}},)"
      R"("raw":{{"driver":"file","filename":"{}"}}}})",
      path("a"), path("b"));
  std::vector<std::byte> bytes(512);
  {
    const Child disk = open(json);
    EXPECT_TRUE(disk->write(512, bytes));
    EXPECT_TRUE(disk->read(0, bytes));
  }
  std::fstream(path("b"), std::ios::in | std::ios::out | std::ios::binary).seekp(3000).put('y');
  const Child disk = open(json);
  EXPECT_TRUE(disk->read(0, bytes));
  EXPECT_EQ(disk->read(2560, bytes).error().code, Errc::Corrupt);
}

TEST_F(FiltersTest, PreallocateGrowsInStepsAndCutsAtTheEnd) {
  std::ofstream(path("a"), std::ios::binary) << "";
  {
    const Child file = open(format(
        R"({{"driver":"preallocate","prealloc-size":1048576,"prealloc-align":65536,"file":{{"driver":"file","filename":"{}"}}}})",
        path("a")));
    ASSERT_TRUE(file->write(0, std::vector<std::byte>(1000, std::byte{1})));
    EXPECT_EQ(file->size(), 1000u);
    EXPECT_EQ(std::filesystem::file_size(path("a")), 1 * MiB + 64 * KiB);
    ASSERT_TRUE(file->truncate(5000));
    EXPECT_EQ(file->size(), 5000u);
  }
  EXPECT_EQ(std::filesystem::file_size(path("a")), 5000u);
}

TEST_F(FiltersTest, ReopenedNodesKeepTheirUsersAndContent) {
  ASSERT_TRUE(graph.create("qcow2", path("a"), 1 * MiB, Value::object()));
  const Child disk = open(format(
      R"({{"driver":"qcow2","node-name":"top","file":{{"driver":"file","node-name":"file","filename":"{}"}}}})",
      path("a")));
  ASSERT_TRUE(disk->write(0, std::vector<std::byte>(512, std::byte{3})));
  const auto reopen = [&](const char* json) {
    const Graph::Change change(graph);
    const Value options = parse_json(json).value();
    return graph.reopen(*graph.find(*options.find("node-name")->as<std::string>()), options);
  };
  ASSERT_TRUE(
      reopen(R"({"driver":"qcow2","node-name":"top","file":"file","lazy-refcounts":true})"));
  EXPECT_FALSE(reopen(R"({"driver":"raw","node-name":"top","file":"file"})"));
  EXPECT_FALSE(reopen(R"({"driver":"qcow2","node-name":"top","file":"file","no-such":1})"));
  EXPECT_EQ(
      reopen(R"({"driver":"qcow2","node-name":"top","file":"file","read-only":true})").error().code,
      Errc::Busy);
  const Result<void> direct = reopen(
      format(R"({{"driver":"file","node-name":"file","filename":"{}","aio":"threads"}})", path("a"))
          .c_str());
  EXPECT_TRUE(direct) << direct.error().text;
  std::vector<std::byte> bytes(512);
  ASSERT_TRUE(disk->read(0, bytes));
  EXPECT_EQ(bytes[5], std::byte{3});
  ASSERT_TRUE(disk->write(70000, bytes));
  EXPECT_EQ(disk->image().check(Repair::None).value().corruptions, 0u);
}

}  // namespace
}  // namespace menura
