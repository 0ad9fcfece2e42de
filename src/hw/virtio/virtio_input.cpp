#include "hw/virtio/virtio_input.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

constexpr unsigned kEventQueue = 0, kStatusQueue = 1;
constexpr u16 kQueueSize = 64;
// The configuration (§5.8.4): select, subsel, size, then what was selected.
constexpr size_t kConfigSize = 8 + 128, kAnswerAt = 8;
enum Select : u8 {
  kIdName = 0x01,
  kIdSerial = 0x02,
  kIdDevids = 0x03,
  kEvBits = 0x11,
  kAbsInfo = 0x12
};
constexpr size_t kEventSize = 8;
// Numbers of Linux's input-event-codes.h.
constexpr u16 kEvSyn = 0, kEvKey = 1, kEvRel = 2, kEvAbs = 3, kEvLed = 0x11;
constexpr u16 kX = 0, kY = 1, kRelHwheel = 6, kRelWheel = 8;
constexpr u16 kLedNum = 0, kLedCaps = 1, kLedScroll = 2;
constexpr u16 kButtons[] = {0x110, 0x112, 0x111, 0x113, 0x114};  // in PointerButton's order
constexpr u16 kBusVirtual = 6;
constexpr size_t kMostEvents = 32;

void set_bit(std::vector<u8>& bits, u16 number) {
  if (bits.size() <= number / 8u) bits.resize(number / 8u + 1);
  bits[number / 8] = static_cast<u8>(bits[number / 8] | 1u << number % 8);
}

}  // namespace

VirtioInput::VirtioInput(Role role, std::string serial, Inputs& inputs)
    : VirtioDevice(kind_of(role), {kQueueSize, kQueueSize}, kConfigSize),
      role_(role),
      serial_(std::move(serial)),
      inputs_(inputs) {
  inputs_.add(*this);
}

VirtioInput::~VirtioInput() { inputs_.remove(*this); }

InputKinds VirtioInput::takes() const {
  return {.keys = role_ == Role::Keyboard,
          .relative = role_ == Role::Mouse,
          .absolute = role_ == Role::Tablet};
}

std::string_view VirtioInput::input_name() const {
  switch (role_) {
    case Role::Keyboard: return "virtio keyboard";
    case Role::Mouse: return "virtio mouse";
    case Role::Tablet: return "virtio tablet";
  }
  return {};
}

std::vector<u8> VirtioInput::event_bits() const {
  std::vector<u8> bits;
  const auto set = [&](std::initializer_list<u16> numbers) {
    for (const u16 number : numbers) set_bit(bits, number);
  };
  const bool keyboard = role_ == Role::Keyboard;
  if (subselect_ == kEvKey && keyboard)
    for (unsigned i = 0; i < static_cast<unsigned>(Key::kCount); i++)
      set_bit(bits, key_evdev(static_cast<Key>(i)));
  if (subselect_ == kEvKey && !keyboard)
    for (const u16 button : kButtons) set_bit(bits, button);
  if (subselect_ == kEvLed && keyboard) set({kLedNum, kLedCaps, kLedScroll});
  if (subselect_ == kEvRel && role_ == Role::Mouse) set({kX, kY, kRelHwheel, kRelWheel});
  if (subselect_ == kEvRel && role_ == Role::Tablet) set({kRelHwheel, kRelWheel});
  if (subselect_ == kEvAbs && role_ == Role::Tablet) set({kX, kY});
  return bits;
}

std::vector<u8> VirtioInput::selected() const {
  const auto text = [](std::string_view from) { return std::vector<u8>(from.begin(), from.end()); };
  switch (select_) {
    case kIdName: return subselect_ == 0 ? text(input_name()) : std::vector<u8>{};
    case kIdSerial: return subselect_ == 0 ? text(serial_) : std::vector<u8>{};
    case kIdDevids: {
      // Bus, vendor, product, version.
      std::vector<u8> ids(8);
      store_le(writable_bytes_of(ids), 0, kBusVirtual);
      store_le(writable_bytes_of(ids), 2, u16{0x1af4});
      store_le(writable_bytes_of(ids), 4, static_cast<u16>(1 + static_cast<unsigned>(role_)));
      store_le(writable_bytes_of(ids), 6, u16{1});
      return ids;
    }
    case kEvBits: return event_bits();
    case kAbsInfo: {
      if (role_ != Role::Tablet || subselect_ > kY) return {};
      std::vector<u8> range(20);  // min, max, fuzz, flat, resolution
      store_le(writable_bytes_of(range), 4, u32{kPointerMax});
      return range;
    }
    default: return {};
  }
}

