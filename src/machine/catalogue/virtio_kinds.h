// What others of the program want of the machine's virtio devices.
//
// Owner: machine/catalogue. Threads: under the machine lock.
// Example: `if (VirtioBalloon* balloon = balloon_of(*device)) balloon->set_target(size);`
#pragma once

#include "hw/core/device.h"

namespace menura {

class VirtioBalloon;

// The balloon that this device is; null for every other.
VirtioBalloon* balloon_of(Device& device);

}  // namespace menura
