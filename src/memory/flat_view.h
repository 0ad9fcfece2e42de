// FlatView: what a tree of regions comes to, as an immutable list of ranges in address order.
//
// Owner: shared; readers keep a snapshot as long as they like. Threads: immutable, any. RAM blocks
// stay alive with the view; MMIO handlers may only be called under the machine lock with a view
// that is still current. Example: `if (const FlatRange* r = view->find({addr})) ...`
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "memory/guest_addr.h"
#include "memory/region.h"

namespace menura {

struct FlatRange {
  GuestAddr start;
  GuestAddr last;                 // inclusive
  const Region* region;           // the leaf that answers
  u64 offset = 0;                 // of start inside the leaf
  std::shared_ptr<RamBlock> ram;  // RAM, ROM, and ROM devices with direct reads
  bool readonly = false;          // writes are dropped (or go to the handler of a ROM device)
  u8 dirty_clients = 0;           // bit per DirtyClient

  u64 offset_of(GuestAddr addr) const { return offset + (addr - start); }
  bool contains(GuestAddr addr) const { return addr >= start && addr <= last; }
  bool writable_ram() const { return ram && !readonly; }
  bool operator==(const FlatRange&) const = default;
};

struct FlatIoEvent {
  GuestAddr addr;
  Region::IoEvent event;
  bool operator==(const FlatIoEvent&) const = default;
};

struct FlatCoalesced {
  GuestAddr start;
  u64 size = 0;
  bool operator==(const FlatCoalesced&) const = default;
};

class FlatView {
 public:
  // The range that holds addr, or null where nothing answers.
  const FlatRange* find(GuestAddr addr) const;
  // The first range that holds addr or lies above it, or null.
  const FlatRange* find_from(GuestAddr addr) const;
  std::span<const FlatRange> ranges() const { return ranges_; }
  // In order of address; of those at one address, the first that matches a write wins.
  std::span<const FlatIoEvent> io_events() const { return io_events_; }
  std::span<const FlatIoEvent> io_events_at(GuestAddr addr) const;
  std::span<const FlatCoalesced> coalesced() const { return coalesced_; }
  u64 generation() const { return generation_; }
  // Everything but the generation is equal.
  bool same_map(const FlatView& other) const;

 private:
  friend class FlatViewBuilder;
  std::vector<FlatRange> ranges_;
  std::vector<FlatIoEvent> io_events_;
  std::vector<FlatCoalesced> coalesced_;
  u64 generation_ = 0;
};

using View = std::shared_ptr<const FlatView>;

}  // namespace menura
