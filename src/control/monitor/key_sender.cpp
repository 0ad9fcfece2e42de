#include "control/monitor/key_sender.h"

#include "base/units.h"

namespace menura {

KeySender::KeySender(Machine& machine)
    : machine_(machine), timer_(machine.loop().host_time(), [this] { release(); }) {}

Result<void> KeySender::send(std::vector<Key> keys, u32 hold_ms) {
  if (!machine_.inputs().has_keyboard())
    return fail(Errc::Unsupported, "This machine has no keyboard");
  release();
  for (const Key key : keys) machine_.inputs().key(key, true);
  machine_.inputs().sync();
  held_ = std::move(keys);
  timer_.arm(machine_.loop().host_time().now_ns() + i64{hold_ms} * kNsPerMs);
  return {};
}

void KeySender::release() {
  timer_.cancel();
  for (; !held_.empty(); held_.pop_back()) machine_.inputs().key(held_.back(), false);
  machine_.inputs().sync();
}

}  // namespace menura
