#include "block/qcow2/create.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "block/core/graph.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

void CreateOptions::Encrypt::describe(PropertyVisitor& p) {
  p.field("format", format, "luks: encrypt the content");
  luks::LuksOptions::describe(p);
}

void CreateOptions::describe(PropertyVisitor& p) {
  p.field("cluster_size", cluster_size, "what is allocated at a time: 512 bytes to 2M");
  p.field("encrypt", encrypt, "how the content is encrypted");
  p.field("extended_l2", extended_l2, "allocate in 32nds of a cluster");
  p.field("compression_type", compression_type, "of compressed clusters: zlib or zstd");
  p.field("size", size, "size of the disk");
  p.field("backing_file", backing_file, "image that unwritten parts read from");
  p.field("backing_fmt", backing_fmt, "format of that image");
  p.field("lazy_refcounts", lazy_refcounts, "write reference counts when the image closes");
  p.field("refcount_bits", refcount_bits, "bits of a reference count: 1 to 64");
  p.field("compat", compat, "version of the format: v2 (or 0.10), v3 (or 1.1)");
  p.field("data_file", data_file, "file that holds the data, metadata staying here");
  p.field("data_file_raw", data_file_raw, "keep the data file readable as a raw image");
  p.field("preallocation", preallocation, "off, metadata, falloc or full");
}

void AmendOptions::describe(PropertyVisitor& p) {
  p.field("backing_file", backing_file, "image that unwritten parts read from");
  p.field("backing_fmt", backing_fmt, "format of that image");
  p.field("compat", compat, "version of the format: v2 (or 0.10), v3 (or 1.1)");
  p.field("data_file", data_file, "file that holds the data, metadata staying here");
  p.field("data_file_raw", data_file_raw, "keep the data file readable as a raw image");
  p.field("lazy_refcounts", lazy_refcounts, "write reference counts when the image closes");
  p.field("refcount_bits", refcount_bits, "bits of a reference count: 1 to 64");
  p.field("size", size, "size of the disk");
}

