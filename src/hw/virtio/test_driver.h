// TestDriver: a driver's end of one queue, over the TestMachine's RAM; TestPciDriver: the way there.
//
// Owner: the test. Threads: one. Source: VIRTIO 1.2 §2.7, §2.8, §3.1, §4.1. Written from the
// specification's driver sections, apart from the device's code. Example:
//   TestPciDriver driver(rig, VirtioPci& card);  driver.start(features);
//   TestQueue q = driver.queue(0, 8, true);  q.offer({{0x1000, 16}}, {{0x2000, 512}});  driver.kick(0);
//   auto used = q.used();
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "hw/core/test_machine.h"
#include "hw/virtio/virtio_regs.h"

namespace menura {

struct TestBuffer {
  u64 address;
  u32 length;
};

class TestQueue {
 public:
  struct Used {
    u16 id;
    u32 written;
  };
  TestQueue(TestMachine& machine, u64 base, u16 size, bool packed)
      : m_(&machine), base_(base), size_(size), packed_(packed) {}

  u64 descriptors() const { return base_; }
  u64 driver_area() const { return base_ + 16 * u64{size_}; }
  u64 device_area() const { return align_up(driver_area() + 6 + 2 * u64{size_}, u64{4096}); }

  // Makes a chain available; its id is the first descriptor's number. With a table: one indirect
  // descriptor that points there.
  u16 offer(const std::vector<TestBuffer>& readable, const std::vector<TestBuffer>& writable,
            u64 table = 0) {
    std::vector<Descriptor> chain;
    for (const TestBuffer& b : readable) chain.push_back({b.address, b.length, 0});
    for (const TestBuffer& b : writable) chain.push_back({b.address, b.length, 2});
    if (table == 0) return packed_ ? offer_packed(chain) : offer_split(chain);
    for (size_t i = 0; i < chain.size(); i++) {
      const bool next = !packed_ && i + 1 < chain.size();
      put(table + 16 * i, chain[i], static_cast<u16>(chain[i].flags | (next ? 1 : 0)),
          static_cast<u16>(i + 1));
    }
    const std::vector<Descriptor> one{{table, static_cast<u32>(16 * chain.size()), 4}};
    return packed_ ? offer_packed(one) : offer_split(one);
  }

  // The next used element, if there is one.
  std::optional<Used> used() {
    if (packed_) return used_packed();
    const u16 index = static_cast<u16>(m_->read_mem(device_area() + 2, 2));
    if (index == last_used_) return {};
    const u64 at = device_area() + 4 + 8 * u64(last_used_++ % size_);
    return Used{static_cast<u16>(m_->read_mem(at, 4)), static_cast<u32>(m_->read_mem(at + 4, 4))};
  }

 private:
  struct Descriptor {
    u64 address;
    u32 length;
    u16 flags;
  };
  // `last` is next (split) or the id (packed): the two layouts put flags and it the other way round.
  void put(u64 at, const Descriptor& d, u16 flags, u16 last) {
    m_->write_mem(at, 8, d.address);
    m_->write_mem(at + 8, 4, d.length);
    m_->write_mem(at + (packed_ ? 14 : 12), 2, flags);
    m_->write_mem(at + (packed_ ? 12 : 14), 2, last);
  }
  u16 offer_split(const std::vector<Descriptor>& chain) {
    const u16 head = next_;
    for (size_t i = 0; i < chain.size(); i++) {
      const u16 here = static_cast<u16>(next_ % size_);
      next_ = static_cast<u16>((next_ + 1) % size_);
      const bool more = i + 1 < chain.size();
      put(base_ + 16 * u64{here}, chain[i], static_cast<u16>(chain[i].flags | (more ? 1 : 0)),
          next_);
    }
    m_->write_mem(driver_area() + 4 + 2 * u64(avail_ % size_), 2, head);
    m_->write_mem(driver_area() + 2, 2, ++avail_);
    return head;
  }
  u16 offer_packed(const std::vector<Descriptor>& chain) {
    const u16 head = next_;
    const bool head_wrap = wrap_;
    for (size_t i = 0; i < chain.size(); i++) {
      const bool more = i + 1 < chain.size();
      const u16 lap = i == 0 ? 0 : (wrap_ ? 1 << 7 : 1 << 15);
      put(base_ + 16 * u64{next_}, chain[i],
          static_cast<u16>(chain[i].flags | (more ? 1 : 0) | lap), head);
      if (++next_ == size_) next_ = 0, wrap_ = !wrap_;
    }
    lengths_.resize(size_);
    lengths_[head] = static_cast<u16>(chain.size());
    // The first one's flags last: the device may take the chain from then on.
    const u64 at = base_ + 16 * u64{head} + 14;
    const u64 flags = m_->read_mem(at, 2) & 0x7f7f;
    m_->write_mem(at, 2, flags | (head_wrap ? 1 << 7 : 1 << 15));
    return head;
  }
  std::optional<Used> used_packed() {
    const u64 at = base_ + 16 * u64{used_at_};
    const u64 flags = m_->read_mem(at + 14, 2);
    const bool avail = (flags & (1 << 7)) != 0, used = (flags & (1 << 15)) != 0;
    if (avail != used_wrap_ || used != used_wrap_) return {};
    const u16 id = static_cast<u16>(m_->read_mem(at + 12, 2));
    const Used element{id, static_cast<u32>(m_->read_mem(at + 8, 4))};
    used_at_ = static_cast<u16>(used_at_ + lengths_[id]);
    if (used_at_ >= size_) used_at_ = static_cast<u16>(used_at_ - size_), used_wrap_ = !used_wrap_;
    return element;
  }

