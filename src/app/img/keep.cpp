// snapshot, bitmap, bench: what images keep beside their content, and how fast they are.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "app/img/command.h"
#include "app/img/snapshot_table.h"
#include "base/units.h"
#include "block/core/stores.h"

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

constexpr Flag kSnapshotFlags[] = {kObject,
                                   kImageOpts,
                                   kForceShare,
                                   kQuiet,
                                   kFormat,
                                   {'l', "list", false, false},
                                   {'a', "apply", true, false},
                                   {'c', "create", true, false},
                                   {'d', "delete", true, false}};

Result<int> snapshot(ImageSession& session, const Arguments& arguments) {
  const auto create = arguments.value("create"), apply = arguments.value("apply"),
             remove = arguments.value("delete");
  const bool list = arguments.has("list") || (!create && !apply && !remove);
  if (int{list} + create.has_value() + apply.has_value() + remove.has_value() != 1)
    return fail(Errc::InvalidArgument, "Cannot mix '-l', '-a', '-c', '-d'");
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
    TRY(store->create(std::move(info)), "Could not create snapshot '{}'", *create);
  }
  if (apply) TRY(store->apply(*apply), "Could not apply snapshot '{}'", *apply);
  if (remove) TRY(store->remove(*remove), "Could not delete snapshot '{}'", *remove);
  TRY(image->close());
  return 0;
}

constexpr Flag kBitmapFlags[] = {kObject,
                                 kImageOpts,
                                 kFormat,
                                 {0, "add"},
                                 {0, "remove"},
                                 {0, "clear"},
                                 {0, "enable"},
                                 {0, "disable"},
                                 {0, "merge", true},
                                 {'g', "granularity", true},
                                 {'b', "source-file", true},
                                 {'F', "source-format", true}};

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
  return fail(Errc::NotFound, "Dirty bitmap '{}' not found", name);
}

Result<int> bitmap(ImageSession& session, const Arguments& arguments) {
  if (arguments.operands().size() != 2)
    return fail(Errc::InvalidArgument, "Expecting filename and bitmap name");
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
      BitmapContent content = TRY(store->load(name), "Operation clear on bitmap {} failed", name);
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
      const BitmapContent added =
          TRY(from->load(value), "Operation merge on bitmap {} failed", name);
      merge_into(content, TRY(granularity_of(*store, name)), added,
                 TRY(granularity_of(*from, value)));
      done = store->store(name, content);
    } else {
      continue;
    }
    acted = true;
    TRY(std::move(done), "Operation {} on bitmap {} failed", action, name);
  }
  if (!acted)
    return fail(Errc::InvalidArgument,
                "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
  TRY(image->close());
  return 0;
}

constexpr Flag kBenchFlags[] = {kObject,
                                kImageOpts,
                                kFormat,
                                kForceShare,
                                kQuiet,
                                {'c', "count", true, false},
                                {'d', "depth", true, false},
                                {'i', "aio", true, false},
                                {'n', "native", false, false},
                                {'s', "buffer-size", true, false},
                                {'S', "step", true, false},
                                {'o', "offset", true, false},
                                {'w', "write", false, false},
                                kCache,
                                {0, "flush-interval", true},
                                {0, "no-drain"},
                                {0, "pattern", true}};

Result<int> bench(ImageSession& session, const Arguments& arguments) {
  const auto number = [&](std::string_view key, u64 fallback) -> Result<u64> {
    const auto text = arguments.value(key);
    return text ? size_argument(key, *text) : Result<u64>(fallback);
  };
  const u64 count = TRY(number("count", 75000)), depth = TRY(number("depth", 64)),
            size = TRY(number("buffer-size", 4096));
  const u64 step_given = TRY(number("step", 0)), offset = TRY(number("offset", 0)),
            flush_interval = TRY(number("flush-interval", 0));
  const u64 pattern = TRY(number("pattern", 0));
  if (count == 0 || depth == 0 || size == 0)
    return fail(Errc::InvalidArgument, "Count, depth and buffer size must not be 0");
  const bool writes = arguments.has("write");
  OpenImage how = TRY(open_flags(arguments, "cache"));
  how.writable = writes;
  const Child image = TRY(session.open(TRY(only_file(arguments)), how));
  if (image->size() < size || offset > image->size() - size)
    return fail(Errc::InvalidArgument, "Image is too small");
  const u64 step = step_given ? step_given : size, span = image->size() - size + 1;
  say(arguments, format("Sending {} {} requests, {} bytes each, {} in parallel (starting at offset "
                        "{}, step size {})\n",
                        count, writes ? "write" : "read", size, depth, offset, step));
  std::atomic<u64> next{0};
  std::atomic<bool> failed{false};
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (u64 i = 0; i < std::min<u64>(depth, 64); i++)
    threads.emplace_back([&] {
      std::vector<std::byte> buffer(static_cast<size_t>(size), static_cast<std::byte>(pattern));
      for (u64 n; (n = next++) < count && !failed;) {
        const u64 at = (offset + n * step) % span;
        const Result<void> done = writes ? image->write(at, buffer, {.fua = how.cache.writethrough})
                                         : image->read(at, buffer);
        if (!done || (writes && flush_interval && (n + 1) % flush_interval == 0 && !image->flush()))
          failed = true;
      }
    });
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (failed) return fail(Errc::Io, "Failed request");
  std::printf("Run completed in %.3f seconds.\n", took.count());
  return 0;
}

}  // namespace

const Command kSnapshot{"snapshot",
                        "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c "
                        "snapshot | -d snapshot] filename",
                        kSnapshotFlags, snapshot};
const Command kBitmap{
    "bitmap",
    "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F "
    "source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap",
    kBitmapFlags, bitmap};
const Command kBench{"bench",
                     "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] "
                     "[-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S "
                     "step_size] [-t cache] [-w] [-U] filename",
                     kBenchFlags, bench};

}  // namespace menura::img
