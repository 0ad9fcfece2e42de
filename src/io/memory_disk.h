// MemoryDisk: a medium in memory, for the tests of controllers.
//
// Owner: the test. Threads: one. Source: none. Example: `MemoryDisk image{2048 * 512};`
#pragma once

#include <algorithm>
#include <deque>
#include <vector>

#include "base/bytes.h"
#include "io/disk.h"

namespace menura {

// Requests may wait until pump(), as on a host's queue.
class MemoryDisk final : public Disk {
 public:
  explicit MemoryDisk(size_t size) : content(size) {}
  u64 size() const override { return content.size(); }
  bool read_only() const override { return readonly; }
  bool medium_present() const override { return present; }
  void submit(DiskRequest request) override {
    waiting.push_back(std::move(request));
    if (immediate) pump();
  }
  void drain() override { pump(); }
  void pump() {
    while (!waiting.empty()) {
      DiskRequest r = std::move(waiting.front());
      waiting.pop_front();
      r.done(broken ? Result<void>(fail(Errc::Io, "Broken on purpose")) : perform(r));
    }
  }
  Result<void> perform(const DiskRequest& r) {
    const bool moves = r.op == DiskOp::Read || r.op == DiskOp::Write;
    const u64 length = moves ? r.data.size() : r.length;
    ensure(r.offset <= size() && length <= size() - r.offset, "requests lie on the disk");
    const Bytes at = Bytes(content).subspan(r.offset);
    if (r.op == DiskOp::Read) std::copy_n(at.begin(), r.data.size(), r.data.begin());
    if (r.op == DiskOp::Write) std::ranges::copy(r.data, at.begin());
    if (r.op == DiskOp::Discard || r.op == DiskOp::WriteZeroes)
      std::fill_n(at.begin(), r.length, std::byte{0});
    if (r.op == DiskOp::Flush) flushes++;
    if (r.fua) fuas++;
    return {};
  }
  std::vector<std::byte> content;
  std::deque<DiskRequest> waiting;
  bool immediate = true, readonly = false, present = true, broken = false;
  int flushes = 0, fuas = 0;
};

}  // namespace menura
