#include "app/img/command.h"

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "block/core/stores.h"

namespace menura::img {

Result<std::string> only_file(const Arguments& arguments) {
  if (arguments.operands().size() != 1)
    return fail(Errc::InvalidArgument, "One image is wanted here, not {}",
                arguments.operands().size());
  return arguments.operands()[0];
}

Result<bool> wants_json(const Arguments& arguments) {
  const std::string form = arguments.value_or("output", "human");
  if (form == "json") return true;
  if (form == "human") return false;
  return fail(Errc::InvalidArgument, "--output knows human and json, not '{}'", form);
}

Result<OpenImage> open_flags(const Arguments& arguments, std::string_view cache_flag,
                             std::string_view cache_default) {
  OpenImage how;
  how.format = arguments.value_or("format", "");
  how.force_share = arguments.has("force-share");
  how.image_opts = arguments.has("image-opts");
  if (!cache_flag.empty())
    how.cache = TRY(parse_cache_mode(arguments.value_or(cache_flag, cache_default)));
  return how;
}

Result<void> show_snapshot(Node& image, std::string which) {
  SnapshotStore* store = image.image().snapshots();
  if (!store)
    return fail(Errc::Unsupported, "Looking for snapshot '{}': images of format '{}' keep none",
                which, image.driver().name);
  if (which.starts_with("snapshot.")) which = which.substr(which.find('=') + 1);
  TRY(store->show(which), "Showing a snapshot");
  return {};
}

Result<Value> creation_options(const Arguments& arguments) {
  Value all = Value::object();
  for (const std::string& text : arguments.values("options")) {
    Value some = TRY(parse_keyval(text));
    for (auto& [key, value] : *some.as<Value::Object>()) all.set(key, std::move(value));
  }
  return all;
}

bool asks_for_help(const Arguments& arguments) {
  const auto is_help = [](const std::string& text) {
    return text == "help" || text == "?" || text.starts_with("help,") || text.ends_with(",help") ||
           text.find(",help,") != std::string::npos;
  };
  return std::ranges::any_of(arguments.values("options"), is_help);
}

std::string options_help(const Graph& graph, const Driver& driver) {
  std::vector<PropertyInfo> options;
  if (driver.create_options) options = driver.create_options();
  const Driver* file = graph.find_driver("file");
  if (file && file->create_options && driver.kind == DriverKind::Format)
    for (PropertyInfo& below : file->create_options())
      if (std::ranges::find(options, below.name, &PropertyInfo::name) == options.end())
        options.push_back(std::move(below));
  if (std::ranges::find(options, "size", &PropertyInfo::name) == options.end())
    options.push_back({"size", "size", "", "Virtual disk size"});
  std::ranges::sort(options, {}, &PropertyInfo::name);
  std::string text = "Supported options:\n";
  for (const PropertyInfo& p : options) {
    std::string type = p.type;
    if (type == "bool") type = "bool (on/off)";
    if (type.starts_with("uint") || type.starts_with("int")) type = "num";
    if (type.find('|') != std::string::npos) type = "str";
    text += format("  {:<22} - {}\n", format("{}=<{}>", p.name, type), p.help);
  }
  return text;
}

Result<u64> size_argument(std::string_view what, std::string_view text) {
  const Result<u64> size = parse_size(text);
  if (!size)
    return fail(size.error().code,
                "Invalid {} specified: '{}'. You may use k, M, G, T, P or E suffixes for "
                "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes",
                what, text);
  return *size;
}

void say(const Arguments& arguments, std::string_view text) {
  if (!arguments.has("quiet")) std::fwrite(text.data(), 1, text.size(), stdout);
}

Progress::Progress(const Arguments& arguments, u64 total)
    : shown_(arguments.has("progress") && !arguments.has("quiet")), total_(total) {
  if (shown_) std::fputs("    (0.00/100%)\r", stdout), std::fflush(stdout);
}

Progress::~Progress() {
  if (shown_) std::fputs("    (100.00/100%)\n", stdout);
}

void Progress::done(u64 bytes) {
  so_far_ += bytes;
  if (!shown_ || total_ == 0) return;
  const double percent =
      100.0 * static_cast<double>(std::min(so_far_, total_)) / static_cast<double>(total_);
  if (static_cast<int>(percent) == last_percent_) return;
  last_percent_ = static_cast<int>(percent);
  std::printf("    (%.2f/100%%)\r", percent);
  std::fflush(stdout);
}

}  // namespace menura::img
