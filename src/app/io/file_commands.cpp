// open, close, reopen, length, truncate, map, alloc, info.
#include <cinttypes>
#include <cstdio>

#include "app/io/exerciser.h"
#include "app/io/numbers.h"

namespace menura::io {

namespace {

constexpr Flag kOpenFlagList[] = {
    {'r', "read-only", "", "for reading only"},
    {'s', "snapshot", "", "what is written goes to a temporary file"},
    {'n', "nocache", "", "the same as -t none"},
    {'C', "copy-on-read", "", "what is read from a backing image stays in this one"},
    {'k', "native-aio", "", "the same as -i native"},
    {'i', "aio", "MODE", "who moves the bytes: threads, native or io_uring"},
    {'t', "cache", "MODE", "none, writeback, writethrough, directsync or unsafe"},
    {'d', "discard", "MODE", "what discarding does: ignore (off) or unmap (on)"},
    {'U', "force-share", "", "whoever else uses it"},
    {'o', "options", "LIST", "options of the format, as of --image-opts", false}};

constexpr Flag kReopenFlags[] = {{'r', "read", "", "for reading only", false},
                                 {'w', "write", "", "for writing, too", false},
                                 {'c', "cache", "MODE", "as of open -t", false},
                                 {'o', "options", "LIST", "as of open", false}};
constexpr Flag kTruncateFlags[] = {
    {'m', "preallocation", "MODE", "off, metadata, falloc or full", false}};

// All that -o says.
Result<Value> option_lists(const Arguments& arguments) {
  Value all = Value::object();
  for (const std::string& text : arguments.values("options")) {
    Value some = TRY(parse_keyval(text));
    for (auto& [key, value] : *some.as<Value::Object>()) all.set(key, std::move(value));
  }
  return all;
}

Result<void> open(Exerciser& io, const Arguments& arguments) {
  OpenImage how = TRY(open_flags(arguments));
  how.more = TRY(option_lists(arguments));
  if (const Value* driver = how.more.find("driver"); driver && driver->as<std::string>()) {
    how.format = *driver->as<std::string>();
    how.more.erase("driver");
  }
  if (!arguments.operands().empty()) return io.open(arguments.operands()[0], how);
  // Without a name the options say it all.
  Value whole = how.more;
  if (!how.format.empty()) whole.set("driver", how.format);
  how.format.clear(), how.more = Value();
  return io.open("json:" + to_json(whole), how);
}

Result<void> close(Exerciser& io, const Arguments&) {
  io.close();
  return {};
}

Result<void> reopen(Exerciser& io, const Arguments& arguments) {
  if (arguments.has("read") && arguments.has("write"))
    return fail(Errc::InvalidArgument, "-r and -w are opposites: give one");
  std::optional<CacheMode> cache;
  if (const auto mode = arguments.value("cache")) cache = TRY(parse_cache_mode(*mode));
  Value options = TRY(option_lists(arguments));
  if (arguments.has("read")) options.set("read-only", true);
  if (arguments.has("write")) options.set("read-only", false);
  return io.reopen(options, cache);
}

Result<void> length(Exerciser& io, const Arguments&) {
  std::printf("%s\n", size_text(static_cast<double>(io.node().size())).c_str());
  return {};
}

Result<void> truncate(Exerciser& io, const Arguments& arguments) {
  Preallocation preallocation = Preallocation::Off;
  if (const auto mode = arguments.value("preallocation"))
    preallocation = TRY(detail::convert<Preallocation>(Value(*mode)), "-m");
  const u64 size = TRY(number_of(arguments.operands()[0]));
  io.wait_for_all();
  return io.node().truncate(size, preallocation);
}

// Whether the image itself answers, and how far.
Result<bool> is_allocated(Node& node, u64 offset, u64& length) {
  bool first = true, answer = false;
  u64 at = offset;
  while (at < offset + length) {
    const Extent extent = TRY(node.map(at, offset + length - at));
    const bool here = extent.kind != ExtentKind::Hole;
    if (!first && here != answer) break;
    first = false, answer = here;
    at += extent.length;
  }
  length = at - offset;
  return answer;
}

Result<void> map(Exerciser& io, const Arguments&) {
  io.wait_for_all();
  const u64 size = io.node().size();
  for (u64 at = 0; at < size;) {
    u64 length = size - at;
    const bool allocated = TRY(is_allocated(io.node(), at, length), "Mapping the image");
    std::printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n",
                size_text(static_cast<double>(length)).c_str(), length, allocated ? "   " : "not",
                size_text(static_cast<double>(at)).c_str(), at);
    at += length;
  }
  return {};
}

Result<void> alloc(Exerciser& io, const Arguments& arguments) {
  const auto& words = arguments.operands();
  const u64 offset = TRY(number_of(words[0]));
  const u64 count = words.size() > 1 ? TRY(number_of(words[1])) : 512;
  const u64 size = io.node().size();
  if (offset > size || count > size - offset)
    return fail(Errc::OutOfRange, "{} bytes at {} go beyond the image's end at {}", count, offset,
                size);
  io.wait_for_all();
  u64 sum = 0;
  for (u64 at = offset; at < offset + count;) {
    u64 length = offset + count - at;
    if (TRY(is_allocated(io.node(), at, length))) sum += length;
    at += length;
  }
  std::printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, count,
              size_text(static_cast<double>(offset)).c_str());
  return {};
}

