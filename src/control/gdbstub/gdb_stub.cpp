#include "control/gdbstub/gdb_stub.h"

#include <algorithm>

#include "base/log.h"
#include "control/gdbstub/gdb_registers.h"
#include "control/monitor/qmp_run.h"

namespace menura {

namespace {

constexpr size_t kChunk = 4096;
constexpr unsigned kSigInt = 2, kSigTrap = 5;
constexpr u8 kInt3 = 0xcc;
// As QEMU's stub and the manual's examples: 22 is EINVAL, 14 EFAULT, 1 anything.
constexpr std::string_view kBadPacket = "E22", kBadAddress = "E14", kRefused = "E01";

}  // namespace

GdbStub::GdbStub(MonitorTarget& target, Chardev& chardev)
    : target_(target),
      chardev_(chardev),
      output_(chardev),
      packets_({.packet = [this](std::string_view packet) { handle(packet); },
                .interrupt = [this] { interrupt(); },
                .send = [this](std::string_view text) { output_.send(text); }}) {
  observer_ = target_.machine.observe([this](const MachineEvent& event) { on_event(event); });
  target_.machine.watch_debug_exits([this](VcpuThread& cpu) { on_debug_exit(cpu); });
  chardev_.attach(this);
}

GdbStub::~GdbStub() {
  chardev_.attach(nullptr);
  target_.machine.watch_debug_exits({});
  target_.machine.unobserve(observer_);
  pause_all(cpus());
  forget_points();
  if (target_.machine.running()) menura::resume_all(cpus());
}

size_t GdbStub::room() { return output_.full() ? 0 : kChunk; }

void GdbStub::writable() {
  const bool was_full = output_.full();
  output_.flush();
  if (was_full && !output_.full()) chardev_.accept_input();
}

void GdbStub::receive(ConstBytes bytes) {
  packets_.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void GdbStub::event(CharEvent event) {
  if (event != CharEvent::Opened && event != CharEvent::Closed) return;
  packets_.forget();
  output_.forget();
  waits_ = false;
  connected_ = event == CharEvent::Opened;
  if (connected_) {
    multiprocess_ = physical_memory_ = false;
    general_ = stopped_ = 0;
    signal_ = kSigTrap;
    target_.machine.stop(RunState::Debug);
  } else {
    pause_all(cpus());
    forget_points();
    if (target_.machine.running()) menura::resume_all(cpus());
  }
}

// Stops and steps

void GdbStub::interrupt() {
  if (!waits_) return;
  signal_ = kSigInt;
  target_.machine.stop(RunState::Debug);
}

// A machine that failed or sleeps stays where it is.
std::string GdbStub::go_on() {
  waits_ = true;
  signal_ = kSigTrap;
  arm();
  if (qmp_cont(target_, {})) return {};
  waits_ = false;
  disarm();
  return stop_reply(kSigTrap);
}

// Alone, while the machine and its clock rest.
std::string GdbStub::step(VcpuThread& cpu) {
  Result<void> ready;
  cpu.run_on([&](Vcpu& vcpu) { ready = vcpu.set_debug({.single_step = true}); });
  if (!ready) return std::string(kRefused);
  watched_.clear();
  waits_ = true;
  cpu.resume();
  return {};
}

void GdbStub::on_debug_exit(VcpuThread& cpu) {
  if (!waits_) return;
  stopped_ = general_ = cpu.index();
  if (target_.machine.running()) return;  // the STOP that follows tells
  disarm();
  waits_ = false;
  packets_.send(stop_reply(kSigTrap));
}

void GdbStub::on_event(const MachineEvent& event) {
  if (event.name == "SHUTDOWN" && connected_) {
    packets_.send("W00");
    waits_ = false;
  }
  if (event.name != "STOP") return;
  const std::string reply = waits_ ? stop_reply(signal_) : std::string();
  disarm();
  if (std::exchange(waits_, false)) packets_.send(reply);
}

std::string GdbStub::stop_reply(unsigned signal) {
  if (cpus().empty()) return "W00";
  if (stopped_ >= cpus().size()) stopped_ = 0;
  VcpuThread& cpu = *cpus()[stopped_];
  return format("T{:02x}thread:{};{}", signal, thread_id(cpu),
                signal == kSigTrap ? stop_reason(cpu) : "");
}

std::string GdbStub::stop_reason(VcpuThread& cpu) {
  const x86::State state = state_of(cpu);
  const GuestMemory memory(target_.machine.memory(), &state);
  for (const auto& [point, before] : watched_) {
    std::vector<std::byte> now(point.size);
    if (memory.read(point.address, now) && now != before)
      return format("{}:{:x};", point.kind == PointKind::Write ? "watch" : "awatch", point.address);
  }
  // GDB goes on from a breakpoint that is not at its $pc. With a code segment that does not begin at 0
  // none is: then it hears of a trap only.
  for (const Point& point : points_)
    if (point.address == state.rip && point.kind <= PointKind::Hardware)
      return point.kind == PointKind::Software ? "swbreak:;" : "hwbreak:;";
  return {};
}

// Breakpoints

void GdbStub::arm() {
  if (cpus().empty()) return;
  const x86::State state = state_of(*cpus()[general_]);
  GuestMemory memory(target_.machine.memory(), &state);
  watched_.clear();
  for (const Point& point : points_) {
    if (point.kind >= PointKind::Write) {
      std::vector<std::byte> now(point.size);
      if (memory.read(point.address, now)) watched_.emplace_back(point, std::move(now));
    }
    if (point.kind != PointKind::Software || patched_.contains(point.address)) continue;
    std::byte was{};
    const std::byte int3{kInt3};
    if (memory.read(point.address, Bytes(&was, 1)) &&
        memory.write(point.address, ConstBytes(&int3, 1)))
      patched_[point.address] = static_cast<u8>(was);
  }
  if (const Result<void> armed = arm_vcpus(); !armed) log_warning("gdb: {}", armed.error().text);
}

void GdbStub::disarm() {
  if (patched_.empty()) return;
  const x86::State state = state_of(*cpus()[general_]);
  GuestMemory memory(target_.machine.memory(), &state);
  for (const auto& [address, was] : patched_) {
    std::byte now{};
    const std::byte old{was};
    // What the guest has put there since is its own.
    if (memory.read(address, Bytes(&now, 1)) && now == std::byte{kInt3})
      (void)memory.write(address, ConstBytes(&old, 1));
  }
  patched_.clear();
}

Result<void> GdbStub::arm_vcpus() {
  DebugControl control;
  for (const Point& point : points_) {
    if (point.kind == PointKind::Software) {
      control.software_breakpoints = true;
      continue;
    }
    const auto kind = point.kind == PointKind::Hardware ? DebugControl::Kind::Execute
                      : point.kind == PointKind::Write  ? DebugControl::Kind::Write
                                                        : DebugControl::Kind::Access;
    control.points.push_back({.address = point.address, .kind = kind, .size = point.size});
  }
  Result<void> result;
  for (const std::unique_ptr<VcpuThread>& cpu : cpus())
    cpu->run_on([&](Vcpu& vcpu) {
      if (Result<void> one = vcpu.set_debug(control); !one) result = std::move(one.error());
    });
  return result;
}

void GdbStub::forget_points() {
  disarm();
  points_.clear();
  watched_.clear();
  (void)arm_vcpus();  // nothing is asked for: no engine refuses
}

// Whether an INT3 can be put there: RAM, mapped now.
bool GdbStub::can_patch(u64 address) {
  const x86::State state = state_of(*cpus()[general_]);
  GuestMemory memory(target_.machine.memory(), &state);
  std::byte now{};
  return memory.read(address, Bytes(&now, 1)) && memory.write(address, ConstBytes(&now, 1));
}

std::string GdbStub::change_point(bool insert, std::string_view text) {
  const std::optional<u64> kind = take_hex(text);
  const std::optional<u64> address = kind && take(text, ",") ? take_hex(text) : std::nullopt;
  const std::optional<u64> size = address && take(text, ",") ? take_hex(text) : std::nullopt;
  if (!size || *kind > 4) return std::string(*kind > 4 ? "" : kBadPacket);
  Point point{static_cast<PointKind>(*kind), *address, static_cast<u8>(std::min<u64>(*size, 255))};
  if (point.kind <= PointKind::Hardware) point.size = 1;
  if (point.kind == PointKind::Read) point.kind = PointKind::Access;  // x86 has no other
  const auto at = std::ranges::find(points_, point);
  if (!insert) {
    if (at == points_.end()) return std::string(kBadPacket);
    points_.erase(at);
    (void)arm_vcpus();  // fewer than before
    return "OK";
  }
  if (at != points_.end()) return "OK";
  if (point.kind == PointKind::Software && !can_patch(point.address))
    return std::string(kBadAddress);
  points_.push_back(point);
  if (arm_vcpus()) return "OK";
  points_.pop_back();
  (void)arm_vcpus();  // as before
  // GDB tries a hardware breakpoint, or steps and compares, where a kind is not there.
  return std::string(kBadPacket);
}

// Packets

void GdbStub::handle(std::string_view packet) {
  waits_ = false;
  const std::string reply = answer(packet);
  if (!waits_) packets_.send(reply);
  if (packet == "QStartNoAckMode") packets_.stop_acknowledging();
}

std::string GdbStub::answer(std::string_view packet) {
  if (packet.empty()) return {};
  if (cpus().empty()) return "W00";
  const std::string_view rest = packet.substr(1);
  switch (packet[0]) {
    case '?': return stop_reply(kSigTrap);
    case 'g': return read_registers();
    case 'G': return write_registers(rest);
    case 'p': return read_register(rest);
    case 'P': return write_register(rest);
    case 'm': return read_memory(rest);
    case 'M': return write_memory(rest);
    case 'H': return select_thread(rest);
    case 'T': {
      std::string_view id = rest;
      return std::string(cpu_of_thread(id) ? "OK" : kBadPacket);
    }
    case 'Z': return change_point(true, rest);
    case 'z': return change_point(false, rest);
    case 'c': return step_or_continue(rest, false);
    case 's': return step_or_continue(rest, true);
    case 'D': return detach();
    case 'k':
      target_.machine.request_shutdown(Cause::HostQmpQuit);
      waits_ = true;  // no reply
      return {};
    case 'q': return query(packet);
    case 'Q': return set(packet);
    case 'v': break;
    default: return {};
  }
  if (packet == "vCont?") return "vCont;c;C;s;S";
  if (packet.starts_with("vCont;")) return resume_all(packet.substr(5));
  if (packet.starts_with("vKill")) {
    target_.machine.request_shutdown(Cause::HostQmpQuit);
    return "OK";
  }
  if (packet.starts_with("vAttach;")) return stop_reply(kSigTrap);
  return {};
}

std::string GdbStub::step_or_continue(std::string_view text, bool step) {
  VcpuThread& cpu = *cpus()[general_];
  if (!text.empty()) {
    const std::optional<u64> address = take_hex(text);
    if (!address) return std::string(kBadPacket);
    x86::State state = state_of(cpu);
    state.rip = *address;
    cpu.run_on([&](Vcpu& vcpu) { vcpu.set(state); });
  }
  return step ? this->step(cpu) : go_on();
}

// vCont;action[:thread];...: the first action that steps a thread steps that one alone; anything
// else lets all run.
std::string GdbStub::resume_all(std::string_view text) {
  VcpuThread* stepped = nullptr;
  while (take(text, ";")) {
    if (text.empty()) return std::string(kBadPacket);
    const char action = text[0];
    text.remove_prefix(1);
    if (action == 'C' || action == 'S') take_hex(text);  // signals mean nothing to a machine
    VcpuThread* cpu = cpus()[general_].get();
    if (take(text, ":") && !(cpu = cpu_of_thread(text))) return std::string(kBadPacket);
    if ((action == 's' || action == 'S') && !stepped) stepped = cpu;
  }
  if (stepped) return step(*stepped);
  return go_on();
}

std::string GdbStub::detach() {
  forget_points();
  (void)qmp_cont(target_, {});  // a machine that failed or sleeps stays where it is
  return "OK";
}

// Registers and memory

x86::State GdbStub::state_of(VcpuThread& cpu) const {
  x86::State state;
  cpu.run_on([&](Vcpu& vcpu) { vcpu.get(state); });
  return state;
}

std::string GdbStub::read_registers() {
  return to_hex(read_gdb_registers(state_of(*cpus()[general_])));
}

std::string GdbStub::write_registers(std::string_view hex) {
  const auto bytes = from_hex(hex);
  if (!bytes) return std::string(kBadPacket);
  x86::State state = state_of(*cpus()[general_]);
  write_gdb_registers(state, *bytes);
  cpus()[general_]->run_on([&](Vcpu& vcpu) { vcpu.set(state); });
  return "OK";
}

std::string GdbStub::read_register(std::string_view text) {
  const std::optional<u64> number = take_hex(text);
  if (!number || *number >= gdb_register_count()) return std::string(kBadPacket);
  const x86::State state = state_of(*cpus()[general_]);
  return to_hex(*read_gdb_register(state, static_cast<unsigned>(*number)));
}

std::string GdbStub::write_register(std::string_view text) {
  const std::optional<u64> number = take_hex(text);
  if (!number || !take(text, "=")) return std::string(kBadPacket);
  const auto bytes = from_hex(text);
  x86::State state = state_of(*cpus()[general_]);
  if (!bytes || !write_gdb_register(state, static_cast<unsigned>(*number), *bytes))
    return std::string(kBadPacket);
  cpus()[general_]->run_on([&](Vcpu& vcpu) { vcpu.set(state); });
  return "OK";
}

std::string GdbStub::read_memory(std::string_view text) {
  constexpr u64 kMost = GdbPackets::kMaxPacket / 2 - 16;
  const std::optional<u64> address = take_hex(text);
  const std::optional<u64> size = address && take(text, ",") ? take_hex(text) : std::nullopt;
  if (!size) return std::string(kBadPacket);
  const x86::State state = state_of(*cpus()[general_]);
  const GuestMemory memory(target_.machine.memory(), physical_memory_ ? nullptr : &state);
  std::vector<std::byte> bytes(std::min(*size, kMost));
  if (!memory.read(*address, bytes)) return std::string(kBadAddress);
  return to_hex(bytes);
}

std::string GdbStub::write_memory(std::string_view text) {
  const std::optional<u64> address = take_hex(text);
  const std::optional<u64> size = address && take(text, ",") ? take_hex(text) : std::nullopt;
  const auto bytes = size && take(text, ":") ? from_hex(text) : std::nullopt;
  if (!bytes || bytes->size() != *size) return std::string(kBadPacket);
  const x86::State state = state_of(*cpus()[general_]);
  GuestMemory memory(target_.machine.memory(), physical_memory_ ? nullptr : &state);
  return memory.write(*address, *bytes) ? "OK" : std::string(kBadAddress);
}

// Threads: "p1.2" is CPU 1; "2" too; 0 and -1 are any.
VcpuThread* GdbStub::cpu_of_thread(std::string_view& text) const {
  if (take(text, "p")) {
    if (!take(text, "-1") && !take_hex(text)) return nullptr;
    if (!take(text, ".")) return cpus()[general_].get();
  }
  if (take(text, "-1")) return cpus()[general_].get();
  const std::optional<u64> number = take_hex(text);
  if (!number || *number > cpus().size()) return nullptr;
  return *number == 0 ? cpus()[general_].get() : cpus()[*number - 1].get();
}

std::string GdbStub::thread_id(const VcpuThread& cpu) const {
  return format("{}{:02x}", multiprocess_ ? "p01." : "", cpu.index() + 1);
}

std::string GdbStub::select_thread(std::string_view text) {
  if (text.empty()) return std::string(kBadPacket);
  const char what = text[0];
  text.remove_prefix(1);
  const VcpuThread* cpu = cpu_of_thread(text);
  if (!cpu) return std::string(kBadPacket);
  if (what == 'g') general_ = cpu->index();
  return "OK";
}

}  // namespace menura
