// Xhci: the USB 3 host controller, as Red Hat's 1b36:000d (qemu-xhci) or NEC's uPD720200 (1033:0194).
//
// Owner: the user. Threads: under the machine lock. Source: Intel "eXtensible Host Controller
// Interface for USB" 1.2. Registers in xhci.cpp, ports in xhci_ports.cpp, commands and transfers each
// in a file, rings in xhci_rings.h. Every port takes USB 2 and USB 3 devices. Deviations: no streams,
// no bandwidth accounting, no interrupt moderation, no isochronous timing; saving its state is refused
// by the error bit, so that a driver begins anew; contexts are of 32 bytes. Example:
//   Xhci usb("usb", time, {});  bus.add(usb, PciBus::devfn(4, 0)).value();  usb.ports().plug(stick);
#pragma once

#include <array>
#include <vector>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msix.h"
#include "hw/usb/usb_device.h"
#include "hw/usb/xhci_rings.h"

namespace menura {

struct XhciConfig {
  enum class Model : u8 { Qemu, Nec } model = Model::Qemu;
  unsigned ports = 4;  // for users; each is a USB 2 and, with usb3, a USB 3 port of the registers
  bool usb3 = true;
};

class Xhci final : public PciFunction {
 public:
  static constexpr unsigned kMostPorts = 15;
  static constexpr unsigned kSlots = 32;
  static constexpr unsigned kInterrupters = 4;

  Xhci(std::string id, TimerQueue& time, const XhciConfig& config, Device* parent = nullptr);

  std::string_view type() const override {
    return config_.model == XhciConfig::Model::Qemu ? "qemu-xhci" : "nec-usb-xhci";
  }
  UsbBus& ports() { return bus_; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  static constexpr unsigned kEndpoints = 31;  // by device context index, from 1
  enum class EndpointState : u8 { Disabled, Running, Halted, Stopped, Error };
  struct Endpoint {
    EndpointState state = EndpointState::Disabled;
    XhciRing ring;
    bool waits = false;  // for the device, or for its turn
    void describe(StateVisitor& v);
  };
  struct Slot {
    bool enabled = false;
    u64 context = 0;  // of the device, in guest memory
    u8 port = 0;      // of the registers, from 1; 0: not addressed yet
    u32 route = 0;
    std::vector<Endpoint> endpoints;  // none, or kEndpoints
    void describe(StateVisitor& v);
  };
  struct Port {
    u32 status = 0;
    void describe(StateVisitor& v) { v.field("status", status); }
  };
  // A transfer: its blocks, and where its bytes go.
  struct Transfer;

  // Registers
  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  u32 read_capability(unsigned offset) const;
  u32 read_operational(unsigned offset) const;
  void write_operational(unsigned offset, u32 value);
  u32 read_runtime(unsigned offset) const;
  void write_runtime(unsigned offset, u32 value);
  void ring_doorbell(unsigned target, u32 value);
  void write_command(u32 value);
  void reset_controller();
  bool running() const;
  void fail_host();

  // Events
  void post(unsigned interrupter, const XhciTrb& event, bool interrupts = true);
  void raise(unsigned interrupter);
  void update_intx();

  // Ports
  unsigned register_ports() const { return config_.ports * (config_.usb3 ? 2 : 1); }
  bool is_usb3(unsigned port) const { return port >= config_.ports; }
  UsbDevice* device_on(unsigned port) const;
  void port_changed(unsigned place);
  void write_port(unsigned port, u32 value);
  void reset_port(unsigned port);
  void change_port(unsigned port, u32 changes);

  // Commands
  void run_commands();
  u8 run_command(const XhciTrb& command, u8& slot);
  u8 enable_slot(u8& slot);
  u8 address_device(Slot& slot, u8 number, const XhciTrb& command);
  u8 configure_endpoint(Slot& slot, const XhciTrb& command);
  u8 evaluate_context(Slot& slot, const XhciTrb& command);
  u8 reset_device(Slot& slot);
  u8 endpoint_command(Slot& slot, const XhciTrb& command);
  bool begin_endpoint(Slot& slot, unsigned index, u64 input);
  bool set_slot_state(Slot& slot, u8 state);
  void write_endpoint_state(Slot& slot, unsigned index);
  UsbDevice* device_of(const Slot& slot) const;

  // Transfers
  void run_endpoint(u8 slot, unsigned index);
  void run_waiting();
  bool fetch(Endpoint& endpoint, Transfer& transfer);
  enum class Outcome : u8 { Done, Waits, Stopped };
  Outcome execute(u8 slot, unsigned index, Transfer& transfer);
  bool scatter(const Transfer& transfer, ConstBytes data);
  bool gather(const Transfer& transfer, Bytes data);
  void report(u8 slot, unsigned index, const Transfer& transfer, u8 code, u64 moved);

  bool read32(u64 at, u32& value) const;
  bool write32(u64 at, u32 value);

  // Configuration
  const XhciConfig config_;
  // Wiring
  Window<Xhci> window_{*this, &Xhci::read_registers, &Xhci::write_registers};
  Region bar_;
  Region registers_;
  PciMsiX msix_;
  TimerQueue& time_;
  Timer timer_;  // for what waits; never while the machine rests
  UsbBus bus_;
  const XhciDma dma_;

  // State
  u32 command_ = 0, status_ = 0, notifications_ = 0, configure_ = 0;
  u64 dcbaap_ = 0;
  XhciRing commands_;
  bool commands_run_ = false;
  std::array<XhciInterrupter, kInterrupters> interrupters_;
  std::array<Port, 2 * kMostPorts> ports_;
  std::array<Slot, kSlots> slots_;
};

// Shared by the controller's files.
namespace xhci {
enum : u32 {  // PORTSC
  kConnected = 1u << 0,
  kEnabled = 1u << 1,
  kReset = 1u << 4,
  kLinkShift = 5,
  kLinkMask = 0xfu << 5,
  kPower = 1u << 9,
  kSpeedShift = 10,
  kSpeedMask = 0xfu << 10,
  kLinkWrite = 1u << 16,
  kConnectChange = 1u << 17,
  kEnableChange = 1u << 18,
  kWarmResetChange = 1u << 19,
  kResetChange = 1u << 21,
  kLinkChange = 1u << 22,
  kChanges = 0x7fu << 17,
  kWakeBits = 7u << 25,
  kWarmReset = 1u << 31,
};
enum : u32 { kU0 = 0, kU3 = 3, kDisabled = 4, kRxDetect = 5, kPolling = 7, kResume = 15 };
enum : u32 {  // USBCMD
  kRun = 1u << 0,
  kHostReset = 1u << 1,
  kInterruptEnable = 1u << 2,
  kSaveState = 1u << 8,
  kRestoreState = 1u << 9,
};
enum : u32 {  // USBSTS
  kHalted = 1u << 0,
  kHostError = 1u << 2,
  kEventInterrupt = 1u << 3,
  kPortChange = 1u << 4,
  kSaveError = 1u << 10,
};
enum : u32 { kPending = 1u << 0, kEnable = 1u << 1 };  // IMAN
constexpr u64 kHandlerBusy = 1u << 3;                  // ERDP
constexpr u64 kContext = 32;                           // bytes of each
}  // namespace xhci

}  // namespace menura
