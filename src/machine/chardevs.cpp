#include "machine/chardevs.h"

#include "base/text.h"
#include "chardev/config.h"

namespace menura {

namespace {

// The options that stand beside the chardev's own.
struct WithMux {
  ChardevConfig& config;
  bool mux = false;
  void describe(PropertyVisitor& p) {
    config.describe(p);
    p.field("mux", mux, "let several users share it; Ctrl-A c switches among them");
  }
};

}  // namespace

// What a user is connected to, whichever device is behind it.
class Chardevs::Exchangeable final : public Chardev {
 public:
  explicit Exchangeable(std::unique_ptr<Chardev> inner) : inner_(std::move(inner)) {}

  size_t write(ConstBytes bytes) override { return inner_->write(bytes); }
  void attach(CharSink* sink) override {
    sink_ = sink;
    inner_->attach(sink);
  }
  void accept_input() override { inner_->accept_input(); }
  std::string where() const override { return inner_->where(); }
  std::vector<UniqueFd> take_fds() override { return inner_->take_fds(); }
  Chardev& innermost() override { return inner_->innermost(); }

  void exchange(std::unique_ptr<Chardev> next) {
    inner_->attach(nullptr);
    inner_ = std::move(next);
    if (!sink_) return;
    sink_->event(CharEvent::Closed);
    inner_->attach(sink_);
    sink_->writable();  // what the old one did not take
  }

 private:
  std::unique_ptr<Chardev> inner_;
  CharSink* sink_ = nullptr;
};

Chardevs::Chardevs(EventLoop& loop, std::function<void()> quit)
    : loop_(loop), quit_(std::move(quit)) {}
Chardevs::~Chardevs() = default;

Result<Chardevs::Opened> Chardevs::open(const NamedOptions& options) {
  ChardevConfig config = TRY(chardev_config(options.name), "-chardev");
  WithMux all{config};
  Value given = options.options;
  given.set("id", options.id);
  TRY(read_properties(all, given, format("-chardev {}", options.name)));
  auto chardev = TRY(open_chardev(loop_, config), "-chardev {}", options.id);
  return Opened{std::move(chardev), all.mux};
}

Result<void> Chardevs::create(const NamedOptions& options) {
  if (options.id.empty())
    return fail(Errc::InvalidArgument, "-chardev {}: property 'id' must be given", options.name);
  if (entries_.contains(options.id))
    return fail(Errc::Exists, "-chardev: there is a character device '{}' already", options.id);
  Opened opened = TRY(open(options));
  Entry entry{.kind = options.name};
  if (opened.mux)
    entry.mux = std::make_unique<Mux>(std::move(opened.chardev), quit_);
  else
    entry.plain = std::make_unique<Exchangeable>(std::move(opened.chardev));
  entries_.emplace(options.id, std::move(entry));
  return {};
}

Result<void> Chardevs::change(const NamedOptions& options, const Chardev* asking) {
  Entry& entry = TRY(find(options.id))->second;
  if (entry.plain && entry.plain.get() == asking)
    return fail(Errc::Busy, "Character device '{}' brought this command: ask through another",
                options.id);
  if (entry.mux)
    return fail(Errc::Unsupported, "Character device '{}' is shared (mux=on): it stays what it is",
                options.id);
  Opened opened = TRY(open(options));
  if (opened.mux)
    return fail(Errc::Unsupported, "Character device '{}' cannot be shared from now on",
                options.id);
  entry.plain->exchange(std::move(opened.chardev));
  entry.kind = options.name;
  return {};
}

Result<Chardevs::Entries::iterator> Chardevs::find(std::string_view id) {
  const auto at = entries_.find(id);
  if (at != entries_.end()) return at;
  std::vector<std::string_view> ids;
  for (const auto& [name, entry] : entries_) ids.push_back(name);
  return fail(Errc::NotFound, "There is no character device '{}'{}", id, suggestion(id, ids));
}

Result<Chardev*> Chardevs::connect(std::string_view id) {
  Entry& entry = TRY(find(id))->second;
  if (entry.mux) return &entry.mux->add_port();
  if (std::exchange(entry.connected, true))
    return fail(Errc::Busy, "Character device '{}' is in use already (mux=on lets it be shared)",
                id);
  return entry.plain.get();
}

void Chardevs::disconnect(std::string_view id) {
  const auto at = entries_.find(id);
  if (at != entries_.end() && at->second.plain) entries_.erase(at);
}

Result<void> Chardevs::remove(std::string_view id) {
  const Entries::iterator at = TRY(find(id));
  if (at->second.mux ? at->second.mux->ports() > 0 : at->second.connected)
    return fail(Errc::Busy, "Character device '{}' is in use", id);
  entries_.erase(at);
  return {};
}

Result<RingChardev*> Chardevs::ring(std::string_view id) {
  Entry& entry = TRY(find(id))->second;
  if (entry.kind != "ringbuf" || entry.mux)
    return fail(Errc::InvalidArgument, "Character device '{}' is no ringbuf", id);
  return static_cast<RingChardev*>(&entry.plain->innermost());
}

std::vector<Chardevs::Info> Chardevs::list() const {
  std::vector<Info> infos;
  for (const auto& [id, entry] : entries_)
    infos.push_back({id, entry.kind, entry.mux ? "mux" : entry.plain->where(),
                     entry.mux ? entry.mux->ports() > 0 : entry.connected});
  return infos;
}

}  // namespace menura
