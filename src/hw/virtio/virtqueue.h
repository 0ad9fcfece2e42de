// VirtQueue: the device's end of a queue that driver and device share in guest memory, as split or
// packed rings; VirtioChain: a request in it.
//
// Owner: a VirtioDevice. Threads: under the machine lock; the driver writes to the rings meanwhile.
// Source: VIRTIO 1.2 §2.6 to §2.8. All memory goes through VirtioMemory, which reaches RAM only; what
// is read is copied before it is judged. Whatever the driver did wrong is Outcome::Broken, and the
// queue must then be left alone until it is reset. Example:
//   VirtioChain chain;
//   while (queue.take(chain) == Outcome::Done) (void)queue.give_back(chain, serve(chain));
//   if (queue.wants_interrupt()) ...
#pragma once

#include <deque>
#include <vector>

#include "base/types.h"
#include "memory/address_space.h"
#include "state/visitor.h"

namespace menura {

// The guest's RAM as the device reaches it.
class VirtioMemory {
 public:
  virtual ~VirtioMemory() = default;
  // False: not all of it is RAM, or the device may not reach it now.
  virtual bool read(u64 address, Bytes to) = 0;
  virtual bool write(u64 address, ConstBytes from) = 0;
};

struct VirtioSegment {
  u64 address = 0;
  u32 length = 0;
  void describe(StateVisitor& v);
};

// A descriptor chain: what the device may read, and what it may write.
class VirtioChain {
 public:
  // No chain has more segments.
  static constexpr size_t kMaxSegments = 1024;

  u64 readable_size() const { return size_of(readable_); }
  u64 writable_size() const { return size_of(writable_); }
  // Copies from and to a place in the readable or writable part, as if it were one piece. False
  // when it is not all there, or not RAM; then part of it may have been copied.
  bool read(VirtioMemory& memory, u64 offset, Bytes to) const;
  bool write(VirtioMemory& memory, u64 offset, ConstBytes from) const;

  const std::vector<VirtioSegment>& readable() const { return readable_; }
  const std::vector<VirtioSegment>& writable() const { return writable_; }
  void describe(StateVisitor& v);

 private:
  friend class VirtQueue;
  static u64 size_of(const std::vector<VirtioSegment>& segments);
  template <class Move>
  static bool each_part(const std::vector<VirtioSegment>& segments, u64 offset, u64 size,
                        Move move);

  std::vector<VirtioSegment> readable_;
  std::vector<VirtioSegment> writable_;
  u16 id_ = 0;     // split: its first descriptor; packed: the buffer's id
  u16 slots_ = 1;  // packed: descriptors it takes in the ring
};

class VirtQueue {
 public:
  enum class [[nodiscard]] Outcome : u8{Done, Empty, Broken};
  // As negotiated.
  struct Rules {
    bool packed = false;
    bool indirect = false;
    bool event_index = false;
    bool in_order = false;
    bool notify_on_empty = false;
  };

  explicit VirtQueue(u16 max_size) : max_size_(max_size), size_(max_size) {}

  // What a transport's registers set, before the queue is enabled.
  u16 max_size() const { return max_size_; }
  u16 size() const { return size_; }
  // False, and no change: zero, longer than max_size(), or not a power of two in a split ring.
  bool set_size(u16 size, bool packed);
  u64 descriptors = 0;  // the table, or the packed ring
  u64 driver_area = 0;  // the available ring, or the driver's event suppression
  u64 device_area = 0;  // the used ring, or the device's event suppression
  bool enabled() const { return enabled_; }
  void enable(VirtioMemory& memory, const Rules& rules);
  void reset();

  // The next chain. Empty: the driver will notify when there is one.
  Outcome take(VirtioChain& chain);
  // The last take() never happened; of a split or packed ring whose chain nobody has worked on.
  void put_back(const VirtioChain& chain);
  // Returns a chain whose writable part has been filled with this many bytes from its begin.
  Outcome give_back(const VirtioChain& chain, u32 written);
  // Whether the driver wants to hear of what was given back since the last call.
  bool wants_interrupt();
  // The driver put more into it than was taken.
  bool has_more();

  void describe(StateVisitor& v);
  // After a load, as restored(): false for a state that no queue can have.
  bool restored(VirtioMemory& memory, const Rules& rules);

 private:
  struct Descriptor {
    u64 address;
    u32 length;
    u16 flags;
    u16 last;  // split: next; packed: id is at its place, flags behind
  };
  // A chain that was taken and not given back; kept only where the order counts.
  struct Taken {
    u16 id = 0;
    u16 slots = 1;
    bool done = false;
    u32 written = 0;
    void describe(StateVisitor& v);
  };

  bool read16(u64 address, u16& value) const;
  bool write16(u64 address, u16 value) const;
  bool add(VirtioChain& chain, u64 address, u32 length, bool writable) const;
  Outcome available(u16& count);
  Outcome take_split(VirtioChain& chain);
  Outcome walk_split(VirtioChain& chain, u16 head);
  Outcome take_packed(VirtioChain& chain);
  Outcome walk_packed_table(VirtioChain& chain, u64 table, u32 length);
  bool packed_available(u16& flags);
  bool ask_for_notification();
  Outcome use(const Taken& taken);
  u16 advance(u16 at, u16 slots, bool& wrap) const;
  bool split_wants_interrupt();
  bool packed_wants_interrupt();

  // Configuration
  const u16 max_size_;

  // Wiring
  VirtioMemory* memory_ = nullptr;  // while enabled

  // State
  u16 size_;
  bool enabled_ = false;
  u16 next_avail_ = 0;  // split: running index; packed: place in the ring
  u16 next_used_ = 0;
  bool avail_wrap_ = true;  // packed
  bool used_wrap_ = true;
  u16 in_flight_ = 0;    // descriptors (packed) or chains (split) taken and not given back
  u16 unsignalled_ = 0;  // the same, given back since the last wants_interrupt()
  std::deque<Taken> order_;

  // Derived
  Rules rules_;
};

}  // namespace menura
