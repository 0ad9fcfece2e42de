#include "hw/input/ps2_keyboard.h"

namespace menura {

namespace {

enum : u8 {
  kSetLeds = 0xed,
  kEcho = 0xee,
  kScanCodeSet = 0xf0,
  kIdentify = 0xf2,
  kSetTypematic = 0xf3,
  kEnable = 0xf4,
  kDisable = 0xf5,
  kSetDefaults = 0xf6,
  kResendLast = 0xfe,
  kReset = 0xff,
};

}  // namespace

Ps2Keyboard::Ps2Keyboard(std::string id, Inputs* inputs)
    : Ps2Device(std::move(id)), inputs_(inputs) {
  if (inputs_) inputs_->add(*this);
  reset(ResetKind::PowerOn);
}

Ps2Keyboard::~Ps2Keyboard() {
  if (inputs_) inputs_->remove(*this);
}

void Ps2Keyboard::reset(ResetKind) {
  reset_output();
  set_defaults();
  leds_ = 0;
  show_leds();
  scanning_ = true;
  pending_command_ = 0;
}

void Ps2Keyboard::set_defaults() {
  scan_code_set_ = 2;
  typematic_ = 0x2b;
}

void Ps2Keyboard::describe(StateVisitor& v) {
  v.field("scanning", scanning_);
  v.field("scan_code_set", scan_code_set_);
  v.field("leds", leds_);
  v.field("typematic", typematic_);
  v.field("pending_command", pending_command_);
  describe_output(v);
}

void Ps2Keyboard::receive(u8 byte) {
  // A command in the place of an argument ends the wait for it.
  if (pending_command_ != 0 && byte < 0xed) return argument(byte);
  pending_command_ = 0;
  command(byte);
}

void Ps2Keyboard::command(u8 byte) {
  switch (byte) {
    case kSetLeds:
    case kScanCodeSet:
    case kSetTypematic: pending_command_ = byte; return send({kAck});
    case kEcho: return send({kEcho});
    case kIdentify: return send({kAck, 0xab, 0x83});
    case kEnable: scanning_ = true; return send({kAck});
    case kDisable:
      set_defaults();
      scanning_ = false;
      return send({kAck});
    case kSetDefaults: set_defaults(); return send({kAck});
    case kResendLast: return send({last_sent()});
    case kReset: reset(ResetKind::System); return send({kAck, kSelfTestPassed});
    default: return send({kResend});
  }
}

void Ps2Keyboard::argument(u8 byte) {
  const u8 command = std::exchange(pending_command_, u8{0});
  if (command == kSetLeds) {
    leds_ = byte & 7;
    show_leds();
  } else if (command == kSetTypematic) {
    typematic_ = byte & 0x7f;
  } else if (byte == 0) {
    return send({kAck, scan_code_set_});
  } else if (byte <= 2) {
    scan_code_set_ = byte;
  } else {
    return send({kResend});
  }
  send({kAck});
}

void Ps2Keyboard::show_leds() {
  if (inputs_)
    inputs_->set_leds(
        *this, {.scroll = (leds_ & 1) != 0, .num = (leds_ & 2) != 0, .caps = (leds_ & 4) != 0});
}

Result<void> Ps2Keyboard::restored() {
  show_leds();
  return check_output();
}

void Ps2Keyboard::key(Key key, bool down) {
  if (scanning_) send(sequence(key, down));
}

std::vector<u8> Ps2Keyboard::sequence(Key key, bool down) const {
  const bool first = scan_code_set_ == 1;
  if (key == Key::Pause) {  // make and break at once, never a break of its own
    if (!down) return {};
    if (first) return {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    return {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
  }
  if (key == Key::Print) {  // with a shift around it
    if (first)
      return down ? std::vector<u8>{0xe0, 0x2a, 0xe0, 0x37}
                  : std::vector<u8>{0xe0, 0xb7, 0xe0, 0xaa};
    return down ? std::vector<u8>{0xe0, 0x12, 0xe0, 0x7c}
                : std::vector<u8>{0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12};
  }
  const u16 code = first ? key_set1(key) : key_set2(key);
  std::vector<u8> bytes;
  if (code > 0xff) bytes.push_back(static_cast<u8>(code >> 8));
  if (first) {
    bytes.push_back(static_cast<u8>(code | (down ? 0 : 0x80)));
  } else {
    if (!down) bytes.push_back(0xf0);
    bytes.push_back(static_cast<u8>(code));
  }
  return bytes;
}

}  // namespace menura
