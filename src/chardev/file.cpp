#include <fcntl.h>

#include "chardev/kinds.h"
#include "chardev/stream.h"

namespace menura {

namespace {

class FileChardev final : public StreamChardev {
 public:
  FileChardev(EventLoop& loop, const std::string& id, const FileConfig& config)
      : StreamChardev(loop, id), config_(config) {}
  ~FileChardev() override { shut(); }

  Result<void> open() {
    if (config_.path.empty()) return fail(Errc::InvalidArgument, "A file needs a path");
    // Non-blocking for pipes and the like; a pipe without a reader is an error.
    out_ = TRY(open_file(config_.path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY |
                                           (config_.append ? O_APPEND : O_TRUNC)));
    if (!config_.input_path.empty())
      in_ = TRY(open_file(config_.input_path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    return start(in_.get(), out_.get());
  }
  std::string where() const override { return "file"; }

 private:
  void ended() override { stop_input(); }

  // Configuration
  const FileConfig config_;
  // Wiring
  UniqueFd in_;
  UniqueFd out_;
};

}  // namespace

ChardevResult open_file_chardev(EventLoop& loop, const std::string& id, const FileConfig& config) {
  auto chardev = std::make_unique<FileChardev>(loop, id, config);
  TRY(chardev->open());
  return ChardevResult(std::move(chardev));
}

}  // namespace menura
