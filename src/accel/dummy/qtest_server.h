// QtestServer: the qtest protocol over a character device: text lines that read and write ports and
// memory, move the clock, and watch and drive pins, one reply a line.
//
// Owner: the machine. Threads: in the loop under the machine lock. Malformed requests are answered
// by a FAIL or ERR line. Source: the protocol as QEMU's tests/qtest/libqtest speaks it; see README.md.
// Example: `QtestServer server(chardev, target);`
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "accel/dummy/qtest_target.h"
#include "io/chardev.h"

namespace menura {

class QtestServer final : private CharSink {
 public:
  // log hears of every line in ("R inb 0x71") and out ("S OK 0x0026").
  using Log = std::function<void(std::string_view line)>;
  QtestServer(Chardev& chardev, QtestTarget target, Log log = {});
  ~QtestServer() override;
  QtestServer(const QtestServer&) = delete;
  QtestServer& operator=(const QtestServer&) = delete;

  // Longer lines are answered by ERR.
  static constexpr size_t kMaxLine = size_t{128} << 20;

 private:
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override { flush(); }

  void handle_line(std::string_view line);
  void send(std::string_view line);
  void flush();
  // The intercept commands, which outlive their request.
  std::string intercept(std::span<const std::string_view> words);
  void report_pin(unsigned pin, bool level);

  // Wiring
  Chardev& chardev_;
  QtestTarget target_;
  Log log_;
  // State
  std::string line_;  // received without its end
  bool line_too_long_ = false;
  std::string out_;          // not yet taken by the chardev
  std::string intercepted_;  // the device whose pins are reported
  std::map<unsigned, bool> pin_levels_;
};

}  // namespace menura
