#include "block/nbd/client_handshake.h"

#include <bit>
#include <functional>
#include <limits>
#include <optional>

namespace menura {

namespace {

constexpr unsigned kMostReplies = 10'000;
constexpr u64 kLargestExport = static_cast<u64>(std::numeric_limits<i64>::max());
constexpr u32 kLargestMinimum = 64 * KiB;

// What block sizes mean, of those that mean anything.
Result<void> check_blocks(const NbdExportInfo& info) {
  const auto power = [](u32 v) { return std::has_single_bit(v); };
  if (!power(info.minimum_block) || info.minimum_block > kLargestMinimum ||
      !power(info.preferred_block) || info.preferred_block < info.minimum_block ||
      info.largest_request < info.minimum_block)
    return fail(Errc::Corrupt, "The server's block sizes {}, {}, {} make no sense",
                info.minimum_block, info.preferred_block, info.largest_request);
  return {};
}

std::string_view words_for(NbdOptionReply error) {
  switch (error) {
    case NbdOptionReply::Unsupported: return "it does not know this request";
    case NbdOptionReply::Policy: return "its policy forbids it";
    case NbdOptionReply::Invalid: return "it finds the request invalid";
    case NbdOptionReply::Platform: return "its platform cannot do it";
    case NbdOptionReply::TlsRequired: return "it speaks only through TLS (give tls-creds)";
    case NbdOptionReply::Unknown: return "there is no such export";
    case NbdOptionReply::Shutdown: return "it is shutting down";
    case NbdOptionReply::BlockSizeRequired: return "it wants its block sizes obeyed";
    case NbdOptionReply::TooBig: return "it finds the request too big";
    default: return "it gives an unknown reason";
  }
}

class Handshake {
 public:
  Handshake(NbdStream& stream, const NbdTarget& target) : stream_(stream), target_(target) {}

  Result<NbdExportInfo> choose() {
    TRY(greet());
    if (oldstyle_) return old_export();
    info_.name = target_.export_name;
    if (fixed_) {
      TRY(start_tls());
      TRY(ask_structured());
      if (info_.structured && target_.wants_status) TRY(choose_contexts());
      if (TRY(ask_info(NbdOption::Go))) return std::move(info_);
    }
    return export_by_name();
  }

  Result<std::vector<NbdExportInfo>> list() {
    TRY(greet());
    if (!fixed_) return fail(Errc::Unsupported, "The server is too old to list its exports");
    TRY(start_tls());
    TRY(ask_structured());
    const bool structured = info_.structured;
    std::vector<NbdExportInfo> exports;
    TRY(ask(NbdOption::List, {}, [&](NbdOptionReply type, NbdReader& reader) -> Result<void> {
      if (type != NbdOptionReply::Server) return unexpected(type);
      NbdExportInfo& found = exports.emplace_back();
      found.name = TRY(reader.counted());
      found.description = reader.rest();
      return {};
    }));
    for (NbdExportInfo& found : exports) {
      info_ = std::move(found);
      info_.structured = structured;
      TRY(ask_info(NbdOption::Info));
      if (structured) TRY(ask_contexts(NbdOption::ListMetaContext, {}));
      found = std::move(info_);
    }
    const NbdOptionHeader leave{NbdOption::Abort, 0};
    (void)stream_.write({leave.encode()}).ok();  // it may be gone already
    return exports;
  }

 private:
  using OnReply = std::function<Result<void>(NbdOptionReply, NbdReader&)>;

