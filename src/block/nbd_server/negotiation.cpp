#include "block/nbd_server/negotiation.h"

#include <algorithm>

namespace menura {

NbdExportUse::~NbdExportUse() {
  if (export_) table_->unuse(*export_);
}

namespace {

// A client may look around, but not for ever: one with a fast line could ask a lot in ten seconds.
constexpr unsigned kMostOptions = 10'000;
constexpr u32 kMostQueries = 1024;

class Negotiation {
 public:
  Negotiation(NbdStream& stream, NbdExportTable& exports, const NbdServerTls& tls)
      : stream_(stream), exports_(exports), tls_(tls) {}

  Result<std::optional<NbdAgreement>> run() {
    TRY(greet());
    for (unsigned i = 0; i < kMostOptions && !left_; i++) {
      TRY(answer_option());
      if (chosen_) {
        const bool same = contexts_export_ == (*chosen_)->options().name;
        return std::optional(
            NbdAgreement{std::move(*chosen_), structured_, same ? contexts_ : std::vector<u32>{}});
      }
    }
    if (left_) return std::optional<NbdAgreement>();
    return fail(Errc::Corrupt, "The client only asks options");
  }

 private:
  Result<void> greet() {
    NbdWriter greeting;
    greeting.add(kNbdMagic).add(kNbdOptionMagic);
    greeting.add(static_cast<u16>(kNbdFixedNewstyle | kNbdNoZeroes));
    TRY(stream_.write({greeting.bytes()}));
    std::array<std::byte, 4> answer;
    TRY(stream_.read(answer));
    const u32 flags = load_be<u32>(answer);
    if (flags & ~u32{kNbdFixedNewstyle | kNbdNoZeroes})
      return fail(Errc::Corrupt, "The client sets unknown flags {:#x}", flags);
    fixed_ = flags & kNbdFixedNewstyle;
    no_zeroes_ = flags & kNbdNoZeroes;
    return {};
  }

  Result<void> reply(NbdOptionReply type, ConstBytes data = {}) {
    const NbdOptionReplyHeader header{option_, type, static_cast<u32>(data.size())};
    return stream_.write({header.encode(), data});
  }
  // With an error goes a text for people.
  Result<void> refuse(NbdOptionReply type, std::string_view text) {
    return reply(type, bytes_of(text));
  }

  Result<void> answer_option() {
    std::array<std::byte, NbdOptionHeader::kSize> bytes;
    TRY(stream_.read(bytes));
    const NbdOptionHeader header = TRY(NbdOptionHeader::decode(bytes));
    option_ = header.option;
    if (!fixed_ && option_ != NbdOption::ExportName)
      return fail(Errc::Corrupt, "An old client sends option {}", static_cast<u32>(option_));
    if (header.length > kNbdLargestRequest)
      return fail(Errc::Corrupt, "Option {} has {} bytes", static_cast<u32>(option_),
                  header.length);
    if (header.length > kNbdLongestOption) {
      TRY(stream_.skip(header.length));
      return refuse(NbdOptionReply::TooBig, "this option has more data than anybody needs");
    }
    std::vector<std::byte> data(header.length);
    TRY(stream_.read(data));
    return tls_.credentials && !stream_.is_tls() ? answer_before_tls(data) : answer(data);
  }

  Result<void> answer_before_tls(ConstBytes data) {
    switch (option_) {
      case NbdOption::StartTls:
      case NbdOption::Abort: return answer(data);
      case NbdOption::ExportName:
        return fail(Errc::Permission, "The client asks for an export without TLS");
      default: return refuse(NbdOptionReply::TlsRequired, "this server speaks only through TLS");
    }
  }

