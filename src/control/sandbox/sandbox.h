// -sandbox: the system calls that this program gives up once the machine stands.
//
// Owner: main(). Threads: the main thread; holds for all threads of the process, for ever.
// Example: `TRY(enter_sandbox(options));`
#pragma once

#include "base/result.h"
#include "state/properties.h"

namespace menura {

struct SandboxOptions {
  enum class Elevation : u8 { Allow, Deny, Children };
  enum class Allowed : u8 { Allow, Deny };
  bool enable = false;
  Allowed obsolete = Allowed::Deny;
  Elevation elevateprivileges = Elevation::Allow;
  Allowed spawn = Allowed::Allow;
  Allowed resourcecontrol = Allowed::Allow;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(SandboxOptions::Elevation);
std::span<const std::string_view> enum_names(SandboxOptions::Allowed);

// Nothing, unless options.enable. Errors: a kernel without seccomp.
Result<void> enter_sandbox(const SandboxOptions& options);

}  // namespace menura
