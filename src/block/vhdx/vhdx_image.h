// "vhdx": Hyper-V's disk image.
//
// Owner: block/vhdx. Threads: as Image. Spec: [MS-VHDX] 1.00.
// Example: `{"driver": "vhdx", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kVhdxDriver;

namespace vhdx {

enum class Subformat : u8 { Dynamic, Fixed };
std::span<const std::string_view> enum_names(Subformat);

struct CreateOptions {
  std::optional<Size> size;
  Size log_size{1 << 20};
  Size block_size{0};
  Subformat subformat = Subformat::Dynamic;
  bool block_state_zero = true;
  void describe(PropertyVisitor& p);
};
Result<void> create(CreateContext& context);

}  // namespace vhdx

}  // namespace menura
