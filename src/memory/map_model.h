// MapModel: who answers at an address, found by walking the tree for that address alone, as the
// rules of Region are written down: slow and plain, to judge FlatViewBuilder by.
//
// Owner: memory's tests and fuzz/flat_view.cpp, through MapExercise. Threads: one.
// Example: `MapModel::Answer a = model.ask(0x3f8);`
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "memory/address_space.h"

namespace menura {

class MapModel {
 public:
  // A handler (and RAM content) whose every byte is a function of its place.
  struct Pattern final : MmioHandler {
    static u8 byte(unsigned tag, u64 offset) { return static_cast<u8>(tag * 37 + offset * 11 + 1); }
    u64 read(Access access) override {
      u64 value = 0;
      for (unsigned i = 0; i < access.size; i++) {
        const unsigned place = order == ByteOrder::Little ? i : access.size - 1 - i;
        value |= u64{byte(tag, access.offset + i)} << (8 * place);
      }
      return value;
    }
    void write(Access, u64) override {}
    unsigned tag = 0;
    ByteOrder order = ByteOrder::Little;
  };

  // The model's own copy of everything that it needs to know of a region.
  struct Node {
    Region::Kind kind;
    u64 last;
    bool enabled = true;
    bool readonly = false;
    bool direct = true;
    u64 address = 0;
    int priority = 0;
    u64 mapped_when = 0;
    Node* parent = nullptr;
    Node* target = nullptr;
    u64 alias_offset = 0;
    unsigned tag = 0;
    Pattern pattern;
    std::unique_ptr<Region> region;
  };
  struct Answer {
    const Node* leaf = nullptr;
    u64 offset = 0;
    bool readonly = false;
  };

  std::vector<std::unique_ptr<Node>> nodes;  // the first is the root

  // Whether `to` is `from` or lies below it, through children or aliases.
  bool reaches(const Node* from, const Node* to) const {
    if (from == to || (from->target && reaches(from->target, to))) return true;
    return std::ranges::any_of(
        nodes, [&](const auto& n) { return n->parent == from && reaches(n.get(), to); });
  }
  Answer ask(u64 addr) const { return ask(*nodes[0], addr); }

 private:
  // The rules, for one offset of one region.
  Answer ask(const Node& node, u64 offset) const {
    if (!node.enabled || offset > node.last) return {};
    if (node.kind == Region::Kind::Alias) {
      if (offset > ~node.alias_offset) return {};
      return with_readonly(ask(*node.target, offset + node.alias_offset), node.readonly);
    }
    if (node.kind != Region::Kind::Container) return {&node, offset, node.readonly};
    Answer best;
    const Node* winner = nullptr;
    for (const auto& child : nodes) {
      if (child->parent != &node || offset < child->address) continue;
      const bool hidden = winner && (winner->priority != child->priority
                                         ? winner->priority > child->priority
                                         : winner->mapped_when > child->mapped_when);
      if (hidden) continue;
      const Answer answer = ask(*child, offset - child->address);
      if (answer.leaf) {
        best = answer;
        winner = child.get();
      }
    }
    return with_readonly(best, node.readonly);
  }
  static Answer with_readonly(Answer answer, bool readonly) {
    answer.readonly |= readonly;
    return answer;
  }
};

}  // namespace menura
