// Drives: a machine's media by id, as -drive and -blockdev say, over its image graph; controllers
// take them from here.
//
// Owner: Machine. Threads: under the machine lock.
// Example: `Drive* drive = TRY(drives.take("hd0"));  AtaDisk disk("ide0-hd0", *drive->disk, {});`
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "block/core/graph.h"
#include "block/image_disk.h"
#include "block/job/job.h"
#include "machine/config.h"
#include "machine/tls_objects.h"

namespace menura {

inline constexpr std::string_view kSecretObject = "secret";
inline constexpr std::string_view kThrottleGroupObject = "throttle-group";

struct Drive {
  DriveOptions options;  // with an id, given or made
  std::unique_ptr<ImageDisk> disk;
  bool plugged = false;  // a controller has it
};

class Drives {
 public:
  // `emit` sends an event to clients.
  Drives(const ImageDisk::Wiring& wiring, Jobs::Emit emit);

  // Objects that images use: secrets, throttle-groups, credentials for TLS.
  static bool is_object_kind(std::string_view type);
  bool has_object(const NamedOptions& object) const;
  Result<void> create_object(const NamedOptions& object);
  // Errc::Busy while it limits somebody. Others have what they need of it already.
  Result<void> remove_object(std::string_view type, std::string_view id);
  // A node of its own (-blockdev, blockdev-add).
  Result<void> add_node(const Value& options);
  Result<void> open(const DriveOptions& options);
  // One that no controller has yet, or a node by its name; with did-you-mean.
  Result<Drive*> take(std::string_view id);
  // Its controller is gone; a drive goes with it, and lets its node go.
  void release(std::string_view id);
  const std::vector<std::unique_ptr<Drive>>& all() const { return drives_; }
  // By id; null when there is none.
  Drive* find(std::string_view id) const;
  // The node that a drive shows now, or the node of that name.
  Result<NodePtr> find_node(std::string_view drive_or_node) const;
  Jobs& jobs() { return jobs_; }
  Graph& graph() { return graph_; }
  TlsObjects& tls() { return tls_; }

 private:
  Result<NodePtr> open_node(const DriveOptions& options);
  Result<Drive*> use(NodePtr node, DriveOptions options);

  const ImageDisk::Wiring wiring_;
  TlsObjects tls_;
  Graph graph_;
  std::vector<std::unique_ptr<Drive>> drives_;
  Jobs jobs_;
};

}  // namespace menura
