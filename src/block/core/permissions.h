// What the users of an image do with it, and what they let others do: the rule that keeps two
// writers off one file, inside a process (Node) and between processes (file locks).
//
// Owner: block/core. Threads: values. The bits and words are QEMU's, since its file locks are laid
// out by them. Example: `Permissions{kConsistentRead | kWrite, kConsistentRead}` is a sole writer.
#pragma once

#include <string>

#include "base/types.h"

namespace menura {

inline constexpr u8 kConsistentRead = 1;
inline constexpr u8 kWrite = 2;
inline constexpr u8 kWriteUnchanged = 4;
inline constexpr u8 kResize = 8;
inline constexpr u8 kAllPermissions = 15;
inline constexpr unsigned kPermissionBits = 4;

struct Permissions {
  u8 needed = 0;
  u8 shared = kAllPermissions;  // what others may do meanwhile
  bool operator==(const Permissions&) const = default;
};

// "consistent read, write"
std::string permission_names(u8 bits);

// What a child is to its parent, and with it what the parent needs of it.
enum class ChildRole : u8 {
  Filtered,  // the parent passes on what its own users do (raw, throttle)
  Image,     // the parent keeps its metadata there: sole writer when it writes at all
  Data,      // guest data only, at places the parent decides
  Backing,   // read where the parent has nothing; must not change
};

// What a parent whose users do `above` needs of a child.
Permissions permissions_for(ChildRole role, Permissions above, bool parent_writes);

}  // namespace menura
