#include "control/monitor/hmp_monitor.h"

#include "base/version.h"

namespace menura {

namespace {

constexpr std::string_view kPrompt = "(qemu) ";
constexpr size_t kChunk = 256;

}  // namespace

HmpMonitor::HmpMonitor(MonitorTarget& target, Chardev& chardev)
    : chardev_(chardev),
      context_{.target = target},
      output_(chardev),
      shared_(chardev.where() == "mux"),
      editor_(kPrompt,
              {.print = [this](std::string_view text) { print(text); },
               .run = [this](const std::string& line) { run(line); },
               .complete =
                   [this](std::string_view before) { return complete_hmp(context_, before); }}) {
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
    editor_.forget();
    output_.forget();
  }
  if (event == (shared_ ? CharEvent::FocusGained : CharEvent::Opened)) greet();
}

void HmpMonitor::greet() {
  print(format("\nmenura {} monitor - type 'help' for more information\n", version()));
  editor_.prompt();
}

void HmpMonitor::receive(ConstBytes bytes) {
  for (const std::byte byte : bytes) editor_.key(static_cast<char>(byte));
}

void HmpMonitor::run(const std::string& line) {
  context_.target.asking = &chardev_;
  const Result<std::string> answer = run_hmp(context_, line);
  context_.target.asking = nullptr;
  print(answer ? *answer : "Error: " + answer.error().text + "\n");
  editor_.prompt();
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
