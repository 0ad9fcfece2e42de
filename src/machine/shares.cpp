#include "machine/shares.h"

#include "base/text.h"
#include "share/p9_server.h"

namespace menura {

Result<void> Shares::create(const ShareOptions& options) {
  Folder folder = TRY(Folder::open(TRY(options.folder(), "fsdev '{}'", options.id)));
  auto share = std::make_unique<P9Server>(loop_, workers_, std::move(folder));
  if (!shares_.try_emplace(options.id, Share{.share = std::move(share)}).second)
    return fail(Errc::Exists, "There are two fsdevs '{}'", options.id);
  return {};
}

Result<FileShare*> Shares::take(std::string_view id) {
  std::vector<std::string_view> names;
  for (const auto& [name, share] : shares_) names.push_back(name);
  const auto at = shares_.find(id);
  if (at == shares_.end())
    return fail(Errc::NotFound, "There is no fsdev '{}'{}", id, suggestion(id, names));
  if (std::exchange(at->second.taken, true))
    return fail(Errc::Busy, "Another device has fsdev '{}'", id);
  return at->second.share.get();
}

Result<void> Audiodevs::create(const AudioOptions& options) {
  for (const auto& [id, sink] : sinks_)
    if (id == options.id) return fail(Errc::Exists, "There are two audiodevs '{}'", id);
  sinks_.emplace_back(options.id, TRY(open_audiodev(options)));
  return {};
}

Result<AudioSink*> Audiodevs::find(std::string_view id) const {
  if (id.empty()) return sinks_.empty() ? nullptr : sinks_.front().second.get();
  std::vector<std::string_view> names;
  for (const auto& [name, sink] : sinks_) {
    if (name == id) return sink.get();
    names.push_back(name);
  }
  return fail(Errc::NotFound, "There is no audiodev '{}'{}", id, suggestion(id, names));
}

}  // namespace menura
