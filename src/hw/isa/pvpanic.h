// pvpanic: a register by which a guest's kernel tells that it panicked, on an ISA port or as a PCI
// function.
//
// Owner: the machine. Threads: under the machine lock. Source: the public pvpanic specification
// (PCI id 1b36:0011; bit 0 panicked, bit 1 a crash kernel takes over). A read gives the events that
// are understood. Example: `IsaPvpanic pvpanic("panic", kAllPanicEvents, on_event);`
#pragma once

#include <functional>

#include "hw/core/device.h"
#include "memory/region.h"

namespace menura {

enum class PanicEvent : u8 { Panicked, CrashLoaded };
inline constexpr u8 kAllPanicEvents = 3;

// The register itself.
class PanicRegister final : public MmioHandler {
 public:
  using OnEvent = std::function<void(PanicEvent)>;
  PanicRegister(u8 events, OnEvent on_event) : events_(events), on_event_(std::move(on_event)) {}
  u64 read(Access access) override { return access.offset == 0 ? events_ : 0; }
  void write(Access access, u64 value) override;

 private:
  u8 events_;
  OnEvent on_event_;
};

class IsaPvpanic final : public Device {
 public:
  static constexpr u16 kPort = 0x505;

  IsaPvpanic(std::string id, u8 events, PanicRegister::OnEvent on_event)
      : Device(std::move(id)), register_(events, std::move(on_event)) {}
  std::string_view type() const override { return "pvpanic"; }
  Region& ports() { return ports_; }
  void reset(ResetKind) override {}
  void describe(StateVisitor&) override {}

 private:
  // Wiring
  PanicRegister register_;
  Region ports_ = Region::mmio("pvpanic", 1, register_, {.handler_max = 1});
};

}  // namespace menura
