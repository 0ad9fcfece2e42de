#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/random.h"
#include "base/text.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/graph.h"
#include "block/vmdk/descriptor.h"
#include "block/vmdk/sparse_extent.h"
#include "block/vmdk/vmdk_image.h"

namespace menura::vmdk {

namespace {

constexpr std::string_view kSubformats[] = {"monolithicSparse", "monolithicFlat",
                                            "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                            "streamOptimized"};
constexpr std::string_view kAdapters[] = {"ide", "buslogic", "lsilogic", "legacyESX"};
constexpr u64 kSplit = 2 * GiB;
constexpr u64 kDescriptorSectors = 20;

struct Plan {
  bool flat = false, split = false, compressed = false, zeroed = false;
  bool has_own_files() const { return flat || split; }
};

Result<Plan> plan_for(const CreateOptions& o) {
  if (std::ranges::find(kSubformats, o.subformat) == std::end(kSubformats))
    return fail(Errc::InvalidArgument, "subformat: expected one of {}, not '{}'{}",
                join(kSubformats, ", "), o.subformat, suggestion(o.subformat, kSubformats));
  if (std::ranges::find(kAdapters, o.adapter_type) == std::end(kAdapters))
    return fail(Errc::InvalidArgument, "adapter_type: expected one of {}, not '{}'{}",
                join(kAdapters, ", "), o.adapter_type, suggestion(o.adapter_type, kAdapters));
  if (o.compat6 && !o.hwversion.empty())
    return fail(Errc::InvalidArgument, "compat6 is hwversion=6: say one of them");
  Plan plan;
  plan.flat = o.subformat.ends_with("Flat");
  plan.split = o.subformat.starts_with("twoGb");
  plan.compressed = o.subformat == "streamOptimized";
  plan.zeroed = o.zeroed_grain;
  if (plan.flat && plan.zeroed)
    return fail(Errc::InvalidArgument, "zeroed_grain is of disks with grains, not of flat ones");
  if (plan.flat && !o.backing_file.empty())
    return fail(Errc::InvalidArgument, "A flat disk shows nothing of a backing_file");
  if (plan.split && !o.backing_file.empty())
    return fail(Errc::Unsupported, "A disk of several extents has no backing_file here");
  return plan;
}

// Header, both directories with all their tables; grains come behind them.
Result<void> write_sparse(Node& node, u64 size, const Plan& plan, const std::string& descriptor) {
  SparseHeader h;
  h.capacity = (size + kSector - 1) / kSector;
  if (plan.zeroed) h.version = 2, h.flags |= SparseHeader::kZeroedGrains;
  if (plan.compressed) {
    h.version = 3, h.compression = 1;
    h.flags |= SparseHeader::kCompressed | SparseHeader::kMarkers;
  }
  const u64 table = h.entries * 4 / kSector;  // sectors
  const u64 tables = h.tables();
  const u64 directory = (tables * 4 + kSector - 1) / kSector;
  if (!descriptor.empty()) h.descriptor = 1, h.descriptor_sectors = kDescriptorSectors;
  h.redundant_directory = 1 + h.descriptor_sectors;
  h.directory = h.redundant_directory + directory + tables * table;
  h.overhead = h.directory + directory + tables * table;
  h.overhead = (h.overhead + h.grain - 1) / h.grain * h.grain;
  if (h.overhead > 0xffffffff / 2)
    return fail(Errc::OutOfRange, "A VMDK extent of {} bytes would need too many tables", size);
  TRY(node.truncate(h.overhead * kSector));
  for (const u64 at : {h.redundant_directory, h.directory}) {
    std::vector<std::byte> entries(static_cast<size_t>(directory * kSector));
    for (u64 i = 0; i < tables; i++)
      store_le<u32>(entries, i * 4, static_cast<u32>(at + directory + i * table));
    TRY(node.write(at * kSector, entries));
  }
  if (!descriptor.empty()) TRY(node.write(h.descriptor * kSector, bytes_of(descriptor)));
  return node.write(0, h.serialize());
}

std::string geometry_text(const CreateOptions& o, u64 size) {
  const u64 heads = o.adapter_type == "ide" ? 16 : 255;
  const std::string hardware = o.compat6 ? "6" : o.hwversion.empty() ? "4" : o.hwversion;
  return format(
      "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"{}\"\n"
      "ddb.geometry.cylinders = \"{}\"\nddb.geometry.heads = \"{}\"\n"
      "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"{}\"\nddb.toolsVersion = \"{}\"\n",
      hardware, size / (63 * heads * kSector), heads, o.adapter_type, o.toolsversion);
}

// The parent's content ID, from its own descriptor.
Result<u32> cid_of_parent(CreateContext& context, const CreateOptions& o) {
  Graph::FileOptions how;
  how.format = o.backing_fmt.empty() ? "vmdk" : o.backing_fmt;
  how.force_share = true;
  how.no_backing = true;
  if (how.format != "vmdk")
    return fail(Errc::InvalidArgument, "The backing_file of a VMDK disk is a VMDK disk, not {}",
                how.format);
  const NodePtr parent =
      TRY(context.graph.open_file(resolve_beside(context.filename, o.backing_file), how));
  const Value specific = parent->image().info().specific;
  const u64* cid = specific.find("data")->find("cid")->as<u64>();
  return cid ? static_cast<u32>(*cid) : kNoParent;
}

// One extent after the other, each in a file beside the descriptor's; their lines.
Result<std::string> make_extents(CreateContext& context, const Plan& plan, u64 size,
                                 const std::string& stem) {
  std::string lines;
  for (u64 done = 0, index = 1; done < size; index++) {
    const u64 here = plan.split ? std::min(size - done, kSplit) : size;
    std::string name = format("{}-flat.vmdk", stem);
    if (plan.split) name = format("{}-{}{:03}.vmdk", stem, plan.flat ? 'f' : 's', index);
    const NodePtr node = TRY(context.graph.create_file(resolve_beside(context.filename, name), 0));
    const Child file = TRY(Child::attach(
        node, {"the creation", "extent", {kConsistentRead | kWrite | kResize, kConsistentRead}}));
    TRY(plan.flat ? file->truncate(here) : write_sparse(*file, here, plan, ""));
    lines += format("RW {} {} \"{}\"{}\n", (here + kSector - 1) / kSector,
                    plan.flat ? "FLAT" : "SPARSE", name, plan.flat ? " 0" : "");
    done += here;
  }
  return lines;
}

}  // namespace

void CreateOptions::describe(PropertyVisitor& p) {
  p.field("size", size, "size of the disk");
  p.field("adapter_type", adapter_type, "ide, buslogic, lsilogic or legacyESX");
  p.field("backing_file", backing_file, "VMDK disk that unwritten parts read from");
  p.field("backing_fmt", backing_fmt, "format of that disk: vmdk");
  p.field("compat6", compat6, "of hardware version 6");
  p.field("hwversion", hwversion, "version of VMware's virtual hardware");
  p.field("toolsversion", toolsversion, "version of VMware's guest tools");
  p.field("subformat", subformat,
          "monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat or "
          "streamOptimized");
  p.field("zeroed_grain", zeroed_grain, "let tables tell of zeroes");
}

Result<void> create(CreateContext& context) {
  CreateOptions options;
  TRY(read_properties(options, context.options, "vmdk"));
  const Plan plan = TRY(plan_for(options));
  const u64 size = options.size ? options.size->bytes : context.size;
  if (size == 0) return fail(Errc::InvalidArgument, "A VMDK disk of 0 bytes has no extents");
  const size_t slash = context.filename.rfind('/');
  const std::string base =
      slash == std::string::npos ? context.filename : context.filename.substr(slash + 1);
  const std::string stem = base.ends_with(".vmdk") ? base.substr(0, base.size() - 5) : base;
  if (base.find('"') != std::string::npos || options.backing_file.find('"') != std::string::npos)
    return fail(Errc::InvalidArgument, "A descriptor cannot hold names with quotes");
  u32 cid = 0;
  fill_random(std::as_writable_bytes(std::span(&cid, 1)));
  std::string text = format("# Disk DescriptorFile\nversion=1\nCID={:08x}\n", cid);
  if (options.backing_file.empty())
    text += format("parentCID={:08x}\ncreateType=\"{}\"\n", kNoParent, options.subformat);
  else
    text += format("parentCID={:08x}\ncreateType=\"{}\"\nparentFileNameHint=\"{}\"\n",
                   TRY(cid_of_parent(context, options)), options.subformat, options.backing_file);
  text += "\n# Extent description\n";
  if (plan.has_own_files())
    text += TRY(make_extents(context, plan, size, stem));
  else
    text += format("RW {} SPARSE \"{}\"\n", (size + kSector - 1) / kSector, base);
  text += geometry_text(options, size);
  Child file = TRY(attach_for_creation(context));
  if (plan.has_own_files()) return file->write(0, bytes_of(text));
  if (text.size() > kDescriptorSectors * kSector)
    return fail(Errc::OutOfRange, "The descriptor with these names does not fit into the file");
  return write_sparse(*file, size, plan, text);
}

}  // namespace menura::vmdk
