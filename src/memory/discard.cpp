#include "memory/discard.h"

#include <fcntl.h>

#include <algorithm>

#include "base/bits.h"

namespace menura {

namespace {

// The size of what the host can give up at once.
u64 page_of(const RamBlock& ram) {
  if (ram.config().huge != HugePages::Explicit) return kPageSize;
  return std::max<u64>(ram.config().huge_page_size, 2 << 20);
}

void discard(RamBlock& ram, u64 offset, u64 length) {
  if (!ram.config().path.empty() && !ram.config().share) return;
  const u64 page = page_of(ram);
  const u64 begin = align_up(offset, page), end = align_down(offset + length, page);
  if (begin >= end) return;
  const int done = ::fallocate(ram.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               static_cast<off_t>(begin), static_cast<off_t>(end - begin));
  if (done == 0) ram.mark_dirty(begin, end - begin);
}

}  // namespace

void discard_ram(const AddressSpace& space, GuestAddr addr, u64 length) {
  const View view = space.view();
  while (length > 0) {
    const FlatRange* range = view->find(addr);
    if (!range) return;
    const u64 here = std::min(length, range->last - addr + 1);
    if (range->writable_ram()) discard(*range->ram, range->offset_of(addr), here);
    addr = addr + here;
    length -= here;
  }
}

}  // namespace menura
