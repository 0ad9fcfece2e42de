// The descriptor of a VMware disk: a text that names its extents, as a value and back.
//
// Owner: block/vmdk. Threads: values. Spec: "Virtual Disk Format 5.0", chapter "The Descriptor File".
// Example: `const Descriptor d = TRY(Descriptor::parse(text));`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura::vmdk {

inline constexpr u64 kSector = 512;
inline constexpr u32 kNoParent = 0xffffffff;
inline constexpr size_t kLongestDescriptor = 1 << 20;

struct Descriptor {
  struct Extent {
    std::string access;  // RW, RDONLY, NOACCESS
    u64 sectors = 0;
    std::string type;  // SPARSE, FLAT, ZERO
    std::string file;
    u64 offset = 0;  // FLAT: sectors into the file
  };
  u32 cid = 0, parent_cid = kNoParent;
  std::string create_type;
  std::string parent_file;  // parentFileNameHint
  std::vector<Extent> extents;

  static Result<Descriptor> parse(std::string_view text);
};

// The same text with another content ID.
std::string with_cid(std::string_view text, u32 cid);

}  // namespace menura::vmdk