  TestMachine* m_;
  u64 base_;
  u16 size_;
  bool packed_;
  u16 next_ = 0, avail_ = 0, last_used_ = 0, used_at_ = 0;
  bool wrap_ = true, used_wrap_ = true;
  std::vector<u16> lengths_;
};

// The modern PCI interface, through BAR 4 at `base`.
class TestPciDriver {
 public:
  TestPciDriver(TestMachine& machine, u64 base) : m_(machine), base_(base) {}

  u64 offered() {
    m_.write_mem(base_, 4, 0);
    const u64 low = m_.read_mem(base_ + 4, 4);
    m_.write_mem(base_, 4, 1);
    return low | m_.read_mem(base_ + 4, 4) << 32;
  }
  // Through FEATURES_OK; whether the device agreed.
  bool negotiate(u64 features) {
    set_status(0);
    set_status(virtio::kAcknowledge | virtio::kDriver);
    for (unsigned half = 0; half < 2; half++) {
      m_.write_mem(base_ + 8, 4, half);
      m_.write_mem(base_ + 12, 4, (features >> (32 * half)) & 0xffff'ffff);
    }
    packed_ = (features & virtio::kRingPacked) != 0;
    set_status(virtio::kAcknowledge | virtio::kDriver | virtio::kFeaturesOk);
    return (status() & virtio::kFeaturesOk) != 0;
  }
  TestQueue queue(u16 number, u16 size, u64 base) {
    const TestQueue q(m_, base, size, packed_);
    for (u64 at = base; at < base + 0x3000; at += 8) m_.write_mem(at, 8, 0);
    select(number);
    m_.write_mem(base_ + 0x18, 2, size);
    m_.write_mem(base_ + 0x20, 8, q.descriptors());
    m_.write_mem(base_ + 0x28, 8, q.driver_area());
    m_.write_mem(base_ + 0x30, 8, q.device_area());
    m_.write_mem(base_ + 0x1c, 2, 1);
    return q;
  }
  void go() {
    set_status(virtio::kAcknowledge | virtio::kDriver | virtio::kFeaturesOk | virtio::kDriverOk);
  }
  void kick(u16 queue) { m_.write_mem(base_ + 0x3000 + 4 * u64{queue}, 2, queue); }
  void select(u16 queue) { m_.write_mem(base_ + 0x16, 2, queue); }
  void reset_queue(u16 queue) {
    select(queue);
    m_.write_mem(base_ + 0x3a, 2, 1);
  }
  void set_status(u8 status) { m_.write_mem(base_ + 0x14, 1, status); }
  u8 status() { return static_cast<u8>(m_.read_mem(base_ + 0x14, 1)); }
  u8 isr() { return static_cast<u8>(m_.read_mem(base_ + 0x1000, 1)); }
  u64 common(unsigned offset, unsigned size) { return m_.read_mem(base_ + offset, size); }
  u64 config(unsigned offset, unsigned size) { return m_.read_mem(base_ + 0x2000 + offset, size); }
  void set_config(unsigned offset, unsigned size, u64 value) {
    m_.write_mem(base_ + 0x2000 + offset, size, value);
  }

 private:
  TestMachine& m_;
  u64 base_;
  bool packed_ = false;
};

}  // namespace menura
