#include "hw/ide/ide_drive.h"

#include "base/bytes.h"

namespace menura {

void TaskFile::describe(StateVisitor& v) {
  v.field("feature", feature);
  v.field("count", count);
  v.field("lba_low", lba_low);
  v.field("lba_mid", lba_mid);
  v.field("lba_high", lba_high);
}

u8 IdeDrive::read(Register reg, bool previous) const {
  const TaskFile& file = previous ? previous_ : now_;
  switch (reg) {
    case Register::ErrorFeature: return error_;
    case Register::Count: return file.count;
    case Register::LbaLow: return file.lba_low;
    case Register::LbaMid: return file.lba_mid;
    case Register::LbaHigh: return file.lba_high;
    case Register::Device: return device_ | 0xa0;
    case Register::StatusCommand: return status_;
    case Register::Data: break;
  }
  return 0xff;
}

void IdeDrive::write(Register reg, u8 value) {
  if (status_ & (ata::kBsy | ata::kDrq)) return;  // the drive owns the registers
  const auto put = [&](u8 TaskFile::*field) {
    previous_.*field = now_.*field;
    now_.*field = value;
  };
  switch (reg) {
    case Register::ErrorFeature: return put(&TaskFile::feature);
    case Register::Count: return put(&TaskFile::count);
    case Register::LbaLow: return put(&TaskFile::lba_low);
    case Register::LbaMid: return put(&TaskFile::lba_mid);
    case Register::LbaHigh: return put(&TaskFile::lba_high);
    case Register::Device: device_ = value; return;
    case Register::Data:
    case Register::StatusCommand: return;
  }
}

void IdeDrive::acknowledge_interrupt() {
  interrupt_ = false;
  host_->interrupt_changed();
}

void IdeDrive::raise_interrupt() {
  interrupt_ = true;
  host_->interrupt_changed();
}

void IdeDrive::command(u8 code) {
  constexpr u8 kDeviceReset = 0x08;
  if ((status_ & ata::kBsy) && code != kDeviceReset) return;
  forget_request();
  acknowledge_interrupt();
  buffer_.clear();
  status_ = ata::kDrdy | ata::kDsc;
  error_ = 0;
  execute(code);
}

// Its completion will find another epoch and do nothing.
void IdeDrive::forget_request() {
  ++*epoch_;
  in_flight_ = false;
}

void IdeDrive::soft_reset() {
  forget_request();
  buffer_.clear();
  position_ = 0;
  interrupt_ = false;
  host_->interrupt_changed();
  reset_drive();
  set_signature();
  host_->was_reset();
}

void IdeDrive::reset(ResetKind) {
  now_ = previous_ = {};
  device_ = 0;
  soft_reset();
}

void IdeDrive::describe(StateVisitor& v) {
  v.field("now", now_);
  v.field("previous", previous_);
  v.field("device", device_);
  v.field("error", error_);
  v.field("status", status_);
  v.field("interrupt", interrupt_);
  v.field("pio_out", pio_out_);
  v.field("buffer", buffer_);
  v.field("position", position_);
  describe_drive(v);
}

Result<void> IdeDrive::restored() {
  constexpr size_t kLargestBuffer = 1 << 20;
  forget_request();
  if (buffer_.size() > kLargestBuffer || position_ > buffer_.size())
    return fail(Errc::Corrupt, "Drive '{}' has an impossible data buffer", id());
  return restored_drive();
}

// Requests in flight finish, and those that follow from them.
void IdeDrive::pause() {
  if (disk_) disk_->drain();
}

void IdeDrive::start_pio_in(std::vector<std::byte> data) {
  buffer_ = std::move(data);
  position_ = 0;
  pio_out_ = false;
  status_ = ata::kDrdy | ata::kDsc | ata::kDrq;
  raise_interrupt();
}

void IdeDrive::start_pio_out(size_t size) {
  buffer_.assign(size, std::byte{0});
  position_ = 0;
  pio_out_ = true;
  status_ = ata::kDrdy | ata::kDsc | ata::kDrq;
}

u32 IdeDrive::read_data(unsigned size) {
  if (!(status_ & ata::kDrq) || pio_out_ || buffer_.size() - position_ < size) return ~u32{0};
  const Bytes at = Bytes(buffer_).subspan(position_);
  const u32 value = size == 4 ? load_le<u32>(at) : load_le<u16>(at);
  position_ += size;
  if (position_ >= buffer_.size()) {
    buffer_.clear();
    status_ &= static_cast<u8>(~ata::kDrq);
    pio_in_done();
  }
  return value;
}

void IdeDrive::write_data(unsigned size, u32 value) {
  if (!(status_ & ata::kDrq) || !pio_out_ || buffer_.size() - position_ < size) return;
  if (size == 4)
    store_le(Bytes(buffer_), position_, value);
  else
    store_le(Bytes(buffer_), position_, static_cast<u16>(value));
  position_ += size;
  if (position_ < buffer_.size()) return;
  status_ &= static_cast<u8>(~ata::kDrq);
  pio_out_done(std::exchange(buffer_, {}));
}

void IdeDrive::finish(u8 error_bits) {
  error_ = error_bits;
  status_ = static_cast<u8>(ata::kDrdy | ata::kDsc | (error_bits ? ata::kErr : 0));
  raise_interrupt();
}

void IdeDrive::set_busy() { status_ = ata::kBsy | ata::kDsc; }

void IdeDrive::submit(DiskRequest request, std::function<void(Result<void>)> then) {
  set_busy();
  in_flight_ = true;
  request.done = [this, then = std::move(then), epoch = epoch_,
                  mine = *epoch_](Result<void> result) {
    if (*epoch != mine) return;
    in_flight_ = false;
    then(std::move(result));
  };
  disk_->submit(std::move(request));
}

void IdeDrive::read_disk(u64 offset, size_t size, std::function<void(Buffer, Result<void>)> then) {
  auto buffer = std::make_shared<std::vector<std::byte>>(size);
  submit(
      {.op = DiskOp::Read, .offset = offset, .data = *buffer},
      [buffer, then = std::move(then)](Result<void> result) { then(buffer, std::move(result)); });
}

}  // namespace menura
