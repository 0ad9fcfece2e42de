#include "hw/usb/usb_storage.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u8 kIn = 1, kOut = 2;  // the bulk endpoints
constexpr u32 kCommandSignature = 0x43425355, kStatusSignature = 0x53425355;
constexpr size_t kCommandSize = 31, kStatusSize = 13;
constexpr u32 kMostData = 16 * MiB;
enum : u8 { kMassStorageReset = 0xff, kGetMaxLun = 0xfe };
enum : u8 { kPassed = 0, kFailed = 1 };
constexpr u8 kRequestSense = 0x03;

// clang-format off
std::vector<u8> device_descriptor(UsbSpeed speed) {
  const bool super = speed == UsbSpeed::Super;
  return {18, 1, 0x00, static_cast<u8>(super ? 0x03 : 0x02), 0, 0, 0,
          static_cast<u8>(super ? 9 : 64),           // packets of endpoint 0; 2^9
          0x27, 0x06, 0x05, 0x00, 0x00, 0x01, 1, 2, 3, 1};
}

// One interface: mass storage, SCSI, bulk-only; SuperSpeed endpoints each have a companion.
std::vector<u8> configuration_descriptor(UsbSpeed speed) {
  const bool super = speed == UsbSpeed::Super;
  const u16 packet = super ? 1024 : speed == UsbSpeed::High ? 512 : 64;
  const auto low = static_cast<u8>(packet), high = static_cast<u8>(packet >> 8);
  std::vector<u8> all{9, 2, 0, 0, 1, 1, 0, 0x80, 50,
                      9, 4, 0, 0, 2, 8, 6, 0x50, 0};
  for (const u8 endpoint : {u8{0x80 | kIn}, kOut}) {
    all.insert(all.end(), {7, 5, endpoint, 2, low, high, 0});
    if (super) all.insert(all.end(), {6, 0x30, 15, 0, 0, 0});  // bursts of 16 packets, no streams
  }
  all[2] = static_cast<u8>(all.size());
  return all;
}

// BOS: what it could do at other speeds, and how fast it must be to do all it does.
const std::vector<u8> kObjectStore = {5, 15, 22, 0, 2,
                                      7, 16, 2, 0x02, 0, 0, 0,               // USB 2.0 LPM
                                      10, 16, 3, 0, 0x0e, 0, 1, 0x0a, 0, 0};  // full to super
// clang-format on

}  // namespace

void UsbStorage::Sense::describe(StateVisitor& v) {
  v.field("key", key);
  v.field("asc", asc);
  v.field("ascq", ascq);
}

// A command at the drive. The data comes and goes whole; whoever resets the stick lets go of it.
class UsbStorage::Task final : public ScsiTask {
 public:
  explicit Task(UsbStorage& stick) : stick_(&stick) {}
  void let_go() { stick_ = nullptr; }

  bool to_initiator(u64 offset, ConstBytes bytes) override {
    if (!stick_) return false;
    std::vector<std::byte>& data = stick_->data_;
    if (data.size() < offset + bytes.size()) data.resize(offset + bytes.size());
    std::ranges::copy(bytes, data.begin() + static_cast<ptrdiff_t>(offset));
    return true;
  }
  bool from_initiator(u64 offset, Bytes bytes) override {
    if (!stick_) return false;
    std::copy_n(stick_->data_.begin() + static_cast<ptrdiff_t>(offset), bytes.size(),
                bytes.begin());
    return true;
  }
  void done(ScsiStatus status, u64 moved, const ScsiSense& sense) override {
    if (stick_) std::exchange(stick_, nullptr)->finish(status, moved, sense);
  }

 private:
  UsbStorage* stick_;
};