  Result<void> answer(ConstBytes data) {
    switch (option_) {
      case NbdOption::ExportName: return export_name(data);
      case NbdOption::Abort:
        left_ = true;
        (void)reply(NbdOptionReply::Ack).ok();  // it may not wait for an answer
        return {};
      case NbdOption::List: return data.empty() ? list() : refuse_data();
      case NbdOption::StartTls: return data.empty() ? start_tls() : refuse_data();
      case NbdOption::Info:
      case NbdOption::Go: return go(data);
      case NbdOption::StructuredReply:
        if (!data.empty()) return refuse_data();
        structured_ = true;
        return reply(NbdOptionReply::Ack);
      case NbdOption::ListMetaContext:
      case NbdOption::SetMetaContext: return meta_contexts(data);
    }
    return refuse(NbdOptionReply::Unsupported, "this option is not known here");
  }

  Result<void> refuse_data() { return refuse(NbdOptionReply::Invalid, "this option has no data"); }

  // The old way: no answer but the export itself, or the end.
  Result<void> export_name(ConstBytes data) {
    const std::string name = TRY(NbdReader(data).text(static_cast<u32>(data.size())));
    const std::shared_ptr<NbdExport> found = exports_.lookup(name);
    if (!found) return fail(Errc::NotFound, "The client asks for the unknown export '{}'", name);
    NbdWriter writer;
    writer.add(found->size()).add(found->flags(structured_));
    if (!no_zeroes_) writer.text(std::string(kNbdZeroes, '\0'));
    if (!choose(*found)) return fail(Errc::NotFound, "Export '{}' is gone already", name);
    return stream_.write({writer.bytes()});
  }

  // Before the client hears of it: from then on it counts on its export.
  bool choose(NbdExport& found) {
    std::optional<NbdExportUse> used = exports_.use(found);
    if (used) chosen_.emplace(std::move(*used));
    return used.has_value();
  }

  Result<void> list() {
    for (const NbdExportTable::Line& line : exports_.list()) {
      NbdWriter writer;
      writer.counted(line.name).text(line.description);
      TRY(reply(NbdOptionReply::Server, writer.bytes()));
    }
    return reply(NbdOptionReply::Ack);
  }

  Result<void> start_tls() {
    if (!tls_.credentials)
      return refuse(NbdOptionReply::Policy, "this server has no credentials for TLS");
    if (stream_.is_tls()) return refuse(NbdOptionReply::Invalid, "this connection has TLS already");
    TRY(reply(NbdOptionReply::Ack));
    TRY(stream_.start_tls(tls_.credentials, ""));
    // What was agreed in the open is forgotten.
    structured_ = false;
    contexts_.clear();
    return {};
  }

  struct Wish {
    std::string name;
    std::vector<NbdInfo> infos;
  };
  static Result<Wish> read_wish(ConstBytes data) {
    NbdReader reader(data);
    Wish wish;
    wish.name = TRY(reader.counted());
    const u16 count = TRY(reader.take<u16>());
    if (reader.left() != count * sizeof(u16)) return fail(Errc::Corrupt, "wrong length");
    for (u16 i = 0; i < count; i++)
      wish.infos.push_back(static_cast<NbdInfo>(TRY(reader.take<u16>())));
    return wish;
  }

  Result<void> go(ConstBytes data) {
    const Result<Wish> wish = read_wish(data);
    if (!wish) return refuse(NbdOptionReply::Invalid, "the lengths inside do not fit together");
    const std::shared_ptr<NbdExport> found = exports_.lookup(wish->name);
    if (!found) return refuse(NbdOptionReply::Unknown, "there is no export of that name");
    if (option_ == NbdOption::Go && !choose(*found))
      return refuse(NbdOptionReply::Unknown, "this export is gone already");
    TRY(tell(*found, *wish));
    return reply(NbdOptionReply::Ack);
  }

