// Exerciser: the image that is open, and what the commands of menura-io do with it.
//
// Owner: main(). Threads: main; requests complete in wait(). A command's failure is told at once, and
// makes the program's exit status 1; the next one is done all the same.
// Example: `Exerciser io(flags);  TRY(io.open("a.qcow2", how));  io.run("write -P 7 0 64k");`
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "block/tool/arguments.h"
#include "block/tool/disk_loop.h"
#include "block/tool/image_session.h"

namespace menura::io {

// Memory for requests: O_DIRECT wants it aligned, -m wants it not.
class Buffer {
 public:
  enum class Placing : u8 { Aligned, Misaligned };
  Buffer() = default;
  Buffer(u64 size, std::byte fill, Placing placing);
  Bytes bytes() const { return {memory_.get() + skip_, size_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t skip_ = 0;
  size_t size_ = 0;
};

class Exerciser {
 public:
  explicit Exerciser(Buffer::Placing placing) : placing_(placing) {}
  ~Exerciser() { close(); }
  Exerciser(const Exerciser&) = delete;
  Exerciser& operator=(const Exerciser&) = delete;

  ImageSession& session() { return session_; }
  Result<void> open(const std::string& name, const OpenImage& how);
  void close();
  bool is_open() const { return disk_ != nullptr; }
  // False when the command failed.
  bool run(std::string_view line);
  bool quits() const { return quits_; }
  void quit() { quits_ = true; }

  // For commands.
  Node& node() { return disk_->node(); }
  const OpenImage& opened_as() const { return opened_as_; }
  Buffer buffer(u64 size, std::byte fill) const { return Buffer(size, fill, placing_); }
  // Does it, and waits.
  Result<void> request(DiskRequest request);
  // Does it; `done` is called in a later wait.
  void start(DiskRequest request);
  void wait_for_all();
  // Delivers what is done, without waiting for more.
  void poll();
  // Options of the node, by name; the node below follows when it must be read or cached otherwise.
  Result<void> reopen(const Value& options, std::optional<CacheMode> cache);

 private:
  // Configuration
  const Buffer::Placing placing_;
  // State
  ImageSession session_;
  std::unique_ptr<DiskLoop> loop_;
  std::unique_ptr<ImageDisk> disk_;
  OpenImage opened_as_;
  unsigned in_flight_ = 0;
  bool quits_ = false;
};

struct Command {
  std::string_view name;
  std::string_view alias;     // empty: none
  std::string_view operands;  // for help
  std::string_view help;      // one line
  std::span<const Flag> flags;
  unsigned least, most;  // operands
  bool needs_image;
  Result<void> (*run)(Exerciser& io, const Arguments& arguments);
};
inline constexpr unsigned kAnyNumber = ~0u;

std::span<const Command> transfer_commands();
std::span<const Command> file_commands();
std::span<const Command> program_commands();
// Of all three; null when there is none.
const Command* find_command(std::string_view name);
std::string usage_of(const Command& command);

// Numbers with suffixes, for commands.
Result<u64> number_of(std::string_view text);
inline constexpr u64 kMostBytes = 0x7ffffe00;  // of one request
Result<u64> length_of(std::string_view text);

// What -c, -n, -r, -t … of the program and of `open` say.
Result<OpenImage> open_flags(const Arguments& arguments);
extern const std::span<const Flag> kOpenFlags;

}  // namespace menura::io
