// Region: a node of the memory map: a container, RAM, ROM, device registers, or an alias of part of
// another region. Regions overlap by priority, as decoders on a bus do.
//
// Owner: the device or board that declares it (a member; not movable). A region that dies leaves
// its container by itself; aliases and address spaces of it must die before it. Threads: changed
// under the machine lock only. Every change reaches the address spaces above it at once, or at the end of
// their open Transaction. Example:
//   Region ports_ = Region::mmio("pit", 4, *this);      // in a device
//   io_root.map(0x40, pit.ports());                      // on the board
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/mmio.h"
#include "memory/ram.h"

namespace menura {

class AddressSpace;

class Region {
 public:
  enum class Kind : u8 { Container, Ram, Rom, RomDevice, Mmio, Alias };
  // A size that means 2^64.
  static constexpr u64 kWholeSpace = 0;
  // Containers and aliases nest no deeper than this (our bug otherwise).
  static constexpr unsigned kMaxDepth = 1024;

  static Region container(std::string name, u64 size);
  static Region ram(std::string name, std::shared_ptr<RamBlock> block);
  // Writes are dropped (an accelerator may map it read-only).
  static Region rom(std::string name, std::shared_ptr<RamBlock> block);
  // Reads go to the block while direct reads are on, else to the handler; writes always to the
  // handler: flash memory.
  static Region rom_device(std::string name, std::shared_ptr<RamBlock> block, MmioHandler& handler);
  static Region mmio(std::string name, u64 size, MmioHandler& handler, AccessRules rules = {});
  // [offset, offset+size) of target, which must outlive the alias.
  static Region alias(std::string name, Region& target, u64 offset, u64 size);

  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // Places child at an offset of this container; a child has one place at a time. A higher
  // priority hides a lower one; equal ones: the later mapped hides the earlier.
  void map(u64 at, Region& child, int priority = 0);
  void unmap(Region& child);
  bool mapped() const { return parent_ != nullptr; }

  void set_enabled(bool enabled);
  void set_address(u64 at);  // moves a mapped region inside its container
  void set_alias_offset(u64 offset);
  // RAM, containers and aliases: writes below are dropped (PAM), except to ROM devices' handlers.
  void set_readonly(bool readonly);
  void set_direct_reads(bool on);                 // RomDevice
  void track_dirty(DirtyClient client, bool on);  // RAM

  // ioeventfd: a write of `size` bytes (0: any) at offset, of `value` if given, signals fd and
  // does not reach the handler, in the kernel where the accelerator can. fd stays the caller's.
  struct IoEvent {
    u64 offset = 0;
    unsigned size = 0;
    std::optional<u64> value = {};
    int fd = -1;
    bool operator==(const IoEvent&) const = default;
  };
  void add_io_event(const IoEvent& event);
  void remove_io_event(const IoEvent& event);
  // Writes in [offset, offset+size) may be queued and delivered late, in order (coalesced MMIO).
  void add_coalesced(u64 offset, u64 size);
  void clear_coalesced();

  const std::string& name() const { return name_; }
  // Who made it, for `info mtree -o`; set once by the owner.
  const std::string& owner() const { return owner_; }
  void set_owner(std::string owner) { owner_ = std::move(owner); }
  Kind kind() const { return kind_; }
  u64 last() const { return last_; }  // the last offset: size - 1
  bool enabled() const { return enabled_; }
  bool readonly() const { return readonly_; }
  u64 address() const { return address_; }
  int priority() const { return priority_; }
  const std::shared_ptr<RamBlock>& ram_block() const { return block_; }
  MmioHandler* handler() const { return handler_; }
  const AccessRules& rules() const { return rules_; }
  const Region* alias_target() const { return target_; }
  u64 alias_offset() const { return alias_offset_; }
  bool direct_reads() const { return direct_reads_; }
  const std::vector<Region*>& children() const { return children_; }  // highest priority first
  const std::vector<IoEvent>& io_events() const { return io_events_; }
  struct Coalesced {
    u64 offset;
    u64 size;
  };
  const std::vector<Coalesced>& coalesced() const { return coalesced_; }
  // A bit per DirtyClient.
  u8 dirty_clients() const { return dirty_clients_; }

 private:
  friend class AddressSpace;
  struct Parts;
  Region(std::string name, Parts parts);
  void place(Region& child);
  // This region and all that show it: containers and aliases, up to the roots.
  std::vector<const Region*> ancestry() const;
  void changed();  // tells the address spaces above

  std::string name_;
  std::string owner_;
  Kind kind_;
  u64 last_;
  bool enabled_ = true;
  bool readonly_ = false;
  bool direct_reads_ = true;
  u64 address_ = 0;
  int priority_ = 0;
  Region* parent_ = nullptr;
  std::vector<Region*> children_;
  std::vector<Region*> aliases_;       // aliases whose target is this region
  std::vector<AddressSpace*> spaces_;  // spaces whose root is this region
  std::shared_ptr<RamBlock> block_;
  MmioHandler* handler_ = nullptr;
  AccessRules rules_;
  Region* target_ = nullptr;
  u64 alias_offset_ = 0;
  std::vector<IoEvent> io_events_;
  std::vector<Coalesced> coalesced_;
  u8 dirty_clients_ = 0;
};

}  // namespace menura
