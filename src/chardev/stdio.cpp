#include <unistd.h>

#include "chardev/kinds.h"
#include "chardev/nonblocking.h"
#include "chardev/stream.h"
#include "chardev/terminal.h"

namespace menura {

namespace {

class StdioChardev final : public StreamChardev {
 public:
  StdioChardev(EventLoop& loop, const std::string& id, NonBlocking in, NonBlocking out)
      : StreamChardev(loop, id), in_(std::move(in)), out_(std::move(out)) {}
  ~StdioChardev() override { shut(); }

  Result<void> open(const StdioConfig& config) {
    if (::isatty(STDIN_FILENO))
      raw_ =
          TRY(RawTerminal::enter(STDIN_FILENO, config.signal ? KeySignals::On : KeySignals::Off));
    return start(in_.get(), out_.get());
  }
  std::string where() const override { return "stdio"; }

 private:
  // No more input, or a terminal that is gone; output goes on if it can.
  void ended() override { stop_input(); }

  NonBlocking in_;
  NonBlocking out_;
  std::unique_ptr<RawTerminal> raw_;
};

}  // namespace

ChardevResult open_stdio(EventLoop& loop, const std::string& id, const StdioConfig& config) {
  auto in = TRY(NonBlocking::open(STDIN_FILENO), "Standard input");
  auto out = TRY(NonBlocking::open(STDOUT_FILENO), "Standard output");
  auto chardev = std::make_unique<StdioChardev>(loop, id, std::move(in), std::move(out));
  TRY(chardev->open(config));
  return ChardevResult(std::move(chardev));
}

}  // namespace menura
