// Objects: what -object and object-add make: secrets, limits, credentials, memory.
//
// Owner: the program's session; the kinds are a constant table. Threads: under the machine lock.
// Example: `TRY(objects.create({.name = "secret", .id = "s0", .options = ...}));`
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "machine/machine.h"

namespace menura {

// Where a virtio-rng has its bytes from: the machine's Tape, which has them from the host. A guest
// gets the same quality under every name.
struct RngBuiltinConfig {
  void describe(PropertyVisitor&) {}
};
struct RngRandomConfig {
  std::string filename = "/dev/urandom";
  void describe(PropertyVisitor& p);
};
inline constexpr std::string_view kRngBuiltin = "rng-builtin", kRngRandom = "rng-random";
// Whether options make an object that a virtio-rng can use.
Result<void> check_rng(const NamedOptions& options);

// A row of `-object help`.
struct ObjectKind {
  std::string_view name;
  std::string_view help;
  std::vector<PropertyInfo> (*properties)();
  Shape (*shape)();
};
std::span<const ObjectKind> object_kinds();
Result<const ObjectKind*> find_object_kind(std::string_view name);

class Objects {
 public:
  explicit Objects(Machine& machine) : machine_(machine) {}
  // options.name is the kind. Memory is the machine's (machine/memory_backends.h): only what that
  // was started with is accepted, as being in use.
  Result<void> create(const NamedOptions& options);
  Result<void> remove(std::string_view id);

  struct Object {
    std::string id;
    std::string kind;
    bool in_use = false;
  };
  const std::vector<Object>& all() const { return objects_; }
  // A secret's content, for whoever is told its id.
  Result<std::string> secret(std::string_view id) const;

 private:
  // Wiring
  Machine& machine_;
  // State
  std::vector<Object> objects_;
};

}  // namespace menura
