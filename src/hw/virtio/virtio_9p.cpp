#include "hw/virtio/virtio_9p.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u64 kMountTag = 1;  // feature
constexpr u16 kQueueSize = 128;
constexpr u64 kLeast = 7, kMost = 1 * MiB + 64 * KiB;  // of a message, and what the driver adds

}  // namespace

Virtio9p::Virtio9p(Virtio9pConfig config, FileShare& share)
    : VirtioDevice(kKind, {kQueueSize}, 2 + config.mount_tag.size()),
      config_(std::move(config)),
      share_(share) {}

Virtio9p::~Virtio9p() { share_.drain(); }

u64 Virtio9p::device_features() const { return kMountTag; }

void Virtio9p::fill_config(Bytes config) {
  store_le(config, 0, static_cast<u16>(config_.mount_tag.size()));
  std::ranges::copy(std::as_bytes(std::span(config_.mount_tag)), config.begin() + 2);
}

void Virtio9p::process(unsigned queue) {
  VirtioChain chain;
  while (take(queue, chain)) {
    const u64 size = chain.readable_size(), room = chain.writable_size();
    if (size < kLeast || size > kMost || room < kLeast)
      return break_down("a request is no message");
    std::vector<std::byte> message(size);
    if (!read_chain(chain, 0, message)) return;
    // Drivers may lend more than they say.
    const u32 length = load_le<u32>(message, 0);
    if (length < kLeast || length > size) return break_down("a message is longer than its buffers");
    message.resize(length);
    share_.submit(
        std::move(message), static_cast<u32>(std::min(room, kMost)),
        [this, chain](std::vector<std::byte> answer) { reply(chain, std::move(answer)); });
  }
}

void Virtio9p::reply(const VirtioChain& chain, std::vector<std::byte> message) {
  if (broken()) return;
  if (message.empty()) return break_down("a reply does not fit");
  if (write_chain(chain, 0, message)) finish(0, chain, static_cast<u32>(message.size()));
}

}  // namespace menura
