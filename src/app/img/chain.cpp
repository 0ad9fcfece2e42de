// commit, rebase, compare: images and what lies below them.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <thread>

#include "app/img/command.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/rate_limit.h"

namespace menura::img {

namespace {

constexpr u64 kPiece = 2 * MiB;

constexpr Flag kCommitFlags[] = {kObject,
                                 kImageOpts,
                                 kQuiet,
                                 kFormat,
                                 kCache,
                                 {'b', "base", "FILE", "down to this image of the chain", false},
                                 {'d', "keep", "", "do not empty the image afterwards", false},
                                 {'r', "rate", "BYTES", "at most so many bytes a second", false},
                                 kProgress};

// The chain from the top down to the named base (or the first one below).
Result<std::vector<Node*>> chain_to(Node& top, const std::optional<std::string>& base) {
  std::vector<Node*> chain{&top};
  for (Node* node = top.backing(); node; node = node->backing()) {
    chain.push_back(node);
    if (!base || node->filename() == *base ||
        node->filename() == resolve_beside(top.filename(), *base))
      return chain;
  }
  if (!base)
    return fail(Errc::InvalidArgument,
                "Committing '{}': it has no backing image to take its changes", top.filename());
  return fail(Errc::NotFound, "No image below '{}' is called '{}'", top.filename(), *base);
}

Result<int> commit(ImageSession& session, const Arguments& arguments) {
  OpenImage how = TRY(open_flags(arguments, "cache"));
  how.writable = true;
  const std::string name = TRY(only_file(arguments));
  const Child image = TRY(session.open(name, how));
  const std::vector<Node*> chain = TRY(chain_to(*image, arguments.value("base")));
  Node& base = *chain.back();
  RateLimit limit;
  if (const auto rate = arguments.value("rate")) limit.set(TRY(size_argument("rate limit", *rate)));
  TRY(base.first_child() ? base.first_child()->set_read_only(false) : Result<void>(),
      "Writing '{}'", base.filename());
  TRY(base.set_read_only(false), "Writing '{}'", base.filename());
  if (base.size() < image->size()) TRY(base.truncate(image->size()));
  {
    Progress progress(arguments, image->size());
    std::vector<std::byte> buffer;
    for (u64 at = 0; at < image->size();) {
      const ChainExtent e = TRY(map_chain(*image, &base, at, image->size() - at));
      u64 length = e.extent.length;
      if (e.extent.kind == ExtentKind::Zero) {
        TRY(base.zero(at, length, {.may_unmap = true}));
      } else if (e.extent.kind != ExtentKind::Hole) {
        length = std::min(length, kPiece);
        buffer.resize(static_cast<size_t>(length));
        TRY(image->read(at, buffer));
        std::this_thread::sleep_for(limit.delay_of(length));
        TRY(base.write(at, buffer));
      }
      at += length;
      progress.done(length);
    }
  }
  // The base has it for good before the top lets go of it.
  TRY(base.flush());
  if (!arguments.has("keep") && !arguments.has("base")) TRY(image->image().make_empty());
  TRY(image->close());
  TRY(base.close());
  say(arguments, "Image committed.\n");
  return 0;
}

constexpr Flag kRebaseFlags[] = {
    kObject,
    kImageOpts,
    kForceShare,
    kQuiet,
    kFormat,
    kCache,
    kSourceCache,
    kProgress,
    {'u', "unsafe", "", "write the new name only, compare nothing", false},
    {'b', "backing", "FILE", "the new backing image; empty: none", false},
    {'F', "backing-format", "FORMAT", "format of the backing image", false}};

// Whatever reads differently from the new base is written into the image.
Result<void> take_differences(Node& image, Node* old_base, Node* new_base, Progress& progress) {
  std::vector<std::byte> before, after;
  for (u64 at = 0; at < image.size();) {
    const Extent extent = TRY(image.map(at, image.size() - at));
    u64 length = extent.length;
    if (extent.kind == ExtentKind::Hole) {
      length = std::min(length, kPiece);
      before.resize(static_cast<size_t>(length)),
          after.assign(static_cast<size_t>(length), std::byte{0});
      std::ranges::fill(before, std::byte{0});
      if (old_base) TRY(old_base->read_or_zero(at, before));
      if (new_base) TRY(new_base->read_or_zero(at, after));
      const u64 step = std::max<u64>(512, image.image().info().cluster_size);
      for (u64 i = 0; i < length;) {
        const u64 here = std::min(step - (at + i) % step, length - i);
        if (std::memcmp(before.data() + i, after.data() + i, here) != 0)
          TRY(image.write(at + i, ConstBytes(before).subspan(i, here)));
        i += here;
      }
    }
    at += length;
    progress.done(length);
  }
  return {};
}

Result<int> rebase(ImageSession& session, const Arguments& arguments) {
  const bool unsafe = arguments.has("unsafe");
  OpenImage how = TRY(open_flags(arguments, "cache"));
  how.writable = true;
  how.no_backing = unsafe;
  const std::string name = TRY(only_file(arguments));
  const auto backing = arguments.value("backing");
  if (!backing && !unsafe)
    return fail(Errc::InvalidArgument,
                "Rebase wants -b FILE, the new backing image (-b '' for none)");
  const Child image = TRY(session.open(name, how));
  const std::string new_name = backing.value_or("");
  std::string format_name = arguments.value_or("backing-format", "");
  if (!unsafe) {
    Child new_base;
    OpenImage below = TRY(open_flags(arguments, "source-cache"));
    below.format = format_name, below.image_opts = false;
    if (!new_name.empty())
      new_base = TRY(session.open(resolve_beside(image->filename(), new_name), below),
                     "Opening the new backing image");
    Progress progress(arguments, image->size());
    TRY(take_differences(*image, image->backing(), new_base ? &*new_base : nullptr, progress));
    TRY(image->flush());
    if (new_base && format_name.empty()) format_name = new_base->driver().name;
  }
  if (!new_name.empty() && format_name.empty())
    return fail(Errc::InvalidArgument, "Backing '{}' wants its format too: -F FORMAT", new_name);
  TRY(image->image().change_backing(new_name, new_name.empty() ? "" : format_name),
      "Recording '{}' as backing image", new_name);
  TRY(image->close());
  return 0;
}

constexpr Flag kCompareFlags[] = {
    kObject,      kImageOpts,
    kFormat,      {'F', "second-format", "FORMAT", "format of the second image", false},
    kSourceCache, kProgress,
    kQuiet,       {'s', "strict", "", "sizes and allocation must agree too", false},
    kForceShare};

struct Comparison {
  int status = 0;
  std::string text = "Images are identical.\n";
};

bool reads_zero(const ChainExtent& e) {
  return e.extent.kind == ExtentKind::Zero || e.extent.kind == ExtentKind::Hole;
}

Result<u64> compare_piece(Node& a, Node& b, u64 at, u64 end, bool strict, Comparison& result) {
  const ChainExtent left = TRY(map_chain(a, nullptr, at, end - at));
  const ChainExtent right = TRY(map_chain(b, nullptr, at, end - at));
  u64 length = std::min(left.extent.length, right.extent.length);
  if (strict && (left.extent.kind == ExtentKind::Hole) != (right.extent.kind == ExtentKind::Hole)) {
    result = {1, format("Strict mode: Offset {} block status mismatch!\n", at)};
    return length;
  }
  if (reads_zero(left) && reads_zero(right)) return length;
  length = std::min(length, kPiece);
  std::vector<std::byte> first(static_cast<size_t>(length)), second(static_cast<size_t>(length));
  TRY(a.read(at, first));
  TRY(b.read(at, second));
  const auto differs = std::mismatch(first.begin(), first.end(), second.begin()).first;
  if (differs != first.end()) {
    // Mismatches are told by sector.
    const u64 place = at + static_cast<u64>(differs - first.begin()) / 512 * 512;
    result = {1, format("Content mismatch at offset {}!\n", place)};
  }
  return length;
}

Result<int> compare(ImageSession& session, const Arguments& arguments) {
  if (arguments.operands().size() != 2)
    return fail(Errc::InvalidArgument, "Compare wants two images");
  OpenImage how = TRY(open_flags(arguments, "source-cache"));
  const Child a = TRY(session.open(arguments.operands()[0], how));
  how.format = arguments.value_or("second-format", "");
  const Child b = TRY(session.open(arguments.operands()[1], how));
  const bool strict = arguments.has("strict");
  const u64 common = std::min(a->size(), b->size()), larger = std::max(a->size(), b->size());
  Comparison result;
  if (strict && common != larger) {
    say(arguments, "Strict mode: Image size mismatch!\n");
    return 1;
  }
  Progress progress(arguments, larger);
  for (u64 at = 0; at < common && result.status == 0;) {
    const u64 length = TRY(compare_piece(*a, *b, at, common, strict, result));
    at += length;
    progress.done(length);
  }
  if (result.status == 0 && common != larger) {
    say(arguments, "Warning: Image size mismatch!\n");
    Node& rest = a->size() > common ? *a : *b;
    std::vector<std::byte> bytes;
    for (u64 at = common; at < larger && result.status == 0;) {
      const ChainExtent e = TRY(map_chain(rest, nullptr, at, larger - at));
      u64 length = e.extent.length;
      if (!reads_zero(e)) {
        length = std::min(length, kPiece);
        bytes.resize(static_cast<size_t>(length));
        TRY(rest.read(at, bytes));
        const auto differs =
            std::ranges::find_if(bytes, [](std::byte x) { return x != std::byte{0}; });
        if (differs != bytes.end())
          result = {1, format("Content mismatch at offset {}!\n",
                              at + static_cast<u64>(differs - bytes.begin()) / 512 * 512)};
      }
      at += length;
    }
  }
  say(arguments, result.text);
  return result.status;
}

}  // namespace

const Command kCommit{"commit", "IMAGE", "write an image's changes into the one below it",
                      kCommitFlags, commit};
const Command kRebase{"rebase", "IMAGE", "give an image another backing image", kRebaseFlags,
                      rebase};
const Command kCompare{"compare", "IMAGE IMAGE", "say whether two images read the same",
                       kCompareFlags, compare};

}  // namespace menura::img
