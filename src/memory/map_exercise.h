// MapExercise: random changes to a small memory map, each compared with the model.
//
// Owner: memory's tests and fuzz/flat_view.cpp. Threads: one. `next` gives the randomness, a byte a
// call. Example: `MapExercise e([&] { return u8(rng()); }); for (...) EXPECT_EQ(e.step(), "");`
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "base/format.h"
#include "memory/map_model.h"

namespace menura {

class MapExercise final : private MemoryListener {
 public:
  explicit MapExercise(std::function<u8()> next) : next_(std::move(next)) {
    nodes_.push_back(make(Region::Kind::Container, nullptr));
    space_.emplace("exercise", *nodes_[0]->region);
    space_->add_listener(*this);
  }
  ~MapExercise() {
    transaction_.reset();
    space_.reset();
    // Aliases before what they show: later nodes show earlier ones only.
    while (!nodes_.empty()) nodes_.pop_back();
  }

  // Changes something and compares; returns what is wrong, or nothing.
  std::string step() {
    const View before = space_->view();
    const std::string change = change_something();
    if (transaction_)
      return space_->view() == before ? "" : change + ": published inside a transaction";
    const std::string problem = check();
    if (problem.empty()) return {};
    return change + ": " + problem + "\n" + print_region_tree(*space_, true) +
           print_flat_view(*space_, true);
  }

 private:
  using Pattern = MapModel::Pattern;
  using Node = MapModel::Node;
  using Answer = MapModel::Answer;

  unsigned below(unsigned n) { return next_() % n; }
  u64 some_size() { return below(8) == 0 ? Region::kWholeSpace : 1 + u64{next_()}; }
  u64 some_address() {
    const u64 near = next_();
    return below(8) == 0 ? ~u64{0} - near : near;
  }

  std::unique_ptr<Node> make(Region::Kind kind, Node* target) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->tag = node->pattern.tag = made_++;
    const std::string name = format("r{}", node->tag);
    const u64 size = some_size();
    switch (kind) {
      case Region::Kind::Container:
        node->region.reset(new Region(Region::container(name, nodes_.empty() ? 0 : size)));
        break;
      case Region::Kind::Mmio: {
        const u8 min = static_cast<u8>(1u << below(4));
        const u8 max = std::max(min, static_cast<u8>(1u << below(4)));
        node->pattern.order = below(2) ? ByteOrder::Big : ByteOrder::Little;
        const AccessRules rules{
            .handler_min = min, .handler_max = max, .order = node->pattern.order};
        node->region.reset(new Region(Region::mmio(name, size, node->pattern, rules)));
        break;
      }
      case Region::Kind::Alias:
        node->target = target;
        node->alias_offset = some_address();
        node->region.reset(
            new Region(Region::alias(name, *target->region, node->alias_offset, size)));
        break;
      default: {
        auto block = RamBlock::create({.name = name, .size = kPageSize}).value();
        for (u64 i = 0; i < kPageSize; i++) block->store<u8>(i, Pattern::byte(node->tag, i));
        node->region.reset(new Region(kind == Region::Kind::Ram ? Region::ram(name, block)
                                      : kind == Region::Kind::Rom
                                          ? Region::rom(name, block)
                                          : Region::rom_device(name, block, node->pattern)));
      }
    }
    node->last = node->region->last();
    return node;
  }

  Node* any() { return nodes_[below(static_cast<unsigned>(nodes_.size()))].get(); }

  std::string change_something() {
    Node* node = any();
    const unsigned choice = below(16);
    if (choice < 3 && nodes_.size() < 24) return create();
    if (choice < 6) return place(*node);
    if (choice < 8 && node->parent) {
      node->region->set_address(node->address = some_address());
      return "move";
    }
    if (choice == 8) {
      node->region->set_enabled(node->enabled = below(2) != 0);
      return "enable";
    }
    if (choice == 9) {
      node->region->set_readonly(node->readonly = below(2) != 0);
      return "readonly";
    }
    if (choice == 10 && node->kind == Region::Kind::Alias) {
      node->region->set_alias_offset(node->alias_offset = some_address());
      return "alias offset";
    }
    if (choice == 11 && node->kind == Region::Kind::RomDevice) {
      node->region->set_direct_reads(node->direct = below(2) != 0);
      return "direct reads";
    }
    if (choice == 12) return destroy_last();
    if (choice == 13 && !transaction_) {
      transaction_.emplace(*space_);
      return "begin";
    }
    if (choice >= 14) transaction_.reset();
    return "end";
  }

