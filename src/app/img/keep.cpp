// snapshot, bitmap, bench: what images keep beside their content, and how fast they are.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "app/img/command.h"
#include "app/img/snapshot_table.h"
#include "base/units.h"
#include "block/core/stores.h"
#include "block/tool/disk_loop.h"

namespace menura::img {

std::string snapshot_table(const std::vector<SnapshotInfo>& snapshots) {
  std::string out = "Snapshot list:\n";
  out += format("{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK",
                "ICOUNT");
  for (const SnapshotInfo& s : snapshots) {
    const std::time_t when = s.date_seconds;
    std::tm parts{};
    ::localtime_r(&when, &parts);
    char date[64];
    std::strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &parts);
    const u64 seconds = s.vm_clock_ns / kNsPerSecond;
    const std::string clock = format("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60,
                                     seconds % 60, s.vm_clock_ns / kNsPerMs % 1000);
    out +=
        format("{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", s.id, s.name, human_size(s.vm_state_size),
               date, clock, s.icount ? std::to_string(*s.icount) : "");
  }
  return out;
}

namespace {

constexpr Flag kSnapshotFlags[] = {
    kObject,
    kImageOpts,
    kForceShare,
    kQuiet,
    kFormat,
    {'l', "list", "", "list them (what happens without an option)", false},
    {'a', "apply", "NAME", "go back to this one", false},
    {'c', "create", "NAME", "keep the present content under this name", false},
    {'d', "delete", "NAME", "forget this one", false}};

Result<int> snapshot(ImageSession& session, const Arguments& arguments) {
  const auto create = arguments.value("create"), apply = arguments.value("apply"),
             remove = arguments.value("delete");
  const bool list = arguments.has("list") || (!create && !apply && !remove);
  if (int{list} + create.has_value() + apply.has_value() + remove.has_value() != 1)
    return fail(Errc::InvalidArgument, "Snapshot does one thing at a time: -l, -a, -c or -d");
  OpenImage how = TRY(open_flags(arguments));
  how.writable = !list;
  const std::string name = TRY(only_file(arguments));
  const Child image = TRY(session.open(name, how));
  SnapshotStore* store = image->image().snapshots();
  if (list) {
    const std::vector<SnapshotInfo> snapshots = store ? store->list() : std::vector<SnapshotInfo>{};
    if (!snapshots.empty()) std::fputs(snapshot_table(snapshots).c_str(), stdout);
    return 0;
  }
  if (!store)
    return fail(Errc::Unsupported, "Images of format '{}' keep no snapshots", image->driver().name);
  if (create) {
    SnapshotInfo info;
    info.name = *create;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    info.date_seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
    info.date_nanoseconds = static_cast<u32>((now - std::chrono::seconds(info.date_seconds)) /
                                             std::chrono::nanoseconds(1));
    TRY(store->create(std::move(info)), "Keeping snapshot '{}'", *create);
  }
  if (apply) TRY(store->apply(*apply), "Going back to snapshot '{}'", *apply);
  if (remove) TRY(store->remove(*remove), "Forgetting snapshot '{}'", *remove);
  TRY(image->close());
  return 0;
}

constexpr Flag kBitmapFlags[] = {
    kObject,
    kImageOpts,
    kFormat,
    {0, "add", "", "make it"},
    {0, "remove", "", "forget it"},
    {0, "clear", "", "forget what it has recorded"},
    {0, "enable", "", "let it record from now on"},
    {0, "disable", "", "let it record no longer"},
    {0, "merge", "BITMAP", "add what this one has recorded"},
    {'g', "granularity", "BYTES", "with --add: bytes that one bit stands for"},
    {'b', "source-file", "IMAGE", "where --merge finds its bitmap"},
    {'F', "source-format", "FORMAT", "format of that image"}};

// Granules of another size: each one set there sets all that it touches here.
void merge_into(BitmapContent& to, u64 to_granularity, const BitmapContent& from,
                u64 from_granularity) {
  for (size_t word = 0; word < from.words.size(); word++)
    for (unsigned bit = 0; bit < 64; bit++) {
      if (!(from.words[word] >> bit & 1)) continue;
      const u64 begin = (u64{word} * 64 + bit) * from_granularity;
      for (u64 g = begin / to_granularity; g <= (begin + from_granularity - 1) / to_granularity;
           g++)
        if (g / 64 < to.words.size()) to.words[g / 64] |= u64{1} << (g % 64);
    }
}

Result<u64> granularity_of(const BitmapStore& store, std::string_view name) {
  for (const BitmapInfo& info : store.list())
    if (info.name == name) return info.granularity;
  return fail(Errc::NotFound, "The image keeps no bitmap '{}'", name);
}

Result<int> bitmap(ImageSession& session, const Arguments& arguments) {
  if (arguments.operands().size() != 2)
    return fail(Errc::InvalidArgument, "Bitmap wants an image and the name of a bitmap");
  const std::string& name = arguments.operands()[1];
  OpenImage how = TRY(open_flags(arguments));
  how.writable = true;
  how.no_backing = true;
  const Child image = TRY(session.open(arguments.operands()[0], how));
  BitmapStore* store = image->image().bitmaps();
  if (!store)
    return fail(Errc::Unsupported, "Images of format '{}' keep no bitmaps", image->driver().name);
  bool acted = false;
  for (const auto& [action, value] : arguments.given()) {
    Result<void> done;
    if (action == "add") {
      BitmapInfo info{name};
      info.granularity = std::max<u64>(64 * KiB, 4096);
      if (const u64 cluster = image->image().info().cluster_size)
        info.granularity = std::clamp<u64>(cluster, 4096, 64 * KiB);
      if (const auto text = arguments.value("granularity"))
        info.granularity = TRY(size_argument("granularity", *text));
      info.enabled = !arguments.has("disable");
      done = store->add(std::move(info));
    } else if (action == "remove") {
      done = store->remove(name);
    } else if (action == "clear") {
      BitmapContent content = TRY(store->load(name), "Clearing bitmap '{}'", name);
      std::ranges::fill(content.words, 0);
      done = store->store(name, content);
    } else if (action == "enable" || action == "disable") {
      if (arguments.has("add")) continue;  // said with the making
      done = store->set_enabled(name, action == "enable");
    } else if (action == "merge") {
      Child other;
      BitmapStore* from = store;
      if (const auto file = arguments.value("source-file")) {
        OpenImage source;
        source.format = arguments.value_or("source-format", ""), source.no_backing = true;
        other = TRY(session.open(*file, source));
        from = other->image().bitmaps();
        if (!from) return fail(Errc::Unsupported, "Image '{}' keeps no bitmaps", *file);
      }
      BitmapContent content = TRY(store->load(name));
      const BitmapContent added = TRY(from->load(value), "Merging into bitmap '{}'", name);
      merge_into(content, TRY(granularity_of(*store, name)), added,
                 TRY(granularity_of(*from, value)));
      done = store->store(name, content);
    } else {
      continue;
    }
    acted = true;
    TRY(std::move(done), "--{} of bitmap '{}'", action, name);
  }
  if (!acted)
    return fail(Errc::InvalidArgument,
                "Bitmap wants to know what to do: --add, --remove, --clear, --enable, --disable or "
                "--merge");
  TRY(image->close());
  return 0;
}

constexpr Flag kBenchFlags[] = {kObject,
                                kImageOpts,
                                kFormat,
                                kForceShare,
                                kQuiet,
                                {'c', "count", "COUNT", "requests in all (75000)", false},
                                {'d', "depth", "COUNT", "requests at a time (64)", false},
                                {'i', "aio", "MODE", "threads, native or io_uring", false},
                                {'n', "native", "", "the same as -i native", false},
                                {'s', "buffer-size", "BYTES", "size of a request (4k)", false},
                                {'S', "step", "BYTES", "from one request to the next", false},
                                {'o', "offset", "BYTES", "where the first one begins", false},
                                {'w', "write", "", "write rather than read", false},
                                kCache,
                                {0, "flush-interval", "COUNT", "with -w: flush after so many"},
                                {0, "no-drain", "", "do not wait for requests before a flush"},
                                {0, "pattern", "BYTE", "with -w: the byte to write"}};

struct BenchPlan {
  u64 count, depth, size, step, offset, flush_interval;
  std::byte pattern;
  bool writes, drains;
};

Result<BenchPlan> bench_plan(const Arguments& arguments) {
  const auto number = [&](std::string_view key, u64 fallback) -> Result<u64> {
    const auto text = arguments.value(key);
    return text ? size_argument(key, *text) : Result<u64>(fallback);
  };
  BenchPlan plan{};
  plan.count = TRY(number("count", 75000)), plan.depth = TRY(number("depth", 64));
  plan.size = TRY(number("buffer-size", 4096)), plan.step = TRY(number("step", 0));
  plan.offset = TRY(number("offset", 0)), plan.flush_interval = TRY(number("flush-interval", 0));
  plan.pattern = static_cast<std::byte>(TRY(number("pattern", 0)));
  plan.writes = arguments.has("write"), plan.drains = !arguments.has("no-drain");
  if (plan.count == 0 || plan.depth == 0 || plan.size == 0)
    return fail(Errc::InvalidArgument, "-c, -d and -s must be more than 0");
  if (plan.flush_interval && plan.flush_interval < plan.depth)
    return fail(Errc::InvalidArgument, "--flush-interval must be at least the depth ({})",
                plan.depth);
  if (plan.flush_interval && !plan.writes)
    return fail(Errc::InvalidArgument, "--flush-interval needs -w");
  if (!plan.drains && !plan.flush_interval)
    return fail(Errc::InvalidArgument, "--no-drain needs --flush-interval");
  if (!plan.step) plan.step = plan.size;
  return plan;
}

// Keeps `depth` requests in flight, as a machine's disk sees them.
class Bench {
 public:
  Bench(DiskLoop& loop, ImageDisk& disk, const BenchPlan& plan)
      : loop_(loop), disk_(disk), plan_(plan), span_(disk.size() - plan.size + 1) {}

