#include "memory/flat_view.h"

#include <algorithm>

#include "base/check.h"
#include "memory/flat_view_builder.h"

namespace menura {

const FlatRange* FlatView::find(GuestAddr addr) const {
  const auto at = std::ranges::lower_bound(ranges_, addr, {}, &FlatRange::last);
  return at != ranges_.end() && at->start <= addr ? &*at : nullptr;
}

const FlatRange* FlatView::find_from(GuestAddr addr) const {
  const auto at = std::ranges::lower_bound(ranges_, addr, {}, &FlatRange::last);
  return at != ranges_.end() ? &*at : nullptr;
}

std::span<const FlatIoEvent> FlatView::io_events_at(GuestAddr addr) const {
  return {std::ranges::lower_bound(io_events_, addr, {}, &FlatIoEvent::addr),
          std::ranges::upper_bound(io_events_, addr, {}, &FlatIoEvent::addr)};
}

bool FlatView::same_map(const FlatView& other) const {
  return ranges_ == other.ranges_ && io_events_ == other.io_events_ &&
         coalesced_ == other.coalesced_;
}

View FlatViewBuilder::build(const Region& root, u64 generation) {
  FlatViewBuilder builder;
  builder.pieces_.reserve(64);
  builder.draw(root, 0, {.first = 0, .last = ~u64{0}, .readonly = false, .depth = 0});
  builder.join_neighbours();
  auto view = std::make_shared<FlatView>();
  view->ranges_.reserve(builder.pieces_.size());
  for (const Piece& piece : builder.pieces_) view->ranges_.push_back(range_of(piece));
  builder.collect_events(*view);
  view->generation_ = generation;
  return view;
}

void FlatViewBuilder::draw(const Region& region, Wide base, Clip clip) {
  ensure(clip.depth < Region::kMaxDepth, "regions nest without end");
  if (!region.enabled()) return;
  const Wide first = std::max<Wide>(clip.first, base);
  const Wide last = std::min<Wide>(clip.last, base + region.last());
  if (first > last) return;
  clip = {.first = static_cast<u64>(first),
          .last = static_cast<u64>(last),
          .readonly = clip.readonly || region.readonly(),
          .depth = clip.depth + 1};
  if (region.kind() == Region::Kind::Alias) {
    draw(*region.alias_target(), base - region.alias_offset(), clip);
  } else if (region.kind() == Region::Kind::Container) {
    for (const Region* child : region.children()) draw(*child, base + child->address(), clip);
  } else {
    fill_gaps(region, base, clip);
  }
}

void FlatViewBuilder::fill_gaps(const Region& leaf, Wide base, const Clip& clip) {
  auto at = std::ranges::lower_bound(pieces_, clip.first, {}, &Piece::last);
  u64 from = clip.first;
  for (;;) {
    // The gap before *at, as far as the clip reaches into it.
    const bool ends_in_gap = at == pieces_.end() || at->first > clip.last;
    if (ends_in_gap || at->first > from) {
      const u64 to = ends_in_gap ? clip.last : at->first - 1;
      const auto offset = static_cast<u64>(static_cast<Wide>(from) - base);
      at = pieces_.insert(at, {from, to, &leaf, offset, clip.readonly}) + 1;
    }
    if (ends_in_gap || at->last >= clip.last) return;
    from = at->last + 1;
    ++at;
  }
}

void FlatViewBuilder::join_neighbours() {
  size_t kept = 0;
  for (size_t i = 1; i < pieces_.size(); i++) {
    Piece& left = pieces_[kept];
    const Piece& right = pieces_[i];
    const bool continues = right.first == left.last + 1 && right.leaf == left.leaf &&
                           right.readonly == left.readonly &&
                           right.offset == left.offset + (right.first - left.first);
    if (continues)
      left.last = right.last;
    else
      pieces_[++kept] = right;
  }
  if (!pieces_.empty()) pieces_.resize(kept + 1);
}

FlatRange FlatViewBuilder::range_of(const Piece& piece) {
  const Region& leaf = *piece.leaf;
  const Region::Kind kind = leaf.kind();
  FlatRange range{
      .start = {piece.first},
      .last = {piece.last},
      .region = &leaf,
      .offset = piece.offset,
      .readonly = piece.readonly || kind == Region::Kind::Rom || kind == Region::Kind::RomDevice,
      .dirty_clients = leaf.dirty_clients()};
  if (kind != Region::Kind::RomDevice || leaf.direct_reads()) range.ram = leaf.ram_block();
  return range;
}

void FlatViewBuilder::collect_events(FlatView& view) const {
  for (const Piece& piece : pieces_) {
    const u64 end = piece.offset + (piece.last - piece.first);
    const auto addr_of = [&](u64 offset) {
      return GuestAddr{piece.first + (offset - piece.offset)};
    };
    for (const Region::IoEvent& event : piece.leaf->io_events()) {
      const u64 event_last = event.offset + std::max(event.size, 1u) - 1;
      if (event.offset >= piece.offset && event_last <= end && !piece.readonly)
        view.io_events_.push_back({addr_of(event.offset), event});
    }
    for (const Region::Coalesced& part : piece.leaf->coalesced()) {
      const u64 first = std::max(part.offset, piece.offset);
      const u64 last = std::min(part.offset + part.size - 1, end);
      if (first <= last) view.coalesced_.push_back({addr_of(first), last - first + 1});
    }
  }
  std::ranges::stable_sort(view.io_events_, {}, &FlatIoEvent::addr);
}

}  // namespace menura
