// RfbWriter: a growing buffer of big-endian numbers: what is sent to a VNC client.
//
// Owner: who fills it. Threads: a value. Example: `RfbWriter out;  out.u8_(0).u8_(0).u16_(1);`
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace menura {

class RfbWriter {
 public:
  RfbWriter& u8_(unsigned value) {
    bytes_.push_back(static_cast<std::byte>(value));
    return *this;
  }
  RfbWriter& u16_(unsigned value) { return u8_(value >> 8 & 0xff).u8_(value & 0xff); }
  RfbWriter& u32_(u32 value) { return u16_(value >> 16).u16_(value & 0xffff); }
  RfbWriter& raw(ConstBytes bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  RfbWriter& text(std::string_view text) {
    u32_(static_cast<u32>(text.size()));
    return raw(bytes_of(text));
  }
  RfbWriter& rect(u32 x, u32 y, u32 width, u32 height, i32 encoding) {
    return u16_(x).u16_(y).u16_(width).u16_(height).u32_(static_cast<u32>(encoding));
  }
  // Overwrites what stands at an offset.
  void patch_u8(size_t at, unsigned value) { bytes_[at] = static_cast<std::byte>(value); }
  void patch_u16(size_t at, unsigned value) { store_be<u16>(bytes_, at, static_cast<u16>(value)); }
  void patch_u32(size_t at, u32 value) { store_be<u32>(bytes_, at, value); }
  std::byte* grow(size_t size) {
    bytes_.resize(bytes_.size() + size);
    return bytes_.data() + bytes_.size() - size;
  }
  size_t size() const { return bytes_.size(); }
  void truncate(size_t size) { bytes_.resize(size); }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> take() { return std::exchange(bytes_, {}); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace menura
