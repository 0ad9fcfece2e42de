// convert, dd: new images from old ones.
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>

#include <atomic>

#include "app/img/command.h"
#include "app/img/copier.h"
#include "base/log.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/stores.h"

namespace menura::img {

namespace {

constexpr Flag kConvertFlags[] = {
    kObject,
    kImageOpts,
    {0, "target-image-opts", "", "the target is a list driver=...,key=value"},
    {0, "target-is-zero", "", "with -n: the target reads as zeroes already"},
    {0, "bitmaps", "", "copy the dirty bitmaps too"},
    {0, "skip-broken-bitmaps", "", "leave out bitmaps that were in use"},
    kForceShare,
    {'C', "copy-range", "", "let the kernel copy where it can", false},
    {'c', "compress", "", "compress the target's clusters", false},
    kProgress,
    kQuiet,
    {'n', "no-create", "", "the target exists: write into it", false},
    kFormat,
    kCache,
    kSourceCache,
    {'O', "target-format", "FORMAT", "format to make (raw)", false},
    {'B', "backing", "FILE", "backing image of the target", false},
    {'F', "backing-format", "FORMAT", "format of the backing image", false},
    kOptions,
    {'l', "snapshot", "NAME", "convert this internal snapshot", false},
    {'S', "sparse", "BYTES", "shortest run of zeroes left out (4k; 0: none)", false},
    {'r', "rate", "BYTES", "at most so many bytes a second", false},
    {'m', "workers", "COUNT", "1 to 16 workers (8)", false},
    {'W', "out-of-order", "", "let workers write as they are ready", false},
    {0, "salvage", "", "go on after read errors, zeroes in their place"}};

// Set by a signal; read by the workers.
std::atomic<bool> interrupted{false};

// A target that we made goes again when it was not finished: it must not look whole.
class MadeFile {
 public:
  explicit MadeFile(std::string path) : path_(std::move(path)) {}
  ~MadeFile() {
    struct stat info {};
    if (!finished_ && ::stat(path_.c_str(), &info) == 0 && S_ISREG(info.st_mode))
      ::unlink(path_.c_str());
  }
  MadeFile(const MadeFile&) = delete;
  MadeFile& operator=(const MadeFile&) = delete;
  void finish() { finished_ = true; }

