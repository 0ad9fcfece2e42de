// info, map, check, measure: what images hold.
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "app/img/command.h"
#include "app/img/snapshot_table.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/stores.h"

namespace menura::img {

namespace {

constexpr Flag kInfoFlags[] = {
    kObject,    kImageOpts, kFormat, kOutput, {0, "backing-chain", "", "the images below it too"},
    kForceShare};

Value snapshot_value(const SnapshotInfo& s) {
  Value v = Value::object();
  if (s.icount) v.set("icount", *s.icount);
  v.set("vm-clock-nsec", s.vm_clock_ns % kNsPerSecond);
  v.set("name", s.name);
  v.set("date-sec", s.date_seconds);
  v.set("date-nsec", u64{s.date_nanoseconds});
  v.set("vm-clock-sec", s.vm_clock_ns / kNsPerSecond);
  v.set("id", s.id);
  v.set("vm-state-size", s.vm_state_size);
  return v;
}

Value image_value(Node& node, std::string_view name) {
  Image& image = node.image();
  const ImageInfo info = image.info();
  Value v = Value::object();
  v.set("virtual-size", node.size());
  v.set("filename", name);
  if (info.cluster_size) v.set("cluster-size", info.cluster_size);
  v.set("format", node.driver().name);
  if (const auto allocated = image.allocated_size()) v.set("actual-size", *allocated);
  if (info.encrypted) v.set("encrypted", true);
  if (!info.specific.is_null()) v.set("format-specific", info.specific);
  if (!info.backing_file.empty()) {
    v.set("full-backing-filename", resolve_beside(node.filename(), info.backing_file));
    v.set("backing-filename", info.backing_file);
    if (!info.backing_format.empty()) v.set("backing-filename-format", info.backing_format);
  }
  if (SnapshotStore* store = image.snapshots())
    if (const std::vector<SnapshotInfo> snapshots = store->list(); !snapshots.empty()) {
      Value list = Value::list();
      for (const SnapshotInfo& s : snapshots) list.as<Value::List>()->push_back(snapshot_value(s));
      v.set("snapshots", std::move(list));
    }
  if (info.dirty) v.set("dirty-flag", *info.dirty);
  return v;
}

std::string image_text(Node& node, std::string_view name) {
  Image& image = node.image();
  const ImageInfo info = image.info();
  std::string out = format("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\n", name,
                           node.driver().name, human_size(node.size()), node.size());
  const auto allocated = image.allocated_size();
  out += format("disk size: {}\n", allocated ? human_size(*allocated) : "unavailable");
  if (info.encrypted) out += "encrypted: yes\n";
  if (info.cluster_size) out += format("cluster_size: {}\n", info.cluster_size);
  if (info.dirty.value_or(false)) out += "cleanly shut down: no\n";
  if (!info.backing_file.empty()) {
    const std::string full = resolve_beside(node.filename(), info.backing_file);
    out += format("backing file: {}", info.backing_file);
    if (full != info.backing_file) out += format(" (actual path: {})", full);
    out += "\n";
    if (!info.backing_format.empty())
      out += format("backing file format: {}\n", info.backing_format);
  }
  if (SnapshotStore* store = image.snapshots())
    if (const std::vector<SnapshotInfo> snapshots = store->list(); !snapshots.empty())
      out += snapshot_table(snapshots);
  out += specific_text(info);
  return out;
}

Result<int> info(ImageSession& session, const Arguments& arguments) {
  const bool json = TRY(wants_json(arguments));
  OpenImage how = TRY(open_flags(arguments));
  how.no_backing = true;
  how.no_io = true;
  std::string name = TRY(only_file(arguments));
  Value list = Value::list();
  std::string text;
  std::vector<std::string> seen;
  for (;;) {
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      return fail(Errc::Corrupt, "The chain comes back to '{}': it has no end", name);
    seen.push_back(name);
    const Child image = TRY(session.open(name, how));
    const std::string shown = how.image_opts ? image->filename() : name;
    list.as<Value::List>()->push_back(image_value(*image, shown));
    if (!text.empty()) text += "\n";
    text += image_text(*image, shown);
    const ImageInfo info = image->image().info();
    if (!arguments.has("backing-chain") || info.backing_file.empty()) break;
    name = resolve_beside(image->filename(), info.backing_file);
    how.format = info.backing_format;
    how.image_opts = false;
  }
  if (json)
    text =
        pretty_json(arguments.has("backing-chain") ? list : list.as<Value::List>()->front()) + "\n";
  std::fputs(text.c_str(), stdout);
  return 0;
}

constexpr Flag kMapFlags[] = {kObject,
                              kImageOpts,
                              kFormat,
                              {'s', "start-offset", "BYTES", "where to begin"},
                              {'l', "max-length", "BYTES", "how much to look at"},
                              kOutput,
                              kForceShare};

struct MapEntry {
  u64 start = 0, length = 0;
  u32 depth = 0;
  bool present = false, zero = false, data = false;
  std::optional<u64> offset;
  std::string file;
  // Whether the next one only makes this one longer.
  bool continues(const MapEntry& next) const {
    return depth == next.depth && present == next.present && zero == next.zero &&
           data == next.data && file == next.file &&
           offset.has_value() == next.offset.has_value() &&
           (!offset || *offset + length == *next.offset);
  }
};

MapEntry map_entry(const ChainExtent& e, u64 start) {
  MapEntry m{.start = start, .length = e.extent.length, .depth = e.depth};
  m.present = e.extent.kind != ExtentKind::Hole;
  m.zero = e.extent.kind == ExtentKind::Zero || e.extent.kind == ExtentKind::Hole;
  m.data = e.extent.kind == ExtentKind::Data || e.extent.kind == ExtentKind::Opaque;
  if (e.extent.at) {
    m.offset = e.extent.offset;
    m.file = e.extent.at->filename();
  }
  return m;
}

void print_map_entry(const MapEntry& m, bool json, bool first, bool last) {
  if (json) {
    std::printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
                ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
                first ? "[" : "", m.start, m.length, m.depth, m.present ? "true" : "false",
                m.zero ? "true" : "false", m.data ? "true" : "false");
    if (m.offset) std::printf(", \"offset\": %" PRIu64, *m.offset);
    std::printf("}%s\n", last ? "]" : ",");
  } else if (m.data && !m.zero) {
    std::printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", m.start, m.length,
                m.offset.value_or(0), m.file.c_str());
  }
}

