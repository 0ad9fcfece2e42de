// Mux: one terminal shared by several users: a guest's console and the monitor. Output of all goes
// through; keys go to the port with the focus. Ctrl-A is the escape: Ctrl-A h lists the commands.
//
// Owner: the machine; outlives its ports' sinks. Threads: as Chardev.
// Example: `Mux mux(loop.tape(), std::move(stdio), [&] { loop.quit(0); });
//           Uart16550 uart("serial0", time, irq, &mux.add_port());  monitor.open(mux.add_port());`
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "io/chardev.h"

namespace menura {

class Mux final : private CharSink {
 public:
  // quit answers Ctrl-A x.
  Mux(std::unique_ptr<Chardev> terminal, std::function<void()> quit);
  ~Mux() override;

  // The first port has the focus; Ctrl-A c moves it on. Lives as long as the mux.
  Chardev& add_port();
  size_t ports() const { return ports_.size(); }
  size_t focus() const { return focus_; }
  std::string where() const { return terminal_->where(); }

 private:
  class Port;
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override;
  void on_key(std::byte key, std::vector<std::byte>& plain);
  void on_command(std::byte key, std::vector<std::byte>& plain);
  void set_focus(size_t port);
  void print_help();

  // Wiring
  std::unique_ptr<Chardev> terminal_;
  std::function<void()> quit_;
  std::vector<std::unique_ptr<Port>> ports_;
  // State
  size_t focus_ = 0;
  bool opened_ = false;
  bool escaped_ = false;  // after Ctrl-A
};

}  // namespace menura
