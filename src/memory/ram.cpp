#include "memory/ram.h"

#include <algorithm>

#include "base/bits.h"
#include "memory/ram_mapping.h"

namespace menura {

namespace {

u64 words_for(u64 pages) { return (pages + 63) / 64; }

constexpr std::string_view kPolicies[] = {"default", "preferred", "bind", "interleave"};

}  // namespace

std::span<const std::string_view> enum_names(HostPolicy) { return kPolicies; }

Result<std::shared_ptr<RamBlock>> RamBlock::create(const RamConfig& config) {
  RamMapping mapping = TRY(map_ram(config));
  return std::shared_ptr<RamBlock>(
      new RamBlock(config, std::move(mapping.fd), mapping.host, mapping.size));
}

RamBlock::RamBlock(RamConfig config, UniqueFd fd, std::byte* host, u64 size)
    : config_(std::move(config)), fd_(std::move(fd)), host_(host), size_(size) {}

RamBlock::~RamBlock() { unmap_ram(host_, size_); }

void RamBlock::read(u64 offset, Bytes to) const {
  check(offset, to.size());
  if (!to.empty()) std::memcpy(to.data(), host_ + offset, to.size());
}

void RamBlock::write(u64 offset, ConstBytes from) {
  check(offset, from.size());
  if (from.empty()) return;
  // memmove: a device may copy guest memory onto itself.
  std::memmove(host_ + offset, from.data(), from.size());
  mark_dirty(offset, from.size());
}

void RamBlock::fill(u64 offset, u64 length, std::byte value) {
  check(offset, length);
  if (length == 0) return;
  std::memset(host_ + offset, static_cast<int>(value), length);
  mark_dirty(offset, length);
}

void RamBlock::track_dirty(DirtyClient client, bool on) {
  const auto index = static_cast<unsigned>(client);
  const u8 mask = static_cast<u8>(bit(index));
  if (!on) {
    tracked_.fetch_and(static_cast<u8>(~mask), std::memory_order_acq_rel);
    return;
  }
  if (tracks_dirty(client)) return;
  const u64 words = words_for(size_ / kPageSize);
  if (!dirty_[index]) dirty_[index] = std::make_unique<std::atomic<u64>[]>(words);
  for (u64 i = 0; i < words; i++) dirty_[index][i].store(0, std::memory_order_relaxed);
  tracked_.fetch_or(mask, std::memory_order_acq_rel);
}

void RamBlock::mark_tracked(u64 offset, u64 length, u8 tracked) {
  check(offset, length);
  if (length == 0) return;
  const u64 first = offset / kPageSize;
  const u64 last = (offset + length - 1) / kPageSize;
  for (unsigned client = 0; client < kDirtyClients; client++) {
    if (!((tracked >> client) & 1)) continue;
    for (u64 page = first; page <= last;) {
      const u64 word = page / 64;
      const u64 end = std::min(last, word * 64 + 63);
      const u64 mask = low_mask(static_cast<unsigned>(end - page + 1)) << (page % 64);
      // Always a locked operation, even when the bits are set: it orders the write before it, so
      // that take_dirty() either reports the page or its caller sees the write.
      dirty_[client][word].fetch_or(mask, std::memory_order_seq_cst);
      page = end + 1;
    }
    any_dirty_[client].store(true, std::memory_order_release);
  }
}

std::vector<u64> RamBlock::take_dirty(DirtyClient client, u64 offset, u64 length) {
  check(offset, length);
  const u64 first = offset / kPageSize;
  const u64 end = length == 0 ? first : (offset + length - 1) / kPageSize + 1;
  std::vector<u64> taken(words_for(end - first));
  if (!tracks_dirty(client)) return taken;
  auto& bitmap = dirty_[static_cast<size_t>(client)];
  for (u64 page = first; page < end;) {
    const u64 word = page / 64;
    const u64 stop = std::min(end, word * 64 + 64);
    const u64 mask = low_mask(static_cast<unsigned>(stop - page)) << (page % 64);
    u64 found = 0;
    if (bitmap[word].load(std::memory_order_relaxed) & mask)
      found = (bitmap[word].fetch_and(~mask, std::memory_order_seq_cst) & mask) >> (page % 64);
    // `found` begins at bit (page - first) of the result, perhaps across two of its words.
    const u64 at = page - first;
    taken[at / 64] |= found << (at % 64);
    if (at % 64 != 0 && found >> (64 - at % 64)) taken[at / 64 + 1] |= found >> (64 - at % 64);
    page = stop;
  }
  return taken;
}

bool RamBlock::is_dirty(DirtyClient client, u64 offset) const {
  check(offset, 1);
  if (!tracks_dirty(client)) return false;
  const u64 page = offset / kPageSize;
  const auto& bitmap = dirty_[static_cast<size_t>(client)];
  return (bitmap[page / 64].load(std::memory_order_acquire) >> (page % 64)) & 1;
}

}  // namespace menura
