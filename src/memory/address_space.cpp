#include "memory/address_space.h"

#include <algorithm>

#include "base/check.h"
#include "memory/flat_view_builder.h"

namespace menura {

AddressSpace::AddressSpace(std::string name, Region& root)
    : name_(std::move(name)), root_(root), view_(FlatViewBuilder::build(root, 0)) {
  root_.spaces_.push_back(this);
}

AddressSpace::~AddressSpace() {
  ensure(open_transactions_ == 0, "an address space dies inside its transaction");
  std::erase(root_.spaces_, this);
}

View AddressSpace::view() const {
  const std::lock_guard guard(view_mutex_);
  return view_;
}

void AddressSpace::mark_changed() {
  changed_ = true;
  if (open_transactions_ == 0) publish();
}

// A listener may itself change regions: its change is published after it has returned, so that
// every listener sees the same sequence of views.
void AddressSpace::publish() {
  if (publishing_) return;
  publishing_ = true;
  constexpr int kMaxRounds = 64;
  for (int round = 0; std::exchange(changed_, false); round++) {
    ensure(round < kMaxRounds, "listeners change the map again and again");
    publish_one();
  }
  publishing_ = false;
}

void AddressSpace::publish_one() {
  const View before = view_;
  const View after = FlatViewBuilder::build(root_, before->generation() + 1);
  if (after->same_map(*before)) return;
  {
    const std::lock_guard guard(view_mutex_);
    view_ = after;
  }
  generation_.store(after->generation(), std::memory_order_release);
  // A copy: a listener may leave while it listens.
  for (MemoryListener* listener : std::vector(listeners_)) {
    if (std::ranges::find(listeners_, listener) != listeners_.end())
      listener->changed(*before, *after);
  }
}

void AddressSpace::add_listener(MemoryListener& listener) {
  const auto at = std::ranges::find_if(
      listeners_, [&](MemoryListener* other) { return other->order() > listener.order(); });
  listeners_.insert(at, &listener);
  listener.changed(FlatView(), *view());
}

void AddressSpace::remove_listener(MemoryListener& listener) {
  ensure(std::erase(listeners_, &listener) == 1, "remove_listener() of one never added");
}

Transaction::Transaction(std::initializer_list<AddressSpace*> spaces) : spaces_(spaces) {
  for (AddressSpace* space : spaces_) space->open_transactions_++;
}

Transaction::~Transaction() {
  for (AddressSpace* space : spaces_) space->open_transactions_--;
  for (AddressSpace* space : spaces_)
    if (space->open_transactions_ == 0) space->publish();
}

}  // namespace menura