UsbStorage::UsbStorage(std::string id, std::string serial, Device* parent)
    : UsbDevice(std::move(id), parent),
      full_{.device = device_descriptor(UsbSpeed::Full),
            .configuration = configuration_descriptor(UsbSpeed::Full),
            .strings = {"menura", "USB drive", std::move(serial)}},
      high_{.device = full_.device,
            .configuration = configuration_descriptor(UsbSpeed::High),
            .strings = full_.strings},
      super_{.device = device_descriptor(UsbSpeed::Super),
             .configuration = configuration_descriptor(UsbSpeed::Super),
             .strings = full_.strings,
             .object_store = kObjectStore} {}

UsbStorage::~UsbStorage() {
  abandon();
  drive_.reset();
}

const UsbDevice::Descriptors& UsbStorage::descriptors() const {
  switch (speed()) {
    case UsbSpeed::Super: return super_;
    case UsbSpeed::High: return high_;
    default: return full_;
  }
}

ScsiUnit* UsbStorage::unit(unsigned target, unsigned lun) const {
  return target == 0 && lun == 0 ? unit_ : nullptr;
}

void UsbStorage::plug(unsigned target, unsigned lun, ScsiUnit& unit) {
  ensure(target == 0 && lun == 0 && !unit_, "a free place");
  unit_ = &unit;
}

void UsbStorage::unplug(ScsiUnit& unit) {
  if (unit_ != &unit) return;
  abandon();
  unit_ = nullptr;
}

void UsbStorage::pause() {
  if (drive_) drive_->pause();
}

// The drive may still work at a command that nobody waits for.
void UsbStorage::abandon() {
  if (task_) task_->let_go();
  task_.reset();
}

void UsbStorage::reset_function() {
  abandon();
  if (drive_) drive_->reset(ResetKind::PowerOn);
  phase_ = Phase::Command;
  tag_ = expected_ = moved_ = residue_ = 0;
  to_host_ = false;
  command_ = {};
  data_ = {};
  status_ = 0;
  sense_ = {};
}

void UsbStorage::describe_function(StateVisitor& v) {
  v.field("phase", phase_);
  v.field("tag", tag_);
  v.field("expected", expected_);
  v.field("to_host", to_host_);
  v.field("command", command_);
  v.field("transfer", data_);
  v.field("moved", moved_);
  v.field("residue", residue_);
  v.field("status", status_);
  v.field("sense", sense_);
  if (drive_) v.field("drive", *drive_);
}

Result<void> UsbStorage::restored_function() {
  // Nothing runs in a machine that rests, and data to write is run when it is whole.
  const bool good = data_.size() <= kMostData && moved_ <= data_.size() && expected_ <= kMostData &&
                    phase_ != Phase::Running &&
                    (phase_ != Phase::DataOut || data_.size() < expected_) &&
                    (phase_ != Phase::DataIn || data_.size() <= expected_);
  if (good) return drive_ ? drive_->restored() : Result<void>();
  reset_function();
  return fail(Errc::Corrupt, "USB drive '{}' has an impossible transfer in its state", id());
}

bool UsbStorage::class_request(const UsbRequest& request, std::vector<u8>& data) {
  if (request.type == 0xa1 && request.request == kGetMaxLun) {
    data = {0};
    return true;
  }
  if (request.type != 0x21 || request.request != kMassStorageReset) return false;
  abandon();
  phase_ = Phase::Command;
  data_.clear();
  return true;
}

// Transport

UsbAnswer UsbStorage::data_out(u8 endpoint, ConstBytes from) {
  if (endpoint != kOut) return {UsbStatus::Stall};
  switch (phase_) {
    case Phase::Command: return take_command(from);
    case Phase::DataOut: {
      const size_t size = std::min<size_t>(from.size(), expected_ - data_.size());
      data_.insert(data_.end(), from.begin(), from.begin() + static_cast<ptrdiff_t>(size));
      if (data_.size() == expected_) run();
      return {.length = from.size()};
    }
    case Phase::Running: return {UsbStatus::Nak};
    default: halt(kOut); return {UsbStatus::Stall};
  }
}

