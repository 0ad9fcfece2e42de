// What is left of an image when everything stops: the protocol below records every write and flush;
// a crash keeps what was flushed, and of what came later any subset of sectors. After each crash the
// image must be sound, hold what was flushed, and no block may hold another's bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "base/units.h"
#include "block/core/graph.h"
#include "block/drivers.h"
#include "block/file/memory_image.h"

namespace menura {
namespace {

constexpr u64 kSector = 512;
constexpr u64 kBlock = 4096;
constexpr u64 kSize = 2 * MiB;
constexpr u64 kBlocks = kSize / kBlock;

struct LogEntry {
  enum class Kind : u8 { Write, Flush, Truncate } kind;
  u64 offset = 0;  // Truncate: the size
  std::vector<std::byte> bytes = {};
};

struct Recorder {
  std::vector<LogEntry> log;
  std::optional<size_t> fail_at;  // the entry that fails, once
  bool flushes_count = true;      // the negative control ignores them
};
Recorder* recorder = nullptr;

// A disk in memory that tells the recorder.
class RecordedImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext&) {
    return std::unique_ptr<Image>(new RecordedImage);
  }
  u64 size() const override { return memory_.size(); }
  bool grows() const override { return true; }
  Result<Extent> map(u64 offset, u64 length) override { return memory_.map(offset, length); }
  Result<void> read(u64 offset, Bytes to) override { return memory_.read(offset, to); }
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override {
    TRY(note({LogEntry::Kind::Write, offset, {from.begin(), from.end()}}));
    return memory_.write(offset, from, mode);
  }
  Result<void> flush() override { return note({LogEntry::Kind::Flush}); }
  Result<void> truncate(u64 size, Preallocation mode) override {
    TRY(note({LogEntry::Kind::Truncate, size}));
    return memory_.truncate(size, mode);
  }
  // Holes of the host are zeroes at once.
  Result<void> discard(u64 offset, u64 length) override {
    return write(offset, std::vector<std::byte>(static_cast<size_t>(length)), {});
  }

 private:
  static Result<void> note(LogEntry entry) {
    if (recorder->fail_at && *recorder->fail_at == recorder->log.size()) {
      recorder->fail_at.reset();
      return fail(Errc::Io, "Injected error");
    }
    recorder->log.push_back(std::move(entry));
    return {};
  }
  MemoryImage memory_{0};
};

const Driver kRecorded{.name = "recorded",
                       .help = "of this test",
                       .kind = DriverKind::Protocol,
                       .open = RecordedImage::open};

// What a block may hold: its tag is its number and the write it comes from; 0: zeroes.
struct History {
  struct Event {
    size_t log_size;  // when it was asked for
    u64 block;
    u64 tag;
  };
  struct Flushed {
    size_t log_size;        // when the flush was over
    std::vector<u64> tags;  // of sectors: a write that failed may have torn its block
  };
  std::vector<Event> events;
  std::vector<Flushed> flushes;

  struct Allowed {
    std::vector<u64> flushed;               // of sectors
    std::map<u64, std::vector<u64>> newer;  // of blocks
  };
  Allowed allowed(size_t crash) const {
    Allowed allowed{std::vector<u64>(kSize / kSector), {}};
    for (const Flushed& f : flushes)
      if (f.log_size <= crash) allowed.flushed = f.tags;
    for (const Event& e : events)
      if (e.log_size <= crash) allowed.newer[e.block].push_back(e.tag);
    return allowed;
  }
};

std::vector<std::byte> block_of(u64 tag) {
  std::vector<std::byte> bytes(kBlock);
  for (u64 i = 0; i < kBlock; i += 8) std::memcpy(bytes.data() + i, &tag, 8);
  return bytes;
}

u64 tag_at(ConstBytes bytes, u64 offset) {
  u64 tag = 0;
  std::memcpy(&tag, bytes.data() + offset, 8);
  return tag;
}

class CrashTest : public testing::TestWithParam<std::string> {
 protected:
  CrashTest() {
    drivers.assign(all_drivers().begin(), all_drivers().end());
    drivers.push_back(&kRecorded);
    recorder = &recorded;
  }
  ~CrashTest() override { recorder = nullptr; }

  // An image over a fresh recorded disk.
  Child make(Graph& graph) {
    Value below = Value::object();
    below.set("driver", "recorded");
    NodePtr file = graph.open(std::move(below)).value();
    CreateContext context{graph, "disk", kSize, parse_keyval(GetParam()).value(), file};
    const Result<void> made = graph.find_driver("qcow2")->create(context);
    EXPECT_TRUE(made) << made.error().text;
    return open(graph, file->name());
  }
  static Child open(Graph& graph, const std::string& file) {
    Value top = Value::object();
    top.set("driver", "qcow2");
    top.set("file", file);
    top.set("discard", "unmap");
    Result<NodePtr> node = graph.open(std::move(top));
    if (!node) return {};
    return Child::attach(std::move(node).value(),
                         {"the test", "root", {kConsistentRead | kWrite, kConsistentRead}})
        .value();
  }

