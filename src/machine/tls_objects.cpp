#include "machine/tls_objects.h"

namespace menura {

Result<void> TlsObjects::create(const NamedOptions& object) {
  if (objects_.contains(object.id))
    return fail(Errc::Exists, "There is an object '{}' already", object.id);
  objects_[object.id] =
      TRY(TlsCredentials::load(object.name, object.options,
                               [](std::string_view id) -> Result<std::string> {
                                 return fail(Errc::Unsupported,
                                             "passwordid={}: a machine's keys must lie open", id);
                               }),
          "Object {}", object.id);
  return {};
}

void TlsObjects::remove(std::string_view id) {
  if (const auto at = objects_.find(id); at != objects_.end()) objects_.erase(at);
}

Result<std::shared_ptr<const TlsCredentials>> TlsObjects::find(std::string_view id) const {
  const auto found = objects_.find(id);
  if (found == objects_.end())
    return fail(Errc::InvalidArgument, "There are no TLS credentials with the id '{}'", id);
  return found->second;
}

}  // namespace menura
