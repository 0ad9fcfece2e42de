// TablePages: tables of an image's file in memory: pages read when asked for, and which of their
// sectors have changed.
//
// Owner: a SparseImage. Threads: under its lock. Offsets are the file's; an entry does not cross a
// page (tables are aligned to their entries). Example:
//   u64 entry = load_le<u32>(TRY(pages.at(table + 4 * i, 4)));
//   for (const TablePages::Piece& p : pages.take()) …write it…;  pages.settle(true);
#pragma once

#include <list>
#include <unordered_map>
#include <vector>

#include "block/core/node.h"

namespace menura {

class TablePages {
 public:
  static constexpr u32 kPage = 4096;
  struct Piece {
    u64 offset = 0;
    std::vector<std::byte> bytes;  // whole sectors
  };

  // Keeps about `limit` pages, and all that have changed.
  TablePages(const Child& file, size_t limit) : file_(&file), limit_(limit) {}

  // Valid until the next call. Errc::Busy: it would have to be read, and resident_only is set.
  Result<ConstBytes> at(u64 offset, u32 width);
  Result<void> store(u64 offset, ConstBytes bytes);
  void set_resident_only(bool only) { resident_only_ = only; }

  // What has changed, sectors that follow one another together; it stays in memory until settle()
  // says whether it was written.
  std::vector<Piece> take();
  void settle(bool written);

 private:
  struct Page {
    std::vector<std::byte> bytes;
    u8 changed = 0;  // a bit for each sector
    u8 taken = 0;
    std::list<u64>::iterator use;
  };
  Result<Page*> page(u64 number);
  void evict();

  const Child* file_;
  const size_t limit_;
  bool resident_only_ = false;
  std::unordered_map<u64, Page> pages_;
  std::list<u64> uses_;  // the latest first
};

}  // namespace menura
