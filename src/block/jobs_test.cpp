// Jobs while somebody writes: nothing that was written is lost, and a backup shows nothing newer than
// its beginning.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/units.h"
#include "block/drivers.h"
#include "block/job/works.h"

namespace menura {
namespace {

constexpr u64 kSize = 8 * MiB;

// Writes, zeroes and discards at random places, through whatever the user's edge leads to.
class Writer {
 public:
  Writer(Graph& graph, Child& disk, std::vector<std::byte>& model)
      : thread_([&graph, &disk, &model, this] {
          std::mt19937 random(3);
          std::vector<std::byte> bytes;
          while (!stop_) {
            {
              const Graph::Pass pass(graph);
              const u64 offset = random() % (kSize / 512 - 40) * 512;
              const u64 length = (1 + random() % 40) * 512;
              const auto place = model.begin() + static_cast<i64>(offset);
              if (random() % 6 == 0) {
                std::fill_n(place, length, std::byte{0});
                EXPECT_TRUE(disk->zero(offset, length, {.may_unmap = random() % 2 == 0}));
              } else {
                bytes.assign(length, static_cast<std::byte>(random()));
                bytes[0] = static_cast<std::byte>(random());
                std::ranges::copy(bytes, place);
                EXPECT_TRUE(disk->write(offset, bytes));
              }
              writes++;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(300));
          }
        }) {}
  ~Writer() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::atomic<unsigned> writes{0};

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct JobsTest : testing::Test {
  JobsTest() {
    folder = std::filesystem::temp_directory_path() / format("menura-jobs-{}", ::getpid());
    std::filesystem::create_directory(folder);
    std::mt19937 random(1);
    std::ofstream base(path("base"), std::ios::binary);
    for (u64 at = 0; at < kSize; at += 4096) {
      // Every fourth piece is a hole.
      const std::string piece(4096, at % 16384 ? static_cast<char>(random()) : '\0');
      base << piece;
      for (const char c : piece) model.push_back(static_cast<std::byte>(c));
    }
  }
  ~JobsTest() override {
    writer.reset();
    {
      const MachineLock::Guard guard(lock);
      jobs.reset();
    }
    disk.reset();
    std::filesystem::remove_all(folder);
  }
  std::string path(std::string_view name) const { return (folder / name).string(); }
  NodePtr add(const std::string& json) {
    Result<NodePtr> node = graph.add(parse_json(json).value());
    EXPECT_TRUE(node) << node.error().text;
    return std::move(node).value();
  }
  NodePtr add_qcow2(const std::string& name, const std::string& backing) {
    EXPECT_TRUE(graph.create("qcow2", path(name), kSize, Value::object()));
    return add(format(
        R"({{"driver":"qcow2","node-name":"{}","discard":"unmap","backing":{},"file":{{"driver":"file","filename":"{}"}}}})",
        name, backing.empty() ? "null" : "\"" + backing + "\"", path(name)));
  }
  NodePtr add_base() {
    return add(format(
        R"({{"driver":"raw","node-name":"base","read-only":true,"file":{{"driver":"file","filename":"{}"}}}})",
        path("base")));
  }
  void use(const NodePtr& node) {
    disk = Child::attach(node,
                         {"the disk",
                          "root",
                          {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize}})
               .value();
  }
  void write_on() { writer = std::make_unique<Writer>(graph, disk, model); }
  Job* start(JobType type, std::unique_ptr<JobWork> work) {
    const MachineLock::Guard guard(lock);
    Result<Job*> job =
        jobs->start({.id = "job0", .type = type, .auto_dismiss = false}, std::move(work));
    EXPECT_TRUE(job) << (job ? "" : job.error().text);
    return job ? *job : nullptr;
  }
  // Until the job's event, or its end.
  void wait_for(std::string_view event) {
    const auto begin = std::chrono::steady_clock::now();
    while (std::ranges::find(events, event) == events.end()) {
      ASSERT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
      loop->run_once(20'000'000);
    }
  }
  void wait_for_writes(unsigned count) {
    const unsigned begin = writer->writes;
    while (writer->writes < begin + count) loop->run_once(1'000'000);
  }
  template <class Function>
  Result<void> locked(Function function) {
    const MachineLock::Guard guard(lock);
    return function();
  }
  void expect_content(Node& node) {
    std::vector<std::byte> content(kSize);
    ASSERT_TRUE(node.read(0, content));
    const auto at = std::mismatch(content.begin(), content.end(), model.begin()).first;
    EXPECT_TRUE(at == content.end()) << "first difference at " << at - content.begin();
  }
  static void expect_sound(Node& node) {
    const Result<CheckReport> report = node.image().check(Repair::None);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->findings[0];
  }

  std::filesystem::path folder;
  std::vector<std::byte> model;
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  Graph graph{all_drivers()};
  std::vector<std::string> events;
  std::unique_ptr<Jobs> jobs =
      std::make_unique<Jobs>(graph, *loop, [this](std::string name, Value data) {
        if (const Value* status = data.find("status")) name += " " + *status->as<std::string>();
        events.push_back(std::move(name));
      });
  Child disk;
  std::unique_ptr<Writer> writer;
};

TEST_F(JobsTest, StreamMovesTheBaseUp) {
  add_base();
  const NodePtr top = add_qcow2("top", "base");
  use(top);
  write_on();
  start(JobType::Stream, make_stream({.top = top}));
  wait_for("BLOCK_JOB_COMPLETED");
  EXPECT_EQ(jobs->find("job0").value()->status(), JobStatus::Concluded);
  EXPECT_FALSE(jobs->find("job0").value()->error());
  writer->stop();
  EXPECT_EQ(top->backing(), nullptr);
  expect_content(*top);
  expect_sound(*top);
  EXPECT_EQ(top->image().info().backing_file, "");
  const std::vector<std::string> wanted{"JOB_STATUS_CHANGE created", "JOB_STATUS_CHANGE running",
                                        "JOB_STATUS_CHANGE waiting", "JOB_STATUS_CHANGE pending",
                                        "BLOCK_JOB_COMPLETED",       "JOB_STATUS_CHANGE concluded"};
  EXPECT_EQ(events, wanted);
}

TEST_F(JobsTest, CommitMovesTheMiddleDown) {
  add_base();
  const NodePtr mid = add_qcow2("mid", "base");
  {
    use(mid);
    write_on();
    wait_for_writes(100);
    writer->stop();
    disk.reset();
  }
  const NodePtr top = add_qcow2("top", "mid");
  use(top);
  write_on();
  const NodePtr base = graph.find("base")->shared_from_this();
  start(JobType::Commit, make_commit({.above = top, .top = mid, .base = base}));
  wait_for("BLOCK_JOB_COMPLETED");
  ASSERT_FALSE(jobs->find("job0").value()->error()) << jobs->find("job0").value()->error()->text;
  wait_for_writes(20);
  writer->stop();
  EXPECT_EQ(top->backing(), base.get());
  EXPECT_TRUE(base->read_only());
  expect_content(*top);
  expect_sound(*top);
}

TEST_F(JobsTest, ActiveCommitEndsInTheBase) {
  add_base();
  const NodePtr top = add_qcow2("top", "base");
  const NodePtr base = graph.find("base")->shared_from_this();
  use(top);
  write_on();
  wait_for_writes(100);
  Job* job =
      start(JobType::Commit,
            make_mirror({.source = top, .target = base, .sync = Sync::Top, .into_backing = true}));
  wait_for("BLOCK_JOB_READY");
  wait_for_writes(100);
  ASSERT_TRUE(locked([&] { return job->complete(); }));
  wait_for("BLOCK_JOB_COMPLETED");
  ASSERT_FALSE(job->error()) << job->error()->text;
  EXPECT_EQ(&*disk, base.get());
  wait_for_writes(50);
  writer->stop();
  expect_content(*base);
  EXPECT_EQ(top->backing(), nullptr);
}

TEST_F(JobsTest, MirrorLosesNoWrite) {
  for (const CopyMode mode : {CopyMode::Background, CopyMode::WriteBlocking}) {
    if (mode == CopyMode::Background) add_base();
    const std::string n = mode == CopyMode::Background ? "1" : "2";
    const NodePtr source = mode == CopyMode::Background ? add_qcow2("top", "base") : disk.node();
    if (!disk) use(source);
    const NodePtr copy = add_qcow2("copy" + n, "");
    write_on();
    Job* job =
        start(JobType::Mirror, make_mirror({.source = source, .target = copy, .copy_mode = mode}));
    wait_for("BLOCK_JOB_READY");
    wait_for_writes(100);
    ASSERT_TRUE(locked([&] { return job->complete(); }));
    wait_for("BLOCK_JOB_COMPLETED");
    ASSERT_FALSE(job->error()) << job->error()->text;
    EXPECT_EQ(&*disk, copy.get());
    wait_for_writes(30);
    writer->stop();
    expect_content(*copy);
    expect_sound(*copy);
    ASSERT_TRUE(locked([&] { return job->dismiss(); }));
    events.clear();
  }
}

TEST_F(JobsTest, MirrorCancelledWhenReadyLeavesAWholeCopy) {
  add_base();
  const NodePtr top = add_qcow2("top", "base"), copy = add_qcow2("copy", "");
  use(top);
  write_on();
  Job* job = start(JobType::Mirror, make_mirror({.source = top, .target = copy}));
  wait_for("BLOCK_JOB_READY");
  writer->stop();
  ASSERT_TRUE(locked([&] { return job->cancel(Job::Cancel::Soft); }));
  wait_for("BLOCK_JOB_COMPLETED");
  EXPECT_EQ(&*disk, top.get());
  expect_content(*copy);
}

TEST_F(JobsTest, BackupShowsItsBeginning) {
  add_base();
  const NodePtr top = add_qcow2("top", "base"), copy = add_qcow2("copy", "");
  use(top);
  write_on();
  wait_for_writes(50);
  std::vector<std::byte> then;
  {
    const MachineLock::Guard guard(lock);
    const Graph::Change change(graph);
    then = model;
    ASSERT_TRUE(jobs->start({.id = "job0", .type = JobType::Backup, .speed = 16 * MiB},
                            make_backup({.source = top, .target = copy})));
  }
  wait_for("BLOCK_JOB_COMPLETED");
  wait_for_writes(20);
  writer->stop();
  expect_content(*top);
  std::swap(model, then);
  expect_content(*copy);
  expect_sound(*copy);
  EXPECT_FALSE(jobs->find("job0"));  // dismissed by itself
}

TEST_F(JobsTest, IncrementalBackupFollowsItsBitmap) {
  add_base();
  const NodePtr top = add_qcow2("top", "base"), copy = add_qcow2("copy", "");
  use(top);
  NodeBitmap* bitmap = top->add_bitmap("b0", 65536).value();
  std::vector<std::byte> bytes(512, std::byte{9});
  ASSERT_TRUE(disk->write(3 * MiB, bytes));
  ASSERT_TRUE(disk->write(5 * MiB + 1000, bytes));
  EXPECT_EQ(bitmap->bits.dirty_bytes(), 2u * 65536);
  Job* job = start(
      JobType::Backup,
      make_backup({.source = top, .target = copy, .sync = Sync::Incremental, .bitmap = "b0"}));
  EXPECT_TRUE(bitmap->busy);
  wait_for("BLOCK_JOB_COMPLETED");
  EXPECT_EQ(job->total(), 2u * 65536);
  EXPECT_EQ(bitmap->bits.dirty_bytes(), 0u);
  EXPECT_FALSE(bitmap->busy);
  EXPECT_EQ(copy->map(2 * MiB, 65536).value().kind, ExtentKind::Hole);
  std::vector<std::byte> there(512);
  ASSERT_TRUE(copy->read(3 * MiB, there));
  EXPECT_EQ(there, bytes);
}

TEST_F(JobsTest, CancelledBackupGivesTheBitmapBack) {
  add_base();
  const NodePtr top = add_qcow2("top", "base"), copy = add_qcow2("copy", "");
  use(top);
  NodeBitmap* bitmap = top->add_bitmap("b0", 65536).value();
  bitmap->bits.set(0, 4 * MiB);
  const MachineLock::Guard guard(lock);
  Job* job =
      jobs->start({.id = "job0", .type = JobType::Backup, .speed = 1 * MiB},
                  make_backup(
                      {.source = top, .target = copy, .sync = Sync::Incremental, .bitmap = "b0"}))
          .value();
  ASSERT_TRUE(disk->write(6 * MiB, std::vector<std::byte>(512, std::byte{1})));
  ASSERT_TRUE(job->cancel(Job::Cancel::Force));
  loop->complete_until([&] { return jobs->all().empty(); });
  EXPECT_EQ(bitmap->bits.dirty_bytes(), 4 * MiB + 65536);
  EXPECT_EQ(events.back(), "JOB_STATUS_CHANGE null");
  EXPECT_NE(std::ranges::find(events, "BLOCK_JOB_CANCELLED"), events.end());
}

TEST_F(JobsTest, PausesKeepsItsSpeedAndIsRefusedInTheWrongState) {
  add_base();
  const NodePtr top = add_qcow2("top", "base");
  use(top);
  Job* job = nullptr;
  {
    const MachineLock::Guard guard(lock);
    job = jobs->start({.id = "job0",
                       .type = JobType::Stream,
                       .speed = 2 * MiB,
                       .auto_finalize = false,
                       .auto_dismiss = false},
                      make_stream({.top = top}))
              .value();
    EXPECT_EQ(jobs->start({.id = "job0"}, make_stream({.top = top})).error().code, Errc::Exists);
    EXPECT_EQ(jobs->start({.id = "job1"}, make_stream({.top = top})).error().code, Errc::Busy);
    EXPECT_FALSE(job->complete());
    EXPECT_FALSE(job->dismiss());
    EXPECT_FALSE(job->resume());
    ASSERT_TRUE(job->pause());
    EXPECT_FALSE(job->pause());
  }
  wait_for("JOB_STATUS_CHANGE paused");
  const u64 progress = job->progress();
  for (unsigned i = 0; i < 5; i++) loop->run_once(20'000'000);
  EXPECT_EQ(job->progress(), progress);
  ASSERT_TRUE(locked([&] { return job->resume(); }));
  ASSERT_TRUE(locked([&] { return job->set_speed(0); }));
  wait_for("BLOCK_JOB_PENDING");
  EXPECT_NE(top->backing(), nullptr);
  ASSERT_TRUE(locked([&] { return job->finalize(); }));
  EXPECT_EQ(top->backing(), nullptr);
  ASSERT_TRUE(locked([&] { return job->dismiss(); }));
  EXPECT_TRUE(jobs->all().empty());
}

TEST_F(JobsTest, ErrorsEndOrStopAJob) {
  add_base();
  const NodePtr top = add_qcow2("top", "base");
  ASSERT_TRUE(graph.create("raw", path("copy"), kSize, Value::object()));
  const auto copy = [&](const char* name) {
    return add(format(
        R"({{"driver":"blkdebug","node-name":"{}","inject-error":[{{"event":"none","iotype":"write","sector":"4096","errno":28,"once":true}}],"image":{{"driver":"file","filename":"{}"}}}})",
        name, path("copy")));
  };
  use(top);
  Job* job = start(JobType::Mirror, make_mirror({.source = top, .target = copy("one")}));
  wait_for("BLOCK_JOB_COMPLETED");
  ASSERT_TRUE(job->error());
  EXPECT_EQ(job->error()->os_errno, ENOSPC);
  ASSERT_TRUE(locked([&] { return job->dismiss(); }));
  job = nullptr;
  {
    const MachineLock::Guard guard(lock);
    ASSERT_TRUE(graph.remove("one"));
  }
  events.clear();
  job = start(
      JobType::Mirror,
      make_mirror({.source = top, .target = copy("two"), .on_target_error = OnError::Enospc}));
  wait_for("BLOCK_JOB_ERROR");
  wait_for("JOB_STATUS_CHANGE paused");
  EXPECT_TRUE(job->stopped_by_error());
  ASSERT_TRUE(locked([&] { return job->resume(); }));
  wait_for("BLOCK_JOB_READY");
  ASSERT_TRUE(locked([&] { return job->complete(); }));
  wait_for("BLOCK_JOB_COMPLETED");
  EXPECT_FALSE(job->error());
  expect_content(*disk);
}

}  // namespace
}  // namespace menura
