// convert, dd: new images from old ones.
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>

#include <atomic>

#include "app/img/command.h"
#include "app/img/copier.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/stores.h"

namespace menura::img {

namespace {

constexpr Flag kConvertFlags[] = {kObject,
                                  kImageOpts,
                                  {0, "target-image-opts"},
                                  {0, "target-is-zero"},
                                  {0, "bitmaps"},
                                  {0, "skip-broken-bitmaps"},
                                  kForceShare,
                                  {'C', "copy-range", false, false},
                                  {'c', "compress", false, false},
                                  kProgress,
                                  kQuiet,
                                  {'n', "no-create", false, false},
                                  kFormat,
                                  kCache,
                                  kSourceCache,
                                  {'O', "target-format", true, false},
                                  {'B', "backing", true, false},
                                  {'F', "backing-format", true, false},
                                  kOptions,
                                  {'l', "snapshot", true, false},
                                  {'S', "sparse", true, false},
                                  {'r', "rate", true, false},
                                  {'m', "workers", true, false},
                                  {'W', "out-of-order", false, false},
                                  {0, "salvage"}};

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
      return fail(Errc::InvalidArgument, "No support for concatenating multiple snapshot");
    SnapshotStore* store = sources[0]->image().snapshots();
    if (!store) return fail(Errc::Unsupported, "Failed to load snapshot: the image has none");
    // "snapshot.id=1", "snapshot.name=x", or either.
    std::string which = *snapshot;
    if (which.starts_with("snapshot.")) which = which.substr(which.find('=') + 1);
    TRY(store->show(which), "Failed to load snapshot");
  }
  return sources;
}

Result<CopyOptions> copy_options(const Arguments& arguments) {
  CopyOptions options;
  options.compress = arguments.has("compress");
  options.out_of_order = arguments.has("out-of-order");
  options.salvage = arguments.has("salvage");
  if (const auto text = arguments.value("workers")) {
    const Result<u64> workers = parse_u64(*text);
    if (!workers || *workers < 1 || *workers > 16)
      return fail(Errc::InvalidArgument,
                  "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
    options.workers = static_cast<unsigned>(*workers);
  }
  if (const auto text = arguments.value("sparse")) {
    options.sparse = TRY(size_argument("buffer size for sparse output", *text));
    if (options.sparse % 512 != 0)
      return fail(
          Errc::InvalidArgument,
          "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to "
          "2147483136. Select 0 to disable sparse detection (fully allocates output).");
  }
  if (const auto text = arguments.value("rate"))
    options.rate_limit = TRY(size_argument("rate limit", *text));
  if (options.salvage && arguments.has("copy-range"))
    return fail(Errc::InvalidArgument, "Cannot use copy offloading in salvaging mode");
  if (options.compress && arguments.has("copy-range"))
    return fail(Errc::InvalidArgument, "Cannot enable copy offloading when -c is used");
  return options;
}

Result<void> copy_bitmaps(Node& source, Node& target) {
  BitmapStore* from = source.image().bitmaps();
  if (!from) return {};
  BitmapStore* to = target.image().bitmaps();
  if (!to)
    return fail(Errc::Unsupported, "Format driver '{}' does not support bitmaps",
                target.driver().name);
  for (BitmapInfo bitmap : from->list()) {
    if (bitmap.in_use)
      return fail(
          Errc::Corrupt,
          "Cannot copy inconsistent bitmap '{}' (use --skip-broken-bitmaps, or bitmap --remove)",
          bitmap.name);
    const BitmapContent content = TRY(from->load(bitmap.name));
    TRY(to->add({bitmap.name, bitmap.granularity, false, false}), "Failed to create bitmap {}",
        bitmap.name);
    TRY(to->store(bitmap.name, content), "Failed to populate bitmap {}", bitmap.name);
    if (bitmap.enabled) TRY(to->set_enabled(bitmap.name, true));
  }
  return {};
}

Result<void> make_target(ImageSession& session, const Arguments& arguments, const Driver& driver,
                         u64 size) {
  Value options = TRY(creation_options(arguments));
  if (const auto backing = arguments.value("backing")) options.set("backing_file", *backing);
  if (const auto format_name = arguments.value("backing-format"))
    options.set("backing_fmt", *format_name);
  if (arguments.has("compress") && driver.name != "qcow2" && driver.name != "vmdk" &&
      driver.name != "qcow")
    return fail(Errc::Unsupported, "Compression not supported for this file format");
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
    return fail(Errc::InvalidArgument, "Must specify image file name");
  if (target_opts && create)
    return fail(Errc::InvalidArgument, "--target-image-opts requires use of -n flag");
  if (!create && arguments.has("options"))
    return fail(Errc::InvalidArgument, "-o has no effect when skipping image creation (-n)");
  if (arguments.has("target-is-zero") && create)
    return fail(Errc::InvalidArgument, "--target-is-zero requires use of -n flag");
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
        "{}: error while converting {}", target_name, driver->name);
  OpenImage how;
  how.writable = true;
  how.unmap = options.sparse != 0;
  how.image_opts = target_opts;
  if (!target_opts) how.format = driver->name;
  how.cache = TRY(parse_cache_mode(arguments.value_or("cache", "unsafe")));
  options.writethrough = how.cache.writethrough;
  const Child target = TRY(session.open(target_name, how));
  if (target->size() < size)
    return fail(Errc::InvalidArgument, "output file is smaller than input file");
  options.target_has_backing = target->backing() != nullptr;
  options.target_is_zero =
      (create && target->image().has_zero_init() && !options.target_has_backing) ||
      arguments.has("target-is-zero");
  if (options.compress && !target->image().info().cluster_size)
    return fail(Errc::Unsupported, "Compression not supported for this file format");
  {
    Progress progress(arguments, size);
    Copier copier(nodes, *target, options);
    TRY(copier.run(interrupted, [&](u64 bytes) { progress.done(bytes); }));
  }
  if (arguments.has("bitmaps")) TRY(copy_bitmaps(*nodes[0], *target));
  TRY(target->flush());
  TRY(target->close());
  if (interrupted) return fail(Errc::Cancelled, "Interrupted");
  made.finish();
  return 0;
}

