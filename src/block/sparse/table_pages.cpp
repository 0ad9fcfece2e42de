#include "block/sparse/table_pages.h"

#include <algorithm>
#include <cstring>

namespace menura {

namespace {
constexpr u32 kSector = 512;
}

Result<TablePages::Page*> TablePages::page(u64 number) {
  if (const auto found = pages_.find(number); found != pages_.end()) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return &found->second;
  }
  if (resident_only_) return fail(Errc::Busy, "This part of the table is not in memory");
  std::vector<std::byte> bytes(kPage);
  TRY((*file_)->read_or_zero(number * kPage, bytes), "Reading a table at {}", number * kPage);
  evict();
  uses_.push_front(number);
  Page& page = pages_[number];
  page.bytes = std::move(bytes);
  page.use = uses_.begin();
  return &page;
}

void TablePages::evict() {
  // Pages that have changed are stepped over, a few at a time: commits make them clean.
  auto at = uses_.end();
  for (unsigned looked = 0; pages_.size() >= limit_ && at != uses_.begin() && looked < 16;
       looked++) {
    --at;
    const auto found = pages_.find(*at);
    if (found->second.changed || found->second.taken) continue;
    pages_.erase(found);
    at = uses_.erase(at);
  }
}

Result<ConstBytes> TablePages::at(u64 offset, u32 width) {
  if (offset % kPage + width > kPage)
    return fail(Errc::Corrupt, "A table at {} is not aligned to its entries", offset);
  const Page* found = TRY(page(offset / kPage));
  return ConstBytes(found->bytes).subspan(offset % kPage, width);
}

Result<void> TablePages::store(u64 offset, ConstBytes bytes) {
  while (!bytes.empty()) {
    Page* into = TRY(page(offset / kPage));
    const size_t within = static_cast<size_t>(offset % kPage);
    const size_t here = std::min<size_t>(bytes.size(), kPage - within);
    std::memcpy(into->bytes.data() + within, bytes.data(), here);
    for (size_t sector = within / kSector; sector <= (within + here - 1) / kSector; sector++)
      into->changed |= static_cast<u8>(1u << sector);
    bytes = bytes.subspan(here);
    offset += here;
  }
  return {};
}

std::vector<TablePages::Piece> TablePages::take() {
  std::vector<Piece> pieces;
  std::vector<u64> numbers;
  for (const auto& [number, page] : pages_)
    if (page.changed) numbers.push_back(number);
  std::ranges::sort(numbers);
  for (const u64 number : numbers) {
    Page& page = pages_[number];
    page.taken = std::exchange(page.changed, u8{0});
    for (u32 sector = 0; sector < kPage / kSector; sector++) {
      if (!(page.taken >> sector & 1)) continue;
      const u64 offset = number * kPage + sector * kSector;
      if (pieces.empty() || pieces.back().offset + pieces.back().bytes.size() != offset)
        pieces.push_back({offset, {}});
      const auto from = page.bytes.begin() + sector * kSector;
      pieces.back().bytes.insert(pieces.back().bytes.end(), from, from + kSector);
    }
  }
  return pieces;
}

void TablePages::settle(bool written) {
  for (auto& [number, page] : pages_) {
    if (!written) page.changed |= page.taken;
    page.taken = 0;
  }
}

}  // namespace menura
