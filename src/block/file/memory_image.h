// "memory": an image in this process's memory, sparse, gone with its node. For tests, fuzzers and
// throw-away disks; it grows when written to beyond its end, as a file does.
//
// Owner: its Node. Threads: as Image. Example: `{"driver": "memory", "size": "64M"}`
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>

#include "block/core/driver.h"

namespace menura {

extern const Driver kMemoryDriver;

class MemoryImage final : public Image {
 public:
  explicit MemoryImage(u64 size) : size_(size) {}
  static Result<std::unique_ptr<Image>> open(OpenContext& context);

  u64 size() const override;
  Result<Extent> map(u64 offset, u64 length) override;
  Result<void> read(u64 offset, Bytes to) override;
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override;
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override;
  Result<void> discard(u64 offset, u64 length) override;
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  Result<void> reopen(bool) override { return {}; }
  bool supports_fua() const override { return true; }
  bool grows() const override { return true; }
  bool has_zero_init() const override { return true; }
  std::optional<u64> allocated_size() override;

 private:
  static constexpr u64 kPage = 65536;
  using Page = std::unique_ptr<std::byte[]>;

  mutable std::shared_mutex mutex_;
  std::map<u64, Page> pages_;  // by offset / kPage; absent: zeroes
  u64 size_;
};

}  // namespace menura
