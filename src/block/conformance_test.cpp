// What every driver that can make an image must do, unchanged: each row of the table is created,
// written and read against a plain model in memory, mapped, resized, reopened, shared and checked.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <thread>

#include "base/units.h"
#include "block/core/graph.h"
#include "block/drivers.h"

namespace menura {
namespace {

constexpr u64 kSize = 5 * MiB + 512;

std::vector<std::string> creatable() {
  // Filters over raw files, but one over what it is for.
  std::vector<std::string> names{"memory",   "file",         "blkdebug",   "blkverify",
                                 "throttle", "copy_on_read", "preallocate"};
  for (const Driver* driver : all_drivers())
    if (driver->create && driver->kind == DriverKind::Format) names.emplace_back(driver->name);
  return names;
}

class Conformance : public testing::TestWithParam<std::string> {
 protected:
  Conformance() {
    folder = std::filesystem::temp_directory_path() /
             format("menura-conformance-{}-{}", ::getpid(), GetParam());
    std::filesystem::create_directory(folder);
    EXPECT_TRUE(graph.secrets().add("key", {.data = "password"}));
    path = (folder / "disk").string();
  }
  ~Conformance() override { std::filesystem::remove_all(folder); }

  bool in_memory() const { return GetParam() == "memory"; }
  bool is_encrypted() const { return GetParam() == "luks"; }
  bool is_filter() const { return driver().kind == DriverKind::Filter; }
  const Driver& driver() const {
    return *graph.find_driver(GetParam() == "copy_on_read" ? "copy-on-read" : GetParam());
  }
  std::string creatable_format() const {
    if (GetParam() == "copy_on_read") return "qcow2";
    return is_filter() ? "raw" : GetParam();
  }
  Result<void> try_create(u64 size, const Value& options) {
    if (GetParam() == "blkverify") TRY(graph.create("raw", path + ".raw", size, options));
    return graph.create(creatable_format(), path, size, options);
  }
  void create(u64 size = kSize) {
    if (in_memory()) return;
    Value options = Value::object();
    // Else its sizes are what cylinders, heads and sectors can tell.
    if (GetParam() == "vpc") options.set("force_size", true);
    if (is_encrypted()) options.set("key-secret", "key"), options.set("iter-time", 1);
    const Result<void> made = try_create(size, options);
    ASSERT_TRUE(made) << made.error().text;
    // What is encrypted is noise until it is written.
    if (is_encrypted()) {
      ASSERT_TRUE(open()->zero(0, size));
    }
  }
  // All but what each node has.
  Value node_options() {
    const auto image = [](std::string_view driver, const std::string& name) {
      Value options = Value::object();
      options.set("driver", driver);
      options.set("filename", name);
      return options;
    };
    if (!is_filter()) {
      Value options = image(GetParam(), path);
      if (in_memory()) options.erase("filename"), options.set("size", kSize);
      if (is_encrypted()) options.set("key-secret", "key");
      return options;
    }
    Value options = Value::object();
    options.set("driver", driver().name);
    const std::string below = creatable_format() == "raw" ? "file" : creatable_format();
    if (GetParam() == "blkverify") {
      options.set("test", image(below, path));
      options.set("raw", image("file", path + ".raw"));
    } else {
      options.set(GetParam() == "blkdebug" ? "image" : "file", image(below, path));
    }
    if (GetParam() == "throttle") {
      (void)graph.throttle_groups().find_or_make("g0");
      options.set("throttle-group", "g0");
    }
    return options;
  }
  Result<NodePtr> try_open(bool read_only = false) {
    Value options = node_options();
    options.set("read-only", read_only);
    options.set("discard", "unmap");
    return graph.open(std::move(options));
  }
  Child open(bool read_only = false) {
    Result<NodePtr> node = try_open(read_only);
    EXPECT_TRUE(node) << node.error().text;
    const u8 writes = read_only ? 0 : kWrite | kResize;
    Result<Child> user = Child::attach(
        std::move(node).value(),
        {"the test", "root", {static_cast<u8>(kConsistentRead | writes), kConsistentRead}});
    EXPECT_TRUE(user) << user.error().text;
    return std::move(user).value();
  }
  static void expect_content(Node& node, const std::vector<std::byte>& model) {
    std::vector<std::byte> content(model.size());
    ASSERT_GE(node.size(), model.size());
    const Result<void> read = node.read(0, content);
    ASSERT_TRUE(read) << read.error().text;
    const auto at = std::mismatch(content.begin(), content.end(), model.begin()).first;
    EXPECT_TRUE(at == content.end()) << "first difference at " << at - content.begin();
  }
  static void expect_sound(Node& node) {
    Result<CheckReport> report = node.image().check(Repair::None);
    if (!report) {
      EXPECT_EQ(report.error().code, Errc::Unsupported) << report.error().text;
      return;
    }
    EXPECT_EQ(report->corruptions, 0u) << (report->findings.empty() ? "" : report->findings[0]);
    EXPECT_EQ(report->leaks, 0u) << (report->findings.empty() ? "" : report->findings[0]);
    EXPECT_EQ(report->check_errors, 0u);
  }
  // Writes, zeroings and discards at places and of sizes that hit every border.
  void exercise(Node& node, std::vector<std::byte>& model, unsigned steps) {
    for (unsigned step = 0; step < steps; step++) {
      const u64 limit = step % 4 == 0 ? 300 * KiB : 9000;
      const u64 offset = random() % model.size();
      const u64 length = std::min<u64>(1 + random() % limit, model.size() - offset);
      const auto from = model.begin() + static_cast<i64>(offset);
      const unsigned what = random() % 8;
      if (what < 5) {
        for (u64 i = 0; i < length; i++)
          from[static_cast<i64>(i)] = static_cast<std::byte>(random());
        const Result<void> done =
            node.write(offset, ConstBytes(&*from, length), {.fua = what == 0});
        ASSERT_TRUE(done) << done.error().text;
      } else {
        std::fill_n(from, length, std::byte{0});
        const Result<void> done = node.zero(offset, length, {.may_unmap = what == 6});
        ASSERT_TRUE(done) << done.error().text;
      }
    }
  }
  Graph graph{all_drivers()};
  std::mt19937 random{12345};
  std::filesystem::path folder;
  std::string path;
};

TEST_P(Conformance, FreshReadsAsZeroes) {
  create();
  const Child disk = open();
  EXPECT_EQ(disk->size(), kSize);
  EXPECT_EQ(disk->image().has_zero_init(), !is_encrypted());
  expect_content(*disk, std::vector<std::byte>(kSize));
  expect_sound(*disk);
}

TEST_P(Conformance, KeepsWhatIsWritten) {
  create();
  std::vector<std::byte> model(kSize);
  Child disk = open();
  exercise(*disk, model, 200);
  expect_content(*disk, model);
  ASSERT_TRUE(disk->flush());
  expect_sound(*disk);
  if (in_memory()) return;
  disk.reset();
  expect_content(*open(true), model);
  Child again = open();
  exercise(*again, model, 50);
  again.reset();
  const Child last = open(true);
  expect_content(*last, model);
  expect_sound(*last);
}

TEST_P(Conformance, DiscardedRangesHoldOldBytesOrZeroes) {
  create();
  std::vector<std::byte> model(kSize);
  const Child disk = open();
  exercise(*disk, model, 100);
  for (unsigned i = 0; i < 30; i++) {
    const u64 offset = random() % (kSize - 1);
    const u64 length = 1 + random() % std::min<u64>(kSize - offset, 400 * KiB);
    ASSERT_TRUE(disk->discard(offset, length));
    std::vector<std::byte> now(length);
    ASSERT_TRUE(disk->read(offset, now));
    for (u64 j = 0; j < length; j++) {
      ASSERT_TRUE(now[j] == model[offset + j] || now[j] == std::byte{0}) << offset + j;
      model[offset + j] = now[j];
    }
  }
  expect_content(*disk, model);
  exercise(*disk, model, 100);
  expect_content(*disk, model);
  expect_sound(*disk);
}

TEST_P(Conformance, MapsWhatItReads) {
  create();
  std::vector<std::byte> model(kSize);
  const Child disk = open();
  exercise(*disk, model, 30);
  ASSERT_TRUE(disk->flush());
  for (u64 at = 0; at < kSize;) {
    const Result<Extent> extent = disk->map(at, kSize - at);
    ASSERT_TRUE(extent) << extent.error().text;
    ASSERT_GT(extent->length, 0u);
    ASSERT_LE(extent->length, kSize - at);
    std::vector<std::byte> there(extent->length);
    if (extent->kind == ExtentKind::Data) {
      ASSERT_NE(extent->at, nullptr);
      ASSERT_TRUE(extent->at->read(extent->offset, there));
    }
    if (extent->kind != ExtentKind::Opaque) {
      ASSERT_TRUE(std::equal(there.begin(), there.end(), model.begin() + static_cast<i64>(at)))
          << at;
    }
    at += extent->length;
  }
  for (u64 at = 0; at < kSize; at += 4096) {
    const std::optional<Direct> direct = disk->peek(at, 512);
    if (!direct) continue;
    ASSERT_GT(direct->length, 0u);
    std::vector<std::byte> there(direct->length);
    if (direct->kind == Direct::Kind::File) {
      ASSERT_EQ(::pread(direct->fd, there.data(), there.size(), static_cast<off_t>(direct->offset)),
                static_cast<ssize_t>(there.size()));
    }
    ASSERT_TRUE(std::equal(there.begin(), there.end(), model.begin() + static_cast<i64>(at))) << at;
  }
}

TEST_P(Conformance, RefusesWhatIsOutside) {
  create();
  std::vector<std::byte> buffer(1024);
  if (Child disk = open(); !disk->image().grows() && !in_memory()) {
    EXPECT_EQ(disk->write(kSize - 512, buffer).error().code, Errc::OutOfRange);
    EXPECT_EQ(disk->write(~u64{0} - 100, buffer).error().code, Errc::OutOfRange);
    EXPECT_EQ(disk->zero(512, ~u64{0} - 100).error().code, Errc::OutOfRange);
    EXPECT_EQ(disk->discard(kSize, 1).error().code, Errc::OutOfRange);
  }
  const Child disk = open(true);
  EXPECT_EQ(disk->read(kSize - 512, buffer).error().code, Errc::OutOfRange);
  EXPECT_EQ(disk->read(~u64{0} - 100, buffer).error().code, Errc::OutOfRange);
  EXPECT_EQ(disk->write(0, buffer).error().code, Errc::Permission);
  EXPECT_EQ(disk->zero(0, 512).error().code, Errc::Permission);
  EXPECT_EQ(disk->discard(0, 512).error().code, Errc::Permission);
  EXPECT_EQ(disk->truncate(0).error().code, Errc::Permission);
}

TEST_P(Conformance, GrowsWithZeroes) {
  create();
  std::vector<std::byte> model(kSize);
  Child disk = open();
  exercise(*disk, model, 20);
  for (const u64 size : {kSize + 100 * KiB, 40 * MiB}) {
    const Result<void> grown = disk->truncate(size);
    if (!grown && grown.error().code == Errc::Unsupported) GTEST_SKIP() << grown.error().text;
    ASSERT_TRUE(grown) << grown.error().text;
    EXPECT_EQ(disk->size(), size);
    model.resize(size);
    expect_content(*disk, model);
  }
  exercise(*disk, model, 40);
  expect_content(*disk, model);
  expect_sound(*disk);
  if (in_memory()) return;
  disk.reset();
  expect_content(*open(), model);
}

TEST_P(Conformance, ShrinksOrRefuses) {
  create();
  std::vector<std::byte> model(kSize);
  Child disk = open();
  exercise(*disk, model, 40);
  const Result<void> shrunk = disk->truncate(1 * MiB);
  if (!shrunk) {
    EXPECT_EQ(shrunk.error().code, Errc::Unsupported) << shrunk.error().text;
    return expect_content(*disk, model);
  }
  model.resize(1 * MiB);
  EXPECT_EQ(disk->size(), 1 * MiB);
  expect_content(*disk, model);
  ASSERT_TRUE(disk->truncate(kSize));
  model.resize(kSize);
  expect_content(*disk, model);
  expect_sound(*disk);
}

TEST_P(Conformance, ServesManyThreads) {
  create();
  constexpr unsigned kThreads = 4;
  constexpr u64 kShare = 1 * MiB;
  std::vector<std::byte> model(kSize);
  Child disk = open();
  const auto work = [&](unsigned index) {
    std::mt19937 mine(index);
    std::vector<std::byte> buffer;
    for (unsigned step = 0; step < 150; step++) {
      const u64 offset = index * kShare + mine() % kShare;
      buffer.resize(1 + mine() % std::min<u64>(20000, (index + 1) * kShare - offset));
      const auto place = model.begin() + static_cast<i64>(offset);
      if (step % 3 == 0) {
        EXPECT_TRUE(disk->read(offset, buffer));
        EXPECT_TRUE(std::equal(buffer.begin(), buffer.end(), place));
      } else if (step % 7 == 0) {
        std::fill_n(place, buffer.size(), std::byte{0});
        EXPECT_TRUE(disk->zero(offset, buffer.size(), {.may_unmap = true}));
      } else {
        for (std::byte& b : buffer) b = static_cast<std::byte>(mine());
        std::ranges::copy(buffer, place);
        EXPECT_TRUE(disk->write(offset, buffer));
      }
      if (step % 50 == 0) {
        EXPECT_TRUE(disk->flush());
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; i++) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  expect_content(*disk, model);
  expect_sound(*disk);
}

TEST_P(Conformance, KeepsASecondWriterOut) {
  if (in_memory()) return;
  create();
  const Child disk = open();
  Graph other(all_drivers());
  ASSERT_TRUE(other.secrets().add("key", {.data = "password"}));
  (void)other.throttle_groups().find_or_make("g0");
  const Value options = node_options();
  const auto attach = [&]() -> Result<Child> {
    NodePtr node = TRY(other.open(options));
    return Child::attach(std::move(node),
                         {"the other", "root", {kConsistentRead | kWrite, kConsistentRead}});
  };
  const Result<Child> second = attach();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::Busy) << second.error().text;
  EXPECT_NE(second.error().text.find("another part of this process"), std::string::npos)
      << second.error().text;
}

TEST_P(Conformance, RefusesSillySizesAndOptions) {
  if (in_memory()) return;
  Value wrong = Value::object();
  wrong.set("no-such-option", "1");
  const Result<void> made = try_create(kSize, wrong);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text.find("no-such-option"), std::string::npos) << made.error().text;
  create();
  Value options = node_options();
  options.set("no-such-option", "1");
  const Result<NodePtr> node = graph.open(options);
  ASSERT_FALSE(node);
  EXPECT_NE(node.error().text.find("no-such-option"), std::string::npos) << node.error().text;
}

INSTANTIATE_TEST_SUITE_P(Drivers, Conformance, testing::ValuesIn(creatable()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace menura
