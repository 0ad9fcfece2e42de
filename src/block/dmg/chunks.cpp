#include "block/dmg/chunks.h"

#include <algorithm>
#include <cstring>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/units.h"

namespace menura::dmg {

namespace {

constexpr u64 kSector = 512;
constexpr u64 kTrailerBytes = 512;
constexpr u64 kLongestList = 16 * MiB;
constexpr size_t kMostChunks = 1'000'000;
constexpr u64 kLargestChunk = 64 * MiB;
constexpr u64 kLargestDisk = u64{1} << 62;

enum TrailerField : u32 { kDataForkAt = 24, kListOffsetAt = 216, kListLengthAt = 224 };
enum TableField : u32 {
  kTableSectorAt = 8,
  kTableDataAt = 24,
  kChunkCountAt = 200,
  kChunksAt = 204,
};
constexpr u64 kChunkBytes = 40;

enum Type : u32 {
  kZeroes = 0,
  kPlain = 1,
  kIgnored = 2,
  kComment = 0x7ffffffe,
  kAdc = 0x80000004,
  kZlib = 0x80000005,
  kBzip2 = 0x80000006,
  kLzfse = 0x80000007,
  kLzma = 0x80000008,
  kLast = 0xffffffff,
};

bool begins(ConstBytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

std::string_view compression_name(u32 type) {
  switch (type) {
    case kAdc: return "ADC";
    case kBzip2: return "bzip2";
    case kLzfse: return "LZFSE";
    case kLzma: return "LZMA";
    default: return "an unknown method";
  }
}

Result<void> add_chunk(ConstBytes bytes, u64 first_sector, u64 fork, u64 file_size,
                       std::vector<Chunk>& chunks) {
  const u32 type = load_be<u32>(bytes);
  if (type == kComment || type == kLast) return {};
  const u64 sector = load_be<u64>(bytes, 8), count = load_be<u64>(bytes, 16);
  if (sector > kLargestDisk / kSector || first_sector > kLargestDisk / kSector ||
      count > kLargestDisk / kSector)
    return fail(Errc::Corrupt, "A run of {} sectors at {} is out of reach", count, sector);
  if (count == 0) return {};
  Chunk chunk;
  chunk.begin = (first_sector + sector) * kSector;
  chunk.end = chunk.begin + count * kSector;
  if (type == kZeroes || type == kIgnored) {
    chunks.push_back(chunk);
    return {};
  }
  if (type != kPlain && type != kZlib)
    return fail(Errc::Unsupported,
                "The image has sectors compressed by {}, which is not known here",
                compression_name(type));
  chunk.kind = type == kPlain ? Chunk::Kind::Raw : Chunk::Kind::Zlib;
  const u64 offset = load_be<u64>(bytes, 24);
  chunk.length = load_be<u64>(bytes, 32);
  if (offset > file_size || fork > file_size || fork + offset > file_size ||
      chunk.length > file_size - fork - offset)
    return fail(Errc::Corrupt, "Sectors at {} lie beyond the file's end", chunk.begin);
  chunk.offset = fork + offset;
  if (chunk.kind == Chunk::Kind::Raw && chunk.length < chunk.end - chunk.begin)
    return fail(Errc::Corrupt, "{} bytes are too few for {} plain sectors", chunk.length, count);
  if (chunk.kind == Chunk::Kind::Zlib &&
      (chunk.end - chunk.begin > kLargestChunk || chunk.length > kLargestChunk))
    return fail(Errc::OutOfRange, "A compressed run of {} sectors is too large", count);
  chunks.push_back(chunk);
  return {};
}

Result<void> add_table(ConstBytes table, u64 data_fork, u64 file_size, std::vector<Chunk>& chunks) {
  if (table.size() < kChunksAt || !begins(table, "mish"))
    return fail(Errc::Corrupt, "A table of sectors is damaged");
  const u32 count = load_be<u32>(table, kChunkCountAt);
  if (count > kMostChunks || count * kChunkBytes > table.size() - kChunksAt ||
      chunks.size() + count > kMostChunks)
    return fail(Errc::Corrupt, "A table tells of {} runs of sectors", count);
  const u64 fork = data_fork + load_be<u64>(table, kTableDataAt);
  for (u32 i = 0; i < count; i++)
    TRY(add_chunk(table.subspan(kChunksAt + i * kChunkBytes, kChunkBytes),
                  load_be<u64>(table, kTableSectorAt), fork, file_size, chunks));
  return {};
}

// What stands between the tags <data> of the list's key "blkx".
Result<void> add_tables(std::string_view list, u64 data_fork, u64 file_size,
                        std::vector<Chunk>& chunks) {
  constexpr std::string_view kKey = "<key>blkx</key>", kOpen = "<data>", kClose = "</data>";
  const size_t key = list.find(kKey);
  if (key == std::string_view::npos)
    return fail(Errc::Corrupt, "The property list has no tables of sectors");
  list.remove_prefix(key);
  list = list.substr(0, list.find("</array>"));
  for (size_t at = list.find(kOpen); at != std::string_view::npos; at = list.find(kOpen, at)) {
    at += kOpen.size();
    const size_t end = list.find(kClose, at);
    if (end == std::string_view::npos) return fail(Errc::Corrupt, "The property list is cut off");
    std::string text(list.substr(at, end - at));
    std::erase_if(text, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; });
    TRY(add_table(TRY(base64_decode(text), "Reading the property list"), data_fork, file_size,
                  chunks));
    at = end;
  }
  return {};
}

}  // namespace

Result<std::vector<Chunk>> read_chunks(Node& file) {
  const u64 size = file.size();
  if (size < kTrailerBytes) return fail(Errc::Corrupt, "The file is too short for a disk image");
  std::vector<std::byte> trailer(kTrailerBytes);
  TRY(file.read(size - kTrailerBytes, trailer));
  if (!begins(trailer, "koly")) return fail(Errc::Corrupt, "The file does not end as a UDIF image");
  const u64 offset = load_be<u64>(trailer, kListOffsetAt);
  const u64 length = load_be<u64>(trailer, kListLengthAt);
  if (length == 0)
    return fail(Errc::Unsupported, "The image has no property list, but a resource fork");
  if (length > kLongestList || offset > size || length > size - offset)
    return fail(Errc::Corrupt, "A property list of {} bytes at {} is out of reach", length, offset);
  std::string list(static_cast<size_t>(length), '\0');
  TRY(file.read(offset, std::as_writable_bytes(std::span(list.data(), list.size()))));
  std::vector<Chunk> chunks;
  TRY(add_tables(list, load_be<u64>(trailer, kDataForkAt), size, chunks));
  std::ranges::sort(chunks, {}, &Chunk::begin);
  for (size_t i = 1; i < chunks.size(); i++)
    if (chunks[i].begin < chunks[i - 1].end)
      return fail(Errc::Corrupt, "Two tables tell of the sectors at {}", chunks[i].begin);
  return chunks;
}

}  // namespace menura::dmg
