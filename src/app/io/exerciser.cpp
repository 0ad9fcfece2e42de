#include "app/io/exerciser.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "base/units.h"

namespace menura::io {

namespace {
constexpr unsigned kWorkers = 64;  // requests that stop at a breakpoint keep theirs
constexpr size_t kMisalignment = 16;
}  // namespace

Buffer::Buffer(u64 size, std::byte fill, Placing placing)
    : skip_(placing == Placing::Misaligned ? kMisalignment : 0), size_(static_cast<size_t>(size)) {
  void* memory = nullptr;
  ensure(::posix_memalign(&memory, 4096, std::max<size_t>(size_ + skip_, 1)) == 0,
         "there is memory for a request");
  memory_.reset(static_cast<std::byte*>(memory));
  std::ranges::fill(bytes(), fill);
}

Result<void> Exerciser::open(const std::string& name, const OpenImage& how) {
  if (is_open())
    return fail(Errc::Busy, "Opening '{}': '{}' is still open, close it first", name,
                node().filename());
  Child image = TRY(session_.open(name, how), "can't open device {}", name);
  if (!loop_) loop_ = TRY(DiskLoop::create(kWorkers));
  opened_as_ = how;
  disk_ = loop_->disk(std::move(image), how.cache.writethrough ? ImageDisk::Cache::Writethrough
                                                               : ImageDisk::Cache::Writeback);
  return {};
}

void Exerciser::close() {
  if (!disk_) return;
  wait_for_all();
  if (const Result<void> closed = node().close(); !closed)
    std::fprintf(stderr, "menura-io: %s\n", closed.error().text.c_str());
  loop_->with_lock([&] { disk_.reset(); });
}

void Exerciser::start(DiskRequest request) {
  in_flight_++;
  request.done = [this, done = std::move(request.done)](Result<void> outcome) {
    in_flight_--;
    done(std::move(outcome));
  };
  loop_->with_lock([&] { disk_->submit(std::move(request)); });
}

Result<void> Exerciser::request(DiskRequest request) {
  std::optional<Result<void>> outcome;
  request.done = [&](Result<void> result) { outcome = std::move(result); };
  start(std::move(request));
  loop_->wait_until([&] { return outcome.has_value(); });
  return std::move(*outcome);
}

void Exerciser::wait_for_all() {
  loop_->wait_until([&] { return in_flight_ == 0; });
}

void Exerciser::poll() {
  if (loop_) loop_->poll();
}

namespace {

// The options that would open the node as it is.
Value present_options(const Node& node) {
  Value options = node.opened_with();
  const NodeOptions& now = node.options();
  options.set("read-only", now.read_only);
  options.set("discard", enum_names(now.discard)[static_cast<size_t>(now.discard)]);
  options.set("detect-zeroes",
              enum_names(now.detect_zeroes)[static_cast<size_t>(now.detect_zeroes)]);
  options.set("cache", write_properties(now.cache));
  for (const auto& link : node.children())
    if (link->child) options.set(link->name, link->child->name());
  return options;
}

}  // namespace

Result<void> Exerciser::reopen(const Value& options, std::optional<CacheMode> cache) {
  wait_for_all();
  Node& top = node();
  Value whole = present_options(top);
  if (cache) whole.set("cache", write_properties(cache->node));
  for (const auto& [key, value] : *options.as<Value::Object>()) whole.set(key, value);
  const bool reads = *whole.find("read-only") == Value(true);
  Node* below = top.first_child();
  Value file = below ? present_options(*below) : Value();
  const bool follows = below && (below->read_only() != reads || cache);
  if (follows) {
    file.set("read-only", reads);
    file.set("cache", *whole.find("cache"));
  }
  const auto change = [&]() -> Result<void> {
    const Graph::Change graph_change(session_.graph());
    // Rights go before the reopening, or come after it.
    const Permissions reader{kConsistentRead, kAllPermissions};
    if (reads) TRY(disk_->set_permissions(reader));
    if (follows && !reads) TRY(session_.graph().reopen(*below, file));
    TRY(session_.graph().reopen(top, whole));
    if (follows && reads) TRY(session_.graph().reopen(*below, file));
    if (!reads) TRY(disk_->set_permissions({kConsistentRead | kWrite | kResize, kConsistentRead}));
    return {};
  };
  Result<void> changed;
  loop_->with_lock([&] { changed = change(); });
  if (changed && cache)
    disk_->set_cache(cache->writethrough ? ImageDisk::Cache::Writethrough
                                         : ImageDisk::Cache::Writeback);
  return changed;
}

namespace {

// Words apart by blanks; as qemu-io, without quotes.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (const std::string_view word : split(line, ' '))
    if (const std::string_view bare = trim(word); !bare.empty()) words.emplace_back(bare);
  return words;
}

}  // namespace

const Command* find_command(std::string_view name) {
  for (const auto commands : {transfer_commands(), file_commands(), program_commands()})
    for (const Command& command : commands)
      if (command.name == name || (!command.alias.empty() && command.alias == name))
        return &command;
  return nullptr;
}

std::string usage_of(const Command& command) {
  std::string letters;
  for (const Flag& flag : command.flags)
    letters += flag.value.empty() ? format(" [-{}]", flag.letter)
                                  : format(" [-{} {}]", flag.letter, flag.value);
  return format("{}{}{}{} -- {}", command.name, letters, command.operands.empty() ? "" : " ",
                command.operands, command.help);
}

bool Exerciser::run(std::string_view line) {
  const std::vector<std::string> words = words_of(line);
  if (words.empty()) return true;
  const auto failed = [&](std::string_view text) {
    std::fflush(stdout);
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
    return false;
  };
  const Command* command = find_command(words[0]);
  if (!command) {
    std::vector<std::string_view> names;
    for (const auto commands : {transfer_commands(), file_commands(), program_commands()})
      for (const Command& known : commands) names.push_back(known.name);
    return failed(format("There is no command \"{}\"{}", words[0], suggestion(words[0], names)));
  }
  if (command->needs_image && !is_open())
    return failed(format("{}: no image is open ('open FILE' opens one)", words[0]));
  const Result<Arguments> arguments = Arguments::parse(command->flags, std::span(words).subspan(1));
  if (!arguments) return failed(format("{}: {}", words[0], arguments.error().text));
  const size_t count = arguments->operands().size();
  if (count < command->least || count > command->most)
    return failed(
        format("{}: {} operands are not what it takes: {}", words[0], count, usage_of(*command)));
  const Result<void> done = command->run(*this, *arguments);
  poll();
  std::fflush(stdout);
  if (done) return true;
  return done.error().text.empty() ? false : failed(done.error().text);
}

Result<u64> number_of(std::string_view text) {
  const Result<u64> number = parse_size(text);
  if (number) return *number;
  return fail(Errc::InvalidArgument, "'{}' is no number of bytes (64, 0x40, 64k, 1.5M …)", text);
}

Result<u64> length_of(std::string_view text) {
  const u64 length = TRY(number_of(text));
  if (length > kMostBytes)
    return fail(Errc::OutOfRange, "{} bytes are more than one request may move ({})", text,
                kMostBytes);
  return length;
}

}  // namespace menura::io
