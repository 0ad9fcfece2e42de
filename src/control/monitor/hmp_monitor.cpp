#include "control/monitor/hmp_monitor.h"

#include "base/version.h"

namespace menura {

namespace {

constexpr std::string_view kPrompt = "(qemu) ";
constexpr size_t kChunk = 256;
constexpr char kCtrlC = 0x03;
constexpr char kCtrlU = 0x15;
constexpr char kEscapeKey = 0x1b;
constexpr char kDelete = 0x7f;

}  // namespace

HmpMonitor::HmpMonitor(MonitorTarget& target, Chardev& chardev)
    : chardev_(chardev),
      context_{.target = target},
      output_(chardev),
      shared_(chardev.where() == "mux") {
  chardev_.attach(this);
}

HmpMonitor::~HmpMonitor() { chardev_.attach(nullptr); }

size_t HmpMonitor::room() { return output_.full() ? 0 : kChunk; }

void HmpMonitor::writable() {
  const bool was_full = output_.full();
  output_.flush();
  if (was_full && !output_.full()) chardev_.accept_input();
}

void HmpMonitor::event(CharEvent event) {
  if (event == CharEvent::Closed) {
    line_.clear();
    output_.forget();
  }
  if (event == (shared_ ? CharEvent::FocusGained : CharEvent::Opened)) greet();
}

void HmpMonitor::greet() {
  print(format("\nmenura {} monitor - type 'help' for more information\n", version()));
  prompt();
}

void HmpMonitor::prompt() {
  history_at_ = history_.size();
  print(kPrompt);
}

void HmpMonitor::receive(ConstBytes bytes) {
  for (const std::byte byte : bytes) on_key(static_cast<char>(byte));
}

void HmpMonitor::on_key(char key) {
  if (escape_ != Escape::None) return on_escape_key(key);
  switch (key) {
    case '\r':
    case '\n': return run_line();
    case '\b':
    case kDelete:
      if (line_.empty()) return;
      line_.pop_back();
      return print("\b \b");
    case kCtrlU: return replace_line({});
    case kCtrlC:
      line_.clear();
      print("\n");
      return prompt();
    case kEscapeKey: escape_ = Escape::Begun; return;
    default: break;
  }
  if (static_cast<unsigned char>(key) < ' ' || line_.size() >= kMaxLine) return;
  line_ += key;
  print({&key, 1});
}

// Cursor keys are ESC [ A and ESC [ B; others are swallowed.
void HmpMonitor::on_escape_key(char key) {
  if (escape_ == Escape::Begun && (key == '[' || key == 'O')) {
    escape_ = Escape::Bracket;
    return;
  }
  if (key >= '0' && key <= '9' && escape_ == Escape::Bracket) return;
  escape_ = Escape::None;
  if (key == 'A' && history_at_ > 0) replace_line(history_[--history_at_]);
  if (key == 'B' && history_at_ < history_.size()) {
    history_at_++;
    replace_line(history_at_ < history_.size() ? history_[history_at_] : std::string());
  }
}

void HmpMonitor::replace_line(std::string line) {
  for (size_t i = 0; i < line_.size(); i++) print("\b \b");
  line_ = std::move(line);
  print(line_);
}

void HmpMonitor::run_line() {
  const std::string line = std::exchange(line_, {});
  print("\n");
  if (!line.empty() && (history_.empty() || history_.back() != line)) {
    if (history_.size() == kMaxHistory) history_.erase(history_.begin());
    history_.push_back(line);
  }
  const Result<std::string> answer = run_hmp(context_, line);
  print(answer ? *answer : "Error: " + answer.error().text + "\n");
  prompt();
}

void HmpMonitor::print(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') out += '\r';
    out += c;
  }
  output_.send(out);
}

}  // namespace menura
