// 9P messages: integers and strings in little-endian order, one behind the other.
//
// Owner: share. Threads: values. Source: 9P2000 (intro(5) of Plan 9), and its Linux dialect 9P2000.L.
// A reader that comes to the end of its message fails once and for all, and reads zeroes from then on.
// Example: `P9Reader in(body);  const u32 fid = in.u32_();  if (!in.ok()) ...`
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"

namespace menura {

struct P9Qid {
  u8 type = 0;
  u32 version = 0;
  u64 path = 0;
};

class P9Reader {
 public:
  explicit P9Reader(ConstBytes bytes) : bytes_(bytes) {}
  template <std::unsigned_integral T>
  T get() {
    if (bytes_.size() < sizeof(T)) return fail<T>();
    const T value = load_le<T>(bytes_);
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::string text() {
    const ConstBytes from = take(get<u16>());
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  ConstBytes take(size_t size) {
    if (bytes_.size() < size) {
      fail<u8>();
      return {};
    }
    const ConstBytes taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }
  bool ok() const { return ok_; }

 private:
  template <class T>
  T fail() {
    ok_ = false;
    bytes_ = {};
    return {};
  }
  ConstBytes bytes_;
  bool ok_ = true;
};

class P9Writer {
 public:
  template <std::unsigned_integral T>
  P9Writer& put(T value) {
    const size_t at = out_.size();
    out_.resize(at + sizeof(T));
    store_le(Bytes(out_), at, value);
    return *this;
  }
  P9Writer& text(std::string_view s) {
    put(static_cast<u16>(s.size()));
    return bytes(std::as_bytes(std::span(s)));
  }
  P9Writer& bytes(ConstBytes b) {
    out_.insert(out_.end(), b.begin(), b.end());
    return *this;
  }
  P9Writer& qid(const P9Qid& q) { return put(q.type).put(q.version).put(q.path); }
  size_t size() const { return out_.size(); }
  void truncate(size_t size) { out_.resize(size); }
  std::vector<std::byte>& out() { return out_; }

 private:
  std::vector<std::byte> out_;
};

}  // namespace menura
