// What can be said about a shared folder: -fsdev, and with a mount_tag beside it -virtfs.
//
// Owner: the machine's configuration. Threads: values. Example:
//   ShareOptions options;  TRY(read_properties(options, value, "-fsdev"));
#pragma once

#include "share/folder.h"
#include "state/properties.h"

namespace menura {

struct ShareOptions {
  enum class Driver : u8 { Local };
  enum class Security : u8 { Passthrough, MappedXattr, MappedFile, None, Mapped };
  Driver driver = Driver::Local;
  std::string id;
  std::string path;
  Security security_model = Security::None;
  bool readonly = false;
  std::string fmode, dmode;  // octal; empty: 0600 and 0700
  void describe(PropertyVisitor& p);
  Result<FolderOptions> folder() const;
};
std::span<const std::string_view> enum_names(ShareOptions::Driver);
std::span<const std::string_view> enum_names(ShareOptions::Security);

}  // namespace menura