  std::string create() {
    const auto kind = static_cast<Region::Kind>(below(6));
    nodes_.push_back(make(kind, kind == Region::Kind::Alias ? any() : nullptr));
    return "create";
  }

  std::string place(Node& node) {
    if (node.parent) {
      node.parent->region->unmap(*node.region);
      node.parent = nullptr;
      return "unmap";
    }
    Node* parent = any();
    if (&node == nodes_[0].get() || parent->kind != Region::Kind::Container) return "nothing";
    if (model_.reaches(&node, parent)) return "nothing";
    node.address = some_address();
    node.priority = static_cast<int>(below(4)) - 1;
    node.mapped_when = ++mapped_;
    node.parent = parent;
    parent->region->map(node.address, *node.region, node.priority);
    return "map";
  }

  std::string destroy_last() {
    if (nodes_.size() < 2) return "nothing";
    Node* last = nodes_.back().get();
    for (const auto& node : nodes_)
      if (node->parent == last) node->parent = nullptr;
    nodes_.pop_back();
    return "destroy";
  }

  std::string check() {
    constexpr u64 kChecked = 600;
    std::array<u8, kChecked> found{};
    (void)space_->read({0}, writable_bytes_of(found));
    for (u64 addr = 0; addr < kChecked; addr++) {
      if (std::string p = check_address(addr); !p.empty()) return p;
      const Answer answer = model_.ask(addr);
      const u8 expected = answer.leaf ? Pattern::byte(answer.leaf->tag, answer.offset) : 0xff;
      if (found[addr] != expected) return format("reads {:#x} at {:#x}", found[addr], addr);
      if (std::string p = check_address(~addr); !p.empty()) return p;
    }
    return check_shape();
  }

  std::string check_address(u64 addr) const {
    const Answer expected = model_.ask(addr);
    const View view = space_->view();
    const FlatRange* range = view->find({addr});
    if (!range || !expected.leaf) {
      if (!range && !expected.leaf) return {};
      return format("at {:#x}: {} answers", addr, range ? range->region->name() : "nobody");
    }
    const Node& leaf = *expected.leaf;
    const bool is_romd = leaf.kind == Region::Kind::RomDevice;
    const bool readonly = expected.readonly || is_romd || leaf.kind == Region::Kind::Rom;
    const bool has_ram = leaf.kind != Region::Kind::Mmio && (!is_romd || leaf.direct);
    const bool good = range->region == leaf.region.get() &&
                      range->offset_of({addr}) == expected.offset && range->readonly == readonly &&
                      (range->ram != nullptr) == has_ram;
    return good ? "" : format("at {:#x}: {} answers wrongly", addr, range->region->name());
  }

  // In order, disjoint, and joined wherever two ranges continue each other.
  std::string check_shape() const {
    const View view = space_->view();
    if (seen_ != view) return "the listener has not seen the present view";
    const std::span<const FlatRange> ranges = view->ranges();
    for (size_t i = 0; i + 1 < ranges.size(); i++) {
      const FlatRange &left = ranges[i], &right = ranges[i + 1];
      if (left.start > left.last || left.last >= right.start) return "ranges are out of order";
      if (left.last + 1 == right.start && left.region == right.region &&
          left.offset_of(right.start) == right.offset && left.readonly == right.readonly)
        return "two ranges should be one";
    }
    return {};
  }

  void changed(const FlatView& before, const FlatView& after) override {
    ensure(seen_ ? &before == seen_.get() : before.ranges().empty(), "views follow each other");
    seen_ = space_->view();
    ensure(&after == seen_.get(), "a listener sees the published view");
  }

  std::function<u8()> next_;
  unsigned made_ = 0;
  u64 mapped_ = 0;
  MapModel model_;
  std::vector<std::unique_ptr<Node>>& nodes_ = model_.nodes;
  std::optional<AddressSpace> space_;
  std::optional<Transaction> transaction_;
  View seen_;
};

}  // namespace menura
