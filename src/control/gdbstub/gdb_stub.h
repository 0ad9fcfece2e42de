// GdbStub: a server for GDB: registers, memory, breakpoints, steps, one thread for each vCPU.
//
// Owner: the program's session. Threads: in the loop under the machine lock. The machine stops when
// a client comes, goes on when it detaches, and stays stopped when it merely disappears (its
// breakpoints go). Source: GDB manual, appendix E; QEMU's extensions for physical memory.
// Example: `GdbStub stub(target, *TRY(chardevs.connect("gdb")));`
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/gdbstub/gdb_packets.h"
#include "control/monitor/guest_memory.h"
#include "control/monitor/monitor_output.h"
#include "control/monitor/monitor_target.h"
#include "io/chardev.h"

namespace menura {

class GdbStub final : private CharSink {
 public:
  GdbStub(MonitorTarget& target, Chardev& chardev);
  ~GdbStub() override;
  GdbStub(const GdbStub&) = delete;
  GdbStub& operator=(const GdbStub&) = delete;

 private:
  // As Z and z packets number them.
  enum class PointKind : u8 { Software, Hardware, Write, Read, Access };
  struct Point {
    PointKind kind;
    u64 address;
    u8 size;
    bool operator==(const Point&) const = default;
  };

  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override;

  // One packet; the reply is sent, unless the guest runs first.
  void handle(std::string_view packet);
  std::string answer(std::string_view packet);
  void interrupt();

  // gdb_queries.cpp
  std::string query(std::string_view packet);
  std::string set(std::string_view packet);
  std::string transfer_features(std::string_view rest);
  std::string run_monitor_command(std::string_view hex);
  std::string supported(std::string_view rest);
  std::string thread_list();

  std::string read_registers();
  std::string write_registers(std::string_view hex);
  std::string read_register(std::string_view text);
  std::string write_register(std::string_view text);
  std::string read_memory(std::string_view text);
  std::string write_memory(std::string_view text);
  std::string select_thread(std::string_view text);
  std::string change_point(bool insert, std::string_view text);
  std::string resume_all(std::string_view text);  // vCont
  std::string step_or_continue(std::string_view text, bool step);
  std::string detach();

  std::string go_on();
  std::string step(VcpuThread& cpu);
  void on_event(const MachineEvent& event);
  void on_debug_exit(VcpuThread& cpu);
  std::string stop_reply(unsigned signal);
  // The watchpoint or breakpoint that a stopped CPU is at, as a stop reply's fields.
  std::string stop_reason(VcpuThread& cpu);
  // Points into the guest and the vCPUs, and out again.
  void arm();
  void disarm();
  Result<void> arm_vcpus();
  void forget_points();
  bool can_patch(u64 address);

  std::span<const std::unique_ptr<VcpuThread>> cpus() const { return target_.machine.cpus(); }
  VcpuThread* cpu_of_thread(std::string_view& text) const;  // takes the id off; null: none such
  std::string thread_id(const VcpuThread& cpu) const;
  x86::State state_of(VcpuThread& cpu) const;

  // Wiring
  MonitorTarget& target_;
  Chardev& chardev_;
  MonitorOutput output_;
  GdbPackets packets_;
  unsigned observer_;
  // State
  bool connected_ = false;
  bool multiprocess_ = false;
  bool physical_memory_ = false;
  bool waits_ = false;    // the guest runs, and GDB for a stop reply
  unsigned general_ = 0;  // CPU of g, m, ...
  unsigned stopped_ = 0;  // CPU of the last stop
  unsigned signal_ = 5;   // of the last stop
  std::vector<Point> points_;
  std::map<u64, u8> patched_;  // what lay where an INT3 is now, by linear address
  std::vector<std::pair<Point, std::vector<std::byte>>> watched_;
};

}  // namespace menura
