#include "hw/acpi/smbus_host.h"

#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kTransaction, "smbus.transaction", "protocol {} address {:#x} read {} status {:#x}");

enum Port : u64 {
  kHostStatus = 0x00,   // SMBHSTSTS
  kHostControl = 0x02,  // SMBHSTCNT
  kHostCommand = 0x03,  // SMBHSTCMD
  kHostAddress = 0x04,  // SMBHSTADD
  kHostData0 = 0x05,    // SMBHSTDAT0
  kHostData1 = 0x06,    // SMBHSTDAT1
  kBlockData = 0x07,    // SMBBLKDAT
};

constexpr u8 kStatusInterrupt = 1 << 1;
constexpr u8 kStatusDeviceError = 1 << 2;
constexpr u8 kStatusBusCollision = 1 << 3;
constexpr u8 kStatusFailed = 1 << 4;
constexpr u8 kStatusClearable =
    kStatusInterrupt | kStatusDeviceError | kStatusBusCollision | kStatusFailed;

constexpr u8 kControlInterrupts = 1 << 0;
constexpr u8 kControlKill = 1 << 1;
constexpr u8 kControlStart = 1 << 6;  // reads zero

}  // namespace

SmbusHost::SmbusHost(std::function<void()> interrupt_changed)
    : interrupt_changed_(std::move(interrupt_changed)) {}

void SmbusHost::attach(u8 address, SmbusDevice& device) {
  ensure(address < devices_.size() && !devices_[address], "a free SMBus address of 7 bits");
  devices_[address] = &device;
}

bool SmbusHost::interrupt() const {
  return (control_ & kControlInterrupts) != 0 && (status_ & kStatusClearable) != 0;
}

u64 SmbusHost::read(Access access) {
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++) value |= u64{read8(access.offset + i)} << (8 * i);
  return value;
}

void SmbusHost::write(Access access, u64 value) {
  for (unsigned i = 0; i < access.size; i++)
    write8(access.offset + i, static_cast<u8>(value >> (8 * i)));
}

u8 SmbusHost::read8(u64 offset) {
  switch (offset) {
    case kHostStatus: return status_;
    case kHostControl:
      block_index_ = 0;  // a read of SMBHSTCNT rewinds the block buffer
      return control_;
    case kHostCommand: return command_;
    case kHostAddress: return address_;
    case kHostData0: return data0_;
    case kHostData1: return data1_;
    case kBlockData: {
      const u8 value = block_[block_index_];
      block_index_ = (block_index_ + 1) % kBlockSize;
      return value;
    }
    default: return 0;
  }
}

void SmbusHost::write8(u64 offset, u8 value) {
  switch (offset) {
    case kHostStatus:
      status_ &= static_cast<u8>(~(value & kStatusClearable));
      interrupt_changed_();
      return;
    case kHostControl:
      control_ = value & static_cast<u8>(~kControlStart);
      if ((value & kControlKill) != 0)
        status_ |= kStatusFailed;
      else if ((value & kControlStart) != 0)
        start();
      interrupt_changed_();
      return;
    case kHostCommand: command_ = value; return;
    case kHostAddress: address_ = value; return;
    case kHostData0: data0_ = value; return;
    case kHostData1: data1_ = value; return;
    case kBlockData:
      block_[block_index_] = value;
      block_index_ = (block_index_ + 1) % kBlockSize;
      return;
    default: return;
  }
}

void SmbusHost::start() {
  const Protocol protocol{bits(control_, 4, 2)};
  const bool reading = test_bit(address_, 0);
  SmbusDevice* device = devices_[address_ >> 1];
  block_index_ = 0;
  const bool acknowledged = device && run(*device, protocol, reading);
  // An address that nobody acknowledges is a device error, as are the reserved protocols.
  status_ |= acknowledged ? kStatusInterrupt : kStatusDeviceError;
  trace(kTransaction, static_cast<unsigned>(protocol), address_ >> 1, reading, status_);
}

bool SmbusHost::run(SmbusDevice& device, Protocol protocol, bool reading) {
  const std::array<u8, 3> out{command_, data0_, data1_};
  std::array<u8, 2> in{};
  switch (protocol) {
    case Protocol::Quick: return reading ? device.read({}) : device.write({});
    case Protocol::Byte:
      if (!reading) return device.write(std::span(out).first(1));
      if (!device.read(std::span(in).first(1))) return false;
      data0_ = in[0];
      return true;
    case Protocol::ByteData:
    case Protocol::WordData: {
      const size_t length = protocol == Protocol::ByteData ? 1 : 2;
      if (!reading) return device.write(std::span(out).first(1 + length));
      if (!device.write(std::span(out).first(1)) || !device.read(std::span(in).first(length)))
        return false;
      data0_ = in[0];
      if (length == 2) data1_ = in[1];
      return true;
    }
    case Protocol::BlockData: return run_block(device, reading);
  }
  return false;
}

// The count travels in SMBHSTDAT0: 1 to 32 bytes.
bool SmbusHost::run_block(SmbusDevice& device, bool reading) {
  if (!reading) {
    if (data0_ < 1 || data0_ > kBlockSize) return false;
    std::array<u8, 2 + kBlockSize> out{command_, data0_};
    std::ranges::copy(std::span(block_).first(data0_), out.begin() + 2);
    return device.write(std::span(out).first(2u + data0_));
  }
  std::array<u8, 1 + kBlockSize> in{};
  if (!device.write(std::span(&command_, 1)) || !device.read(in)) return false;
  if (in[0] < 1 || in[0] > kBlockSize) return false;
  data0_ = in[0];
  std::copy_n(in.begin() + 1, data0_, block_.begin());
  return true;
}

void SmbusHost::reset() {
  status_ = control_ = command_ = address_ = data0_ = data1_ = block_index_ = 0;
  block_ = {};
  interrupt_changed_();
}

void SmbusHost::describe(StateVisitor& v) {
  v.field("status", status_);
  v.field("control", control_);
  v.field("command", command_);
  v.field("address", address_);
  v.field("data0", data0_);
  v.field("data1", data1_);
  v.field("block", block_);
  v.field("block_index", block_index_);
  if (v.loading() && block_index_ >= kBlockSize)
    v.fail(fail(Errc::Corrupt, "SMBus block index {} is past {} bytes", block_index_, kBlockSize));
}

}  // namespace menura