void VirtioInput::fill_config(Bytes config) {
  std::vector<u8> answer = selected();
  answer.resize(std::min(answer.size(), kConfigSize - kAnswerAt));
  config[0] = std::byte(select_);
  config[1] = std::byte(subselect_);
  config[2] = std::byte(answer.size());
  std::ranges::copy(bytes_of(answer), config.begin() + kAnswerAt);
}

void VirtioInput::config_written(size_t offset, ConstBytes bytes) {
  for (size_t i = 0; i < bytes.size(); i++) {
    if (offset + i == 0) select_ = static_cast<u8>(bytes[i]);
    if (offset + i == 1) subselect_ = static_cast<u8>(bytes[i]);
  }
}

void VirtioInput::driver_ready() { inputs_.activate(*this); }

void VirtioInput::process(unsigned queue) {
  if (queue == kStatusQueue) take_status();
}

// What the driver tells: a keyboard's lights.
void VirtioInput::take_status() {
  VirtioChain chain;
  while (take(kStatusQueue, chain)) {
    std::array<std::byte, kEventSize> event{};
    if (!read_chain(chain, 0, event)) return;
    if (load_le<u16>(event, 0) == kEvLed && role_ == Role::Keyboard) {
      const bool on = load_le<u32>(event, 4) != 0;
      switch (load_le<u16>(event, 2)) {
        case kLedNum: leds_.num = on; break;
        case kLedCaps: leds_.caps = on; break;
        case kLedScroll: leds_.scroll = on; break;
        default: break;
      }
      inputs_.set_leds(*this, leds_);
    }
    finish(kStatusQueue, chain, 0);
  }
}

void VirtioInput::add(u16 type, u16 code, i32 value) {
  if (report_.size() < kMostEvents) report_.push_back({type, code, static_cast<u32>(value)});
}

void VirtioInput::key(Key key, bool down) { add(kEvKey, key_evdev(key), down); }

void VirtioInput::move(i32 dx, i32 dy) {
  if (dx != 0) add(kEvRel, kX, dx);
  if (dy != 0) add(kEvRel, kY, dy);
}

void VirtioInput::move_to(u16 x, u16 y) {
  add(kEvAbs, kX, x);
  add(kEvAbs, kY, y);
}

void VirtioInput::button(PointerButton button, bool down) {
  add(kEvKey, kButtons[static_cast<size_t>(button)], down);
}

void VirtioInput::wheel(i32 up, i32 right) {
  if (up != 0) add(kEvRel, kRelWheel, up);
  if (right != 0) add(kEvRel, kRelHwheel, right);
}

// §5.8.6.2: a buffer for each event; without enough of them nothing is sent.
void VirtioInput::sync() {
  if (report_.empty()) return;
  report_.push_back({kEvSyn, 0, 0});
  const std::vector<Event> report = std::exchange(report_, {});
  std::vector<VirtioChain> chains;
  for (VirtioChain chain; chains.size() < report.size() && take(kEventQueue, chain);)
    chains.push_back(std::move(chain));
  if (chains.size() < report.size()) {
    for (auto chain = chains.rbegin(); chain != chains.rend(); ++chain)
      put_back(kEventQueue, *chain);
    return;
  }
  for (size_t i = 0; i < report.size(); i++) {
    std::array<std::byte, kEventSize> event{};
    store_le(Bytes(event), 0, report[i].type);
    store_le(Bytes(event), 2, report[i].code);
    store_le(Bytes(event), 4, report[i].value);
    if (!write_chain(chains[i], 0, event)) return;
    give_back(kEventQueue, chains[i], kEventSize);
  }
  interrupt(kEventQueue);
}

void VirtioInput::reset_device() {
  select_ = subselect_ = 0;
  leds_ = {};
  report_.clear();
}

void VirtioInput::describe_device(StateVisitor& v) {
  v.field("select", select_);
  v.field("subselect", subselect_);
  v.field("led_scroll", leds_.scroll);
  v.field("led_num", leds_.num);
  v.field("led_caps", leds_.caps);
}

}  // namespace menura
