#include "machine/chardevs.h"

#include "base/text.h"

namespace menura {

Result<void> Chardevs::create(const NamedOptions& options) {
  return fail(Errc::Unsupported, "-chardev {}", options.name);
}

Result<void> Chardevs::adopt(std::string id, std::unique_ptr<Chardev> chardev) {
  if (chardevs_.contains(id))
    return fail(Errc::Exists, "There is a character device '{}' already", id);
  chardevs_.emplace(std::move(id), std::move(chardev));
  return {};
}

Result<Chardev*> Chardevs::find(std::string_view id) const {
  const auto at = chardevs_.find(id);
  if (at != chardevs_.end()) return at->second.get();
  std::vector<std::string_view> ids;
  for (const auto& [name, chardev] : chardevs_) ids.push_back(name);
  return fail(Errc::NotFound, "There is no character device '{}'{}", id, suggestion(id, ids));
}

}  // namespace menura