  Result<void> run() {
    buffers_.resize(std::min(plan_.depth, plan_.count));
    for (size_t i = 0; i < buffers_.size(); i++) {
      void* memory = nullptr;
      if (::posix_memalign(&memory, 4096, plan_.size) != 0)
        return fail(Errc::NoMemory, "No memory for {} buffers", plan_.depth);
      buffers_[i].reset(static_cast<std::byte*>(memory));
      std::fill_n(buffers_[i].get(), plan_.size, plan_.pattern);
      free_.push_back(i);
    }
    loop_.with_lock([&] { submit(); });
    loop_.wait_until([&] { return in_flight_ == 0 && (submitted_ == plan_.count || error_); });
    if (error_) return std::move(*error_);
    return {};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  void submit() {
    while (submitted_ < plan_.count && !free_.empty() && !error_ && !waits_for_flush_) {
      const size_t buffer = free_.back();
      free_.pop_back();
      const u64 at = (plan_.offset + submitted_++ * plan_.step) % span_;
      in_flight_++;
      disk_.submit({.op = plan_.writes ? DiskOp::Write : DiskOp::Read,
                    .offset = at,
                    .data = {buffers_[buffer].get(), plan_.size},
                    .done = [this, buffer](Result<void> outcome) {
                      free_.push_back(buffer);
                      finish(std::move(outcome));
                    }});
      if (plan_.flush_interval && submitted_ % plan_.flush_interval == 0) waits_for_flush_ = true;
    }
    // A flush covers what is done: with draining, nothing else is in flight then.
    if (waits_for_flush_ && !flushing_ && (!plan_.drains || in_flight_ == 0)) {
      flushing_ = true;
      in_flight_++;
      disk_.submit({.op = DiskOp::Flush, .done = [this](Result<void> outcome) {
                      flushing_ = waits_for_flush_ = false;
                      finish(std::move(outcome));
                    }});
    }
  }

  void finish(Result<void> outcome) {
    in_flight_--;
    if (!outcome && !error_) error_ = std::move(outcome.error()).within("Failed request");
    submit();
  }

  DiskLoop& loop_;
  ImageDisk& disk_;
  const BenchPlan plan_;
  const u64 span_;
  std::vector<std::unique_ptr<std::byte, Free>> buffers_;
  std::vector<size_t> free_;
  u64 submitted_ = 0;
  u64 in_flight_ = 0;
  bool waits_for_flush_ = false;
  bool flushing_ = false;
  std::optional<Error> error_;
};

Result<int> bench(ImageSession& session, const Arguments& arguments) {
  const BenchPlan plan = TRY(bench_plan(arguments));
  OpenImage how = TRY(open_flags(arguments, "cache"));
  how.writable = plan.writes;
  how.aio = arguments.has("native") ? "native" : arguments.value_or("aio", "");
  Child image = TRY(session.open(TRY(only_file(arguments)), how));
  if (image->size() < plan.size || plan.offset > image->size() - plan.size)
    return fail(Errc::InvalidArgument, "'{}' has {} bytes, too few for requests of {} at {}",
                image->filename(), image->size(), plan.size, plan.offset);
  say(arguments,
      format("Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step "
             "size {})\n",
             plan.count, plan.writes ? "write" : "read", plan.size, plan.depth, plan.offset,
             plan.step));
  if (plan.flush_interval)
    say(arguments, format("Sending flush every {} {}requests\n", plan.flush_interval,
                          plan.drains ? "" : "un-drained "));
  const auto loop = TRY(DiskLoop::create(8));
  std::unique_ptr<ImageDisk> disk =
      loop->disk(std::move(image), how.cache.writethrough ? ImageDisk::Cache::Writethrough
                                                          : ImageDisk::Cache::Writeback);
  const auto begin = std::chrono::steady_clock::now();
  const Result<void> ran = Bench(*loop, *disk, plan).run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  loop->with_lock([&] { disk.reset(); });
  TRY(ran);
  std::printf("Run completed in %.3f seconds.\n", took.count());
  return 0;
}

}  // namespace

const Command kSnapshot{"snapshot", "IMAGE", "keep, list, restore or forget internal snapshots",
                        kSnapshotFlags, snapshot};
const Command kBitmap{"bitmap", "IMAGE BITMAP", "make, change or remove a dirty bitmap",
                      kBitmapFlags, bitmap};
const Command kBench{"bench", "IMAGE", "time many equal requests", kBenchFlags, bench};

}  // namespace menura::img