namespace {

Result<Header> header_for(const CreateOptions& o, u64 size) {
  Header h;
  if (o.compat == "0.10" || o.compat == "v2")
    h.version = 2;
  else if (o.compat != "1.1" && o.compat != "v3")
    return fail(Errc::InvalidArgument, "compat: expected 0.10, v2, 1.1 or v3, not '{}'", o.compat);
  const u64 cluster = o.cluster_size.bytes;
  if (!std::has_single_bit(cluster) || cluster < 512 || cluster > 2 * MiB)
    return fail(Errc::InvalidArgument, "cluster_size: {} is no power of two from 512 to 2M",
                cluster);
  h.cluster_bits = static_cast<u32>(std::countr_zero(cluster));
  if (!std::has_single_bit(o.refcount_bits) || o.refcount_bits > 64)
    return fail(Errc::InvalidArgument, "refcount_bits: {} is none of 1, 2, 4, 8, 16, 32, 64",
                o.refcount_bits);
  h.refcount_order = static_cast<u32>(std::countr_zero(o.refcount_bits));
  const auto needs_v3 = [&](bool wanted, std::string_view what) -> Result<void> {
    if (wanted && h.version < 3)
      return fail(Errc::InvalidArgument,
                  "{} is not known to version 2 of the format: say compat=v3", what);
    return {};
  };
  TRY(needs_v3(o.refcount_bits != 16, "refcount_bits other than 16"));
  TRY(needs_v3(o.lazy_refcounts, "lazy_refcounts"));
  TRY(needs_v3(!o.data_file.empty(), "data_file"));
  TRY(needs_v3(o.extended_l2, "extended_l2"));
  TRY(needs_v3(o.compression_type != CompressionType::Zlib, "compression_type other than zlib"));
  if (o.extended_l2 && h.cluster_bits < 14)
    return fail(Errc::InvalidArgument, "extended_l2 wants a cluster_size of 16k or more, not {}",
                cluster);
  if (o.data_file_raw && o.data_file.empty())
    return fail(Errc::InvalidArgument,
                "data_file_raw says how data_file is kept, and there is none");
  if (o.data_file_raw && !o.backing_file.empty())
    return fail(Errc::InvalidArgument,
                "A raw data file shows everything: with data_file_raw there is no backing_file");
  if (!o.backing_fmt.empty() && o.backing_file.empty())
    return fail(Errc::InvalidArgument, "backing_fmt without backing_file");
  const bool preallocates = o.preallocation != Preallocation::Off;
  if (preallocates && !o.backing_file.empty() && !o.extended_l2)
    return fail(Errc::InvalidArgument,
                "Preallocation hides the backing file, but with extended_l2=on it does not");
  if (!o.encrypt.format.empty() && o.encrypt.format != "luks")
    return fail(Errc::Unsupported, "encrypt.format: expected luks, not '{}'", o.encrypt.format);
  if (o.encrypt.format.empty() && !o.encrypt.key_secret.empty())
    return fail(Errc::InvalidArgument, "encrypt.key-secret without encrypt.format");
  if (!o.encrypt.format.empty()) {
    TRY(needs_v3(true, "encrypt.format"));
    if (preallocates || o.data_file_raw)
      return fail(Errc::Unsupported,
                  "An encrypted image has no preallocation, and no raw data file: what is not "
                  "written would read as noise");
    h.crypt_method = kCryptLuks;
  }
  if (o.lazy_refcounts) h.compatible |= kLazyRefcounts;
  if (o.extended_l2) h.incompatible |= kExtendedL2;
  if (!o.data_file.empty()) h.incompatible |= kDataFile, h.data_file = o.data_file;
  if (o.data_file_raw) h.autoclear |= kDataFileRaw;
  h.compression = o.compression_type;
  if (h.compression != CompressionType::Zlib) h.incompatible |= kCompressionType;
  h.backing_file = o.backing_file;
  h.backing_format = o.backing_fmt;
  h.size = size;
  if (h.l1_entries_for(size) * 8 > kMaxL1Bytes)
    return fail(
        Errc::OutOfRange,
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)");
  return h;
}

// Header, reference count table, its first block, the L1 table, the LUKS header: in clusters from the
// beginning.
Result<void> write_structures(Header& h, Node& file, ConstBytes luks_header) {
  const u64 cluster = h.cluster_size();
  const u64 l1_entries = h.l1_entries_for(h.size);
  const u64 l1_clusters = std::max<u64>(1, (l1_entries * 8 + cluster - 1) / cluster);
  h.reftable_offset = cluster;
  h.reftable_clusters = 1;
  h.l1_size = static_cast<u32>(l1_entries);
  // Blocks count what lies before the disk's content: themselves, too.
  const u64 per_block = h.refcounts_per_block();
  const u64 luks_clusters = (luks_header.size() + cluster - 1) / cluster;
  const u64 others = l1_clusters + luks_clusters;
  u64 blocks = 1;
  while (blocks * per_block < 2 + blocks + others) blocks++;
  if (blocks * 8 > cluster)
    h.reftable_clusters = static_cast<u32>((blocks * 8 + cluster - 1) / cluster);
  while (blocks * per_block < 1 + h.reftable_clusters + blocks + others) blocks++;
  const u64 first_block = cluster * (1 + h.reftable_clusters);
  h.l1_offset = first_block + blocks * cluster;
  const u64 used = 1 + h.reftable_clusters + blocks + others;
  const u64 luks_at = h.l1_offset + l1_clusters * cluster;
  if (luks_clusters) h.crypto = Header::Crypto{luks_at, luks_header.size()};
  std::vector<std::byte> table(h.reftable_clusters * cluster), counts(blocks * cluster);
  for (u64 i = 0; i < blocks; i++) store_be<u64>(table, i * 8, first_block + i * cluster);
  for (u64 i = 0; i < used; i++) {
    const unsigned order = h.refcount_order;
    if (order < 3)
      counts[i >> (3 - order)] |= std::byte{1} << ((i & ((1u << (3 - order)) - 1)) << order);
    else
      counts[((i + 1) << (order - 3)) - 1] = std::byte{1};  // the lowest byte of a big-endian one
  }
  TRY(file.truncate(used * cluster));
  TRY(file.write(h.reftable_offset, table));
  TRY(file.write(first_block, counts));
  TRY(file.zero(h.l1_offset, l1_clusters * cluster));
  TRY(file.write(luks_at, luks_header));
  // Last: what is half made has no header.
  return file.write(0, TRY(h.serialize()));
}

}  // namespace

