#include "app/nbd/list.h"

#include <cstdio>

#include "block/nbd/client_handshake.h"

namespace menura::nbd {

namespace {

constexpr std::pair<u16, std::string_view> kFlagNames[] = {
    {kNbdReadOnly, "readonly"},
    {kNbdSendFlush, "flush"},
    {kNbdSendFua, "fua"},
    {kNbdRotational, "rotational"},
    {kNbdSendTrim, "trim"},
    {kNbdSendWriteZeroes, "zeroes"},
    {kNbdSendDf, "df"},
    {kNbdCanMultiConn, "multi"},
    {kNbdSendResize, "resize"},
    {kNbdSendCache, "cache"},
    {kNbdSendFastZero, "fast-zero"},
};

std::string text_of(const NbdExportInfo& info) {
  std::string text = format(" export: '{}'\n", info.name);
  if (!info.description.empty()) text += format("  description: {}\n", info.description);
  text += format("  size:  {}\n  flags: {:#x} (", info.size, info.flags);
  for (const auto& [flag, name] : kFlagNames)
    if (info.can(flag)) text += format(" {}", name);
  text += " )\n";
  if (info.blocks_told)
    text += format("  min block: {}\n  opt block: {}\n  max block: {}\n", info.minimum_block,
                   info.preferred_block, info.largest_request);
  if (info.contexts.empty()) return text;
  text += format("  available meta contexts: {}\n", info.contexts.size());
  for (const auto& [id, name] : info.contexts) text += format("   {}\n", name);
  return text;
}

}  // namespace

Result<void> list(ImageSession& session, const Options& options) {
  NbdTarget target{.place = options.place};
  if (!options.tls_creds.empty()) {
    target.tls = TRY(session.find_tls(options.tls_creds), "--tls-creds");
    TRY(target.tls->check_endpoint(TlsEndpoint::Client), "--tls-creds={}", options.tls_creds);
    target.tls_hostname = options.tls_hostname.empty() ? options.place.host : options.tls_hostname;
  }
  const auto deadline = NbdStream::Clock::now() + options.handshake_limit;
  NbdStream stream(TRY(NbdStream::connect(target.place, deadline)));
  stream.set_deadline(deadline);
  const std::vector<NbdExportInfo> exports = TRY(list_nbd_exports(stream, target));
  std::string text = format("exports available: {}\n", exports.size());
  for (const NbdExportInfo& info : exports) text += text_of(info);
  std::fputs(text.c_str(), stdout);
  return {};
}

}  // namespace menura::nbd
