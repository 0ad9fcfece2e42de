#include "hw/isa/system_ports.h"

#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kPostCode, "isa.post_code", "{:#04x}");

// Port 61h.
enum : u8 { kGate2 = 0x01, kSpeaker = 0x02, kRefreshToggle = 0x10, kOut2 = 0x20 };
constexpr u8 kPort61Writable = 0x0f;
// DRAM refresh: every 15.085 us the bit changes.
constexpr i64 kRefreshNs = 15'085;

// Port 92h.
enum : u8 { kFastReset = 0x01, kFastA20 = 0x02 };

}  // namespace

SystemPorts::SystemPorts(std::string id, TimerQueue& time, Wires wires)
    : Device(std::move(id)), time_(time), wires_(std::move(wires)) {}

void SystemPorts::reset(ResetKind) {
  port61_value_ = 0;
  // A PC leaves reset with A20 open: firmware finds its own reset vector whatever the gate.
  port92_value_ = kFastA20;
  post_code_ = 0;
  wires_.set_gate2(false);
  if (wires_.set_speaker) wires_.set_speaker(false);
  wires_.set_a20(true);
}

void SystemPorts::describe(StateVisitor& v) {
  v.field("port61", port61_value_);
  v.field("port92", port92_value_);
  v.field("post_code", post_code_);
}

Result<void> SystemPorts::restored() {
  if (wires_.set_speaker) wires_.set_speaker(port61_value_ & kSpeaker);
  wires_.set_a20(port92_value_ & kFastA20);
  return {};
}

u64 SystemPorts::read61(Access) {
  u8 value = port61_value_;
  if (time_.now_ns() / kRefreshNs & 1) value |= kRefreshToggle;
  if (wires_.out2()) value |= kOut2;
  return value;
}

void SystemPorts::write61(Access, u64 value) {
  port61_value_ = static_cast<u8>(value) & kPort61Writable;
  wires_.set_gate2(port61_value_ & kGate2);
  if (wires_.set_speaker) wires_.set_speaker(port61_value_ & kSpeaker);
}

void SystemPorts::write92(Access, u64 value) {
  port92_value_ = static_cast<u8>(value) & (kFastReset | kFastA20);
  wires_.set_a20(port92_value_ & kFastA20);
  if (port92_value_ & kFastReset) wires_.reset();
}

void SystemPorts::write80(Access, u64 value) {
  post_code_ = static_cast<u8>(value);
  trace(kPostCode, post_code_);
}

}  // namespace menura