Result<void> info(Exerciser& io, const Arguments&) {
  io.wait_for_all();
  Node& node = io.node();
  const ImageInfo info = node.image().info();
  std::string text = format("format name: {}\n", node.driver().name);
  text += format("cluster size: {}\n", size_text(static_cast<double>(info.cluster_size)));
  text += format("vm state offset: {}\n",
                 size_text(static_cast<double>(info.vm_state_offset.value_or(0))));
  std::fputs((text + specific_text(info)).c_str(), stdout);
  return {};
}

constexpr Command kCommands[] = {
    {"alloc",
     "",
     "OFFSET [LENGTH]",
     "counts the bytes that the image itself holds",
     {},
     1,
     2,
     true,
     alloc},
    {"close", "c", "", "closes the image", {}, 0, 0, true, close},
    {"info", "i", "", "tells about the image", {}, 0, 0, true, info},
    {"length", "l", "", "tells its size", {}, 0, 0, true, length},
    {"map", "", "", "lists what the image itself holds", {}, 0, 0, true, map},
    {"open", "o", "[FILE]", "opens an image", kOpenFlagList, 0, 1, false, open},
    {"reopen", "", "", "changes how the image is open", kReopenFlags, 0, 0, true, reopen},
    {"truncate", "t", "SIZE", "makes it larger or smaller", kTruncateFlags, 1, 1, true, truncate},
};

}  // namespace

const std::span<const Flag> kOpenFlags = kOpenFlagList;

std::span<const Command> file_commands() { return kCommands; }

Result<OpenImage> open_flags(const Arguments& arguments) {
  OpenImage how;
  how.writable = !arguments.has("read-only");
  how.snapshot = arguments.has("snapshot");
  how.copy_on_read = arguments.has("copy-on-read");
  how.force_share = arguments.has("force-share");
  how.aio = arguments.has("native-aio") ? "native" : arguments.value_or("aio", "");
  const bool no_cache = arguments.has("nocache");
  if (no_cache && arguments.value("cache"))
    return fail(Errc::InvalidArgument, "-n is a cache mode, too: give it or -t");
  how.cache = TRY(parse_cache_mode(arguments.value_or("cache", no_cache ? "none" : "writeback")));
  const std::string discard = arguments.value_or("discard", "unmap");
  how.unmap = discard == "unmap" || discard == "on";
  if (!how.unmap && discard != "ignore" && discard != "off")
    return fail(Errc::InvalidArgument, "-d takes ignore (off) or unmap (on), not '{}'", discard);
  return how;
}

}  // namespace menura::io
