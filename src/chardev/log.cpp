#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"
#include "chardev/kinds.h"

namespace menura {

namespace {

class LoggedChardev final : public Chardev {
 public:
  LoggedChardev(std::unique_ptr<Chardev> inner, UniqueFd log, std::string path)
      : inner_(std::move(inner)), log_(std::move(log)), path_(std::move(path)) {}

  size_t write(ConstBytes bytes) override {
    const size_t taken = inner_->write(bytes);
    if (!failed_) {
      const Result<void> written = write_all(log_.get(), bytes.first(taken));
      failed_ = !written;
      if (failed_) log_error("Log file '{}' ends here: {}", path_, written.error().text);
    }
    return taken;
  }
  void attach(CharSink* sink) override { inner_->attach(sink); }
  void accept_input() override { inner_->accept_input(); }
  std::string where() const override { return inner_->where(); }
  std::vector<UniqueFd> take_fds() override { return inner_->take_fds(); }
  Chardev& innermost() override { return inner_->innermost(); }

 private:
  std::unique_ptr<Chardev> inner_;
  UniqueFd log_;
  const std::string path_;
  bool failed_ = false;
};

}  // namespace

ChardevResult with_logfile(std::unique_ptr<Chardev> inner, const ChardevConfig& config) {
  UniqueFd log = TRY(open_file(config.logfile, O_WRONLY | O_CREAT | O_NOCTTY |
                                                   (config.logappend ? O_APPEND : O_TRUNC)),
                     "Opening the log of character device '{}'", config.id);
  return ChardevResult(
      std::make_unique<LoggedChardev>(std::move(inner), std::move(log), config.logfile));
}

}  // namespace menura
