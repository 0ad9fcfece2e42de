#include "hw/virtio/virtio_balloon.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {
constexpr u64 kStatsQueue = bit(1), kDeflateOnOom = bit(2), kPageReporting = bit(5);
constexpr size_t kConfigSize = 16, kActualAt = 4;
constexpr size_t kStatisticSize = 10;
constexpr u64 kMostPages = 1 << 16;  // in one buffer
constexpr i64 kSecond = 1'000'000'000;
}  // namespace

void VirtioBalloonConfig::describe(PropertyVisitor& p) {
  p.field("deflate-on-oom", deflate_on_oom, "let the guest take memory back before it starves");
  p.field("free-page-reporting", free_page_reporting,
          "let the guest report memory it does not use");
}

VirtioBalloon::VirtioBalloon(const VirtioBalloonConfig& config, u64 ram_size, Wiring wiring)
    : VirtioDevice(kKind, {128, 128, 128, 32}, kConfigSize),
      config_(config),
      ram_size_(ram_size),
      wiring_(std::move(wiring)) {
  statistics_.fill(~u64{0});
}

u64 VirtioBalloon::device_features() const {
  return kStatsQueue | (config_.deflate_on_oom ? kDeflateOnOom : 0) |
         (config_.free_page_reporting ? kPageReporting : 0);
}

// Queues that belong to a feature are there when it was accepted, and the later ones move up.
VirtioBalloon::Role VirtioBalloon::role_of(unsigned queue) const {
  if (queue < 2) return queue == 0 ? Role::Inflate : Role::Deflate;
  unsigned next = 2;
  if (has(kStatsQueue) && queue == next++) return Role::Statistics;
  if (has(kPageReporting) && queue == next) return Role::Reporting;
  return Role::None;
}

void VirtioBalloon::set_target(u64 bytes) {
  const u64 pages = (ram_size_ - std::min(bytes, ram_size_)) / kPage;
  target_ = static_cast<u32>(std::min<u64>(pages, ~u32{0}));
  config_changed();
}

void VirtioBalloon::fill_config(Bytes config) {
  store_le(config, 0, target_);
  store_le(config, kActualAt, actual_);
}

void VirtioBalloon::config_written(size_t offset, ConstBytes bytes) {
  if (offset < kActualAt || offset + bytes.size() > kActualAt + 4) return;
  std::array<std::byte, 4> value{};
  store_le(Bytes(value), 0, actual_);
  std::ranges::copy(bytes, value.begin() + static_cast<std::ptrdiff_t>(offset - kActualAt));
  const u32 most = static_cast<u32>(std::min<u64>(ram_size_ / kPage, ~u32{0}));
  const u32 before = std::exchange(actual_, std::min(load_le<u32>(value), most));
  if (actual_ != before && wiring_.changed) wiring_.changed(actual());
}

void VirtioBalloon::process(unsigned queue) {
  switch (role_of(queue)) {
    case Role::Inflate: return take_pages(queue, true);
    case Role::Deflate: return take_pages(queue, false);
    case Role::Statistics: return take_statistics(queue);
    case Role::Reporting: return take_reports(queue);
    case Role::None: return;
  }
}

void VirtioBalloon::take_pages(unsigned queue, bool inflate) {
  VirtioChain chain;
  while (take(queue, chain)) {
    const u64 pages = chain.readable_size() / 4;
    if (pages > kMostPages) return break_down("a buffer names too many pages");
    std::vector<std::byte> list(pages * 4);
    if (!read_chain(chain, 0, list)) return;
    for (u64 i = 0; i < pages && inflate; i++)
      wiring_.discard(load_le<u32>(list, 4 * i) * kPage, kPage);
    finish(queue, chain, 0);
  }
}

void VirtioBalloon::take_reports(unsigned queue) {
  VirtioChain chain;
  while (take(queue, chain)) {
    for (const VirtioSegment& free : chain.writable()) wiring_.discard(free.address, free.length);
    finish(queue, chain, 0);
  }
}

// A buffer with statistics stays with us until we want the next.
void VirtioBalloon::take_statistics(unsigned queue) {
  VirtioChain chain;
  while (take(queue, chain)) {
    if (holding_) finish(held_queue_, held_, 0);
    holding_ = true;
    held_queue_ = queue;
    held_ = chain;
    std::vector<std::byte> list(std::min<u64>(chain.readable_size(), 64 * kStatisticSize));
    if (!read_chain(chain, 0, list)) return;
    for (size_t at = 0; at + kStatisticSize <= list.size(); at += kStatisticSize) {
      const u16 tag = load_le<u16>(list, at);
      if (tag < statistics_.size()) statistics_[tag] = load_le<u64>(list, at + 2);
    }
    statistics_time_ns_ = host().time().now_ns();
  }
}

void VirtioBalloon::set_polling_interval(u32 seconds) {
  polling_interval_ = seconds;
  if (!timer_) timer_.emplace(host().time(), [this] { poll(); });
  if (seconds == 0) return timer_->cancel();
  timer_->arm(host().time().now_ns() + seconds * kSecond);
}

void VirtioBalloon::poll() {
  if (holding_ && driver_ok()) {
    holding_ = false;
    finish(held_queue_, held_, 0);
  }
  timer_->arm(host().time().now_ns() + polling_interval_ * kSecond);
}

// What the guest had given is its own again; the target stands.
void VirtioBalloon::reset_device() {
  actual_ = 0;
  holding_ = false;
  statistics_.fill(~u64{0});
  statistics_time_ns_ = 0;
}

void VirtioBalloon::queue_was_reset(unsigned queue) {
  if (holding_ && queue == held_queue_) holding_ = false;
}

void VirtioBalloon::describe_device(StateVisitor& v) {
  v.field("target", target_);
  v.field("actual", actual_);
  v.field("statistics", statistics_);
  v.field("statistics_time_ns", statistics_time_ns_);
  v.field("polling_interval", polling_interval_);
  v.field("holding", holding_);
  v.field("held_queue", held_queue_);
  v.field("held", held_);
}

Result<void> VirtioBalloon::restored_device() {
  if (held_queue_ >= queues() || actual_ > ram_size_ / kPage)
    return fail(Errc::Corrupt, "Balloon '{}' has {} pages and queue {} in its state", host().name(),
                actual_, held_queue_);
  set_polling_interval(polling_interval_);
  return {};
}

}  // namespace menura
