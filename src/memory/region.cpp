#include "memory/region.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"
#include "memory/address_space.h"

namespace menura {

struct Region::Parts {
  Kind kind;
  u64 last;
  std::shared_ptr<RamBlock> block = {};
  MmioHandler* handler = nullptr;
  AccessRules rules = {};
  Region* target = nullptr;
  u64 alias_offset = 0;
};

namespace {

bool valid(const AccessRules& rules) {
  const auto size = [](u8 n) { return is_power_of_two(n) && n <= 8; };
  return size(rules.valid_min) && size(rules.valid_max) && rules.valid_min <= rules.valid_max &&
         size(rules.handler_min) && size(rules.handler_max) &&
         rules.handler_min <= rules.handler_max;
}

}  // namespace

Region::Region(std::string name, Parts parts)
    : name_(std::move(name)),
      kind_(parts.kind),
      last_(parts.last),
      block_(std::move(parts.block)),
      handler_(parts.handler),
      rules_(parts.rules),
      target_(parts.target),
      alias_offset_(parts.alias_offset) {
  ensure(valid(rules_), "access rules are powers of two in order");
  if (target_) target_->aliases_.push_back(this);
}

// size - 1 turns kWholeSpace into the last offset of 2^64.
Region Region::container(std::string name, u64 size) {
  return Region(std::move(name), {.kind = Kind::Container, .last = size - 1});
}

Region Region::ram(std::string name, std::shared_ptr<RamBlock> block) {
  const u64 last = block->size() - 1;
  return Region(std::move(name), {.kind = Kind::Ram, .last = last, .block = std::move(block)});
}

Region Region::rom(std::string name, std::shared_ptr<RamBlock> block) {
  const u64 last = block->size() - 1;
  return Region(std::move(name), {.kind = Kind::Rom, .last = last, .block = std::move(block)});
}

Region Region::rom_device(std::string name, std::shared_ptr<RamBlock> block, MmioHandler& handler) {
  const u64 last = block->size() - 1;
  return Region(
      std::move(name),
      {.kind = Kind::RomDevice, .last = last, .block = std::move(block), .handler = &handler});
}

Region Region::mmio(std::string name, u64 size, MmioHandler& handler, AccessRules rules) {
  return Region(std::move(name),
                {.kind = Kind::Mmio, .last = size - 1, .handler = &handler, .rules = rules});
}

Region Region::alias(std::string name, Region& target, u64 offset, u64 size) {
  return Region(std::move(name),
                {.kind = Kind::Alias, .last = size - 1, .target = &target, .alias_offset = offset});
}

Region::~Region() {
  ensure(aliases_.empty(), "an alias outlives its target region");
  ensure(spaces_.empty(), "an address space outlives its root region");
  if (parent_) parent_->unmap(*this);
  for (Region* child : children_) child->parent_ = nullptr;
  if (target_) std::erase(target_->aliases_, this);
}

void Region::place(Region& child) {
  const auto at = std::ranges::find_if(
      children_, [&](const Region* other) { return other->priority_ <= child.priority_; });
  children_.insert(at, &child);
}

void Region::map(u64 at, Region& child, int priority) {
  ensure(kind_ == Kind::Container, "only containers have children");
  ensure(!child.parent_, "a region has one place at a time");
  const std::vector<const Region*> above = ancestry();
  ensure(std::ranges::find(above, &child) == above.end(), "a region inside itself");
  child.address_ = at;
  child.priority_ = priority;
  child.parent_ = this;
  place(child);
  changed();
}

void Region::unmap(Region& child) {
  ensure(child.parent_ == this, "unmap() of a region that is mapped elsewhere");
  std::erase(children_, &child);
  child.parent_ = nullptr;
  changed();
}

void Region::set_enabled(bool enabled) {
  if (std::exchange(enabled_, enabled) != enabled) changed();
}

void Region::set_address(u64 at) {
  if (std::exchange(address_, at) != at) changed();
}

void Region::set_alias_offset(u64 offset) {
  ensure(kind_ == Kind::Alias, "only an alias has an offset into its target");
  if (std::exchange(alias_offset_, offset) != offset) changed();
}

void Region::set_readonly(bool readonly) {
  if (std::exchange(readonly_, readonly) != readonly) changed();
}

void Region::set_direct_reads(bool on) {
  ensure(kind_ == Kind::RomDevice, "direct reads are a ROM device's");
  if (std::exchange(direct_reads_, on) != on) changed();
}

void Region::track_dirty(DirtyClient client, bool on) {
  ensure(block_ != nullptr, "only RAM has dirty pages");
  const u8 mask = static_cast<u8>(bit(static_cast<unsigned>(client)));
  const u8 clients = static_cast<u8>(on ? dirty_clients_ | mask : dirty_clients_ & ~mask);
  block_->track_dirty(client, on);
  if (std::exchange(dirty_clients_, clients) != clients) changed();
}

void Region::add_io_event(const IoEvent& event) {
  ensure(kind_ == Kind::Mmio, "I/O events belong to device registers");
  ensure(event.fd >= 0, "an I/O event has an eventfd");
  ensure(event.size == 0 || (is_power_of_two(event.size) && event.size <= 8),
         "an I/O event is of an access's size");
  io_events_.push_back(event);
  changed();
}

void Region::remove_io_event(const IoEvent& event) {
  const auto at = std::ranges::find(io_events_, event);
  ensure(at != io_events_.end(), "remove_io_event() of one never added");
  io_events_.erase(at);
  changed();
}

void Region::add_coalesced(u64 offset, u64 size) {
  ensure(kind_ == Kind::Mmio, "coalesced writes belong to device registers");
  ensure(size > 0 && offset <= last_ && size - 1 <= last_ - offset, "coalesced inside the region");
  coalesced_.push_back({offset, size});
  changed();
}

void Region::clear_coalesced() {
  if (coalesced_.empty()) return;
  coalesced_.clear();
  changed();
}

std::vector<const Region*> Region::ancestry() const {
  std::vector<const Region*> found{this};
  const auto meet = [&](const Region* region) {
    if (std::ranges::find(found, region) == found.end()) found.push_back(region);
  };
  for (size_t i = 0; i < found.size(); i++) {
    const Region* region = found[i];
    if (region->parent_) meet(region->parent_);
    for (const Region* alias : region->aliases_) meet(alias);
  }
  return found;
}

void Region::changed() {
  std::vector<AddressSpace*> above;
  for (const Region* region : ancestry())
    above.insert(above.end(), region->spaces_.begin(), region->spaces_.end());
  for (AddressSpace* space : above) space->mark_changed();
}

}  // namespace menura
