#include "chardev/mux.h"

#include <algorithm>
#include <string_view>

#include "chardev/waiting_input.h"

namespace menura {

namespace {

constexpr std::byte kEscape{0x01};  // Ctrl-A
// Keys that wait for a port without room, so that Ctrl-A x works while a guest hangs. A paste of
// more waits in the terminal.
constexpr size_t kWaitingKeys = 64 * 1024;

constexpr std::string_view kHelp =
    "\r\n"
    "Ctrl-A h    this help\r\n"
    "Ctrl-A x    end the program\r\n"
    "Ctrl-A c    switch between console and monitor\r\n"
    "Ctrl-A b    send a break\r\n"
    "Ctrl-A a    send Ctrl-A itself\r\n";

}  // namespace

class Mux::Port final : public Chardev {
 public:
  explicit Port(Mux& mux) : mux_(mux) {}

  size_t write(ConstBytes bytes) override { return mux_.terminal_->write(bytes); }
  void attach(CharSink* sink) override {
    sink_ = sink;
    if (mux_.opened_) tell(CharEvent::Opened);
    if (mux_.ports_[mux_.focus_].get() == this) tell(CharEvent::FocusGained);
    deliver();
  }
  void accept_input() override { deliver(); }
  std::string where() const override { return "mux"; }

  size_t space() const { return kWaitingKeys - std::min(waiting_.size(), kWaitingKeys); }
  void tell(CharEvent event) {
    if (sink_) sink_->event(event);
  }
  void become_writable() {
    if (sink_) sink_->writable();
  }
  void feed(ConstBytes bytes) {
    waiting_.add(bytes);
    deliver();
  }

 private:
  void deliver() {
    waiting_.deliver(sink_);
    if (mux_.room() > 0) mux_.terminal_->accept_input();
  }

  Mux& mux_;
  CharSink* sink_ = nullptr;
  WaitingInput waiting_;
};

Mux::Mux(std::unique_ptr<Chardev> terminal, std::function<void()> quit)
    : terminal_(std::move(terminal)), quit_(std::move(quit)) {
  terminal_->attach(this);
}

Mux::~Mux() { terminal_->attach(nullptr); }

Chardev& Mux::add_port() {
  Port& port = *ports_.emplace_back(std::make_unique<Port>(*this));
  terminal_->accept_input();
  return port;
}

size_t Mux::room() { return ports_.empty() ? 0 : ports_[focus_]->space(); }

void Mux::receive(ConstBytes bytes) {
  std::vector<std::byte> plain;
  for (const std::byte key : bytes) on_key(key, plain);
  if (!plain.empty()) ports_[focus_]->feed(plain);
}

void Mux::on_key(std::byte key, std::vector<std::byte>& plain) {
  if (std::exchange(escaped_, false)) return on_command(key, plain);
  if (key == kEscape)
    escaped_ = true;
  else
    plain.push_back(key);
}

void Mux::on_command(std::byte key, std::vector<std::byte>& plain) {
  // What was typed before the command arrives before it acts.
  const auto flush = [&] {
    if (!plain.empty()) ports_[focus_]->feed(std::exchange(plain, {}));
  };
  switch (static_cast<char>(key)) {
    case 'x': flush(); return quit_();
    case 'c': flush(); return set_focus((focus_ + 1) % ports_.size());
    case 'b': flush(); return ports_[focus_]->tell(CharEvent::Break);
    case 'h':
    case '?': return print_help();
    case 'a':
    case static_cast<char>(kEscape): return plain.push_back(kEscape);
    default: return;  // no command: swallowed, as terminals' users expect of a mistyped escape
  }
}

void Mux::set_focus(size_t port) {
  if (port == focus_) return;
  ports_[focus_]->tell(CharEvent::FocusLost);
  focus_ = port;
  ports_[focus_]->tell(CharEvent::FocusGained);
}

// A terminal too busy for five lines does not get the rest.
void Mux::print_help() { terminal_->write(std::as_bytes(std::span(kHelp))); }

void Mux::event(CharEvent event) {
  if (event == CharEvent::Opened || event == CharEvent::Closed) {
    opened_ = event == CharEvent::Opened;
    escaped_ = false;
    for (const auto& port : ports_) port->tell(event);
  } else if (!ports_.empty()) {
    ports_[focus_]->tell(event);
  }
}

void Mux::writable() {
  for (const auto& port : ports_) port->become_writable();
}

}  // namespace menura
