// UsbDevice: a function on a USB bus: its control endpoint, and what its own endpoints do; UsbBus: the
// root ports of a host controller.
//
// Owner: the board or the user. Threads: under the machine lock. Source: USB 1.1 specification,
// chapters 8 and 9. A host controller runs transactions: setup(), in(), out(); the answer is there at
// once, or Nak. Example, of a device: see usb_hid.h; of a controller: see uhci.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hw/core/device.h"

namespace menura {

enum class UsbSpeed : u8 { Low, Full };
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
  virtual UsbSpeed speed() const { return UsbSpeed::Full; }
  u8 address() const { return address_; }

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
    std::vector<u8> configuration;     // with its interfaces and endpoints
    std::vector<std::string> strings;  // from number 1
    u8 max_packet = 8;                 // of endpoint 0
  };
  virtual const Descriptors& descriptors() const = 0;
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
  class UsbBus* bus_ = nullptr;
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
  // changed() hears of a port whose device came or went.
  UsbBus(std::string name, unsigned ports, std::function<void(unsigned port)> changed)
      : name_(std::move(name)), devices_(ports), changed_(std::move(changed)) {}
  ~UsbBus();
  UsbBus(const UsbBus&) = delete;
  UsbBus& operator=(const UsbBus&) = delete;

  const std::string& name() const { return name_; }
  unsigned ports() const { return static_cast<unsigned>(devices_.size()); }
  UsbDevice* device(unsigned port) const { return devices_[port]; }
  // Ports count from 0 here, from 1 for users; without one, the first free.
  Result<void> plug(UsbDevice& device, std::optional<unsigned> port = {});
  void unplug(UsbDevice& device);

 private:
  std::string name_;
  std::vector<UsbDevice*> devices_;
  std::function<void(unsigned)> changed_;
};

}  // namespace menura
