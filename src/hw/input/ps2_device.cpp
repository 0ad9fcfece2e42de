#include "hw/input/ps2_device.h"

namespace menura {

u8 Ps2Device::take() {
  if (output_.empty()) return 0;
  last_sent_ = output_.front();
  output_.erase(output_.begin());
  return last_sent_;
}

void Ps2Device::send(std::initializer_list<u8> bytes) { send(std::vector<u8>(bytes)); }

void Ps2Device::send(const std::vector<u8>& bytes) {
  if (!has_room(bytes.size())) return;
  output_.insert(output_.end(), bytes.begin(), bytes.end());
  if (notify_) notify_();
}

void Ps2Device::describe_output(StateVisitor& v) {
  v.field("output", output_);
  v.field("last_sent", last_sent_);
}

Result<void> Ps2Device::check_output() const {
  if (output_.size() > kQueue)
    return fail(Errc::Corrupt, "PS/2 device '{}' holds more than {} bytes", id(), kQueue);
  return {};
}

}  // namespace menura
