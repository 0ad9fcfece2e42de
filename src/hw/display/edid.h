// edid(): what a monitor says of itself, 128 bytes, for guests that read it.
//
// Owner: hw/display. Threads: pure. Source: VESA E-EDID Standard Release A2 (1.4), section 3; timings
// by VESA CVT 1.2 with reduced blanking. Example: `std::array<u8, 128> block = edid({.width = 1280, .height = 800});`
#pragma once

#include <array>

#include "base/types.h"

namespace menura {

struct EdidMode {
  u32 width = 1280;  // preferred, at 60 Hz; at most 4095 each
  u32 height = 800;
  u32 dpi = 100;
};

std::array<u8, 128> edid(const EdidMode& mode);

}  // namespace menura