Result<int> map(ImageSession& session, const Arguments& arguments) {
  const bool json = TRY(wants_json(arguments));
  const Child image = TRY(session.open(TRY(only_file(arguments)), TRY(open_flags(arguments))));
  u64 at = 0, end = image->size();
  if (const auto text = arguments.value("start-offset"))
    at = TRY(size_argument("start offset", *text));
  if (const auto text = arguments.value("max-length"))
    end = std::min(end, at + TRY(size_argument("maximum length", *text)));
  if (!json) std::printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
  std::optional<MapEntry> pending;
  bool first = true;
  while (at < end) {
    const ChainExtent extent = TRY(map_chain(*image, nullptr, at, end - at));
    const MapEntry here = map_entry(extent, at);
    if (!json && here.data && !here.zero && !here.offset)
      return fail(Errc::Unsupported,
                  "Bytes at {} lie compressed or encrypted in their file, which has no plain place "
                  "to show: --output=json",
                  at);
    at += here.length;
    if (pending && pending->continues(here)) {
      pending->length += here.length;
      continue;
    }
    if (pending) print_map_entry(*pending, json, std::exchange(first, false), false);
    pending = here;
  }
  if (pending) print_map_entry(*pending, json, first, true);
  if (!pending && json) std::puts("[]");
  return 0;
}

constexpr Flag kCheckFlags[] = {kObject,      kImageOpts,
                                kQuiet,       kFormat,
                                kOutput,      {'r', "repair", "WHAT", "mend: leaks or all"},
                                kSourceCache, kForceShare};

std::string check_text(const CheckReport& r, bool repaired) {
  std::string out;
  for (const std::string& finding : r.findings) out += finding + "\n";
  if (repaired && (r.leaks_fixed || r.corruptions_fixed))
    out += format("Mended: {} leaked clusters, {} corruptions. The image as it is now:\n",
                  r.leaks_fixed, r.corruptions_fixed);
  const u64 corruptions = r.corruptions - r.corruptions_fixed, leaks = r.leaks - r.leaks_fixed;
  if (!corruptions && !leaks && !r.check_errors) out += "No errors were found on the image.\n";
  if (corruptions)
    out += format(
        "\n{} errors were found on the image.\nWhat it holds may be damaged, and writing may "
        "damage more.\n",
        corruptions);
  if (leaks)
    out += format(
        "\n{} leaked clusters were found on the image.\nThey take space and do no harm.\n", leaks);
  if (r.check_errors) out += format("\n{} parts could not be checked.\n", r.check_errors);
  if (r.total_clusters && r.allocated_clusters)
    out += format(
        "{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
        r.allocated_clusters, r.total_clusters,
        100.0 * static_cast<double>(r.allocated_clusters) / static_cast<double>(r.total_clusters),
        100.0 * static_cast<double>(r.fragmented_clusters) /
            static_cast<double>(r.allocated_clusters),
        100.0 * static_cast<double>(r.compressed_clusters) /
            static_cast<double>(r.allocated_clusters));
  if (r.image_end_offset) out += format("Image end offset: {}\n", r.image_end_offset);
  return out;
}

