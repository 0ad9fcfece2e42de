// BootOrder: what bootindex= says: the devices that firmware tries, lowest index first.
//
// Owner: the Board. Threads: under the machine lock, while the machine is built. Paths are as Open
// Firmware names devices (IEEE 1275), which SeaBIOS matches. Example:
//   TRY(board.boot_order().add(1, "/pci@i0cf8/scsi@4/disk@0,0"));
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class BootOrder {
 public:
  // Exists: another device has the index.
  Result<void> add(i32 index, std::string path) {
    const auto [at, added] = paths_.emplace(index, std::move(path));
    if (!added) return fail(Errc::Exists, "bootindex={}: {} has it already", index, at->second);
    return {};
  }
  // Before all others.
  void add_first(std::string path) { paths_[kFirst] = std::move(path); }
  bool empty() const { return paths_.empty(); }
  // A line each.
  std::string text() const {
    std::string lines;
    for (const auto& [index, path] : paths_) lines += path + "\n";
    return lines;
  }

 private:
  static constexpr i64 kFirst = i64{-1} << 32;
  std::map<i64, std::string> paths_;
};

}  // namespace menura
