// EncryptedFile: bytes of a file whose sectors are encrypted, at any offsets.
//
// Owner: an Image. Threads: any; bytes of one sector may be written by two at once.
// Example: `EncryptedFile data(*file, volume.cipher(), payload);  TRY(data.write(7, bytes));`
#pragma once

#include "block/core/node.h"
#include "block/luks/cipher.h"

namespace menura::luks {

class EncryptedFile {
 public:
  // Offset 0, sector 0 of the cipher, lies at `first` of the file.
  EncryptedFile(const Child& file, const SectorCipher& cipher, u64 first)
      : file_(&file), cipher_(&cipher), first_(first) {}
  Result<void> read(u64 offset, Bytes to) const;
  Result<void> write(u64 offset, ConstBytes from);

 private:
  Result<void> write_sectors(u64 offset, Bytes plain);

  const Child* file_;
  const SectorCipher* cipher_;
  const u64 first_;
  std::mutex partial_;  // sectors that are read, changed and written
};

}  // namespace menura::luks
