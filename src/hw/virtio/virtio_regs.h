// Numbers of the virtio specification that both transports and every device share.
//
// Owner: hw/virtio. Threads: constants. Source: VIRTIO 1.2 (OASIS) §2, §5, §6.
// Example: `if (features & virtio::kRingPacked) ...`
#pragma once

#include "base/bits.h"

namespace menura::virtio {

// Device status (§2.1).
enum Status : u8 {
  kAcknowledge = 0x01,
  kDriver = 0x02,
  kDriverOk = 0x04,
  kFeaturesOk = 0x08,
  kNeedsReset = 0x40,
  kFailed = 0x80
};

// Reserved feature bits (§6), and the two that only the legacy interface has.
inline constexpr u64 kNotifyOnEmpty = bit(24);
inline constexpr u64 kAnyLayout = bit(27);
inline constexpr u64 kRingIndirect = bit(28);
inline constexpr u64 kRingEventIndex = bit(29);
inline constexpr u64 kVersion1 = bit(32);
inline constexpr u64 kAccessPlatform = bit(33);
inline constexpr u64 kRingPacked = bit(34);
inline constexpr u64 kInOrder = bit(35);
inline constexpr u64 kNotificationData = bit(38);
inline constexpr u64 kRingReset = bit(40);

// Device IDs (§5).
enum DeviceId : u16 {
  kNet = 1,
  kBlock = 2,
  kConsole = 3,
  kEntropy = 4,
  kBalloon = 5,
  kScsi = 8,
  k9p = 9,
  kInput = 18
};

inline constexpr u16 kNoVector = 0xffff;

// A queue's rings may be as long as this (§2.6, §2.8); a split ring's length is a power of two.
inline constexpr u16 kMaxQueueSize = 32768;

}  // namespace menura::virtio
