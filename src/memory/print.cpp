// The memory map as text, for `info mtree`.
#include <algorithm>
#include <iterator>

#include "base/format.h"
#include "memory/address_space.h"

namespace menura {

namespace {

std::string_view kind_name(const Region& region) {
  switch (region.kind()) {
    case Region::Kind::Container: return "container";
    case Region::Kind::Ram: return region.readonly() ? "rom" : "ram";
    case Region::Kind::Rom: return "rom";
    case Region::Kind::RomDevice: return region.direct_reads() ? "romd" : "i/o";
    case Region::Kind::Mmio: return "i/o";
    case Region::Kind::Alias: return kind_name(*region.alias_target());
  }
  unreachable();
}

std::string owner_suffix(const Region& region, bool owners) {
  return owners && !region.owner().empty() ? format(" owner:{}", region.owner()) : std::string();
}

class TreePrinter {
 public:
  explicit TreePrinter(bool owners) : owners_(owners) {}

  void print(const Region& region, u64 base, unsigned depth) {
    const u64 at = base + region.address();
    out_ += format("{:{}}{:016x}-{:016x} (prio {}, {}): ", "", 2 * depth, at, at + region.last(),
                   region.priority(), kind_name(region));
    if (region.kind() == Region::Kind::Alias) {
      const Region& target = *region.alias_target();
      const u64 from = region.alias_offset();
      out_ += format("alias {} @{} {:016x}-{:016x}{}", region.name(), target.name(), from,
                     from + region.last(), region.readonly() ? " (read-only)" : "");
      if (std::ranges::find(targets_, &target) == targets_.end()) targets_.push_back(&target);
    } else {
      out_ += region.name();
      printed_.push_back(&region);
    }
    if (!region.enabled()) out_ += " [disabled]";
    out_ += owner_suffix(region, owners_) + "\n";
    std::vector<const Region*> children(region.children().begin(), region.children().end());
    std::ranges::stable_sort(children, {}, &Region::address);
    for (const Region* child : children) print(*child, at, depth + 1);
  }

  // What aliases point to outside of the tree, each at its own offsets.
  void print_targets() {
    for (size_t i = 0; i < targets_.size(); i++) {
      const Region& target = *targets_[i];
      if (std::ranges::find(printed_, &target) != printed_.end()) continue;
      out_ += format("\nmemory-region: {}\n", target.name());
      print(target, u64{0} - target.address(), 1);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  bool owners_;
  std::string out_;
  std::vector<const Region*> printed_;
  std::vector<const Region*> targets_;
};

}  // namespace

std::string print_region_tree(const AddressSpace& space, bool owners) {
  TreePrinter printer(owners);
  printer.print(space.root(), u64{0} - space.root().address(), 1);
  printer.print_targets();
  return format("address-space: {}\n", space.name()) + printer.take();
}

std::string print_flat_view(const AddressSpace& space, bool owners) {
  const View view = space.view();
  std::string out = format("flat view: {}, root {}, generation {}\n", space.name(),
                           space.root().name(), view->generation());
  for (const FlatRange& range : view->ranges()) {
    const Region& region = *range.region;
    const bool rom = range.readonly && region.kind() == Region::Kind::Ram;
    out += format("  {:016x}-{:016x} (prio {}, {}): {}", range.start.value, range.last.value,
                  region.priority(), rom ? "rom" : kind_name(region), region.name());
    if (range.offset != 0) out += format(" @{:016x}", range.offset);
    out += owner_suffix(region, owners) + "\n";
  }
  if (view->ranges().empty()) out += "  (nothing answers here)\n";
  for (const FlatIoEvent& at : view->io_events()) {
    out += format("  ioeventfd {:016x} size {}", at.addr.value,
                  at.event.size ? std::to_string(at.event.size) : "any");
    if (at.event.value) out += format(" value {:#x}", *at.event.value);
    out += "\n";
  }
  for (const FlatCoalesced& part : view->coalesced())
    out += format("  coalesced {:016x}-{:016x}\n", part.start.value,
                  (part.start + (part.size - 1)).value);
  return out;
}

}  // namespace menura
