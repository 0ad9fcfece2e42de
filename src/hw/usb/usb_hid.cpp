#include "hw/usb/usb_hid.h"

#include <algorithm>
#include <bit>

namespace menura {

namespace {

enum : u8 {
  kGetReport = 1,
  kGetIdle = 2,
  kGetProtocol = 3,
  kSetReport = 9,
  kSetIdle = 10,
  kSetProtocol = 11,
};
enum : u8 { kHidDescriptor = 0x21, kReportDescriptor = 0x22 };
constexpr size_t kMaxReports = 32;
constexpr i32 kGatherLimit = 1 << 20;
constexpr u8 kFirstModifier = 0xe0, kRollOver = 0x01;

// HID 1.11 appendix B.1.
constexpr u8 kKeyboardReport[] = {
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01,              // generic desktop, keyboard, application
    0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7,              // modifiers
    0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08,  // eight bits
    0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01,  // input; a reserved byte
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01,  // five lights
    0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03,  //
    0x91, 0x01, 0x95, 0x06, 0x75, 0x08, 0x15, 0x00,  // six keys
    0x26, 0xff, 0x00, 0x05, 0x07, 0x19, 0x00, 0x2a, 0xff, 0x00, 0x81, 0x00, 0xc0};
// Five buttons; X, Y and a wheel, relative: begins as appendix B.2's.
constexpr u8 kMouseReport[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,              // mouse, pointer
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01,              // buttons 1 to 5
    0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x03, 0x81, 0x01,  // padded to a byte
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38,                          // X, Y, wheel
    0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, 0xc0, 0xc0};
// The same with X and Y absolute, 0 to 32767.
constexpr u8 kTabletReport[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,              //
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01,              //
    0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x03, 0x81, 0x01,  //
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f,        //
    0x35, 0x00, 0x46, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02,        //
    0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0x00, 0x45, 0x00,              //
    0x75, 0x08, 0x95, 0x01, 0x81, 0x06, 0xc0, 0xc0};

struct Model {
  std::string_view type;
  std::string_view name;
  u16 product;
  u8 subclass, protocol;  // 1, 1: a boot keyboard; 1, 2: a boot mouse
  u8 interval;            // ms
  std::span<const u8> report;
};
constexpr Model kModels[] = {
    {"usb-kbd", "USB keyboard", 0x0001, 1, 1, 8, kKeyboardReport},
    {"usb-mouse", "USB mouse", 0x0002, 1, 2, 8, kMouseReport},
    {"usb-tablet", "USB tablet", 0x0003, 0, 0, 4, kTabletReport},
};
const Model& model(UsbHid::Kind kind) { return kModels[static_cast<size_t>(kind)]; }

// clang-format off
std::vector<u8> device_descriptor(const Model& m, bool high) {
  return {18, 1, static_cast<u8>(high ? 0x00 : 0x10), static_cast<u8>(high ? 0x02 : 0x01),  // USB 2.0 or 1.1
          0, 0, 0,
          static_cast<u8>(high ? 64 : 8),                             // packets of endpoint 0
          0x27, 0x06, static_cast<u8>(m.product), static_cast<u8>(m.product >> 8),
          0x00, 0x01, 1, 2, 0, 1};  // release 1.0, strings 1 and 2, one configuration
}

std::vector<u8> configuration_descriptor(const Model& m, bool high) {
  // In ms, or as a power of two of 125 us.
  const auto interval = static_cast<u8>(high ? std::bit_width(8u * m.interval) : m.interval);
  return {9, 2, 34, 0, 1, 1, 0, 0xa0, 50,           // one interface; wakes; 100 mA
          9, 4, 0, 0, 1, 3, m.subclass, m.protocol, 0,  // HID, one endpoint
          9, kHidDescriptor, 0x11, 0x01, 0, 1, kReportDescriptor, static_cast<u8>(m.report.size()), 0,
          7, 5, 0x81, 3, 8, 0, interval};           // interrupt, to the host
}
// clang-format on

}  // namespace

UsbHid::UsbHid(std::string id, Kind kind, Inputs& inputs, Device* parent)
    : UsbDevice(std::move(id), parent),
      kind_(kind),
      full_{.device = device_descriptor(model(kind), false),
            .configuration = configuration_descriptor(model(kind), false),
            .strings = {"menura", std::string(model(kind).name)}},
      high_{.device = device_descriptor(model(kind), true),
            .configuration = configuration_descriptor(model(kind), true),
            .strings = full_.strings},
      report_descriptor_(model(kind).report.begin(), model(kind).report.end()),
      inputs_(inputs) {
  inputs_.add(*this);
}

UsbHid::~UsbHid() { inputs_.remove(*this); }

std::string_view UsbHid::type() const { return model(kind_).type; }
std::string_view UsbHid::input_name() const { return model(kind_).name; }

// Only once the guest listens: before, the PS/2 devices are what firmware reads.
InputKinds UsbHid::takes() const {
  if (!configured()) return {};
  return {.keys = kind_ == Kind::Keyboard,
          .relative = kind_ == Kind::Mouse,
          .absolute = kind_ == Kind::Tablet};
}

void UsbHid::configured_changed() {
  if (configured())
    inputs_.activate(*this);
  else
    inputs_.kinds_changed();
  show_leds();
}

void UsbHid::reset_function() {
  protocol_ = 1;
  idle_ = leds_ = modifiers_ = buttons_ = 0;
  keys_.clear();
  reports_.clear();
  dx_ = dy_ = wheel_ = 0;
  x_ = y_ = 0;
  changed_ = false;
}

void UsbHid::describe_function(StateVisitor& v) {
  v.field("protocol", protocol_);
  v.field("idle", idle_);
  v.field("leds", leds_);
  v.field("keys", keys_);
  v.field("modifiers", modifiers_);
  v.field("reports", reports_);
  v.field("buttons", buttons_);
  v.field("dx", dx_);
  v.field("dy", dy_);
  v.field("wheel", wheel_);
  v.field("x", x_);
  v.field("y", y_);
  v.field("changed", changed_);
}

Result<void> UsbHid::restored_function() {
  bool good = reports_.size() <= kMaxReports && keys_.size() <= 256;
  for (const std::vector<u8>& report : reports_) good &= report.size() == 8;
  if (!good) return fail(Errc::Corrupt, "USB device '{}' holds too many reports", id());
  return {};
}

void UsbHid::show_leds() {
  if (kind_ == Kind::Keyboard)
    inputs_.set_leds(
        *this, {.scroll = (leds_ & 4) != 0, .num = (leds_ & 1) != 0, .caps = (leds_ & 2) != 0});
}

// What the host asks

bool UsbHid::class_request(const UsbRequest& request, std::vector<u8>& data) {
  if (request.type == 0x81 && request.request == 6) {  // a descriptor of the interface
    if (request.value >> 8 == kReportDescriptor) {
      data = report_descriptor_;
      return true;
    }
    if (request.value >> 8 != kHidDescriptor) return false;
    data.assign(full_.configuration.begin() + 18, full_.configuration.begin() + 27);
    return true;
  }
  if ((request.type & 0x7f) != 0x21) return false;
  switch (request.request) {
    case kGetReport: data = kind_ == Kind::Keyboard ? keyboard_report() : report(); return true;
    case kSetReport:
      if (kind_ != Kind::Keyboard || data.empty()) return false;
      leds_ = data[0];
      show_leds();
      return true;
    case kGetIdle: data = {idle_}; return true;
    case kSetIdle: idle_ = static_cast<u8>(request.value >> 8); return true;
    case kGetProtocol: data = {protocol_}; return kind_ != Kind::Tablet;
    case kSetProtocol: protocol_ = request.value & 1; return kind_ != Kind::Tablet;
    default: return false;
  }
}

bool UsbHid::pending() const {
  return kind_ == Kind::Keyboard ? !reports_.empty() : changed_ || dx_ || dy_ || wheel_;
}

UsbAnswer UsbHid::data_in(u8 endpoint, Bytes to) {
  if (endpoint != 1) return {UsbStatus::Stall};
  if (!pending()) return {UsbStatus::Nak};
  std::vector<u8> bytes;
  if (kind_ == Kind::Keyboard) {
    bytes = std::move(reports_.front());
    reports_.erase(reports_.begin());
  } else {
    bytes = report();
  }
  const size_t size = std::min(to.size(), bytes.size());
  std::copy_n(std::as_bytes(std::span(bytes)).begin(), size, to.begin());
  return {.length = size};
}

UsbAnswer UsbHid::data_out(u8, ConstBytes) { return {UsbStatus::Stall}; }

std::vector<u8> UsbHid::keyboard_report() const {
  std::vector<u8> bytes{modifiers_, 0, 0, 0, 0, 0, 0, 0};
  if (keys_.size() > 6)
    std::fill(bytes.begin() + 2, bytes.end(), kRollOver);
  else
    std::ranges::copy(keys_, bytes.begin() + 2);
  return bytes;
}

// Of a pointer; movement that does not fit waits for the next one.
std::vector<u8> UsbHid::report() {
  const auto take = [](i32& gathered) {
    const i32 part = std::clamp(gathered, -127, 127);
    gathered -= part;
    return static_cast<u8>(part);
  };
  changed_ = false;
  if (kind_ == Kind::Tablet)
    return {buttons_,
            static_cast<u8>(x_),
            static_cast<u8>(x_ >> 8),
            static_cast<u8>(y_),
            static_cast<u8>(y_ >> 8),
            take(wheel_)};
  std::vector<u8> bytes{buttons_, take(dx_), take(dy_)};
  if (protocol_ == 1)
    bytes.push_back(take(wheel_));
  else
    wheel_ = 0;
  return bytes;
}

// What the user does

void UsbHid::key(Key key, bool down) {
  const u8 usage = key_hid(key);
  if (usage == 0) return;
  if (usage >= kFirstModifier) {
    const u8 mask = static_cast<u8>(1u << (usage - kFirstModifier));
    modifiers_ = down ? modifiers_ | mask : modifiers_ & static_cast<u8>(~mask);
  } else if (!down) {
    std::erase(keys_, usage);
  } else if (std::ranges::find(keys_, usage) == keys_.end()) {
    keys_.push_back(usage);
  } else {
    return;  // repeats are the host's business
  }
  if (reports_.size() < kMaxReports) reports_.push_back(keyboard_report());
}

void UsbHid::move(i32 dx, i32 dy) {
  dx_ = std::clamp(dx_ + std::clamp(dx, -kGatherLimit, kGatherLimit), -kGatherLimit, kGatherLimit);
  dy_ = std::clamp(dy_ + std::clamp(dy, -kGatherLimit, kGatherLimit), -kGatherLimit, kGatherLimit);
}

void UsbHid::move_to(u16 x, u16 y) {
  changed_ |= x != x_ || y != y_;
  x_ = x;
  y_ = y;
}

void UsbHid::button(PointerButton button, bool down) {
  constexpr u8 kMasks[] = {0x01, 0x04, 0x02, 0x08, 0x10};  // left, middle, right
  const u8 mask = kMasks[static_cast<size_t>(button)];
  const u8 before = std::exchange(
      buttons_, static_cast<u8>(down ? buttons_ | mask : buttons_ & static_cast<u8>(~mask)));
  changed_ |= before != buttons_;
}

void UsbHid::wheel(i32 up, i32) {
  wheel_ =
      std::clamp(wheel_ + std::clamp(up, -kGatherLimit, kGatherLimit), -kGatherLimit, kGatherLimit);
}

void UsbHid::sync() {
  if (pending()) wake();
}

}  // namespace menura
