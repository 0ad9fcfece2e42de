// Device: a chip or card of a machine: something with an id, a reset, and a describable state.
//
// Owner: the machine's tree (unique_ptr in the parent's builder or a member of the board).
// Threads: every method under the machine lock. Wiring (pins, regions, timers) is given to the
// constructor or set by the board before the first reset. Example: see hw/timer/pit.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "state/visitor.h"

namespace menura {

enum class ResetKind {
  PowerOn,  // everything to the data sheet's power-on values
  System,   // the platform's reset line: like PowerOn but battery-backed state survives
};

class Device {
 public:
  // id is unique in the machine ("pit", "ide0"); parent shows where it sits in `info qtree`.
  explicit Device(std::string id, Device* parent = nullptr);
  virtual ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& id() const { return id_; }
  // The catalogue's name of its kind: "i8254", "piix3-ide".
  virtual std::string_view type() const = 0;

  virtual void reset(ResetKind kind) = 0;
  // All state that the guest can observe, by name; see StateVisitor.
  virtual void describe(StateVisitor& v) = 0;
  // Grows when a field is added with since().
  virtual u32 state_version() const { return 1; }
  // After a load: rebuilds what derives from the state, re-drives pins without edges
  // (IrqLine::import). An Error refuses a state that no guest could have produced.
  virtual Result<void> restored() { return {}; }
  // Around a stop of the machine: finish or suspend work in flight.
  virtual void pause() {}
  virtual void resume() {}

  Device* parent() const { return parent_; }
  const std::vector<Device*>& children() const { return children_; }

 private:
  std::string id_;
  Device* parent_;
  std::vector<Device*> children_;
};

// Every device of a machine, in the order of their making: reset, pause and save go through it.
class DeviceList {
 public:
  void add(Device& device) { devices_.push_back(&device); }
  void remove(Device& device);
  Device* find(std::string_view id) const;
  const std::vector<Device*>& all() const { return devices_; }
  void reset(ResetKind kind);
  void pause();
  void resume();

 private:
  std::vector<Device*> devices_;
};

}  // namespace menura
