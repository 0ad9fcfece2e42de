#include "hw/flash/flash_store.h"

#include <algorithm>

#include "base/bits.h"
#include "base/log.h"

namespace menura {

namespace {
constexpr u64 kSector = 512;
constexpr u64 kLargestWrite = 64 * 1024;
}  // namespace

Result<void> FlashStore::load(Disk& disk, RamBlock& content) {
  if (disk.size() != content.size())
    return fail(Errc::InvalidArgument, "Its image has {} bytes, the chip {}", disk.size(),
                content.size());
  std::vector<std::byte> bytes(content.size());
  Result<void> outcome;
  disk.submit({.op = DiskOp::Read, .data = bytes, .done = [&](Result<void> result) {
                 outcome = std::move(result);
               }});
  disk.drain();
  TRY(std::move(outcome));
  content.write(0, bytes);
  return {};
}

FlashStore::FlashStore(Disk& disk, std::shared_ptr<RamBlock> content)
    : disk_(disk), content_(std::move(content)) {
  ensure(disk_.size() == content_->size(), "a flash chip is as large as its medium");
}

FlashStore::~FlashStore() { settle(); }

void FlashStore::changed(u64 offset, u64 size) {
  const u64 first = align_down(offset, kSector);
  const u64 end = std::min(align_up(offset + size, kSector), content_->size());
  const bool nothing = first_ == end_;
  first_ = nothing ? first : std::min(first_, first);
  end_ = nothing ? end : std::max(end_, end);
  write_back();
}

void FlashStore::write_back() {
  if (writing_ || first_ == end_) return;
  const u64 size = std::min(end_ - first_, kLargestWrite);
  const auto bytes = std::make_shared<std::vector<std::byte>>(size);
  content_->read(first_, *bytes);
  const u64 offset = first_;
  first_ += size;
  writing_ = true;
  disk_.submit({.op = DiskOp::Write,
                .offset = offset,
                .data = *bytes,
                .done = [this, bytes](Result<void> result) {
                  writing_ = false;
                  if (!result && !std::exchange(failed_, true))
                    log_error("Flash memory was not saved: {}", result.error().text);
                  write_back();
                }});
}

bool FlashStore::settle() {
  while (writing_) disk_.drain();
  return !failed_;
}

}  // namespace menura
