// UsbDevice: a function on a USB bus: its control endpoint, and what its own endpoints do; UsbBus: the
// ports of a host controller or of a hub.
//
// Owner: the board or the user. Threads: under the machine lock. Source: USB 2.0 and 3.2
// specifications, chapters 8 and 9. A host controller runs transactions: setup(), in(), out(); the
// answer is there at once, or Nak: then wake() tells when to ask again. A controller may ask for many
// packets at once; less than it has room for is a short one, the last.
// Example, of a device: see usb_hid.h; of a controller: see uhci.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hw/core/device.h"

namespace menura {

class UsbBus;

enum class UsbSpeed : u8 { Low, Full, High, Super };
enum class UsbStatus : u8 { Ack, Nak, Stall };
struct UsbAnswer {
  UsbStatus status = UsbStatus::Ack;
  size_t length = 0;  // bytes moved
};

// The eight bytes of a setup packet (§9.3).
struct UsbRequest {
  u8 type = 0, request = 0;
  u16 value = 0, index = 0, length = 0;
  bool to_host() const { return type & 0x80; }
  void describe(StateVisitor& v) {
    v.field("type", type);
    v.field("request", request);
    v.field("value", value);
    v.field("index", index);
    v.field("length", length);
  }
};

class UsbDevice : public Device {
 public:
  ~UsbDevice() override;
  virtual UsbSpeed fastest() const { return UsbSpeed::Full; }
  // As fast as its port lets it be.
  UsbSpeed speed() const;
  u8 address() const { return address_; }
  // The one of that address, here or behind this hub's ports; null: nobody.
  virtual UsbDevice* find(u8 address) { return address == address_ ? this : nullptr; }
  // A hub's ports; null for other devices.
  virtual UsbBus* downstream() { return nullptr; }

  // The port's reset.
  void bus_reset();
  // Transactions to this device's address.
  UsbAnswer setup(ConstBytes packet);
  UsbAnswer in(u8 endpoint, Bytes to);
  UsbAnswer out(u8 endpoint, ConstBytes from);

  void reset(ResetKind kind) final;
  void describe(StateVisitor& v) final;
  Result<void> restored() final;

 protected:
  using Device::Device;
  static constexpr size_t kControlMax = 4096;

  struct Descriptors {
    std::vector<u8> device;
    std::vector<u8> configuration;      // with its interfaces and endpoints
    std::vector<std::string> strings;   // from number 1
    std::vector<u8> object_store = {};  // BOS, of a SuperSpeed device
  };
  // Of its present speed.
  virtual const Descriptors& descriptors() const = 0;
  // The endpoint stalls until the host clears it; bit 7: to the host.
  void halt(u8 endpoint);
  // What was refused with Nak may go now.
  void wake();
  bool configured() const { return configuration_ != 0; }

  // Requests of classes, and descriptors beyond the standard's: data is filled (to the host) or read.
  // False: the endpoint stalls.
  virtual bool class_request(const UsbRequest& request, std::vector<u8>& data) = 0;
  virtual UsbAnswer data_in(u8 endpoint, Bytes to) = 0;
  virtual UsbAnswer data_out(u8 endpoint, ConstBytes from) = 0;
  virtual void reset_function() = 0;
  virtual void describe_function(StateVisitor& v) = 0;
  virtual Result<void> restored_function() { return {}; }
  virtual void configured_changed() {}

 private:
  friend class UsbBus;
  enum class Stage : u8 { Idle, DataIn, DataOut, Status, Stalled };
  bool control_request();
  bool standard_request();
  bool get_descriptor();

  // Wiring
  UsbBus* bus_ = nullptr;
  // State
  u8 address_ = 0;
  u8 new_address_ = 0;  // from the status stage on
  u8 configuration_ = 0;
  u16 halted_ = 0;  // a bit per endpoint number, those to the host from bit 8
  Stage stage_ = Stage::Idle;
  UsbRequest request_;
  std::vector<u8> data_;
  u32 done_ = 0;  // of data_
};

class UsbBus {
 public:
  struct Wiring {
    // A port's device came or went.
    std::function<void(unsigned port)> changed;
    // Somebody on the bus has something that was refused before; may be empty.
    std::function<void()> woken = {};
  };
  UsbBus(std::string name, unsigned ports, UsbSpeed fastest, Wiring wiring)
      : name_(std::move(name)), devices_(ports), fastest_(fastest), wiring_(std::move(wiring)) {}
  ~UsbBus();
  UsbBus(const UsbBus&) = delete;
  UsbBus& operator=(const UsbBus&) = delete;

  const std::string& name() const { return name_; }
  unsigned ports() const { return static_cast<unsigned>(devices_.size()); }
  UsbSpeed fastest() const { return fastest_; }
  UsbDevice* device(unsigned port) const { return devices_[port]; }
  // Ports count from 0 here, from 1 for users; without one, the first free.
  Result<void> plug(UsbDevice& device, std::optional<unsigned> port = {});
  void unplug(UsbDevice& device);
  void wake() const {
    if (wiring_.woken) wiring_.woken();
  }

 private:
  std::string name_;
  std::vector<UsbDevice*> devices_;
  UsbSpeed fastest_;
  Wiring wiring_;
};

}  // namespace menura
