// "vmdk": VMware's virtual disk.
//
// Owner: block/vmdk. Threads: as Image. Spec: VMware's "Virtual Disk Format 5.0".
// Example: `{"driver": "vmdk", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kVmdkDriver;

namespace vmdk {

struct CreateOptions {
  std::optional<Size> size;
  std::string adapter_type = "ide";
  std::string backing_file, backing_fmt;
  bool compat6 = false;
  std::string hwversion;
  std::string toolsversion = "2147483647";
  std::string subformat = "monolithicSparse";
  bool zeroed_grain = false;
  void describe(PropertyVisitor& p);
};
Result<void> create(CreateContext& context);

}  // namespace vmdk

}  // namespace menura