  Result<void> greet() {
    std::array<std::byte, 18> bytes;
    TRY(stream_.read(Bytes(bytes).first(16)), "Waiting for the server's greeting");
    if (load_be<u64>(bytes, 0) != kNbdMagic)
      return fail(Errc::Corrupt, "This is no NBD server: it begins with {:#x}",
                  load_be<u64>(bytes, 0));
    if (load_be<u64>(bytes, 8) == kNbdOldstyleMagic) {
      oldstyle_ = true;
      return {};
    }
    if (load_be<u64>(bytes, 8) != kNbdOptionMagic)
      return fail(Errc::Corrupt, "The NBD server goes on with {:#x}", load_be<u64>(bytes, 8));
    TRY(stream_.read(Bytes(bytes).first(2)));
    const u16 flags = load_be<u16>(bytes, 0);
    fixed_ = flags & kNbdFixedNewstyle;
    no_zeroes_ = flags & kNbdNoZeroes;
    if (!fixed_ && target_.tls) return no_tls();
    NbdWriter answer;
    answer.add(u32{flags} & (kNbdFixedNewstyle | kNbdNoZeroes));
    return stream_.write({answer.bytes()});
  }

  static Error no_tls() {
    return fail(Errc::Permission, "The server is too old for TLS, and tls-creds ask for it");
  }
  static Error unexpected(NbdOptionReply type) {
    return fail(Errc::Corrupt, "The server answers an option with a reply of type {:#x}",
                static_cast<u32>(type));
  }

  // Sends an option and hands its replies on, until an acknowledgement. The server's refusal is
  // Errc::Unsupported when it does not know the option, else Errc::Permission.
  Result<void> ask(NbdOption option, ConstBytes data, const OnReply& on_reply) {
    const NbdOptionHeader header{option, static_cast<u32>(data.size())};
    TRY(stream_.write({header.encode(), data}));
    for (unsigned i = 0; i < kMostReplies; i++) {
      std::array<std::byte, NbdOptionReplyHeader::kSize> bytes;
      TRY(stream_.read(bytes));
      const NbdOptionReplyHeader reply = TRY(NbdOptionReplyHeader::decode(bytes));
      if (reply.option != option)
        return fail(Errc::Corrupt, "The server answers option {} when asked {}",
                    static_cast<u32>(reply.option), static_cast<u32>(option));
      if (reply.length > kNbdLongestOption)
        return fail(Errc::Corrupt, "The server answers with {} bytes", reply.length);
      std::vector<std::byte> content(reply.length);
      TRY(stream_.read(content));
      if (reply.reply == NbdOptionReply::Ack) return {};
      NbdReader reader(content);
      if (is_error(reply.reply)) return refusal(reply.reply, reader.rest());
      TRY(on_reply(reply.reply, reader));
    }
    return fail(Errc::Corrupt, "The server does not come to an end");
  }

  static Error refusal(NbdOptionReply type, const std::string& text) {
    const bool unknown = type == NbdOptionReply::Unsupported;
    const Errc code = unknown                           ? Errc::Unsupported
                      : type == NbdOptionReply::Unknown ? Errc::NotFound
                                                        : Errc::Permission;
    Error error = fail(code, "The server refuses: {}", words_for(type));
    if (!text.empty()) error.text += format(" (\"{}\")", text.substr(0, 200));
    return error;
  }

  Result<void> start_tls() {
    if (!target_.tls) return {};
    TRY(ask(NbdOption::StartTls, {},
            [](NbdOptionReply type, NbdReader&) -> Result<void> { return unexpected(type); }),
        "Asking for TLS");
    return stream_.start_tls(target_.tls, target_.tls_hostname);
  }

  Result<void> ask_structured() {
    const Result<void> asked =
        ask(NbdOption::StructuredReply, {},
            [](NbdOptionReply type, NbdReader&) -> Result<void> { return unexpected(type); });
    if (!asked && asked.error().code != Errc::Unsupported) return asked;
    info_.structured = asked.ok();
    return {};
  }

  Result<void> choose_contexts() { return ask_contexts(NbdOption::SetMetaContext, kNbdAllocation); }

