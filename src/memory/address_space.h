// AddressSpace: a root region seen through its current flat view, with accessors and listeners.
//
// Owner: the machine (one "memory", one "io", one per bus master that sees less). Threads: view()
// and generation() from any; read/write dispatch to handlers and therefore need the machine lock
// unless they hit RAM; changes under the machine lock. Example:
//   AddressSpace memory("memory", root);
//   { Transaction t(memory); bar.set_address(...); pam.set_enabled(...); }   // one new view
//   memory.write(GuestAddr{0x1000}, bytes);
#pragma once

#include <atomic>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <string>
#include <vector>

#include "base/types.h"
#include "memory/flat_view.h"

namespace menura {

// How an access ended. Unmapped reads give all ones.
enum class [[nodiscard]] AccessStatus : u8{Ok, Unmapped, Refused};

// Learns of every new view; computes what it needs from the difference.
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;
  // Lower numbers hear of additions first. Called under the machine lock, once a transaction.
  virtual int order() const { return 0; }
  virtual void changed(const FlatView& before, const FlatView& after) = 0;
};

class AddressSpace {
 public:
  AddressSpace(std::string name, Region& root);
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  const std::string& name() const { return name_; }
  const Region& root() const { return root_; }
  View view() const;
  // Changes whenever a new view is published; vCPUs refresh their snapshot when it differs.
  u64 generation() const { return generation_.load(std::memory_order_acquire); }

  // As a CPU or debugger: RAM and device registers, split at range and size borders. All parts are
  // attempted; the status is the worst of them.
  AccessStatus read(GuestAddr addr, Bytes to);
  AccessStatus write(GuestAddr addr, ConstBytes from);
  // As a CPU's single access of 1, 2, 4 or 8 bytes.
  u64 load(GuestAddr addr, unsigned size);
  void store(GuestAddr addr, unsigned size, u64 value);

  // As a device's DMA: reaches RAM only (a register target is Refused, so a device can never
  // re-enter itself or another); ROM refuses writes. Nothing is written unless all is RAM.
  AccessStatus dma_read(GuestAddr addr, Bytes to) const;
  AccessStatus dma_write(GuestAddr addr, ConstBytes from);

  // Delivers the writes an accelerator queued (coalesced MMIO) before a register is read.
  void before_register_access(std::function<void()> drain) { drain_ = std::move(drain); }

  // The listener at once hears of the change from the empty view to the present one.
  void add_listener(MemoryListener& listener);
  void remove_listener(MemoryListener& listener);

 private:
  friend class Region;
  friend class Transaction;
  void mark_changed();
  void publish();
  void publish_one();
  AccessStatus load_from(const FlatRange& range, GuestAddr addr, unsigned size, u64& value);
  AccessStatus store_to(const FlatView& view, const FlatRange& range, GuestAddr addr, unsigned size,
                        u64 value);

  // Configuration
  std::string name_;
  // Wiring
  Region& root_;
  // State
  mutable std::mutex view_mutex_;
  View view_;
  std::atomic<u64> generation_{0};
  unsigned open_transactions_ = 0;
  bool changed_ = false;
  bool publishing_ = false;
  bool draining_ = false;
  void drain();
  std::vector<MemoryListener*> listeners_;
  std::function<void()> drain_;
};

// Collects changes: one new view at its end. Nests.
class Transaction {
 public:
  explicit Transaction(AddressSpace& space) : Transaction({&space}) {}
  Transaction(std::initializer_list<AddressSpace*> spaces);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

 private:
  std::vector<AddressSpace*> spaces_;
};

// For `info mtree`: the tree, the flat view, with owners when asked.
std::string print_region_tree(const AddressSpace& space, bool owners);
std::string print_flat_view(const AddressSpace& space, bool owners);

}  // namespace menura