// §5.1, §6.2: a block that is not valid and meaningful halts both endpoints until a reset.
UsbAnswer UsbStorage::take_command(ConstBytes from) {
  const bool valid = from.size() == kCommandSize && load_le<u32>(from, 0) == kCommandSignature &&
                     load_le<u8>(from, 13) == 0 && load_le<u8>(from, 14) >= 1 &&
                     load_le<u8>(from, 14) <= 16 && load_le<u32>(from, 8) <= kMostData;
  if (!valid) {
    phase_ = Phase::Broken;
    halt(kOut);
    halt(0x80 | kIn);
    return {UsbStatus::Stall};
  }
  tag_ = load_le<u32>(from, 4);
  expected_ = load_le<u32>(from, 8);
  to_host_ = load_le<u8>(from, 12) & 0x80;
  command_ = {};
  for (size_t i = 0; i < load_le<u8>(from, 14); i++) command_[i] = load_le<u8>(from, 15 + i);
  data_.clear();
  moved_ = 0;
  if (expected_ == 0 || to_host_)
    run();
  else
    phase_ = Phase::DataOut;
  return {.length = from.size()};
}

void UsbStorage::run() {
  phase_ = Phase::Running;
  if (command_[0] == kRequestSense) return request_sense();
  if (!unit_) return finish(ScsiStatus::CheckCondition, 0, {0x02, 0x3a, 0x00});
  task_ = std::make_shared<Task>(*this);
  task_->cdb = command_;
  task_->in_size = to_host_ ? expected_ : 0;
  task_->out_size = to_host_ ? 0 : expected_;
  unit_->execute(task_);
}

// The drive's sense data went into the status; the host fetches it by a command of its own.
void UsbStorage::request_sense() {
  std::vector<std::byte> fixed(18);
  fixed[0] = std::byte{0x70};
  fixed[2] = std::byte{sense_.key};
  fixed[7] = std::byte{10};
  fixed[12] = std::byte{sense_.asc};
  fixed[13] = std::byte{sense_.ascq};
  sense_ = {};
  fixed.resize(std::min<size_t>({fixed.size(), command_[4], to_host_ ? expected_ : 0}));
  data_ = std::move(fixed);
  finish(ScsiStatus::Good, data_.size(), {});
}

void UsbStorage::finish(ScsiStatus status, u64 moved, const ScsiSense& sense) {
  task_.reset();
  moved = std::min<u64>(moved, expected_);
  residue_ = static_cast<u32>(expected_ - moved);
  status_ = status == ScsiStatus::Good ? kPassed : kFailed;
  if (status != ScsiStatus::Good) sense_ = {sense.key, sense.asc, sense.ascq};
  if (to_host_) data_.resize(moved);
  phase_ = to_host_ && expected_ > 0 ? Phase::DataIn : Phase::Status;
  wake();
}

UsbAnswer UsbStorage::data_in(u8 endpoint, Bytes to) {
  if (endpoint != kIn) return {UsbStatus::Stall};
  switch (phase_) {
    case Phase::Running: return {UsbStatus::Nak};
    case Phase::DataIn: {
      const size_t size = std::min(to.size(), data_.size() - moved_);
      std::copy_n(data_.begin() + moved_, size, to.begin());
      moved_ += static_cast<u32>(size);
      // A short packet ends it early, an empty one if need be.
      if (moved_ == expected_ || size < to.size()) {
        phase_ = Phase::Status;
        data_ = {};
        moved_ = 0;
      }
      return {.length = size};
    }
    case Phase::Status: {
      if (to.size() < kStatusSize) break;
      store_le(to, 0, kStatusSignature);
      store_le(to, 4, tag_);
      store_le(to, 8, residue_);
      store_le(to, 12, status_);
      phase_ = Phase::Command;
      return {.length = kStatusSize};
    }
    default: break;
  }
  halt(0x80 | kIn);
  return {UsbStatus::Stall};
}

}  // namespace menura
