#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"
#include "block/vhdx/vhdx_format.h"
#include "block/vhdx/vhdx_image.h"

namespace menura::vhdx {

namespace {

constexpr std::string_view kSubformats[] = {"dynamic", "fixed"};
constexpr u64 kRegionTableAt[] = {192 * KiB, 256 * KiB};

u64 usual_block_size(u64 disk) {
  if (disk > 32 * TiB) return 64 * MiB;
  if (disk > 100 * GiB) return 32 * MiB;
  return disk > GiB ? 16 * MiB : 8 * MiB;
}

u64 up_to_mib(u64 bytes) { return (bytes + MiB - 1) / MiB * MiB; }

std::vector<std::byte> file_type() {
  std::vector<std::byte> bytes(64 * KiB);
  std::ranges::copy(bytes_of(std::string_view("vhdxfile")), bytes.begin());
  size_t at = 8;  // the creator, in UTF-16
  for (const char c : std::string_view("menura")) {
    store_le<u16>(bytes, at, static_cast<u16>(c));
    at += 2;
  }
  return bytes;
}

// All blocks' entries, a piece at a time; fixed disks have their places at once.
Result<void> write_bat(Node& file, const DiskLayout& layout, const CreateOptions& options) {
  const bool fixed = options.subformat == Subformat::Fixed;
  const u64 state = fixed ? kFullyPresent : options.block_state_zero ? kZero : kNotPresent;
  if (state == kNotPresent) return {};
  std::vector<std::byte> piece(MiB);
  for (u64 begin = 0; begin < layout.bat_entries(); begin += MiB / 8) {
    std::ranges::fill(piece, std::byte{0});
    // The payload blocks whose entries lie in this piece: every chunk_ratio + 1st is a bitmap's.
    const u64 stride = layout.chunk_ratio() + 1;
    for (u64 i = begin; i < std::min(begin + MiB / 8, layout.bat_entries()); i++) {
      if (i % stride == stride - 1) continue;
      const u64 index = i - i / stride;
      store_le<u64>(piece, (i - begin) * 8,
                    state | (fixed ? layout.end + index * layout.block : 0));
    }
    const u64 bytes = std::min<u64>(MiB, layout.bat_length - begin * 8);
    TRY(file.write(layout.bat + begin * 8, ConstBytes(piece).first(static_cast<size_t>(bytes))));
  }
  return {};
}

}  // namespace

std::span<const std::string_view> enum_names(Subformat) { return kSubformats; }

void CreateOptions::describe(PropertyVisitor& p) {
  p.field("size", size, "size of the disk");
  p.field("log_size", log_size, "size of the log, a multiple of 1M up to 64M");
  p.field("block_size", block_size,
          "what is allocated at a time: 1M to 256M; 0: by the disk's size");
  p.field("subformat", subformat, "dynamic: grows as it is written; fixed: has all its space");
  p.field("block_state_zero", block_state_zero, "new blocks are zero, not just absent");
}

Result<void> create(CreateContext& context) {
  CreateOptions options;
  TRY(read_properties(options, context.options, "vhdx"));
  DiskLayout layout;
  layout.disk_size = options.size ? options.size->bytes : context.size;
  layout.block =
      options.block_size.bytes ? options.block_size.bytes : usual_block_size(layout.disk_size);
  if (layout.disk_size == 0 || layout.disk_size > kMost || layout.disk_size % 512)
    return fail(Errc::OutOfRange, "A VHDX disk has whole sectors up to 64 TiB, not {} bytes",
                layout.disk_size);
  if (!std::has_single_bit(layout.block) || layout.block < MiB || layout.block > 256 * MiB)
    return fail(Errc::InvalidArgument, "block_size: {} is no power of two from 1M to 256M",
                layout.block);
  const u64 log = options.log_size.bytes;
  if (log == 0 || log % MiB || log > 64 * MiB)
    return fail(Errc::InvalidArgument, "log_size: {} is no multiple of 1M up to 64M", log);
  Header header;
  header.file_write = new_guid(), header.data_write = new_guid();
  header.log_offset = kHeaderSection, header.log_length = log;
  layout.metadata = kHeaderSection + log, layout.metadata_length = MiB;
  layout.bat = layout.metadata + MiB, layout.bat_length = up_to_mib(layout.bat_entries() * 8);
  layout.end = layout.bat + layout.bat_length;
  const Child file = TRY(attach_for_creation(context));
  const bool fixed = options.subformat == Subformat::Fixed;
  TRY(file->truncate(layout.end + (fixed ? layout.blocks() * layout.block : 0)));
  TRY(write_bat(*file, layout, options));
  TRY(file->write(layout.metadata, layout.metadata_region(fixed)));
  const std::vector<std::byte> regions = layout.region_table();
  for (const u64 at : kRegionTableAt) TRY(file->write(at, regions));
  Headers headers{header, 0};
  TRY(headers.write(*file));
  return file->write(0, file_type());
}

}  // namespace menura::vhdx
