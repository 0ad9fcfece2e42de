#include "hw/input/i8042.h"

#include <array>

namespace menura {

namespace {

enum : u8 {
  kStatusOutputFull = 0x01,
  kStatusSystem = 0x04,
  kStatusCommand = 0x08,
  kStatusUnlocked = 0x10,
  kStatusAux = 0x20,
};
// The command byte.
enum : u8 {
  kKeyboardInterrupt = 0x01,
  kAuxInterrupt = 0x02,
  kSystemFlag = 0x04,
  kKeyboardOff = 0x10,
  kAuxOff = 0x20,
  kTranslate = 0x40,
};
enum : u8 {
  kReadRam = 0x20,
  kWriteRam = 0x60,
  kDisableAux = 0xa7,
  kEnableAux = 0xa8,
  kTestAux = 0xa9,
  kSelfTest = 0xaa,
  kTestKeyboard = 0xab,
  kDisableKeyboard = 0xad,
  kEnableKeyboard = 0xae,
  kReadInputPort = 0xc0,
  kReadOutputPort = 0xd0,
  kWriteOutputPort = 0xd1,
  kWriteKeyboardBuffer = 0xd2,
  kWriteAuxBuffer = 0xd3,
  kWriteAux = 0xd4,
  kDisableA20 = 0xdd,
  kEnableA20 = 0xdf,
  kReadTestInputs = 0xe0,
  kPulseLines = 0xf0,
};
enum : u8 { kLineReset = 0x01, kLineA20 = 0x02, kLineIrq1 = 0x10, kLineIrq12 = 0x20 };

// Scan codes of set 2 as the controller turns them into set 1.
constexpr std::array<u8, 0x85> kTranslation = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
    0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
    0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
    0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
    0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
    0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
    0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
    0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
    0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54};

}  // namespace

I8042::I8042(std::string id, Ps2Device& keyboard, Ps2Device& aux, Wires wires)
    : Device(std::move(id)), keyboard_(keyboard), aux_(aux), wires_(std::move(wires)) {
  keyboard_.on_output([this] { refill(); });
  aux_.on_output([this] { refill(); });
}

void I8042::reset(ResetKind) {
  ram_ = {};
  ram_[0] = kKeyboardInterrupt | kTranslate;
  data_ = 0;
  output_full_ = false;
  output_from_ = From::Controller;
  last_write_was_command_ = true;
  pending_command_ = 0;
  break_prefix_ = false;
  a20_ = true;
  wires_.set_a20(true);
  update_irqs();
}

void I8042::describe(StateVisitor& v) {
  v.field("ram", ram_);
  v.field("data", data_);
  v.field("output_full", output_full_);
  v.field("output_from", output_from_);
  v.field("last_write_was_command", last_write_was_command_);
  v.field("pending_command", pending_command_);
  v.field("a20", a20_);
  v.field("break_prefix", break_prefix_);
}

Result<void> I8042::restored() {
  wires_.set_a20(a20_);
  wires_.irq1.import(irq1_level());
  wires_.irq12.import(irq12_level());
  return {};
}

u64 I8042::read_data(Access) {
  const u8 value = data_;  // the next byte may take its place at once
  if (output_full_) {
    output_full_ = false;
    update_irqs();
    refill();
  }
  return value;
}

u64 I8042::read_status(Access) {
  u8 status = kStatusUnlocked;
  if (output_full_) status |= kStatusOutputFull;
  if (output_full_ && output_from_ == From::Aux) status |= kStatusAux;
  if (ram_[0] & kSystemFlag) status |= kStatusSystem;
  if (last_write_was_command_) status |= kStatusCommand;
  return status;
}

void I8042::write_data(Access, u64 wide) {
  const u8 value = static_cast<u8>(wide);
  last_write_was_command_ = false;
  if (const u8 command = std::exchange(pending_command_, u8{0})) return argument(command, value);
  ram_[0] &= static_cast<u8>(~kKeyboardOff);  // talking to the keyboard enables it
  keyboard_.receive(value);
  refill();
}

