// What a client says once it is in.
#include "display/rfb_protocol.h"
#include "display/rfb_session.h"

namespace menura {

namespace {

constexpr u32 kMaxCutText = 1024 * 1024;
constexpr u32 kMaxFence = 64;
constexpr size_t kMaxEncodings = 1024;
constexpr i32 kRelativeCentre = 0x7fff;

}  // namespace

// Returns 0 while a message is not whole.
size_t RfbSession::message(ConstBytes bytes) {
  const auto whole = [&](size_t size, size_t (RfbSession::*handle)(ConstBytes)) {
    return bytes.size() < size ? 0 : (this->*handle)(bytes);
  };
  switch (load_le<u8>(bytes)) {
    case rfb::kSetPixelFormat: return whole(20, &RfbSession::set_pixel_format);
    case rfb::kSetEncodings: return whole(4, &RfbSession::set_encodings);
    case rfb::kUpdateRequest: return whole(10, &RfbSession::update_request);
    case rfb::kKeyEvent: return whole(8, &RfbSession::key_event);
    case rfb::kPointerEvent: return whole(6, &RfbSession::pointer_event);
    case rfb::kClientCutText: return whole(8, &RfbSession::cut_text);
    case rfb::kEnableContinuousUpdates: return whole(10, &RfbSession::continuous_updates);
    case rfb::kClientFence: return whole(9, &RfbSession::fence);
    case rfb::kSetDesktopSize: return whole(8, &RfbSession::set_desktop_size);
    case rfb::kQemuClient: return whole(2, &RfbSession::qemu_message);
    default: end("it sent a message of an unknown type"); return 1;
  }
}

size_t RfbSession::qemu_message(ConstBytes bytes) {
  switch (load_le<u8>(bytes, 1)) {
    case rfb::kQemuExtendedKey: return bytes.size() < 12 ? 0 : extended_key(bytes);
    default: end("it sent a message of an unknown type"); return 2;
  }
}

size_t RfbSession::set_pixel_format(ConstBytes bytes) {
  const std::optional<PixelFormat> format = PixelFormat::parse(bytes.subspan(4, 16));
  if (!format) {
    end("it wants pixels of a format that does not exist");
    return 20;
  }
  settings_.format = *format;
  if (format->needs_palette()) {
    RfbWriter out;
    PixelFormat::write_palette(out);
    send_now(out);
  }
  dirty_.add_all();
  cursor_dirty_ = true;
  return 20;
}

size_t RfbSession::set_encodings(ConstBytes bytes) {
  const size_t count = load_be<u16>(bytes, 2);
  if (count > kMaxEncodings) {
    end("it named too many encodings");
    return 4;
  }
  if (bytes.size() < 4 + 4 * count) return 0;
  std::vector<i32> wanted;
  for (size_t i = 0; i < count; i++)
    wanted.push_back(static_cast<i32>(load_be<u32>(bytes, 4 + 4 * i)));
  choose_encodings(wanted);
  return 4 + 4 * count;
}

void RfbSession::choose_encodings(const std::vector<i32>& wanted) {
  const auto before = can_;
  can_ = {};
  std::optional<RfbEncoding> chosen;
  for (const i32 encoding : wanted) {
    switch (encoding) {
      case static_cast<i32>(RfbEncoding::Raw):
      case static_cast<i32>(RfbEncoding::Hextile):
      case static_cast<i32>(RfbEncoding::Zlib):
      case static_cast<i32>(RfbEncoding::Tight):
      case static_cast<i32>(RfbEncoding::Zrle):
        if (!chosen) chosen = static_cast<RfbEncoding>(encoding);
        break;
      case rfb::kDesktopSize: can_.desktop_size = true; break;
      case rfb::kExtendedDesktopSize: can_.extended_size = true; break;
      case rfb::kCursor: can_.cursor = true; break;
      case rfb::kPointerTypeChange: can_.pointer_type = true; break;
      case rfb::kExtendedKey: can_.extended_key = true; break;
      case rfb::kLedState: can_.led_state = true; break;
      case rfb::kFence: can_.fence = true; break;
      case rfb::kContinuousUpdates: can_.continuous = true; break;
      default:
        if (encoding >= rfb::kCompressLevel0 && encoding <= rfb::kCompressLevel0 + 9)
          settings_.level = encoding - rfb::kCompressLevel0;
    }
  }
  settings_.encoding = chosen.value_or(RfbEncoding::Raw);
  size_dirty_ |= can_.extended_size && !before.extended_size;
  cursor_dirty_ |= can_.cursor;
  pointer_dirty_ |= can_.pointer_type;
  led_dirty_ |= can_.led_state;
  keys_dirty_ |= can_.extended_key && !before.extended_key;
  // These are offered by using them.
  if (can_.fence && !before.fence)
    send_now(RfbWriter().u8_(rfb::kServerFence).u8_(0).u16_(0).u32_(rfb::kFenceRequest).u8_(0));
  if (can_.continuous && !before.continuous)
    send_now(RfbWriter().u8_(rfb::kEndOfContinuousUpdates));
}

size_t RfbSession::update_request(ConstBytes bytes) {
  const bool incremental = load_le<u8>(bytes, 1) != 0;
  const Rect area{load_be<u16>(bytes, 2), load_be<u16>(bytes, 4), load_be<u16>(bytes, 6),
                  load_be<u16>(bytes, 8)};
  if (!continuous_) area_ = area;
  requested_ = true;
  if (!incremental) {
    dirty_.add(area);
    size_dirty_ |= can_.extended_size;
  }
  host_.wake();
  return 10;
}

size_t RfbSession::continuous_updates(ConstBytes bytes) {
  continuous_ = load_le<u8>(bytes, 1) != 0;
  if (continuous_)
    area_ = {load_be<u16>(bytes, 2), load_be<u16>(bytes, 4), load_be<u16>(bytes, 6),
             load_be<u16>(bytes, 8)};
  else
    send_now(RfbWriter().u8_(rfb::kEndOfContinuousUpdates));
  host_.wake();
  return 10;
}

// Clipboards are not shared. A negative length announces the extended clipboard.
size_t RfbSession::cut_text(ConstBytes bytes) {
  const i64 length = static_cast<i32>(load_be<u32>(bytes, 4));
  const u64 size = static_cast<u64>(length < 0 ? -length : length);
  if (size > kMaxCutText) end("its clipboard is too large");
  skip_ = size;
  return 8;
}

size_t RfbSession::fence(ConstBytes bytes) {
  const size_t length = load_le<u8>(bytes, 8);
  if (length > kMaxFence) {
    end("its fence is too long");
    return 9;
  }
  if (bytes.size() < 9 + length) return 0;
  const u32 flags = load_be<u32>(bytes, 4);
  if (!(flags & rfb::kFenceRequest)) return 9 + length;
  RfbWriter out;
  out.u8_(rfb::kServerFence).u8_(0).u16_(0);
  out.u32_(flags & (rfb::kBlockBefore | rfb::kBlockAfter | rfb::kSyncNext));
  out.u8_(static_cast<unsigned>(length)).raw(bytes.subspan(9, length));
  // The update under way was asked for before.
  constexpr size_t kMostWaiting = 4096;
  if (!encoding_)
    send_now(out);
  else if (fence_.size() < kMostWaiting)
    fence_.insert(fence_.end(), out.bytes().begin(), out.bytes().end());
  else
    end("it sends fences and does not wait for the answers");
  return 9 + length;
}

size_t RfbSession::set_desktop_size(ConstBytes bytes) {
  const size_t screens = load_le<u8>(bytes, 6);
  const size_t size = 8 + 16 * screens;
  if (bytes.size() < size) return 0;
  constexpr u32 kByClient = 1, kProhibited = 1, kForwarded = 4;
  const bool taken = host_.display().suggest_size(load_be<u16>(bytes, 2), load_be<u16>(bytes, 4));
  if (!can_.extended_size) return size;
  RfbWriter out;
  out.u8_(rfb::kFramebufferUpdate).u8_(0).u16_(1);
  put_size(out, kByClient, taken ? kForwarded : kProhibited);
  // Not between a worker's update and its sending: that is whole in itself.
  send_now(out);
  return size;
}

// Keys

size_t RfbSession::key_event(ConstBytes bytes) {
  type(load_be<u32>(bytes, 4), load_le<u8>(bytes, 1) != 0);
  return 8;
}

size_t RfbSession::extended_key(ConstBytes bytes) {
  const bool down = load_be<u16>(bytes, 2) != 0;
  if (const std::optional<Key> key = key_by_number(load_be<u32>(bytes, 8)))
    press(*key, down);
  else
    type(load_be<u32>(bytes, 4), down);
  host_.inputs().sync();
  host_.wake();
  return 12;
}

// A keysym is a character, of which this keyboard may need another level than the client's.
void RfbSession::type(u32 keysym, bool down) {
  const std::optional<KeyChord> chord = host_.keymap().find(keysym);
  if (!chord) return;
  const auto held = [&](Key a, Key b) {
    return down_[static_cast<size_t>(a)] || down_[static_cast<size_t>(b)];
  };
  const bool capitals = chord->is_letter && host_.inputs().leds().caps;
  const bool shift = down && chord->shift && !capitals && !held(Key::Shift, Key::ShiftR);
  const bool alt_gr = down && chord->alt_gr && !held(Key::AltR, Key::AltR);
  Inputs& inputs = host_.inputs();
  if (shift) inputs.key(Key::Shift, true);
  if (alt_gr) inputs.key(Key::AltR, true);
  press(chord->key, down);
  if (alt_gr) inputs.key(Key::AltR, false);
  if (shift) inputs.key(Key::Shift, false);
  inputs.sync();
  host_.wake();
}

void RfbSession::press(Key key, bool down) {
  down_[static_cast<size_t>(key)] = down;
  host_.inputs().key(key, down);
}

void RfbSession::release_keys() {
  if (down_.none() && buttons_ == 0) return;
  Inputs& inputs = host_.inputs();
  for (size_t i = 0; i < down_.size(); i++)
    if (down_[i]) inputs.key(static_cast<Key>(i), false);
  constexpr PointerButton kButtons[] = {PointerButton::Left, PointerButton::Middle,
                                        PointerButton::Right};
  for (size_t i = 0; i < std::size(kButtons); i++)
    if (buttons_ >> i & 1) inputs.button(kButtons[i], false);
  inputs.sync();
}

// The pointer

size_t RfbSession::pointer_event(ConstBytes bytes) {
  const u8 buttons = load_le<u8>(bytes, 1);
  const u16 x = load_be<u16>(bytes, 2), y = load_be<u16>(bytes, 4);
  Inputs& inputs = host_.inputs();
  if (inputs.absolute()) {
    const Surface& surface = host_.display().surface();
    const auto scale = [](u32 at, u32 size) {
      return static_cast<u16>(size < 2 ? 0
                                       : std::min<u32>(at, size - 1) * kPointerMax / (size - 1));
    };
    inputs.move_to(scale(x, surface.width()), scale(y, surface.height()));
  } else if (can_.pointer_type) {
    inputs.move(x - kRelativeCentre, y - kRelativeCentre);
  } else {
    if (pointer_) inputs.move(x - pointer_->first, y - pointer_->second);
    pointer_ = {x, y};
  }
  constexpr PointerButton kButtons[] = {PointerButton::Left, PointerButton::Middle,
                                        PointerButton::Right};
  const u8 changed = buttons ^ buttons_;
  for (size_t i = 0; i < std::size(kButtons); i++)
    if (changed >> i & 1) inputs.button(kButtons[i], buttons >> i & 1);
  const u8 pressed = changed & buttons;
  if (pressed & 0x18) inputs.wheel(pressed & 0x08 ? 1 : -1, 0);
  if (pressed & 0x60) inputs.wheel(0, pressed & 0x40 ? 1 : -1);
  buttons_ = buttons;
  inputs.sync();
  host_.wake();
  return 6;
}

}  // namespace menura
