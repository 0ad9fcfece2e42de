#include "hw/input/ps2_mouse.h"

#include <algorithm>

namespace menura {

namespace {

enum : u8 {
  kScaling1 = 0xe6,
  kScaling2 = 0xe7,
  kSetResolution = 0xe8,
  kStatusRequest = 0xe9,
  kStreamMode = 0xea,
  kReadData = 0xeb,
  kResetWrap = 0xec,
  kWrapMode = 0xee,
  kRemoteMode = 0xf0,
  kGetId = 0xf2,
  kSetRate = 0xf3,
  kEnable = 0xf4,
  kDisable = 0xf5,
  kSetDefaults = 0xf6,
  kResendLast = 0xfe,
  kReset = 0xff,
};
constexpr u32 kWheelKnock = 200 << 16 | 100 << 8 | 80;
constexpr u32 kFiveButtonKnock = 200 << 16 | 200 << 8 | 80;
enum : u8 { kWheelId = 3, kFiveButtonId = 4 };

// Movement that has gathered is bounded, so that a guest that does not look cannot overflow it.
constexpr i32 kGatherLimit = 1 << 20;

i32 gather(i32 so_far, i32 more) {
  return std::clamp(so_far + std::clamp(more, -kGatherLimit, kGatherLimit), -kGatherLimit,
                    kGatherLimit);
}

}  // namespace

Ps2Mouse::Ps2Mouse(std::string id, Inputs* inputs) : Ps2Device(std::move(id)), inputs_(inputs) {
  if (inputs_) inputs_->add(*this);
  reset(ResetKind::PowerOn);
}

Ps2Mouse::~Ps2Mouse() {
  if (inputs_) inputs_->remove(*this);
}

void Ps2Mouse::reset(ResetKind) {
  reset_output();
  set_defaults();
  remote_ = wrap_ = false;
  device_id_ = 0;
  last_rates_ = 0;
  pending_command_ = 0;
  buttons_ = reported_buttons_ = 0;
  dx_ = dy_ = wheel_ = 0;
}

void Ps2Mouse::set_defaults() {
  reporting_ = false;
  scaling_ = false;
  resolution_ = 2;
  sample_rate_ = 100;
}

void Ps2Mouse::describe(StateVisitor& v) {
  v.field("reporting", reporting_);
  v.field("remote", remote_);
  v.field("wrap", wrap_);
  v.field("scaling", scaling_);
  v.field("resolution", resolution_);
  v.field("sample_rate", sample_rate_);
  v.field("device_id", device_id_);
  v.field("last_rates", last_rates_);
  v.field("pending_command", pending_command_);
  v.field("buttons", buttons_);
  v.field("reported_buttons", reported_buttons_);
  v.field("dx", dx_);
  v.field("dy", dy_);
  v.field("wheel", wheel_);
  describe_output(v);
}

void Ps2Mouse::receive(u8 byte) {
  if (wrap_ && byte != kReset && byte != kResetWrap) return send({byte});
  if (pending_command_ != 0) return argument(byte);
  command(byte);
}

void Ps2Mouse::command(u8 byte) {
  switch (byte) {
    case kScaling1:
    case kScaling2: scaling_ = byte == kScaling2; break;
    case kSetResolution:
    case kSetRate: pending_command_ = byte; break;
    case kStatusRequest: return report_status();
    case kStreamMode: remote_ = false; break;
    case kRemoteMode: remote_ = true; break;
    case kWrapMode: wrap_ = true; break;
    case kResetWrap: wrap_ = false; break;
    case kReadData: {
      std::vector<u8> answer = take_packet();
      answer.insert(answer.begin(), kAck);
      return send(answer);
    }
    case kGetId: return send({kAck, device_id_});
    case kEnable: reporting_ = true; break;
    case kDisable: reporting_ = false; break;
    case kSetDefaults: set_defaults(); break;
    case kResendLast: return send({last_sent()});
    case kReset: reset(ResetKind::System); return send({kAck, kSelfTestPassed, device_id_});
    default: return send({kResend});
  }
  send({kAck});
}

void Ps2Mouse::argument(u8 byte) {
  if (std::exchange(pending_command_, u8{0}) == kSetResolution) {
    resolution_ = byte & 3;
  } else {
    sample_rate_ = byte;
    note_rate(byte);
  }
  send({kAck});
}

// A driver that sets the rates 200, 100, 80 in a row asks for the wheel.
void Ps2Mouse::note_rate(u8 rate) {
  last_rates_ = (last_rates_ << 8 | rate) & 0xff'ffff;
  if (last_rates_ == kWheelKnock) device_id_ = kWheelId;
  if (last_rates_ == kFiveButtonKnock) device_id_ = kFiveButtonId;
}

void Ps2Mouse::report_status() {
  // The status byte has the buttons as right, middle, left from bit 0.
  const u8 buttons =
      static_cast<u8>((buttons_ & 1) << 2 | (buttons_ & 4) >> 1 | (buttons_ & 2) >> 1);
  const u8 status = static_cast<u8>((remote_ ? 0x40 : 0) | (reporting_ ? 0x20 : 0) |
                                    (scaling_ ? 0x10 : 0) | buttons);
  send({kAck, status, resolution_, sample_rate_});
}

void Ps2Mouse::move(i32 dx, i32 dy) {
  dx_ = gather(dx_, dx);
  dy_ = gather(dy_, -std::max(dy, -kGatherLimit));
}

// There is one wheel.
void Ps2Mouse::wheel(i32 up, i32) { wheel_ = gather(wheel_, -std::max(up, -kGatherLimit)); }

void Ps2Mouse::button(PointerButton button, bool down) {
  constexpr u8 kMasks[] = {0x01, 0x04, 0x02, 0x08,
                           0x10};  // as in a packet, from bit 0: left, right, middle
  const u8 mask = kMasks[static_cast<size_t>(button)];
  buttons_ = down ? buttons_ | mask : buttons_ & static_cast<u8>(~mask);
}

// Movement beyond what a packet holds goes into the next ones, as far as the queue has room.
void Ps2Mouse::report() {
  while (reporting_ && !remote_ && something_to_report() && has_room(packet_size()))
    send(take_packet());
}

std::vector<u8> Ps2Mouse::take_packet() {
  const auto take = [](i32& gathered, i32 low, i32 high) {
    const i32 part = std::clamp(gathered, low, high);
    gathered -= part;
    return part;
  };
  const i32 dx = take(dx_, -255, 255);
  const i32 dy = take(dy_, -255, 255);
  reported_buttons_ = buttons_;
  const u8 first =
      static_cast<u8>((dy < 0 ? 0x20 : 0) | (dx < 0 ? 0x10 : 0) | 0x08 | (buttons_ & 7));
  std::vector<u8> packet{first, static_cast<u8>(dx), static_cast<u8>(dy)};
  if (device_id_ == kWheelId) packet.push_back(static_cast<u8>(take(wheel_, -127, 127)));
  if (device_id_ == kFiveButtonId)
    packet.push_back(static_cast<u8>((take(wheel_, -7, 7) & 0x0f) | (buttons_ & 0x18) << 1));
  if (device_id_ == 0) wheel_ = 0;  // a mouse without a wheel
  return packet;
}

}  // namespace menura
