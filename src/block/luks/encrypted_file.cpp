#include "block/luks/encrypted_file.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"

namespace menura::luks {

namespace {
constexpr u64 kChunk = 1 * MiB;
}

Result<void> EncryptedFile::read(u64 offset, Bytes to) const {
  if (offset % kSector == 0 && to.size() % kSector == 0) {
    TRY((*file_)->read_or_zero(first_ + offset, to));
    return cipher_->decrypt(offset / kSector, to);
  }
  const u64 begin = offset / kSector * kSector;
  const u64 end = (offset + to.size() + kSector - 1) / kSector * kSector;
  std::vector<std::byte> whole(static_cast<size_t>(end - begin));
  TRY((*file_)->read_or_zero(first_ + begin, whole));
  TRY(cipher_->decrypt(begin / kSector, whole));
  std::memcpy(to.data(), whole.data() + (offset - begin), to.size());
  return {};
}

Result<void> EncryptedFile::write_sectors(u64 offset, Bytes plain) {
  TRY(cipher_->encrypt(offset / kSector, plain));
  return (*file_)->write(first_ + offset, plain);
}

Result<void> EncryptedFile::write(u64 offset, ConstBytes from) {
  std::vector<std::byte> bytes;
  while (!from.empty()) {
    const u64 within = offset % kSector;
    if (within == 0 && from.size() >= kSector) {
      const ConstBytes part = from.first(std::min<size_t>(from.size() / kSector * kSector, kChunk));
      bytes.assign(part.begin(), part.end());
      TRY(write_sectors(offset, bytes));
      from = from.subspan(part.size()), offset += part.size();
      continue;
    }
    const ConstBytes part = from.first(std::min<size_t>(from.size(), kSector - within));
    bytes.resize(kSector);
    const std::lock_guard guard(partial_);
    TRY(read(offset - within, bytes));
    std::ranges::copy(part, bytes.begin() + static_cast<i64>(within));
    TRY(write_sectors(offset - within, bytes));
    from = from.subspan(part.size()), offset += part.size();
  }
  return {};
}

}  // namespace menura::luks