 private:
  const std::string path_;
  bool finished_ = false;
};

Result<std::vector<Child>> open_sources(ImageSession& session, const Arguments& arguments) {
  const OpenImage how = TRY(open_flags(arguments, "source-cache"));
  const auto& operands = arguments.operands();
  std::vector<Child> sources;
  for (size_t i = 0; i + 1 < operands.size(); i++)
    sources.push_back(TRY(session.open(operands[i], how)));
  if (auto snapshot = arguments.value("snapshot")) {
    if (sources.size() > 1)
      return fail(Errc::InvalidArgument,
                  "-l names a snapshot of one image: convert one source at a time");
    TRY(show_snapshot(*sources[0], *snapshot));
  }
  return sources;
}

Result<CopyOptions> copy_options(const Arguments& arguments) {
  CopyOptions options;
  options.compress = arguments.has("compress");
  options.out_of_order = arguments.has("out-of-order");
  options.salvage = arguments.has("salvage");
  options.offload = arguments.has("copy-range");
  if (const auto text = arguments.value("workers")) {
    const Result<u64> workers = parse_u64(*text);
    if (!workers || *workers < 1 || *workers > 16)
      return fail(Errc::InvalidArgument, "-m takes 1 to 16 workers, not '{}'", *text);
    options.workers = static_cast<unsigned>(*workers);
  }
  if (const auto text = arguments.value("sparse")) {
    options.sparse = TRY(size_argument("-S", *text));
    if (options.sparse % 512 != 0)
      return fail(Errc::InvalidArgument,
                  "-S {} is no multiple of 512 bytes (0 writes every zero out)", options.sparse);
  }
  if (const auto text = arguments.value("rate"))
    options.rate_limit = TRY(size_argument("-r", *text));
  if (options.salvage && arguments.has("copy-range"))
    return fail(Errc::InvalidArgument,
                "-C and --salvage exclude each other: the kernel's copy stops at a bad sector");
  if (options.compress && arguments.has("copy-range"))
    return fail(Errc::InvalidArgument,
                "-C and -c exclude each other: the kernel copies, it does not compress");
  return options;
}

enum class BrokenBitmaps : u8 { Refuse, Skip };

Result<void> copy_bitmaps(Node& source, Node& target, BrokenBitmaps broken) {
  BitmapStore* from = source.image().bitmaps();
  if (!from) return {};
  BitmapStore* to = target.image().bitmaps();
  if (!to)
    return fail(Errc::Unsupported, "Copying bitmaps: images of format '{}' keep none",
                target.driver().name);
  for (BitmapInfo bitmap : from->list()) {
    if (bitmap.in_use && broken == BrokenBitmaps::Skip) {
      log_warning("Leaving out bitmap '{}': its last user did not write it back", bitmap.name);
      continue;
    }
    if (bitmap.in_use)
      return fail(
          Errc::Corrupt,
          "Bitmap '{}' was in use when its image was last closed and may lack writes: leave it "
          "behind (--skip-broken-bitmaps) or remove it (bitmap --remove)",
          bitmap.name);
    const BitmapContent content = TRY(from->load(bitmap.name));
    TRY(to->add({bitmap.name, bitmap.granularity, false, false}),
        "Making bitmap '{}' in the target", bitmap.name);
    TRY(to->store(bitmap.name, content), "Filling bitmap '{}' of the target", bitmap.name);
    if (bitmap.enabled) TRY(to->set_enabled(bitmap.name, true));
  }
  return {};
}

// What opens an encrypted target that was made with such options.
Value keys_of(const Value& creation) {
  Value keys = Value::object();
  if (const Value* secret = creation.find("key-secret")) keys.set("key-secret", *secret);
  const Value* encrypt = creation.find("encrypt");
  if (const Value* secret = encrypt ? encrypt->find("key-secret") : nullptr) {
    Value inner = Value::object();
    inner.set("format", "luks");
    inner.set("key-secret", *secret);
    keys.set("encrypt", std::move(inner));
  }
  return keys;
}

Result<void> make_target(ImageSession& session, const Arguments& arguments, const Driver& driver,
                         u64 size) {
  Value options = TRY(creation_options(arguments));
  if (const auto backing = arguments.value("backing")) options.set("backing_file", *backing);
  if (const auto format_name = arguments.value("backing-format"))
    options.set("backing_fmt", *format_name);
  if (arguments.has("compress") && driver.name != "qcow2" && driver.name != "vmdk" &&
      driver.name != "qcow")
    return fail(Errc::Unsupported, "-c: format '{}' knows no compression", driver.name);
  if (const Value* given = options.find("size")) {
    size = TRY(detail::to_size(*given));
    options.erase("size");
  }
  return session.graph().create(driver.name, arguments.operands().back(), size, std::move(options));
}

Result<int> convert(ImageSession& session, const Arguments& arguments) {
  const bool create = !arguments.has("no-create");
  const bool target_opts = arguments.has("target-image-opts");
  const Driver* driver = TRY(session.graph().driver(arguments.value_or("target-format", "raw")));
  if (asks_for_help(arguments)) {
    std::fputs(options_help(session.graph(), *driver).c_str(), stdout);
    return 0;
  }
  if (arguments.operands().size() < 2)
    return fail(Errc::InvalidArgument, "Convert wants a source and a target");
  if (target_opts && create)
    return fail(Errc::InvalidArgument,
                "--target-image-opts describes a target that exists: say -n too");
  if (!create && arguments.has("options"))
    return fail(Errc::InvalidArgument, "-o is for the making of an image, and -n makes none");
  if (arguments.has("target-is-zero") && create)
    return fail(Errc::InvalidArgument,
                "--target-is-zero is a promise about a target that exists: say -n too");
  if (arguments.has("skip-broken-bitmaps") && !arguments.has("bitmaps"))
    return fail(Errc::InvalidArgument, "--skip-broken-bitmaps needs --bitmaps");
  CopyOptions options = TRY(copy_options(arguments));
  const std::vector<Child> sources = TRY(open_sources(session, arguments));
  u64 size = 0;
  std::vector<Node*> nodes;
  for (const Child& source : sources) size += source->size(), nodes.push_back(&*source);
  const std::string& target_name = arguments.operands().back();
  MadeFile made(target_name);
  if (!create) made.finish();
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  if (create)
    TRY(make_target(session, arguments, *driver, (size + 511) & ~u64{511}),
        "Making '{}' of format '{}'", target_name, driver->name);
  OpenImage how;
  how.writable = true;
  how.unmap = options.sparse != 0;
  how.image_opts = target_opts;
  if (!target_opts) how.format = driver->name;
  how.cache = TRY(parse_cache_mode(arguments.value_or("cache", "unsafe")));
  options.writethrough = how.cache.writethrough;
  if (create) how.more = keys_of(TRY(creation_options(arguments)));
  const Child target = TRY(session.open(target_name, how));
  // A streamOptimized disk has compressed grains alone.
  if (target->image().info().compressed) options.compress = true;
  if (target->size() < size)
    return fail(Errc::InvalidArgument, "Target '{}' has {} bytes, its source {}", target_name,
                target->size(), size);
  options.target_has_backing = target->backing() != nullptr;
  options.target_is_zero =
      (create && target->image().has_zero_init() && !options.target_has_backing) ||
      arguments.has("target-is-zero");
  if (options.compress && !target->image().info().cluster_size)
    return fail(Errc::Unsupported, "-c: format '{}' knows no compression", driver->name);
  {
    Progress progress(arguments, size);
    Copier copier(nodes, *target, options);
    TRY(copier.run(interrupted, [&](u64 bytes) { progress.done(bytes); }));
  }
  if (arguments.has("bitmaps")) {
    const bool skips = arguments.has("skip-broken-bitmaps");
    TRY(copy_bitmaps(*nodes[0], *target, skips ? BrokenBitmaps::Skip : BrokenBitmaps::Refuse));
  }
  TRY(target->flush());
  TRY(target->close());
  if (interrupted) return fail(Errc::Cancelled, "Interrupted");
  made.finish();
  return 0;
}

constexpr Flag kDdFlags[] = {kObject,
                             kImageOpts,
                             kFormat,
                             {'O', "target-format", "FORMAT", "format to make (raw)", false},
                             kForceShare};

Result<int> dd(ImageSession& session, const Arguments& arguments) {
  std::string in, out;
  u64 block = 512, count = ~u64{0}, skip = 0;
  for (const std::string& operand : arguments.operands()) {
    const size_t equals = operand.find('=');
    if (equals == std::string::npos)
      return fail(Errc::InvalidArgument, "dd has no operand '{}' (if= of= bs= count= skip=)",
                  operand);
    const std::string key = operand.substr(0, equals), value = operand.substr(equals + 1);
    if (key == "if")
      in = value;
    else if (key == "of")
      out = value;
    else if (key == "bs")
      block = TRY(size_argument("bs", value));
    else if (key == "count")
      count = TRY(size_argument("count", value));
    else if (key == "skip")
      skip = TRY(size_argument("skip", value));
    else
      return fail(Errc::InvalidArgument, "dd has no operand '{}' (if= of= bs= count= skip=)",
                  operand);
  }
  if (in.empty() || out.empty())
    return fail(Errc::InvalidArgument, "dd wants if=IMAGE and of=IMAGE");
  if (block == 0 || block > 1 * GiB)
    return fail(Errc::InvalidArgument, "bs={} is not between 1 byte and 1 GiB", block);
  const Child source = TRY(session.open(in, TRY(open_flags(arguments))));
  const u64 start =
      skip > source->size() / block ? source->size() : std::min(source->size(), skip * block);
  u64 size = source->size() - start;
  if (count < size / block + 1) size = std::min(size, count * block);
  const std::string format_name = arguments.value_or("target-format", "raw");
  TRY(session.graph().create(format_name, out, (size + 511) & ~u64{511}, Value::object()));
  OpenImage how;
  how.format = format_name, how.writable = true;
  const Child target = TRY(session.open(out, how));
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(block, std::max<u64>(size, 1))));
  for (u64 at = 0; at < size;) {
    const Bytes part =
        Bytes(buffer).first(static_cast<size_t>(std::min<u64>(buffer.size(), size - at)));
    TRY(source->read(start + at, part), "Reading '{}'", in);
    TRY(target->write(at, part), "Writing '{}'", out);
    at += part.size();
  }
  TRY(target->close());
  return 0;
}

}  // namespace

const Command kConvert{"convert", "SOURCE... TARGET", "copy one or more images into a new one",
                       kConvertFlags, convert};
const Command kDd{"dd", "if=SOURCE of=TARGET [bs=BYTES] [count=BLOCKS] [skip=BLOCKS]",
                  "copy a part of an image", kDdFlags, dd};

}  // namespace menura::img
