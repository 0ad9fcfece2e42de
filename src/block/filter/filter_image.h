// FilterImage: passes everything on to the child; filters override what they are there for.
//
// Owner: its Node. Threads: as Image. peek() stays empty, so that no request goes around.
// Example: `class Throttled final : public FilterImage { … using FilterImage::FilterImage; };`
#pragma once

#include "block/core/graph.h"

namespace menura {

class FilterImage : public Image {
 public:
  explicit FilterImage(const Child& below) : below_(below) {}

  u64 size() const override { return below_->size(); }
  Result<Extent> map(u64 at, u64 length) override { return below_->map(at, length); }
  Result<void> read(u64 at, Bytes to) override { return below_->read(at, to); }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    return below_->write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    return below_->zero(at, length, mode);
  }
  Result<void> discard(u64 at, u64 length) override { return below_->discard(at, length); }
  Result<void> flush() override { return below_->flush(); }
  Result<void> truncate(u64 size, Preallocation preallocation) override {
    return below_->truncate(size, preallocation);
  }
  Result<void> write_compressed(u64 at, ConstBytes from) override {
    return below_->write_compressed(at, from);
  }
  bool supports_fua() const override { return true; }
  bool grows() const override { return below_->image().grows(); }
  bool has_zero_init() const override { return below_->image().has_zero_init(); }
  std::optional<u64> allocated_size() override { return below_->image().allocated_size(); }
  ImageInfo info() override {
    // Requests are cut at clusters as below; the rest is told by the node that has it.
    return {.cluster_size = below_->image().info().cluster_size};
  }
  Result<CheckReport> check(Repair repair) override { return below_->image().check(repair); }
  Result<void> read_vm_state(u64 at, Bytes to) override {
    return below_->image().read_vm_state(at, to);
  }
  Result<void> write_vm_state(u64 at, ConstBytes from) override {
    return below_->image().write_vm_state(at, from);
  }
  void reached(std::string_view point) override { below_->reached(point); }
  Result<void> reopen(bool) override { return {}; }

 protected:
  const Child& below() const { return below_; }

 private:
  const Child& below_;
};

}  // namespace menura
