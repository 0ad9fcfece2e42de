#include "block/core/permissions.h"

#include <string_view>

#include "base/check.h"

namespace menura {

std::string permission_names(u8 bits) {
  constexpr std::string_view kNames[kPermissionBits] = {"consistent read", "write",
                                                        "write unchanged", "resize"};
  std::string joined;
  for (unsigned i = 0; i < kPermissionBits; i++)
    if (bits & 1u << i) joined.append(joined.empty() ? "" : ", ").append(kNames[i]);
  return joined;
}

Permissions permissions_for(ChildRole role, Permissions above, bool parent_writes) {
  constexpr u8 kSafe = kConsistentRead | kWriteUnchanged;
  switch (role) {
    case ChildRole::Filtered: return above;
    case ChildRole::Image:
    case ChildRole::Data: {
      const u8 writes = parent_writes ? kWrite | kResize : 0;
      return {static_cast<u8>(kConsistentRead | writes), static_cast<u8>(above.shared & kSafe)};
    }
    case ChildRole::Backing: return {kConsistentRead, kSafe};
  }
  unreachable();
}

}  // namespace menura
