#include "share/config.h"

#include <charconv>

namespace menura {

namespace {

constexpr std::string_view kDrivers[] = {"local"};
constexpr std::string_view kSecurity[] = {"passthrough", "mapped-xattr", "mapped-file", "none",
                                          "mapped"};

Result<u32> parse_mode(std::string_view key, std::string_view text, u32 otherwise) {
  if (text.empty()) return otherwise;
  u32 mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || mode > 0777)
    return fail(Errc::InvalidArgument, "{}={} is no octal mode up to 0777", key, text);
  return mode;
}

}  // namespace

std::span<const std::string_view> enum_names(ShareOptions::Driver) { return kDrivers; }
std::span<const std::string_view> enum_names(ShareOptions::Security) { return kSecurity; }

void ShareOptions::describe(PropertyVisitor& p) {
  p.required("fsdriver", driver, "where the files are: in a folder of the host");
  p.required("id", id, "its name");
  p.required("path", path, "the folder");
  p.required(
      "security_model", security_model,
      "whose the files are: the guest's owners and modes on the host (passthrough), kept beside "
      "the files (mapped), or ours (none)");
  p.field("readonly", readonly, "whether the guest may only read");
  p.field("fmode", fmode, "with mapped models: the host's mode of new files, octal");
  p.field("dmode", dmode, "with mapped models: the host's mode of new folders, octal");
}

Result<FolderOptions> ShareOptions::folder() const {
  const bool mapped = security_model != Security::Passthrough && security_model != Security::None;
  if (!mapped && !(fmode.empty() && dmode.empty()))
    return fail(Errc::InvalidArgument, "fmode and dmode are for mapped security models");
  return FolderOptions{.path = path,
                       .security = security_model == Security::Mapped
                                       ? FolderOptions::Security::MappedXattr
                                       : static_cast<FolderOptions::Security>(security_model),
                       .readonly = readonly,
                       .file_mode = TRY(parse_mode("fmode", fmode, 0600)),
                       .folder_mode = TRY(parse_mode("dmode", dmode, 0700))};
}

}  // namespace menura
