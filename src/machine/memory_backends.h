// MemoryBackends: guest RAM made by -object memory-backend-ram, -file and -memfd, by id, until a
// machine takes it (-machine memory-backend=, -numa node,memdev=).
//
// Owner: Machine. Threads: under the machine lock. The properties are QEMU's. All kinds live in a
// memfd or file of ours; share= of a -ram or -memfd changes nothing the guest can see.
// Example: `TRY(backends.create(object));  std::shared_ptr<RamBlock> ram = TRY(backends.take("m0"));`
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "machine/config.h"
#include "memory/ram.h"

namespace menura {

// What every kind has: memory-backend-ram.
struct BackendOptions {
  Size size;
  bool share = false;
  bool prealloc = false;
  u32 prealloc_threads = 1;
  bool merge = false;
  bool dump = true;
  HostPolicy policy = HostPolicy::Default;
  Value host_nodes;
  void describe(PropertyVisitor& p);
};

// memory-backend-file
struct FileBackendOptions : BackendOptions {
  std::string path;
  void describe(PropertyVisitor& p);
};

// memory-backend-memfd
struct MemfdBackendOptions : BackendOptions {
  MemfdBackendOptions() { share = true; }
  bool hugetlb = false;
  Size hugetlb_size;
  bool seal = true;
  void describe(PropertyVisitor& p);
};

class MemoryBackends {
 public:
  // object.name is the kind. Errors name the object.
  Result<void> create(const NamedOptions& object);
  // For one user, with did-you-mean; Busy when it has one already.
  Result<std::shared_ptr<RamBlock>> take(std::string_view id);

  struct Backend {
    std::string id;
    std::shared_ptr<RamBlock> ram;
    bool taken = false;
  };
  const std::vector<Backend>& all() const { return backends_; }

  // Whether objects of this type are memory.
  static bool is_kind(std::string_view type);

 private:
  std::vector<Backend> backends_;
};

// "3", "0-3", or a list of such: the numbers in it. Error: not that, or a number above the highest.
Result<std::vector<u32>> read_numbers(const Value& value, u32 highest);

}  // namespace menura
