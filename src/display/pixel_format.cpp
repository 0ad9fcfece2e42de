#include "display/pixel_format.h"

#include "base/bits.h"

namespace menura {

std::optional<PixelFormat> PixelFormat::parse(ConstBytes bytes) {
  PixelFormat f;
  f.bits_ = load_le<u8>(bytes, 0);
  f.depth_ = load_le<u8>(bytes, 1);
  f.big_endian_ = load_le<u8>(bytes, 2) != 0;
  f.true_colour_ = load_le<u8>(bytes, 3) != 0;
  if (f.bits_ != 8 && f.bits_ != 16 && f.bits_ != 32) return std::nullopt;
  if (!f.true_colour_) {
    if (f.bits_ != 8) return std::nullopt;
    f.red_max_ = f.green_max_ = 7;
    f.blue_max_ = 3;
    f.red_shift_ = 5;
    f.green_shift_ = 2;
    f.blue_shift_ = 0;
    return f;
  }
  f.red_max_ = load_be<u16>(bytes, 4);
  f.green_max_ = load_be<u16>(bytes, 6);
  f.blue_max_ = load_be<u16>(bytes, 8);
  f.red_shift_ = load_le<u8>(bytes, 10);
  f.green_shift_ = load_le<u8>(bytes, 11);
  f.blue_shift_ = load_le<u8>(bytes, 12);
  const auto fits = [&](u32 max, u32 shift) {
    return max != 0 && is_power_of_two(max + 1) && max <= 0xffff && shift < f.bits_ &&
           u64{max} << shift <= low_mask(f.bits_);
  };
  if (!fits(f.red_max_, f.red_shift_) || !fits(f.green_max_, f.green_shift_) ||
      !fits(f.blue_max_, f.blue_shift_))
    return std::nullopt;
  return f;
}

void PixelFormat::write(RfbWriter& out) const {
  out.u8_(bits_).u8_(depth_).u8_(big_endian_).u8_(true_colour_);
  out.u16_(red_max_).u16_(green_max_).u16_(blue_max_);
  out.u8_(red_shift_).u8_(green_shift_).u8_(blue_shift_).u8_(0).u8_(0).u8_(0);
}

void PixelFormat::write_palette(RfbWriter& out) {
  out.u8_(1).u8_(0).u16_(0).u16_(256);
  for (u32 i = 0; i < 256; i++)
    out.u16_((i >> 5) * 65535 / 7).u16_(((i >> 2) & 7) * 65535 / 7).u16_((i & 3) * 65535 / 3);
}

bool PixelFormat::is_native() const {
  return bits_ == 32 && !big_endian_ && red_max_ == 255 && green_max_ == 255 && blue_max_ == 255 &&
         red_shift_ == 16 && green_shift_ == 8 && blue_shift_ == 0;
}

void PixelFormat::put(RfbWriter& out, u32 rgb) const {
  const u32 value = convert(rgb);
  for (unsigned i = 0; i < bytes(); i++)
    out.u8_(value >> (8 * (big_endian_ ? bytes() - 1 - i : i)) & 0xff);
}

void PixelFormat::put_row(RfbWriter& out, const u32* rgb, size_t count) const {
  if (is_native()) {
    std::memcpy(out.grow(count * 4), rgb, count * 4);
    return;
  }
  for (size_t i = 0; i < count; i++) put(out, rgb[i]);
}

PixelFormat::Spare PixelFormat::spare() const {
  if (bits_ != 32 || depth_ > 24) return Spare::None;
  const u64 used =
      u64{red_max_} << red_shift_ | u64{green_max_} << green_shift_ | u64{blue_max_} << blue_shift_;
  if ((used & 0xff00'0000) == 0) return Spare::High;
  if ((used & 0x0000'00ff) == 0) return Spare::Low;
  return Spare::None;
}

unsigned PixelFormat::compressed_bytes() const { return spare() == Spare::None ? bytes() : 3; }

void PixelFormat::put_compressed(RfbWriter& out, u32 rgb) const {
  const Spare without = spare();
  if (without == Spare::None) return put(out, rgb);
  const u32 value = without == Spare::Low ? convert(rgb) >> 8 : convert(rgb);
  for (unsigned i = 0; i < 3; i++) out.u8_(value >> (8 * (big_endian_ ? 2 - i : i)) & 0xff);
}

void PixelFormat::put_tight(RfbWriter& out, u32 rgb) const {
  if (!has_tight_bytes()) return put(out, rgb);
  out.u8_(rgb >> 16 & 0xff).u8_(rgb >> 8 & 0xff).u8_(rgb & 0xff);
}

}  // namespace menura