Result<void> create(CreateContext& context) {
  CreateOptions options;
  TRY(read_properties(options, context.options, "qcow2"));
  Header header = TRY(header_for(options, options.size ? options.size->bytes : context.size));
  std::vector<std::byte> luks_header;
  if (header.crypt_method)
    luks_header = TRY(luks::LuksVolume::make(options.encrypt, context.graph)).bytes;
  Child file = TRY(Child::attach(
      context.file,
      {"the creation", "file", {kConsistentRead | kWrite | kResize, kConsistentRead}}));
  if (!options.data_file.empty()) {
    Value data_options = Value::object();
    const NodePtr data =
        TRY(context.graph.create_file(options.data_file, 0, std::move(data_options)));
    const Child user = TRY(
        Child::attach(data, {"the creation", "data-file", {kWrite | kResize, kConsistentRead}}));
    TRY(user->truncate(header.size, options.preallocation == Preallocation::Metadata
                                        ? Preallocation::Off
                                        : options.preallocation));
  }
  TRY(write_structures(header, *file, luks_header));
  file.reset();
  if (options.preallocation == Preallocation::Off && !options.data_file_raw) return {};
  Value node = Value::object();
  node.set("driver", "qcow2");
  node.set("file", context.file->name());
  node.set("backing", Value());
  Child image =
      TRY(Child::attach(TRY(context.graph.open(std::move(node))),
                        {"the creation", "root", {kConsistentRead | kWrite, kConsistentRead}}));
  const Preallocation mode =
      options.preallocation == Preallocation::Off ? Preallocation::Metadata : options.preallocation;
  TRY(static_cast<Qcow2Image&>(image->image()).preallocate(0, header.size, mode));
  return image->close();
}

Result<Measure> measure(const MeasureContext& context) {
  CreateOptions options;
  TRY(read_properties(options, context.options, "qcow2"));
  // A backing file's clusters are not counted as needed, whatever its options say.
  CreateOptions plain = options;
  plain.backing_file.clear(), plain.backing_fmt.clear();
  const u64 size = (context.size + 511) & ~u64{511};
  const Header h = TRY(header_for(plain, size));
  const u64 cluster = h.cluster_size();
  const u64 luks = h.crypt_method ? TRY(options.encrypt.header()).payload_offset() : 0;
  const auto up = [&](u64 bytes) { return (bytes + cluster - 1) / cluster * cluster; };
  // The tables for a disk whose every cluster has a place.
  const u64 disk = up(size);
  const u64 entries = disk / cluster;
  const u64 per_table = cluster / h.l2_entry_size();
  const u64 tables = (entries + per_table - 1) / per_table * cluster;
  const u64 l1 = up(tables / cluster * 8);
  u64 counts = 0, blocks = 0;
  for (;;) {
    const u64 clusters = (cluster + l1 + tables + disk + up(luks) + counts) / cluster;
    blocks = (clusters + h.refcounts_per_block() - 1) / h.refcounts_per_block();
    const u64 now = blocks * cluster + up(blocks * 8);
    if (now == counts) break;
    counts = now;
  }
  const u64 metadata = cluster + l1 + tables + up(luks) + counts;
  u64 needed = 0;
  if (options.preallocation == Preallocation::Falloc ||
      options.preallocation == Preallocation::Full || !context.source) {
    needed = options.preallocation == Preallocation::Falloc ||
                     options.preallocation == Preallocation::Full
                 ? disk
                 : 0;
  } else {
    u64 counted_to = 0;
    for (u64 at = 0; at < context.source->size();) {
      const ChainExtent e =
          TRY(map_chain(*context.source, nullptr, at, context.source->size() - at));
      if (e.extent.kind == ExtentKind::Data || e.extent.kind == ExtentKind::Opaque) {
        const u64 first = std::max(counted_to, at / cluster),
                  last = up(at + e.extent.length) / cluster;
        if (last > first) needed += (last - first) * cluster, counted_to = last;
      }
      at += e.extent.length;
    }
  }
  return Measure{metadata + needed, metadata + disk, std::nullopt};
}

}  // namespace menura::qcow2