  // Refusals cost us the contexts, no more.
  Result<void> ask_contexts(NbdOption option, std::string_view query) {
    NbdWriter writer;
    writer.counted(info_.name).add(query.empty() ? u32{0} : u32{1});
    if (!query.empty()) writer.counted(query);
    const Result<void> asked =
        ask(option, writer.bytes(), [&](NbdOptionReply type, NbdReader& reader) -> Result<void> {
          if (type != NbdOptionReply::MetaContext) return unexpected(type);
          const u32 id = TRY(reader.take<u32>());
          info_.contexts.emplace_back(id, reader.rest());
          return {};
        });
    const bool refused =
        !asked && (asked.error().code == Errc::Unsupported ||
                   asked.error().code == Errc::Permission || asked.error().code == Errc::NotFound);
    if (refused) info_.contexts.clear();
    return refused ? Result<void>() : asked;
  }

  Result<void> take_info(NbdReader& reader) {
    switch (static_cast<NbdInfo>(TRY(reader.take<u16>()))) {
      case NbdInfo::Export:
        info_.size = TRY(reader.take<u64>());
        info_.flags = TRY(reader.take<u16>());
        told_ = true;
        break;
      case NbdInfo::Description: info_.description = reader.rest(); break;
      case NbdInfo::BlockSize:
        info_.minimum_block = TRY(reader.take<u32>());
        info_.preferred_block = TRY(reader.take<u32>());
        info_.largest_request = TRY(reader.take<u32>());
        info_.blocks_told = true;
        break;
      default: break;  // there may be kinds to come
    }
    return {};
  }

  // False: the server knows only the old way.
  Result<bool> ask_info(NbdOption option) {
    NbdWriter writer;
    writer.counted(info_.name).add(u16{2});
    writer.add(static_cast<u16>(NbdInfo::BlockSize)).add(static_cast<u16>(NbdInfo::Description));
    told_ = false;
    const Result<void> asked =
        ask(option, writer.bytes(), [&](NbdOptionReply type, NbdReader& reader) -> Result<void> {
          return type == NbdOptionReply::Info ? take_info(reader) : unexpected(type);
        });
    if (!asked && asked.error().code == Errc::Unsupported) return false;
    TRY(Result<void>(asked), "Asking for export '{}'", info_.name);
    if (!told_) return fail(Errc::Corrupt, "The server does not tell the export's size");
    TRY(check());
    return true;
  }

  Result<void> check() const {
    if (info_.size > kLargestExport)
      return fail(Errc::Corrupt, "The server's export has {} bytes: no disk is that large",
                  info_.size);
    return check_blocks(info_);
  }

  // The server answers with the export, or hangs up.
  Result<NbdExportInfo> export_by_name() {
    const NbdOptionHeader header{NbdOption::ExportName,
                                 static_cast<u32>(target_.export_name.size())};
    TRY(stream_.write({header.encode(), bytes_of(target_.export_name)}));
    std::array<std::byte, 10> bytes;
    TRY(stream_.read(bytes), "Asking an old server for export '{}'", target_.export_name);
    info_.size = load_be<u64>(bytes, 0);
    info_.flags = load_be<u16>(bytes, 8);
    if (!no_zeroes_) TRY(stream_.skip(kNbdZeroes));
    TRY(check());
    return std::move(info_);
  }

  Result<NbdExportInfo> old_export() {
    if (target_.tls) return no_tls();
    if (!target_.export_name.empty())
      return fail(Errc::NotFound, "The server is of the old style, which has no export names");
    std::array<std::byte, 12> bytes;
    TRY(stream_.read(bytes));
    info_.size = load_be<u64>(bytes, 0);
    info_.flags = static_cast<u16>(load_be<u32>(bytes, 8));
    TRY(stream_.skip(kNbdZeroes));
    TRY(check());
    return std::move(info_);
  }

  // Wiring
  NbdStream& stream_;
  const NbdTarget& target_;
  // State
  bool oldstyle_ = false, fixed_ = false, no_zeroes_ = false;
  bool told_ = false;
  NbdExportInfo info_;
};

}  // namespace

Result<NbdExportInfo> choose_nbd_export(NbdStream& stream, const NbdTarget& target) {
  return Handshake(stream, target).choose();
}

Result<std::vector<NbdExportInfo>> list_nbd_exports(NbdStream& stream, const NbdTarget& target) {
  return Handshake(stream, target).list();
}

}  // namespace menura
