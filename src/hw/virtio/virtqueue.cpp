#include "hw/virtio/virtqueue.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/bits.h"
#include "base/bytes.h"
#include "hw/virtio/virtio_regs.h"

namespace menura {

namespace {

// Descriptor flags (§2.7.5, §2.8.1).
constexpr u16 kNext = 1, kWrite = 2, kIndirect = 4;
constexpr u16 kPackedAvail = 1 << 7, kPackedUsed = 1 << 15;
// Of the available ring (§2.7.6).
constexpr u16 kNoInterrupt = 1;
// Event suppression of a packed ring (§2.8.10).
constexpr u16 kEventsOff = 1, kEventsOfDescriptor = 2;

constexpr u64 kDescriptorSize = 16;
constexpr u64 kUsedElement = 8;

}  // namespace

void VirtioSegment::describe(StateVisitor& v) {
  v.field("address", address);
  v.field("length", length);
}

u64 VirtioChain::size_of(const std::vector<VirtioSegment>& segments) {
  u64 size = 0;
  for (const VirtioSegment& segment : segments) size += segment.length;
  return size;
}

// move(address, done, length) for each part of [offset, offset+size).
template <class Move>
bool VirtioChain::each_part(const std::vector<VirtioSegment>& segments, u64 offset, u64 size,
                            Move move) {
  u64 done = 0;
  for (const VirtioSegment& segment : segments) {
    if (done == size) return true;
    if (offset >= segment.length) {
      offset -= segment.length;
      continue;
    }
    const u64 length = std::min(segment.length - offset, size - done);
    if (!move(segment.address + offset, done, length)) return false;
    done += length;
    offset = 0;
  }
  return done == size;
}

bool VirtioChain::read(VirtioMemory& memory, u64 offset, Bytes to) const {
  return each_part(readable_, offset, to.size(), [&](u64 address, u64 done, u64 length) {
    return memory.read(address, to.subspan(done, length));
  });
}

bool VirtioChain::write(VirtioMemory& memory, u64 offset, ConstBytes from) const {
  return each_part(writable_, offset, from.size(), [&](u64 address, u64 done, u64 length) {
    return memory.write(address, from.subspan(done, length));
  });
}

void VirtioChain::describe(StateVisitor& v) {
  v.field("readable", readable_);
  v.field("writable", writable_);
  v.field("id", id_);
  v.field("slots", slots_);
  if (v.loading() && readable_.size() + writable_.size() > kMaxSegments)
    v.fail(fail(Errc::Corrupt, "A chain of {} segments", readable_.size() + writable_.size()));
}

bool VirtQueue::set_size(u16 size, bool packed) {
  if (size == 0 || size > max_size_ || (!packed && !is_power_of_two(size))) return false;
  size_ = size;
  return true;
}

void VirtQueue::enable(VirtioMemory& memory, const Rules& rules) {
  memory_ = &memory;
  rules_ = rules;
  enabled_ = true;
}

void VirtQueue::reset() {
  size_ = max_size_;
  descriptors = driver_area = device_area = 0;
  enabled_ = false;
  memory_ = nullptr;
  next_avail_ = next_used_ = 0;
  avail_wrap_ = used_wrap_ = true;
  in_flight_ = unsignalled_ = 0;
  order_.clear();
  rules_ = {};
}

bool VirtQueue::read16(u64 address, u16& value) const {
  std::array<std::byte, 2> bytes{};
  if (!memory_->read(address, bytes)) return false;
  value = load_le<u16>(bytes);
  return true;
}

bool VirtQueue::write16(u64 address, u16 value) const {
  std::array<std::byte, 2> bytes{};
  store_le(Bytes(bytes), 0, value);
  return memory_->write(address, bytes);
}

// What the device may read comes first (§2.7.4.2), and all together is less than 4 GiB (§2.6).
bool VirtQueue::add(VirtioChain& chain, u64 address, u32 length, bool writable) const {
  if (!writable && !chain.writable_.empty()) return false;
  if (chain.readable_.size() + chain.writable_.size() >= VirtioChain::kMaxSegments) return false;
  if (address + length < address) return false;
  (writable ? chain.writable_ : chain.readable_).push_back({address, length});
  return true;
}

VirtQueue::Outcome VirtQueue::take(VirtioChain& chain) {
  if (!enabled_) return Outcome::Empty;
  chain.readable_.clear();
  chain.writable_.clear();
  chain.slots_ = 1;
  const Outcome outcome = rules_.packed ? take_packed(chain) : take_split(chain);
  if (outcome != Outcome::Done) return outcome;
  constexpr u64 kLimit = std::numeric_limits<u32>::max();
  if (chain.readable_size() + chain.writable_size() > kLimit) return Outcome::Broken;
  in_flight_ += chain.slots_;
  if (rules_.in_order) order_.push_back({.id = chain.id_, .slots = chain.slots_});
  return Outcome::Done;
}

void VirtQueue::put_back(const VirtioChain& chain) {
  in_flight_ -= chain.slots_;
  if (!order_.empty()) order_.pop_back();
  if (!rules_.packed) {
    next_avail_--;
  } else if (next_avail_ < chain.slots_) {
    next_avail_ = static_cast<u16>(next_avail_ + size_ - chain.slots_);
    avail_wrap_ = !avail_wrap_;
  } else {
    next_avail_ -= chain.slots_;
  }
}

bool VirtQueue::has_more() {
  if (!enabled_) return false;
  u16 value = 0;
  if (rules_.packed) return packed_available(value);
  return read16(driver_area + 2, value) && value != next_avail_;
}

// How many chains wait in a split ring.
VirtQueue::Outcome VirtQueue::available(u16& count) {
  u16 index = 0;
  if (!read16(driver_area + 2, index)) return Outcome::Broken;
  count = static_cast<u16>(index - next_avail_);
  // There are no more than the ring has places, those in the device's hands among them.
  if (count > size_ || in_flight_ + count > size_) return Outcome::Broken;
  return count == 0 ? Outcome::Empty : Outcome::Done;
}

VirtQueue::Outcome VirtQueue::take_split(VirtioChain& chain) {
  u16 count = 0;
  Outcome outcome = available(count);
  if (outcome == Outcome::Empty) {
    if (!ask_for_notification()) return Outcome::Broken;
    outcome = available(count);  // what came before the driver could see that
  }
  if (outcome != Outcome::Done) return outcome;
  std::atomic_thread_fence(std::memory_order_acquire);
  u16 head = 0;
  if (!read16(driver_area + 4 + u64{2} * (next_avail_ % size_), head)) return Outcome::Broken;
  next_avail_++;
  chain.id_ = head;
  return walk_split(chain, head);
}

// §2.7.5: descriptors linked by `next`, the last of which may stand for a table of them.
VirtQueue::Outcome VirtQueue::walk_split(VirtioChain& chain, u16 head) {
  u64 table = descriptors;
  u32 count = size_;
  u32 index = head;
  bool inside_table = false;
  for (u32 budget = count; budget > 0; budget--) {
    if (index >= count) return Outcome::Broken;
    std::array<std::byte, kDescriptorSize> bytes{};
    if (!memory_->read(table + kDescriptorSize * index, bytes)) return Outcome::Broken;
    const u64 address = load_le<u64>(bytes, 0);
    const u32 length = load_le<u32>(bytes, 8);
    const u16 flags = load_le<u16>(bytes, 12);
    if (flags & kIndirect) {
      if (!rules_.indirect || inside_table || (flags & kNext) || length == 0 ||
          length % kDescriptorSize != 0)
        return Outcome::Broken;
      inside_table = true;
      table = address;
      count = static_cast<u32>(length / kDescriptorSize);
      index = 0;
      budget = std::min<u32>(count, VirtioChain::kMaxSegments) + 1;
      continue;
    }
    if (!add(chain, address, length, (flags & kWrite) != 0)) return Outcome::Broken;
    if ((flags & kNext) == 0) return Outcome::Done;
    index = load_le<u16>(bytes, 14);
  }
  return Outcome::Broken;  // a loop
}

// Whether the next place of a packed ring holds a chain: its two bits say for which lap.
bool VirtQueue::packed_available(u16& flags) {
  if (!read16(descriptors + kDescriptorSize * next_avail_ + 14, flags)) return false;
  const bool avail = (flags & kPackedAvail) != 0, used = (flags & kPackedUsed) != 0;
  return avail == avail_wrap_ && used != avail_wrap_;
}

VirtQueue::Outcome VirtQueue::take_packed(VirtioChain& chain) {
  u16 flags = 0;
  // All places may be in the device's hands while their bits still say "available".
  if (in_flight_ >= size_) return ask_for_notification() ? Outcome::Empty : Outcome::Broken;
  if (!packed_available(flags)) {
    if (!ask_for_notification()) return Outcome::Broken;
    if (!packed_available(flags)) return Outcome::Empty;
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  u16 slots = 0;
  u16 at = next_avail_;
  bool wrap = avail_wrap_;
  for (;;) {
    if (in_flight_ + slots >= size_) return Outcome::Broken;  // a chain longer than its ring
    std::array<std::byte, kDescriptorSize> bytes{};
    if (!memory_->read(descriptors + kDescriptorSize * at, bytes)) return Outcome::Broken;
    const u64 address = load_le<u64>(bytes, 0);
    const u32 length = load_le<u32>(bytes, 8);
    flags = load_le<u16>(bytes, 14);
    at = advance(at, 1, wrap);
    slots++;
    chain.id_ = load_le<u16>(bytes, 12);
    if (flags & kIndirect) {
      if (!rules_.indirect || (flags & kNext)) return Outcome::Broken;
      const Outcome outcome = walk_packed_table(chain, address, length);
      if (outcome != Outcome::Done) return outcome;
      break;
    }
    if (!add(chain, address, length, (flags & kWrite) != 0)) return Outcome::Broken;
    if ((flags & kNext) == 0) break;
  }
  chain.slots_ = slots;
  next_avail_ = at;
  avail_wrap_ = wrap;
  return Outcome::Done;
}

// §2.8.7: the table's descriptors follow each other, all of them belong to the chain.
VirtQueue::Outcome VirtQueue::walk_packed_table(VirtioChain& chain, u64 table, u32 length) {
  if (length == 0 || length % kDescriptorSize != 0) return Outcome::Broken;
  for (u64 at = 0; at < length; at += kDescriptorSize) {
    std::array<std::byte, kDescriptorSize> bytes{};
    if (!memory_->read(table + at, bytes)) return Outcome::Broken;
    const u16 flags = load_le<u16>(bytes, 14);
    if (!add(chain, load_le<u64>(bytes, 0), load_le<u32>(bytes, 8), (flags & kWrite) != 0))
      return Outcome::Broken;
  }
  return Outcome::Done;
}

// Tells the driver at which place a new chain is news; the caller looks once more after that.
bool VirtQueue::ask_for_notification() {
  bool told = true;
  if (rules_.packed) {
    std::array<std::byte, 4> area{};
    const u16 place = static_cast<u16>(next_avail_ | (avail_wrap_ ? 1 << 15 : 0));
    store_le(Bytes(area), 0, place);
    store_le(Bytes(area), 2, u16{rules_.event_index ? kEventsOfDescriptor : u16{0}});
    told = memory_->write(device_area, area);
  } else if (rules_.event_index) {
    told = write16(device_area + 4 + kUsedElement * size_, next_avail_);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return told;
}

u16 VirtQueue::advance(u16 at, u16 slots, bool& wrap) const {
  const u32 next = u32{at} + slots;
  if (next < size_) return static_cast<u16>(next);
  wrap = !wrap;
  return static_cast<u16>(next - size_);
}

VirtQueue::Outcome VirtQueue::give_back(const VirtioChain& chain, u32 written) {
  if (!enabled_) return Outcome::Empty;
  if (!rules_.in_order) return use({.id = chain.id_, .slots = chain.slots_, .written = written});
  for (Taken& taken : order_) {
    if (taken.id != chain.id_ || taken.done) continue;
    taken.done = true;
    taken.written = written;
    break;
  }
  while (!order_.empty() && order_.front().done) {
    const Outcome outcome = use(order_.front());
    if (outcome != Outcome::Done) return outcome;
    order_.pop_front();
  }
  return Outcome::Done;
}

VirtQueue::Outcome VirtQueue::use(const Taken& taken) {
  std::array<std::byte, 8> bytes{};
  if (rules_.packed) {
    const u64 at = descriptors + kDescriptorSize * next_used_;
    const u16 lap = used_wrap_ ? kPackedAvail | kPackedUsed : 0;
    store_le(Bytes(bytes), 0, taken.written);
    store_le(Bytes(bytes), 4, taken.id);
    if (!memory_->write(at + 8, Bytes(bytes).first(6))) return Outcome::Broken;
    std::atomic_thread_fence(std::memory_order_release);
    const u16 flags = static_cast<u16>(lap | (taken.written ? kWrite : 0));
    if (!write16(at + 14, flags)) return Outcome::Broken;
    next_used_ = advance(next_used_, taken.slots, used_wrap_);
  } else {
    store_le(Bytes(bytes), 0, u32{taken.id});
    store_le(Bytes(bytes), 4, taken.written);
    if (!memory_->write(device_area + 4 + kUsedElement * (next_used_ % size_), bytes))
      return Outcome::Broken;
    std::atomic_thread_fence(std::memory_order_release);
    if (!write16(device_area + 2, ++next_used_)) return Outcome::Broken;
  }
  in_flight_ -= taken.slots;
  unsignalled_ = static_cast<u16>(std::min<u32>(u32{unsignalled_} + taken.slots, size_));
  return Outcome::Done;
}

bool VirtQueue::wants_interrupt() {
  if (!enabled_) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const bool wanted = rules_.packed ? packed_wants_interrupt() : split_wants_interrupt();
  unsignalled_ = 0;
  return wanted;
}

bool VirtQueue::split_wants_interrupt() {
  if (unsignalled_ == 0) return false;
  if (rules_.notify_on_empty && in_flight_ == 0 && !has_more()) return true;
  u16 value = 0;
  if (!rules_.event_index) return read16(driver_area, value) && (value & kNoInterrupt) == 0;
  // §2.7.7.2: when the index that the driver named is among the new ones.
  if (!read16(driver_area + 4 + u64{2} * size_, value)) return false;
  return static_cast<u16>(next_used_ - value - 1) < unsignalled_;
}

bool VirtQueue::packed_wants_interrupt() {
  if (unsignalled_ == 0) return false;
  u16 place = 0, flags = 0;
  if (!read16(driver_area + 2, flags) || !read16(driver_area, place)) return false;
  if (flags == kEventsOff) return false;
  if (flags != kEventsOfDescriptor || !rules_.event_index) return true;
  // §2.8.10: how long ago the named place was used, in places.
  const bool same_lap = ((place & (1 << 15)) != 0) == used_wrap_;
  const int ago = int{next_used_} - (place & 0x7fff) + (same_lap ? 0 : size_);
  return ago >= 1 && ago <= unsignalled_;
}

void VirtQueue::Taken::describe(StateVisitor& v) {
  v.field("id", id);
  v.field("slots", slots);
  v.field("done", done);
  v.field("written", written);
}

void VirtQueue::describe(StateVisitor& v) {
  v.field("size", size_);
  v.field("descriptors", descriptors);
  v.field("driver_area", driver_area);
  v.field("device_area", device_area);
  v.field("enabled", enabled_);
  v.field("next_avail", next_avail_);
  v.field("next_used", next_used_);
  v.field("avail_wrap", avail_wrap_);
  v.field("used_wrap", used_wrap_);
  v.field("in_flight", in_flight_);
  v.field("unsignalled", unsignalled_);
  std::vector<Taken> order(order_.begin(), order_.end());
  v.field("order", order);
  if (v.loading()) order_.assign(order.begin(), order.end());
}

bool VirtQueue::restored(VirtioMemory& memory, const Rules& rules) {
  memory_ = enabled_ ? &memory : nullptr;
  rules_ = enabled_ ? rules : Rules{};
  if (size_ == 0 || size_ > max_size_ || in_flight_ > size_ || unsignalled_ > size_) return false;
  if (order_.size() > in_flight_) return false;
  if (!enabled_) return in_flight_ == 0;
  if (!rules_.packed) return is_power_of_two(size_);
  u32 slots = 0;
  for (const Taken& taken : order_) slots += taken.slots;
  return next_avail_ < size_ && next_used_ < size_ && slots <= in_flight_;
}

}  // namespace menura
