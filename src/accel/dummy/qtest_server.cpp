#include "accel/dummy/qtest_server.h"

#include <algorithm>

#include "accel/dummy/qtest_commands.h"
#include "base/text.h"

namespace menura {

namespace {

// A client that sends without reading its replies is not read any more beyond this.
constexpr size_t kMaxUnsent = size_t{1} << 20;
constexpr size_t kChunk = size_t{64} << 10;

}  // namespace

QtestServer::QtestServer(Chardev& chardev, QtestTarget target, Log log)
    : chardev_(chardev), target_(std::move(target)), log_(std::move(log)) {
  chardev_.attach(this);
}

QtestServer::~QtestServer() {
  if (!intercepted_.empty()) target_.devices.stop_intercept();
  chardev_.attach(nullptr);
}

size_t QtestServer::room() { return out_.size() > kMaxUnsent ? 0 : kChunk; }

void QtestServer::event(CharEvent event) {
  if (event == CharEvent::Break) return;
  // Another client begins anew.
  line_.clear();
  line_too_long_ = false;
  out_.clear();
}

void QtestServer::receive(ConstBytes bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (line_.size() + std::min(end, text.size()) > kMaxLine) line_too_long_ = true;
    if (!line_too_long_) line_ += text.substr(0, end);
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
    const std::string line = std::exchange(line_, {});
    if (std::exchange(line_too_long_, false))
      send("ERR the line is too long");
    else
      handle_line(line);
  }
}

void QtestServer::handle_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (log_) log_(format("R {}", line));
  const std::vector<std::string_view> words = split(line, ' ');
  std::string reply =
      words[0].starts_with("irq_intercept_") ? intercept(words) : run_qtest_command(target_, words);
  // An error's text may have several lines, a reply has one.
  std::ranges::replace(reply, '\n', ' ');
  send(reply);
}

std::string QtestServer::intercept(std::span<const std::string_view> words) {
  const bool inputs = words[0] == "irq_intercept_in";
  if (!inputs && words[0] != "irq_intercept_out")
    return format("FAIL Unknown command '{}'", words[0].substr(0, 40));
  if (words.size() < 2 || words.size() > (inputs ? 2 : 3))
    return format("ERR {} takes a path{}", words[0], inputs ? "" : " and perhaps a name");
  const Result<std::string> device = target_.devices.resolve(words[1]);
  if (!device) return format("FAIL {}", device.error().text);
  if (!intercepted_.empty())
    return intercepted_ == *device ? "OK" : "FAIL IRQ intercept already enabled";
  const auto report = [this](unsigned pin, bool level) { report_pin(pin, level); };
  const std::string_view name = words.size() > 2 ? words[2] : "";
  const Result<void> done = inputs ? target_.devices.intercept_inputs(*device, report)
                                   : target_.devices.intercept_outputs(*device, name, report);
  if (!done) return format("FAIL {}", done.error().text);
  intercepted_ = *device;
  return "OK";
}

void QtestServer::report_pin(unsigned pin, bool level) {
  if (std::exchange(pin_levels_[pin], level) == level) return;
  send(format("IRQ {} {}", level ? "raise" : "lower", pin));
}

void QtestServer::send(std::string_view line) {
  if (log_) log_(format("S {}", line));
  out_ += line;
  out_ += '\n';
  flush();
}

void QtestServer::flush() {
  const bool was_full = out_.size() > kMaxUnsent;
  const size_t taken = chardev_.write(bytes_of(out_));
  out_.erase(0, taken);
  if (was_full && out_.size() <= kMaxUnsent) chardev_.accept_input();
}

}  // namespace menura
