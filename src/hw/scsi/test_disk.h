// SlowDisk: a disk in memory whose requests complete when the test says so, in any order.
//
// Owner: the test. Threads: one. Example: `SlowDisk disk(1 * MiB);  disk.complete(disk.waiting() - 1);`
#pragma once

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "io/disk.h"

namespace menura {

class SlowDisk final : public Disk {
 public:
  explicit SlowDisk(size_t size, bool read_only = false) : content(size), read_only_(read_only) {}

  u64 size() const override { return content.size(); }
  bool read_only() const override { return read_only_; }
  void submit(DiskRequest request) override {
    const bool moves = request.op == DiskOp::Read || request.op == DiskOp::Write;
    const u64 length = moves ? request.data.size() : request.length;
    ensure(request.op == DiskOp::Flush ||
               (length > 0 && request.offset <= size() && length <= size() - request.offset),
           "requests lie on the disk");
    waiting_.push_back(std::move(request));
  }
  size_t waiting() const { return waiting_.size(); }
  const DiskRequest& request(size_t n) const { return waiting_[n]; }
  void complete(size_t n = 0) {
    const DiskRequest request = std::move(waiting_[n]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(n));
    const Bytes at = Bytes(content).subspan(request.offset);
    if (request.op == DiskOp::Read)
      std::copy_n(at.begin(), request.data.size(), request.data.begin());
    if (request.op == DiskOp::Write) std::ranges::copy(request.data, at.begin());
    if (request.op == DiskOp::WriteZeroes)
      std::ranges::fill(at.first(request.length), std::byte{0});
    request.done(broken ? Result<void>(fail(Errc::Io, "Broken on purpose")) : Result<void>());
  }
  void drain() override {
    while (!waiting_.empty()) complete();
  }

  std::vector<std::byte> content;
  bool broken = false;

 private:
  bool read_only_;
  std::vector<DiskRequest> waiting_;
};

}  // namespace menura
