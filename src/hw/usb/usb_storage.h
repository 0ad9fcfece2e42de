// UsbStorage: a memory stick or another drive on USB: SCSI commands in bulk-only transport.
//
// Owner: the user's device. Threads: under the machine lock. Source: USB Mass Storage Class, Bulk-Only
// Transport 1.0. The drive is a ScsiUnit that plugs itself into this one-place ScsiBus. Deviation: a
// command moves 16 MiB at most. Example:
//   UsbStorage stick("stick", "1234");
//   stick.set_drive(std::make_unique<ScsiDisk>("stick.disk", stick, ScsiDiskConfig{}, medium));
#pragma once

#include <memory>

#include "hw/scsi/scsi_unit.h"
#include "hw/usb/usb_device.h"

namespace menura {

class UsbStorage final : public UsbDevice, public ScsiBus {
 public:
  UsbStorage(std::string id, std::string serial, Device* parent = nullptr);
  ~UsbStorage() override;

  std::string_view type() const override { return "usb-storage"; }
  UsbSpeed fastest() const override { return UsbSpeed::Super; }
  void pause() override;
  // Its drive, once.
  void set_drive(std::unique_ptr<Device> drive) { drive_ = std::move(drive); }

  ScsiUnit* unit(unsigned target, unsigned lun) const override;
  void plug(unsigned target, unsigned lun, ScsiUnit& unit) override;
  void unplug(ScsiUnit& unit) override;

 protected:
  const Descriptors& descriptors() const override;
  bool class_request(const UsbRequest& request, std::vector<u8>& data) override;
  UsbAnswer data_in(u8 endpoint, Bytes to) override;
  UsbAnswer data_out(u8 endpoint, ConstBytes from) override;
  void reset_function() override;
  void describe_function(StateVisitor& v) override;
  Result<void> restored_function() override;

 private:
  class Task;
  // Broken: after a command block that is none, until the host resets the transport.
  enum class Phase : u8 { Command, DataOut, Running, DataIn, Status, Broken };
  struct Sense {
    u8 key = 0, asc = 0, ascq = 0;
    void describe(StateVisitor& v);
  };

  UsbAnswer take_command(ConstBytes from);
  void run();
  void request_sense();
  void finish(ScsiStatus status, u64 moved, const ScsiSense& sense);
  void abandon();

  // Configuration
  Descriptors full_, high_, super_;
  // Wiring
  ScsiUnit* unit_ = nullptr;
  std::shared_ptr<Task> task_;  // of phase Running
  // State
  std::unique_ptr<Device> drive_;
  Phase phase_ = Phase::Command;
  u32 tag_ = 0;
  u32 expected_ = 0;  // bytes of data that the host wants to move
  bool to_host_ = false;
  std::array<u8, 16> command_{};
  std::vector<std::byte> data_;
  u32 moved_ = 0;  // of data_, to the host
  u32 residue_ = 0;
  u8 status_ = 0;
  Sense sense_;
};

}  // namespace menura