void I8042::write_command(Access, u64 wide) {
  const u8 command = static_cast<u8>(wide);
  last_write_was_command_ = true;
  pending_command_ = 0;
  if (command >= kReadRam && command < kReadRam + 0x20) return respond(ram_[command & 0x1f]);
  if (command >= kWriteRam && command < kWriteRam + 0x20) {
    pending_command_ = command;
    return;
  }
  switch (command) {
    case kDisableAux: ram_[0] |= kAuxOff; return;
    case kEnableAux: ram_[0] &= static_cast<u8>(~kAuxOff); return refill();
    case kDisableKeyboard: ram_[0] |= kKeyboardOff; return;
    case kEnableKeyboard: ram_[0] &= static_cast<u8>(~kKeyboardOff); return refill();
    case kTestAux:
    case kTestKeyboard: return respond(0x00);
    case kSelfTest: ram_[0] |= kSystemFlag; return respond(0x55);
    case kReadInputPort: return respond(0x80);  // keyboard not locked
    case kReadOutputPort: return respond(output_port());
    case kReadTestInputs: return respond(0x00);
    case kWriteOutputPort:
    case kWriteKeyboardBuffer:
    case kWriteAuxBuffer:
    case kWriteAux: pending_command_ = command; return;
    case kDisableA20: return write_output_port(output_port() & static_cast<u8>(~kLineA20));
    case kEnableA20: return write_output_port(output_port() | kLineA20);
    default:
      // Bits 0-3 that are zero pulse their line; only the reset line is connected.
      if (command >= kPulseLines && !(command & kLineReset)) wires_.reset();
  }
}

void I8042::argument(u8 command, u8 value) {
  if (command >= kWriteRam && command < kWriteRam + 0x20) {
    ram_[command & 0x1f] = value;
    update_irqs();
    return refill();
  }
  switch (command) {
    case kWriteOutputPort: return write_output_port(value);
    case kWriteKeyboardBuffer: return respond(value, From::Keyboard);
    case kWriteAuxBuffer: return respond(value, From::Aux);
    case kWriteAux:
      ram_[0] &= static_cast<u8>(~kAuxOff);
      aux_.receive(value);
      return refill();
  }
}

u8 I8042::output_port() const {
  return static_cast<u8>(0xc0 | kLineReset | (a20_ ? kLineA20 : 0) |
                         (irq1_level() ? kLineIrq1 : 0) | (irq12_level() ? kLineIrq12 : 0));
}

void I8042::write_output_port(u8 value) {
  a20_ = value & kLineA20;
  wires_.set_a20(a20_);
  if (!(value & kLineReset)) wires_.reset();
}

// The controller's own answers replace what was in the buffer.
void I8042::respond(u8 value, From from) { load(value, from); }

void I8042::load(u8 value, From from) {
  data_ = value;
  output_from_ = from;
  output_full_ = true;
  update_irqs();
}

u8 I8042::translate(u8 byte) {
  const u8 code = byte < kTranslation.size() ? kTranslation[byte] : byte;
  return std::exchange(break_prefix_, false) ? code | 0x80 : code;
}

void I8042::refill() {
  while (!output_full_) {
    if (!(ram_[0] & kKeyboardOff) && keyboard_.has_output()) {
      const u8 byte = keyboard_.take();
      if ((ram_[0] & kTranslate) && byte == 0xf0) {
        break_prefix_ = true;
        continue;
      }
      load(ram_[0] & kTranslate ? translate(byte) : byte, From::Keyboard);
    } else if (!(ram_[0] & kAuxOff) && aux_.has_output()) {
      load(aux_.take(), From::Aux);
    } else {
      return;
    }
  }
}

bool I8042::irq1_level() const {
  return output_full_ && output_from_ != From::Aux && (ram_[0] & kKeyboardInterrupt);
}

bool I8042::irq12_level() const {
  return output_full_ && output_from_ == From::Aux && (ram_[0] & kAuxInterrupt);
}

void I8042::update_irqs() {
  if (irq1_level() != wires_.irq1.level()) wires_.irq1.set(irq1_level());
  if (irq12_level() != wires_.irq12.level()) wires_.irq12.set(irq12_level());
}

}  // namespace menura
