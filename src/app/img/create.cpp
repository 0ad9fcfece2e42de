// create, resize, amend: images and their sizes.
#include <cstdio>

#include "app/img/command.h"
#include "block/core/filename.h"

namespace menura::img {

namespace {

constexpr Flag kCreateFlags[] = {
    kObject,
    kQuiet,
    {'F', "backing-format", "FORMAT", "format of the backing image", false},
    {'b', "backing", "FILE", "what unwritten parts read from", false},
    kFormat,
    kOptions,
    {'u', "unsafe", "", "do not open the backing image", false}};

Result<void> take_backing(const Arguments& arguments, Value& options) {
  if (const auto file = arguments.value("backing")) options.set("backing_file", *file);
  if (const auto format = arguments.value("backing-format")) options.set("backing_fmt", *format);
  return {};
}

// The size of the backing image, which is that of a new one when none is said; its format must be.
Result<u64> backing_size(ImageSession& session, const std::string& beside, const Value& options) {
  const std::string* file = options.find("backing_file")->as<std::string>();
  const Value* format = options.find("backing_fmt");
  if (!format)
    return fail(Errc::InvalidArgument,
                "Backing '{}' wants the backing image's format too: -F FORMAT", beside);
  OpenImage how;
  how.format = *format->as<std::string>();
  (void)TRY(session.graph().driver(how.format));
  const Child backing = TRY(session.open(resolve_beside(beside, *file), how), "{}", beside);
  return backing->size();
}

// "Formatting 'a', fmt=qcow2 cluster_size=65536 …": what the image was made with.
std::string describe_creation(std::string_view name, const Driver& driver, u64 size,
                              const Value& options) {
  std::string text = format("Formatting '{}', fmt={}", name, driver.name);
  const auto add = [&](std::string_view key, std::string_view value) {
    text += format(" {}={}", key, value);
  };
  for (const PropertyInfo& p : driver.create_options()) {
    if (p.name == "size") {
      add("size", std::to_string(size));
      continue;
    }
    const Value* given = options.find(p.name);
    if (p.name == "compat" && !given) continue;
    const std::string value = given ? detail::print_value(*given) : p.default_value;
    const bool quiet_default =
        !given && (p.name == "preallocation" || p.name.starts_with("data_file") ||
                   p.name == "nocow" || p.name == "extent_size_hint");
    if (value.empty() || quiet_default) continue;
    add(p.name,
        p.type == "size" && given ? std::to_string(detail::to_size(*given).value_or(0)) : value);
  }
  if (text.find(" size=") == std::string::npos) add("size", std::to_string(size));
  return text + "\n";
}

Result<int> create(ImageSession& session, const Arguments& arguments) {
  const std::string format_name = arguments.value_or("format", "raw");
  const Driver* driver = TRY(session.graph().driver(format_name));
  if (!driver->create)
    return fail(Errc::Unsupported, "Format '{}' can be read, but not made", format_name);
  if (asks_for_help(arguments)) {
    std::fputs(options_help(session.graph(), *driver).c_str(), stdout);
    return 0;
  }
  const auto& operands = arguments.operands();
  if (operands.empty() || operands.size() > 2)
    return fail(Errc::InvalidArgument,
                "Create wants an image's name and, without a backing image, its size");
  Value options = TRY(creation_options(arguments));
  TRY(take_backing(arguments, options));
  if (options.find("backing_file") && !driver->has_backing)
    return fail(Errc::InvalidArgument, "Creating '{}': format '{}' knows no backing images",
                operands[0], format_name);
  std::optional<u64> size;
  if (operands.size() == 2) size = TRY(size_argument("image size", operands[1]));
  if (const Value* given = options.find("size")) {
    size = TRY(detail::to_size(*given), "Option 'size'");
    options.erase("size");
  }
  if (options.find("backing_file") && !arguments.has("unsafe")) {
    const u64 below = TRY(backing_size(session, operands[0], options));
    if (!size) size = below;
  }
  if (!size)
    return fail(Errc::InvalidArgument, "Creating '{}': say its size after its name", operands[0]);
  *size = (*size + 511) & ~u64{511};
  say(arguments, describe_creation(operands[0], *driver, *size, options));
  std::fflush(stdout);
  TRY(session.graph().create(format_name, operands[0], *size, std::move(options)));
  return 0;
}

constexpr Flag kResizeFlags[] = {
    kObject,
    kImageOpts,
    kFormat,
    kQuiet,
    {0, "preallocation", "MODE", "for what is added: off, metadata, falloc, full"},
    {0, "shrink", "", "allow to lose what lies beyond the new end"}};

Result<int> resize(ImageSession& session, const Arguments& arguments) {
  // "-1G" is a size, not letters: what comes last is taken before the rest is read.
  if (arguments.operands().size() != 2)
    return fail(Errc::InvalidArgument, "Resize wants an image and a size: 20G, +1G or -512M");
  std::string_view text = arguments.operands()[1];
  const char sign = text[0] == '+' || text[0] == '-' ? text[0] : 0;
  if (sign) text.remove_prefix(1);
  const u64 amount = TRY(size_argument("image size", text));
  Preallocation preallocation = Preallocation::Off;
  if (const auto mode = arguments.value("preallocation"))
    preallocation = TRY(detail::convert<Preallocation>(Value(*mode)), "--preallocation");
  OpenImage how = TRY(open_flags(arguments));
  how.writable = true;
  const Child image = TRY(session.open(arguments.operands()[0], how));
  const u64 now = image->size();
  u64 size = amount;
  if (sign == '+') size = now + amount;
  if (sign == '-') size = amount < now ? now - amount : 0;
  size = (size + 511) & ~u64{511};
  if (size == 0)
    return fail(Errc::InvalidArgument, "An image of 0 bytes holds nothing: say a larger size");
  if (size < now && !arguments.has("shrink"))
    return fail(Errc::InvalidArgument,
                "Making '{}' smaller, {} of {} bytes, loses what lies beyond the new end: --shrink "
                "allows it",
                arguments.operands()[0], size, now);
  TRY(image->truncate(size, preallocation));
  TRY(image->close());
  say(arguments, "Image resized.\n");
  return 0;
}

constexpr Flag kAmendFlags[] = {kObject,
                                kImageOpts,
                                kProgress,
                                kQuiet,
                                kFormat,
                                kCache,
                                {0, "force", "", "allow changes that other programs may not read"},
                                kOptions};

Result<int> amend(ImageSession& session, const Arguments& arguments) {
  if (asks_for_help(arguments)) {
    const Driver* driver = TRY(session.graph().driver(arguments.value_or("format", "qcow2")));
    std::string text = "Options of " + std::string(driver->name) + " that amend changes:\n";
    if (driver->amend_options)
      for (const PropertyInfo& p : driver->amend_options())
        text += format("  {:<22} - {}\n", format("{}=<{}>", p.name, p.type), p.help);
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  if (!arguments.has("options"))
    return fail(Errc::InvalidArgument,
                "Amend wants -o KEY=VALUE, what to change (-o help lists it)");
  OpenImage how = TRY(open_flags(arguments, "cache"));
  how.writable = true;
  const Child image = TRY(session.open(TRY(only_file(arguments)), how));
  {
    Progress shown(arguments, 100);
    const auto progress = [&, so_far = u64{0}](u64 done, u64 total) mutable {
      const u64 percent = total ? 100 * done / total : 100;
      if (percent > so_far) shown.done(percent - std::exchange(so_far, percent));
    };
    TRY(image->image().amend(TRY(creation_options(arguments)), progress), "Amending the image");
  }
  TRY(image->close());
  return 0;
}

}  // namespace

const Command kCreate{"create", "IMAGE [SIZE]", "make an empty image", kCreateFlags, create};
const Command kResize{"resize", "IMAGE [+|-]SIZE", "make an image larger or smaller", kResizeFlags,
                      resize};
const Command kAmend{"amend", "IMAGE", "change the format's options of an image", kAmendFlags,
                     amend};

}  // namespace menura::img
