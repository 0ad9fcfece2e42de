#include "io/input.h"

#include <algorithm>

namespace menura {

void Inputs::add(InputSink& sink) {
  sinks_.push_back({&sink, next_number_++});
  tell();
}

void Inputs::remove(InputSink& sink) {
  std::erase_if(sinks_, [&](const Entry& entry) { return entry.sink == &sink; });
  tell();
}

void Inputs::activate(InputSink& sink) {
  const auto at = std::ranges::find(sinks_, &sink, &Entry::sink);
  if (at != sinks_.end()) std::rotate(sinks_.begin(), at, at + 1);
  tell();
}

void Inputs::set_leds(const InputSink& sink, KeyboardLeds leds) {
  if (&sink != keyboard() || leds == leds_) return;
  leds_ = leds;
  tell();
}

InputSink* Inputs::keyboard() const {
  for (const Entry& entry : sinks_)
    if (entry.sink->takes().keys) return entry.sink;
  return nullptr;
}

InputSink* Inputs::pointer() const {
  for (const Entry& entry : sinks_)
    if (entry.sink->takes().relative || entry.sink->takes().absolute) return entry.sink;
  return nullptr;
}

InputSink* Inputs::pointer_taking(bool absolute) const {
  for (const Entry& entry : sinks_) {
    const InputKinds kinds = entry.sink->takes();
    if (absolute ? kinds.absolute : kinds.relative) return entry.sink;
  }
  return nullptr;
}

bool Inputs::absolute() const {
  const InputSink* current = pointer();
  return current && current->takes().absolute;
}

bool Inputs::key(Key key, bool down) {
  if (!keyboard()) return false;
  tape_.input([this, key, down] {
    down_[static_cast<size_t>(key)] = down;
    if (InputSink* sink = keyboard()) sink->key(key, down);
  });
  return true;
}

bool Inputs::move(i32 dx, i32 dy) {
  if (!pointer_taking(false)) return false;
  tape_.input([this, dx, dy] {
    if (InputSink* sink = pointer_taking(false)) sink->move(dx, dy);
  });
  return true;
}

bool Inputs::move_to(u16 x, u16 y) {
  if (!pointer_taking(true)) return false;
  tape_.input([this, x, y] {
    x_ = std::min(x, kPointerMax);
    y_ = std::min(y, kPointerMax);
    if (InputSink* sink = pointer_taking(true)) sink->move_to(x_, y_);
  });
  return true;
}

bool Inputs::button(PointerButton button, bool down) {
  if (!pointer()) return false;
  tape_.input([this, button, down] {
    buttons_down_[static_cast<size_t>(button)] = down;
    if (InputSink* sink = pointer()) sink->button(button, down);
  });
  return true;
}

bool Inputs::wheel(i32 up, i32 right) {
  if (!pointer()) return false;
  tape_.input([this, up, right] {
    if (InputSink* sink = pointer()) sink->wheel(up, right);
  });
  return true;
}

void Inputs::sync() {
  tape_.input([this] {
    for (const Entry& entry : sinks_) entry.sink->sync();
  });
}

void Inputs::release_all() {
  for (size_t i = 0; i < down_.size(); i++)
    if (down_[i]) key(static_cast<Key>(i), false);
  for (size_t i = 0; i < buttons_down_.size(); i++)
    if (buttons_down_[i]) button(static_cast<PointerButton>(i), false);
  sync();
}

unsigned Inputs::observe(std::function<void()> changed) {
  observers_.push_back({next_observer_, std::move(changed)});
  return next_observer_++;
}

void Inputs::unobserve(unsigned id) {
  std::erase_if(observers_, [id](const Observer& observer) { return observer.id == id; });
}

void Inputs::tell() const {
  for (const Observer& observer : observers_) observer.call();
}

std::vector<Inputs::Pointer> Inputs::pointers() const {
  std::vector<Pointer> list;
  for (const Entry& entry : sinks_) {
    const InputKinds kinds = entry.sink->takes();
    if (!kinds.relative && !kinds.absolute) continue;
    list.push_back({.number = entry.number,
                    .name = std::string(entry.sink->input_name()),
                    .absolute = kinds.absolute,
                    .current = list.empty()});
  }
  return list;
}

Result<void> Inputs::select_pointer(unsigned number) {
  for (const Entry& entry : sinks_) {
    const InputKinds kinds = entry.sink->takes();
    if (entry.number != number || !(kinds.relative || kinds.absolute)) continue;
    activate(*entry.sink);
    return {};
  }
  return fail(Errc::NotFound, "There is no mouse {}", number);
}

}  // namespace menura
