#include "chardev/ring.h"

#include <algorithm>

#include "base/bits.h"
#include "base/units.h"
#include "chardev/kinds.h"
#include "event/event_loop.h"

namespace menura {

Result<std::unique_ptr<RingChardev>> RingChardev::create(Tape& tape, u64 size) {
  if (!is_power_of_two(size) || size > GiB)
    return fail(Errc::InvalidArgument, "A ring's size must be a power of two up to 1 GiB, not {}",
                size);
  return std::unique_ptr<RingChardev>(new RingChardev(tape, size));
}

size_t RingChardev::write(ConstBytes bytes) {
  output_.insert(output_.end(), bytes.begin(), bytes.end());
  if (output_.size() > size_) {
    const size_t excess = output_.size() - size_;
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(excess));
    lost_ += excess;
  }
  return bytes.size();
}

std::string RingChardev::read(size_t max) {
  const auto end = output_.begin() + static_cast<std::ptrdiff_t>(std::min(max, output_.size()));
  std::string text;
  std::for_each(output_.begin(), end, [&](std::byte b) { text += static_cast<char>(b); });
  output_.erase(output_.begin(), end);
  return text;
}

void RingChardev::attach(CharSink* sink) {
  sink_ = sink;
  if (!sink_) return;
  sink_->event(CharEvent::Opened);
  input_.deliver(sink_);
}

void RingChardev::feed(ConstBytes bytes) {
  tape_.input([this, copy = std::vector<std::byte>(bytes.begin(), bytes.end())] {
    input_.add(copy);
    input_.deliver(sink_);
  });
}

ChardevResult open_ring(EventLoop& loop, const std::string&, const RingConfig& config) {
  return ChardevResult(TRY(RingChardev::create(loop.tape(), config.size.bytes)));
}

}  // namespace menura
