// RamBlock: a piece of guest RAM (or ROM) in a memfd or file, mapped once, shared with the guest.
//
// Owner: memory; held by shared_ptr from regions and flat views, so that it outlives every view.
// Threads: contents are shared with running vCPUs: only load/store/read/write touch them, never
// references. Dirty bitmaps are atomic. Example: `auto ram = TRY(RamBlock::create({.size = 128 * MiB}));`
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace menura {

inline constexpr u64 kPageSize = 4096;

// Who wants to know which pages were written.
enum class DirtyClient : u8 { Display, Migration, Code };
inline constexpr size_t kDirtyClients = 3;

enum class HugePages : u8 { None, Transparent, Explicit };

// Where the host takes a block's pages from, of the nodes named; mbind(2).
enum class HostPolicy : u8 { Default, Preferred, Bind, Interleave };
std::span<const std::string_view> enum_names(HostPolicy);

struct RamConfig {
  std::string name = "ram";
  u64 size = 0;              // bytes; rounded up to the page size of the backing
  std::string path = {};     // a file or a directory (-mem-path); empty: anonymous memfd
  bool share = true;         // of a file: MAP_SHARED, or a private copy-on-write mapping
  bool preallocate = false;  // touch every page now; a host without the memory is an error now
  HugePages huge = HugePages::None;
  u64 huge_page_size = 0;  // 0: the host's default
  std::vector<u32> host_nodes = {};
  HostPolicy policy = HostPolicy::Default;  // the others need nodes, Preferred takes the first
  unsigned preallocate_threads = 1;
  bool merge = false;  // let the host share equal pages (KSM); of a private mapping only
  bool dump = true;    // part of the host process's core dump
  bool seal = false;   // of a memfd: its size is final
};

class RamBlock {
 public:
  static Result<std::shared_ptr<RamBlock>> create(const RamConfig& config);
  ~RamBlock();
  RamBlock(const RamBlock&) = delete;
  RamBlock& operator=(const RamBlock&) = delete;

  const std::string& name() const { return config_.name; }
  const RamConfig& config() const { return config_; }
  u64 size() const { return size_; }
  int fd() const { return fd_.get(); }
  // For accelerators only: the mapping that KVM slots and JIT TLB entries point into.
  std::byte* host() const { return host_; }

  // offset + sizeof(T) <= size() is the caller's duty (ensure). Aligned ones are single accesses.
  template <std::integral T>
  T load(u64 offset) const {
    check(offset, sizeof(T));
    const std::byte* from = host_ + offset;
    if (offset % sizeof(T) == 0)
      return __atomic_load_n(reinterpret_cast<const T*>(from), __ATOMIC_RELAXED);
    return load_raw<T>(from);
  }
  template <std::integral T>
  void store(u64 offset, T value) {
    check(offset, sizeof(T));
    std::byte* to = host_ + offset;
    if (offset % sizeof(T) == 0)
      __atomic_store_n(reinterpret_cast<T*>(to), value, __ATOMIC_RELAXED);
    else
      store_raw(to, value);
    mark_dirty(offset, sizeof(T));
  }
  void read(u64 offset, Bytes to) const;
  void write(u64 offset, ConstBytes from);
  void fill(u64 offset, u64 length, std::byte value);

  // A client's bitmap exists while it is enabled; all pages begin clean.
  void track_dirty(DirtyClient client, bool on);
  bool tracks_dirty(DirtyClient client) const {
    return (tracked_.load(std::memory_order_acquire) >> static_cast<unsigned>(client)) & 1;
  }
  void mark_dirty(u64 offset, u64 length) {
    const u8 tracked = tracked_.load(std::memory_order_acquire);
    if (tracked != 0) [[unlikely]]
      mark_tracked(offset, length, tracked);
  }
  // The same for a vCPU that looks after code by itself: its writes are not told to that client.
  void mark_written(u64 offset, u64 length) {
    const u8 tracked = tracked_.load(std::memory_order_acquire) & ~kCodeBit;
    if (tracked != 0) [[unlikely]]
      mark_tracked(offset, length, tracked);
  }
  // Returns the pages written since the last call in [offset, offset+length), one bit a page from
  // offset's page on, and clears them.
  std::vector<u64> take_dirty(DirtyClient client, u64 offset, u64 length);
  // Whether anything was marked for the client since the last call; before taking it all.
  bool take_any_dirty(DirtyClient client) {
    std::atomic<bool>& any = any_dirty_[static_cast<size_t>(client)];
    return any.load(std::memory_order_relaxed) && any.exchange(false);
  }
  bool is_dirty(DirtyClient client, u64 offset) const;

 private:
  RamBlock(RamConfig config, UniqueFd fd, std::byte* host, u64 size);
  void check(u64 offset, u64 length) const {
    ensure(offset <= size_ && length <= size_ - offset, "access inside the RAM block");
  }
  static constexpr u8 kCodeBit = 1u << static_cast<unsigned>(DirtyClient::Code);
  void mark_tracked(u64 offset, u64 length, u8 clients);

  RamConfig config_;
  UniqueFd fd_;
  std::byte* host_;
  u64 size_;
  // Made when first tracked, and kept: other threads may still be marking after the end of it.
  std::array<std::unique_ptr<std::atomic<u64>[]>, kDirtyClients> dirty_;
  std::array<std::atomic<bool>, kDirtyClients> any_dirty_{};
  std::atomic<u8> tracked_{0};  // a bit per client; set after its bitmap stands
};

}  // namespace menura
