// FlatViewBuilder: resolves a tree of regions, with priorities and aliases, into a FlatView.
//
// Owner: memory (used by AddressSpace). Threads: under the machine lock. Regions are drawn from the
// highest priority down, each into the gaps that are left; neighbours that continue each other are
// then joined. Example: `View view = FlatViewBuilder::build(root, 7);`
#pragma once

#include <vector>

#include "memory/flat_view.h"

namespace menura {

class FlatViewBuilder {
 public:
  static View build(const Region& root, u64 generation);

 private:
  __extension__ using Wide = __int128;

  // Part of a leaf, at addresses first to last.
  struct Piece {
    u64 first;
    u64 last;
    const Region* leaf;
    u64 offset;
    bool readonly;
  };
  // What of the space may still be drawn into, on the way down.
  struct Clip {
    u64 first;
    u64 last;
    bool readonly;
    unsigned depth;
  };

  // base is where the region's offset 0 would lie, which may be below 0 under an alias.
  void draw(const Region& region, Wide base, Clip clip);
  void fill_gaps(const Region& leaf, Wide base, const Clip& clip);
  void join_neighbours();
  static FlatRange range_of(const Piece& piece);
  void collect_events(FlatView& view) const;

  std::vector<Piece> pieces_;  // in order, disjoint
};

}  // namespace menura