constexpr Flag kDdFlags[] = {
    kObject, kImageOpts, kFormat, {'O', "target-format", true, false}, kForceShare};

Result<int> dd(ImageSession& session, const Arguments& arguments) {
  std::string in, out;
  u64 block = 512, count = ~u64{0}, skip = 0;
  for (const std::string& operand : arguments.operands()) {
    const size_t equals = operand.find('=');
    if (equals == std::string::npos)
      return fail(Errc::InvalidArgument, "unrecognized operand {}", operand);
    const std::string key = operand.substr(0, equals), value = operand.substr(equals + 1);
    if (key == "if")
      in = value;
    else if (key == "of")
      out = value;
    else if (key == "bs")
      block = TRY(size_argument("number for bs", value));
    else if (key == "count")
      count = TRY(size_argument("number for count", value));
    else if (key == "skip")
      skip = TRY(size_argument("number for skip", value));
    else
      return fail(Errc::InvalidArgument, "unrecognized operand {}", operand);
  }
  if (in.empty() || out.empty())
    return fail(Errc::InvalidArgument, "Must specify both input and output file names");
  if (block == 0 || block > 1 * GiB)
    return fail(Errc::InvalidArgument, "Invalid number: 'bs={}'", block);
  const Child source = TRY(session.open(in, TRY(open_flags(arguments))));
  const u64 start =
      skip > source->size() / block ? source->size() : std::min(source->size(), skip * block);
  u64 size = source->size() - start;
  if (count < size / block + 1) size = std::min(size, count * block);
  const std::string format_name = arguments.value_or("target-format", "raw");
  TRY(session.graph().create(format_name, out, (size + 511) & ~u64{511}, Value::object()), "{}",
      out);
  OpenImage how;
  how.format = format_name, how.writable = true;
  const Child target = TRY(session.open(out, how));
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(block, std::max<u64>(size, 1))));
  for (u64 at = 0; at < size;) {
    const Bytes part =
        Bytes(buffer).first(static_cast<size_t>(std::min<u64>(buffer.size(), size - at)));
    TRY(source->read(start + at, part), "error while reading from input image file");
    TRY(target->write(at, part), "error while writing to output image file");
    at += part.size();
  }
  TRY(target->close());
  return 0;
}

}  // namespace

const Command kConvert{
    "convert",
    "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] [-U] "
    "[-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file "
    "[-F backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m "
    "workers] [-W] [--salvage] filename [filename2 [...]] output_filename",
    kConvertFlags, convert};
const Command kDd{"dd",
                  "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] "
                  "[skip=blocks] if=input of=output",
                  kDdFlags, dd};

}  // namespace menura::img
