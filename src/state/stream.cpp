// The binary form of a StateTree: "MNST", format version, payload length, payload, CRC-32C.
// Payload, per node: kind, name, then the kind's content; all integers little-endian.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "state/tree.h"

namespace menura {

namespace {

constexpr u32 kMagic = 0x5453'4e4d;  // "MNST"
constexpr u32 kFormat = 1;
constexpr size_t kHeaderSize = 16;
constexpr unsigned kDepthLimit = 64;

constexpr std::array<u32, 256> make_crc_table() {
  std::array<u32, 256> table{};
  for (u32 i = 0; i < 256; i++) {
    u32 crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82f6'3b78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<u32, 256> kCrcTable = make_crc_table();

u32 crc32c(ConstBytes data) {
  u32 crc = ~0u;
  for (const std::byte b : data) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<u32>(b)) & 0xff];
  return ~crc;
}

class Writer {
 public:
  std::vector<std::byte> out;

  template <class T>
  void put(T value) {
    const size_t at = out.size();
    out.resize(at + sizeof value);
    store_le(Bytes(out), at, value);
  }
  void put_bytes(ConstBytes bytes) {
    put(static_cast<u64>(bytes.size()));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  void put_node(const StateTree& node) {
    put(static_cast<u8>(node.kind));
    put_bytes(bytes_of(node.name));
    switch (node.kind) {
      case StateTree::Kind::Integer:
        put(static_cast<u8>(node.width_bits | (node.is_signed ? 0x80 : 0)));
        put(node.integer);
        return;
      case StateTree::Kind::Boolean: put(static_cast<u8>(node.integer)); return;
      case StateTree::Kind::Text: put_bytes(bytes_of(node.text)); return;
      case StateTree::Kind::Bytes: put_bytes(node.bytes); return;
      case StateTree::Kind::Struct: put(node.version); break;
      case StateTree::Kind::List: break;
    }
    put(static_cast<u64>(node.children.size()));
    for (const StateTree& child : node.children) put_node(child);
  }
};

class Reader {
 public:
  explicit Reader(ConstBytes in) : in_(in) {}
  bool at_end() const { return in_.empty(); }

  template <class T>
  Result<T> take() {
    if (in_.size() < sizeof(T)) return fail(Errc::Corrupt, "Saved state ends early");
    const T value = load_le<T>(in_);
    in_ = in_.subspan(sizeof(T));
    return value;
  }
  Result<ConstBytes> take_bytes() {
    const u64 size = TRY(take<u64>());
    if (size > in_.size()) return fail(Errc::Corrupt, "Saved state ends early");
    const ConstBytes bytes = in_.first(size);
    in_ = in_.subspan(size);
    return bytes;
  }
  Result<std::string> take_text() {
    const ConstBytes bytes = TRY(take_bytes());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  Result<StateTree> take_node(unsigned depth) {
    if (depth > kDepthLimit) return fail(Errc::Corrupt, "Saved state is nested too deeply");
    StateTree node;
    const u8 kind = TRY(take<u8>());
    if (kind > static_cast<u8>(StateTree::Kind::Bytes))
      return fail(Errc::Corrupt, "Saved state holds an unknown kind {}", kind);
    node.kind = static_cast<StateTree::Kind>(kind);
    node.name = TRY(take_text());
    TRY(take_content(node, depth));
    return node;
  }

 private:
  Result<void> take_content(StateTree& node, unsigned depth) {
    switch (node.kind) {
      case StateTree::Kind::Integer: {
        const u8 width = TRY(take<u8>());
        node.width_bits = width & 0x7f;
        node.is_signed = (width & 0x80) != 0;
        if (node.width_bits == 0 || node.width_bits > 64)
          return fail(Errc::Corrupt, "Saved state holds an integer of {} bits", node.width_bits);
        node.integer = TRY(take<u64>());
        return {};
      }
      case StateTree::Kind::Boolean:
        node.integer = TRY(take<u8>());
        if (node.integer > 1) return fail(Errc::Corrupt, "Saved state holds a half-true value");
        return {};
      case StateTree::Kind::Text: node.text = TRY(take_text()); return {};
      case StateTree::Kind::Bytes: {
        const ConstBytes bytes = TRY(take_bytes());
        node.bytes.assign(bytes.begin(), bytes.end());
        return {};
      }
      case StateTree::Kind::Struct: node.version = TRY(take<u32>()); break;
      case StateTree::Kind::List: break;
    }
    const u64 count = TRY(take<u64>());
    // The smallest node is 10 bytes: a count that cannot fit is refused before it costs memory.
    if (count > in_.size() / 10 + 1) return fail(Errc::Corrupt, "Saved state ends early");
    for (u64 i = 0; i < count; i++) node.children.push_back(TRY(take_node(depth + 1)));
    return node.kind == StateTree::Kind::Struct ? check_names(node) : Result<void>{};
  }

  static Result<void> check_names(const StateTree& node) {
    std::vector<std::string_view> names;
    for (const StateTree& child : node.children) names.push_back(child.name);
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice != names.end()) return fail(Errc::Corrupt, "Saved state holds '{}' twice", *twice);
    return {};
  }

  ConstBytes in_;
};

}  // namespace

std::vector<std::byte> to_stream(const StateTree& tree) {
  Writer writer;
  writer.put(kMagic);
  writer.put(kFormat);
  writer.put(u64{0});  // the payload's length, below
  writer.put_node(tree);
  const u64 length = writer.out.size() - kHeaderSize;
  store_le(Bytes(writer.out), 8, length);
  writer.put(crc32c(ConstBytes(writer.out)));
  return std::move(writer.out);
}

Result<StateTree> from_stream(ConstBytes stream) {
  if (stream.size() < kHeaderSize + 4 || load_le<u32>(stream) != kMagic)
    return fail(Errc::Corrupt, "This is not a saved state of menura");
  if (const u32 version = load_le<u32>(stream, 4); version != kFormat)
    return fail(Errc::Unsupported, "Saved state has format {}, this program reads {}", version,
                kFormat);
  const u64 length = load_le<u64>(stream, 8);
  if (length != stream.size() - kHeaderSize - 4)
    return fail(Errc::Corrupt, "Saved state is {} bytes long, its header says {}",
                stream.size() - kHeaderSize - 4, length);
  const ConstBytes covered = stream.first(stream.size() - 4);
  if (crc32c(covered) != load_le<u32>(stream, stream.size() - 4))
    return fail(Errc::Corrupt, "Saved state is damaged (checksum)");
  Reader reader(covered.subspan(kHeaderSize));
  StateTree tree = TRY(reader.take_node(0));
  if (!reader.at_end()) return fail(Errc::Corrupt, "Saved state has bytes after its end");
  return tree;
}

}  // namespace menura
