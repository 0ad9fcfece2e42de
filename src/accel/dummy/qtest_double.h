// What a test of the qtest server needs beside it: a chardev that records, a small machine with one
// timer device and one interrupt controller.
//
// Owner: accel/dummy's test and fuzz/qtest.cpp. Threads: one.
// Example: `QtestDouble q; EXPECT_EQ(q.ask("inb 0x71"), "OK 0x00ff");`
#pragma once

#include <algorithm>
#include <string>

#include "accel/dummy/qtest_server.h"
#include "base/format.h"
#include "hw/core/test_machine.h"

namespace menura {

class RecordingChardev final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override {
    const size_t taken = std::min(bytes.size(), takes);
    sent.append(reinterpret_cast<const char*>(bytes.data()), taken);
    return taken;
  }
  void attach(CharSink* sink) override { sink_ = sink; }
  void accept_input() override { accepts++; }
  // Gives the server what it has room for, piece by piece; the rest is dropped when there is none.
  void deliver(std::string_view text, size_t piece = ~size_t{0}) {
    while (!text.empty()) {
      const size_t length = std::min({text.size(), piece, sink_->room()});
      if (length == 0) return;
      sink_->receive(bytes_of(text.substr(0, length)));
      text.remove_prefix(length);
    }
  }
  CharSink* sink() { return sink_; }
  std::string sent;
  size_t takes = ~size_t{0};
  unsigned accepts = 0;

 private:
  CharSink* sink_ = nullptr;
};

// Device "pic": four unnamed inputs, one output "intr". Nothing else.
class PinsDouble final : public QtestDevices {
 public:
  Result<std::string> resolve(std::string_view path) override {
    if (path == "pic" || path == "/machine/pic") return std::string("/machine/pic");
    if (path == "rtc") return std::string("/machine/rtc");
    return fail(Errc::NotFound, "Unknown device '{}'", path);
  }
  Result<void> intercept_inputs(std::string_view, Report report) override {
    report_ = std::move(report);
    return {};
  }
  Result<void> intercept_outputs(std::string_view, std::string_view name, Report report) override {
    if (name != "intr") return fail(Errc::NotFound, "No outputs\nof this name");
    report_ = std::move(report);
    return {};
  }
  void stop_intercept() override { report_ = {}; }
  Result<void> set_input(std::string_view device, std::string_view name, unsigned pin,
                         bool level) override {
    if (device != "/machine/pic" || !name.empty() || pin >= 4)
      return fail(Errc::NotFound, "No such input");
    drive(pin, level);
    return {};
  }
  void drive(unsigned pin, bool level) {
    if (report_) report_(pin, level);
    last = format("{}={}", pin, level);
  }
  bool watched() const { return static_cast<bool>(report_); }
  std::string last;

 private:
  Report report_;
};

struct QtestDouble final : private MmioHandler {
  explicit QtestDouble(bool steps_clock = true)
      : server(chardev, {machine.memory, machine.io, machine.clock, machine.time, pins, steps_clock,
                         [this] { return running; }}) {
    machine.io_root.map(0x70, ports);
    machine.memory_root.map(0xfe000000, registers);
  }

  // One request; everything that came back, without the last line end.
  std::string ask(std::string_view line) {
    chardev.sent.clear();
    chardev.deliver(format("{}\n", line));
    if (chardev.sent.ends_with('\n')) chardev.sent.pop_back();
    return chardev.sent;
  }

  TestMachine machine{1024 * 1024};
  RecordingChardev chardev;
  PinsDouble pins;
  bool running = true;
  u64 last_write = 0;
  unsigned last_size = 0;
  // Writing n arms the timer n nanoseconds from now; its end raises pin 2.
  Region ports = Region::mmio("ports", 4, *this, {.handler_max = 4});
  Region registers = Region::mmio("registers", 16, *this, {.handler_max = 8});
  Timer timer{machine.time, [this] { pins.drive(2, true); }};
  QtestServer server;

 private:
  u64 read(Access access) override { return access.offset == 0 ? last_write : access.size; }
  void write(Access access, u64 value) override {
    last_write = value;
    last_size = access.size;
    timer.arm(machine.clock.now_ns() + static_cast<i64>(value & 0xffff'ffff));
  }
};

}  // namespace menura