  // Errors are allowed when one is injected: then old and new are.
  void work(Node& disk, unsigned steps) {
    for (unsigned step = 0; step < steps; step++) {
      const u64 first = random() % kBlocks,
                count = std::min<u64>(1 + random() % 24, kBlocks - first);
      const unsigned what = random() % 12;
      if (what == 11) {
        flush(disk);
        continue;
      }
      const bool zeroes = what >= 7;
      for (u64 b = first; b < first + count; b++)
        history.events.push_back({recorded.log.size(), b, zeroes ? 0 : b << 32 | ++sequence});
      if (what >= 9) {
        (void)disk.discard(first * kBlock, count * kBlock).ok();
      } else if (zeroes) {
        (void)disk.zero(first * kBlock, count * kBlock, {.may_unmap = what == 8}).ok();
      } else {
        std::vector<std::byte> bytes;
        for (auto e = history.events.end() - static_cast<i64>(count); e != history.events.end();
             ++e) {
          const std::vector<std::byte> one = block_of(e->tag);
          bytes.insert(bytes.end(), one.begin(), one.end());
        }
        (void)disk.write(first * kBlock, bytes).ok();
      }
    }
  }
  void flush(Node& disk) {
    std::vector<std::byte> now(kSize);
    if (!disk.read(0, now) || !disk.flush()) return;
    History::Flushed flushed{recorded.log.size(), {}};
    for (u64 at = 0; at < kSize; at += kSector) flushed.tags.push_back(tag_at(now, at));
    history.flushes.push_back(std::move(flushed));
  }

  // The file as a crash after that many entries leaves it.
  void replay(size_t crash, Node& file) {
    size_t durable = 0;
    if (recorded.flushes_count)
      for (size_t i = 0; i < crash; i++)
        if (recorded.log[i].kind == LogEntry::Kind::Flush) durable = i + 1;
    for (size_t i = 0; i < crash; i++) {
      const LogEntry& entry = recorded.log[i];
      if (entry.kind == LogEntry::Kind::Truncate && (i < durable || random() % 2)) {
        ASSERT_TRUE(file.truncate(std::max(entry.offset, file.size())));
      }
      if (entry.kind != LogEntry::Kind::Write) continue;
      for (u64 at = 0; at < entry.bytes.size(); at += kSector) {
        if (i >= durable && random() % 2) continue;
        const u64 length = std::min<u64>(kSector, entry.bytes.size() - at);
        ASSERT_TRUE(file.write(entry.offset + at, ConstBytes(entry.bytes).subspan(at, length)));
      }
    }
  }

  // What is wrong after that crash; empty: nothing.
  std::string verdict(size_t crash) {
    Graph graph(drivers);
    Value memory = Value::object();
    memory.set("driver", "memory");
    const NodePtr file = graph.open(std::move(memory)).value();
    replay(crash, *file);
    Child disk = open(graph, file->name());
    if (!disk) return "does not open";
    const Result<CheckReport> report = disk->image().check(Repair::None);
    if (!report) return report.error().text;
    if (report->corruptions || report->check_errors)
      return report->findings.empty() ? "corrupt" : report->findings[0];
    return content_verdict(*disk, history.allowed(crash));
  }
  static std::string content_verdict(Node& disk, History::Allowed allowed) {
    std::vector<std::byte> now(kSize);
    if (!disk.read(0, now)) return "does not read";
    for (u64 at = 0; at < kSize; at += 8) {
      const u64 tag = tag_at(now, at), block = at / kBlock;
      if (tag == allowed.flushed[at / kSector]) continue;
      if (tag != 0 && tag >> 32 != block)
        return format("block {} holds bytes of block {}", block, tag >> 32);
      const std::vector<u64>& newer = allowed.newer[block];
      if (std::ranges::find(newer, tag) == newer.end())
        return format("block {} holds write {}, which is neither flushed nor newer", block,
                      tag & 0xffffffff);
    }
    return "";
  }

  std::vector<const Driver*> drivers;
  Recorder recorded;
  History history;
  std::mt19937 random{4711};
  u64 sequence = 0;
};

TEST_P(CrashTest, LosesNothingThatWasFlushed) {
  Graph graph(drivers);
  Child disk = make(graph);
  flush(*disk);
  const size_t made = recorded.log.size();
  work(*disk, 150);
  disk.reset();
  unsigned crashes = 0;
  for (size_t crash = made; crash <= recorded.log.size();
       crash += 1 + recorded.log.size() / 100, crashes++) {
    const std::string wrong = verdict(crash);
    ASSERT_EQ(wrong, "") << "crash after entry " << crash << " of " << recorded.log.size();
  }
  EXPECT_GE(crashes, 50u);
}

TEST_P(CrashTest, TheOracleCanFail) {
  Graph graph(drivers);
  Child disk = make(graph);
  flush(*disk);
  const size_t made = recorded.log.size();
  work(*disk, 150);
  disk.reset();
  recorded.flushes_count = false;
  unsigned wrong = 0, crashes = 0;
  for (size_t crash = made + 20; crash <= recorded.log.size();
       crash += 1 + recorded.log.size() / 40, crashes++)
    wrong += !verdict(crash).empty();
  EXPECT_GT(wrong, crashes / 2) << "of " << crashes;
}

TEST_P(CrashTest, GoesOnAfterAnErrorAnywhere) {
  for (size_t fails = 0; fails < 120; fails += 7) {
    recorded = {};
    history = {};
    Graph graph(drivers);
    Child disk = make(graph);
    flush(*disk);
    recorded.fail_at = recorded.log.size() + fails;
    work(*disk, 40);
    recorded.fail_at.reset();
    work(*disk, 20);
    ASSERT_TRUE(disk->flush()) << "when entry " << fails << " failed";
    ASSERT_EQ(content_verdict(*disk, history.allowed(recorded.log.size())), "") << fails;
    const Result<CheckReport> report = disk->image().check(Repair::None);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u)
        << fails << ": " << (report->findings.empty() ? "" : report->findings[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Qcow2, CrashTest,
                         testing::Values("cluster_size=64k", "cluster_size=4k", "cluster_size=512",
                                         "cluster_size=16k,extended_l2=on",
                                         "cluster_size=4k,refcount_bits=1",
                                         "cluster_size=4k,compat=0.10"),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : info.param)
                             if (std::isalnum(static_cast<unsigned char>(c))) name += c;
                           return name;
                         });

}  // namespace
}  // namespace menura