  Result<void> tell(const NbdExport& exported, const Wish& wish) {
    const auto asked = [&](NbdInfo info) {
      return std::ranges::find(wish.infos, info) != wish.infos.end();
    };
    const auto info = [&](NbdInfo type) {
      NbdWriter writer;
      writer.add(static_cast<u16>(type));
      return writer;
    };
    if (asked(NbdInfo::Name)) {
      NbdWriter writer = info(NbdInfo::Name);
      TRY(reply(NbdOptionReply::Info, writer.text(exported.options().name).bytes()));
    }
    if (asked(NbdInfo::Description) && !exported.options().description.empty()) {
      NbdWriter writer = info(NbdInfo::Description);
      TRY(reply(NbdOptionReply::Info, writer.text(exported.options().description).bytes()));
    }
    NbdWriter sizes = info(NbdInfo::BlockSize);
    sizes.add(u32{1}).add(exported.preferred_block()).add(kNbdLargestRequest);
    TRY(reply(NbdOptionReply::Info, sizes.bytes()));
    NbdWriter basics = info(NbdInfo::Export);
    basics.add(exported.size()).add(exported.flags(structured_));
    return reply(NbdOptionReply::Info, basics.bytes());
  }

  struct Queries {
    std::string name;
    std::vector<std::string> texts;
  };
  static Result<Queries> read_queries(ConstBytes data) {
    NbdReader reader(data);
    Queries queries;
    queries.name = TRY(reader.counted());
    const u32 count = TRY(reader.take<u32>());
    if (count > kMostQueries) return fail(Errc::OutOfRange, "too many queries");
    for (u32 i = 0; i < count; i++) queries.texts.push_back(TRY(reader.counted()));
    if (reader.left() != 0) return fail(Errc::Corrupt, "wrong length");
    return queries;
  }

  // A query names a context; when listing, also all of a namespace.
  bool matches(std::string_view query, std::string_view context) const {
    if (query == context) return true;
    return option_ == NbdOption::ListMetaContext &&
           (query == "base:" || query == "qemu:" || query == kNbdDirtyBitmap) &&
           context.starts_with(query);
  }

  Result<void> meta_contexts(ConstBytes data) {
    const bool sets = option_ == NbdOption::SetMetaContext;
    if (sets) contexts_.clear();
    if (!structured_)
      return refuse(NbdOptionReply::Invalid,
                    "contexts need structured replies, ask for them first");
    const Result<Queries> queries = read_queries(data);
    if (!queries && queries.error().code == Errc::OutOfRange)
      return refuse(NbdOptionReply::TooBig, "these are too many queries");
    if (!queries) return refuse(NbdOptionReply::Invalid, "the lengths inside do not fit together");
    const std::shared_ptr<NbdExport> found = exports_.lookup(queries->name);
    if (!found) return refuse(NbdOptionReply::Unknown, "there is no export of that name");
    const std::vector<std::string>& all = found->contexts();
    for (u32 id = 0; id < all.size(); id++) {
      const bool everything = !sets && queries->texts.empty();
      const bool wanted = std::ranges::any_of(
          queries->texts, [&](const std::string& query) { return matches(query, all[id]); });
      if (!wanted && !everything) continue;
      NbdWriter writer;
      writer.add(sets ? id : u32{0}).text(all[id]);
      TRY(reply(NbdOptionReply::MetaContext, writer.bytes()));
      if (sets) contexts_.push_back(id);
    }
    contexts_export_ = sets ? queries->name : contexts_export_;
    return reply(NbdOptionReply::Ack);
  }

  // Wiring
  NbdStream& stream_;
  NbdExportTable& exports_;
  const NbdServerTls& tls_;
  // State
  NbdOption option_{};  // under answer
  bool fixed_ = false, no_zeroes_ = false;
  bool structured_ = false;
  bool left_ = false;
  std::vector<u32> contexts_;
  std::string contexts_export_;  // whose they are
  std::optional<NbdExportUse> chosen_;
};

}  // namespace

Result<std::optional<NbdAgreement>> negotiate(NbdStream& stream, NbdExportTable& exports,
                                              const NbdServerTls& tls) {
  return Negotiation(stream, exports, tls).run();
}

}  // namespace menura