std::string check_json(const CheckReport& r, std::string_view name, std::string_view format_name) {
  Value v = Value::object();
  const auto count = [&](std::string_view key, u64 n) {
    if (n) v.set(key, n);
  };
  count("image-end-offset", r.image_end_offset);
  count("total-clusters", r.total_clusters);
  v.set("check-errors", r.check_errors);
  count("corruptions", r.corruptions - r.corruptions_fixed);
  count("leaks", r.leaks - r.leaks_fixed);
  count("corruptions-fixed", r.corruptions_fixed);
  count("leaks-fixed", r.leaks_fixed);
  count("allocated-clusters", r.allocated_clusters);
  count("fragmented-clusters", r.fragmented_clusters);
  count("compressed-clusters", r.compressed_clusters);
  v.set("filename", name);
  v.set("format", format_name);
  return pretty_json(v) + "\n";
}

Result<int> check(ImageSession& session, const Arguments& arguments) {
  const bool json = TRY(wants_json(arguments));
  Repair repair = Repair::None;
  if (const auto mode = arguments.value("repair")) {
    if (*mode != "leaks" && *mode != "all")
      return fail(Errc::InvalidArgument, "-r mends leaks or all, not '{}'", *mode);
    repair = *mode == "leaks" ? Repair::Leaks : Repair::All;
  }
  OpenImage how = TRY(open_flags(arguments, "source-cache"));
  how.writable = repair != Repair::None;
  how.no_backing = true;
  const std::string name = TRY(only_file(arguments));
  const Child image = TRY(session.open(name, how));
  Result<CheckReport> report = image->image().check(repair);
  if (!report && report.error().code == Errc::Unsupported) {
    std::fputs("menura-img: images of this format have nothing to check\n", stderr);
    return 63;
  }
  TRY(report, "Checking '{}'", name);
  if (how.writable) TRY(image->close());
  std::fputs((json                     ? check_json(*report, name, image->driver().name)
              : arguments.has("quiet") ? ""
                                       : check_text(*report, how.writable))
                 .c_str(),
             stdout);
  if (report->check_errors) return 1;
  if (report->corruptions > report->corruptions_fixed) return 2;
  return report->leaks > report->leaks_fixed ? 3 : 0;
}

constexpr Flag kMeasureFlags[] = {
    kOutput,    {'O', "target-format", "FORMAT", "format to be made (raw)", false},
    kOptions,   {0, "size", "BYTES", "of an image that does not exist yet"},
    kObject,    kImageOpts,
    kFormat,    {'l', "snapshot", "NAME", "of this internal snapshot", false},
    kForceShare};

Result<int> measure(ImageSession& session, const Arguments& arguments) {
  const bool json = TRY(wants_json(arguments));
  const Driver* driver = TRY(session.graph().driver(arguments.value_or("target-format", "raw")));
  if (!driver->measure)
    return fail(Errc::Unsupported, "How large an image of format '{}' becomes is not known",
                driver->name);
  MeasureContext context{.options = TRY(creation_options(arguments))};
  Child source;
  if (const auto size = arguments.value("size")) {
    if (!arguments.operands().empty())
      return fail(Errc::InvalidArgument, "Measure takes an image or --size, not both");
    if (arguments.has("snapshot"))
      return fail(Errc::InvalidArgument, "--snapshot needs an image, not --size");
    context.size = TRY(size_argument("image size", *size));
  } else {
    if (arguments.operands().empty())
      return fail(Errc::InvalidArgument, "Measure wants an image, or --size BYTES");
    source = TRY(session.open(TRY(only_file(arguments)), TRY(open_flags(arguments))));
    if (const auto snapshot = arguments.value("snapshot")) TRY(show_snapshot(*source, *snapshot));
    context.size = source->size();
    context.source = &*source;
  }
  const Measure m = TRY(driver->measure(context));
  if (json) {
    Value v = Value::object();
    if (m.bitmaps) v.set("bitmaps", *m.bitmaps);
    v.set("required", m.required);
    v.set("fully-allocated", m.fully_allocated);
    std::printf("%s\n", pretty_json(v).c_str());
  } else {
    std::printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", m.required,
                m.fully_allocated);
    if (m.bitmaps) std::printf("bitmaps size: %" PRIu64 "\n", *m.bitmaps);
  }
  return 0;
}

}  // namespace

const Command kInfo{"info", "IMAGE", "say what an image is", kInfoFlags, info};
const Command kMap{"map", "IMAGE", "show where each part of the content lies", kMapFlags, map};
const Command kCheck{"check", "IMAGE", "look for inconsistencies, and mend them", kCheckFlags,
                     check};
const Command kMeasure{"measure", "[IMAGE]", "say how many bytes a new image would take",
                       kMeasureFlags, measure};

}  // namespace menura::img
