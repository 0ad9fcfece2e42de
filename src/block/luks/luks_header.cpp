#include "block/luks/luks_header.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/random.h"

namespace menura::luks {

namespace {

constexpr u8 kMagic[] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
constexpr u32 kActive = 0x00ac71f3;
constexpr u32 kInactive = 0x0000dead;
// Minutes of work: a header that asks for more wants to keep us busy.
constexpr u32 kMostIterations = 100'000'000;

enum Field : u32 {
  kVersionAt = 6,
  kCipherNameAt = 8,
  kCipherModeAt = 40,
  kHashAt = 72,
  kPayloadAt = 104,
  kKeyBytesAt = 108,
  kDigestAt = 112,
  kSaltAt = 132,
  kIterationsAt = 164,
  kUuidAt = 168,
  kSlotsAt = 208,
};
enum SlotField : u32 { kSlotIterationsAt = 4, kSlotSaltAt = 8, kMaterialAt = 40, kStripesAt = 44 };
constexpr u32 kSlotBytes = 48;
constexpr size_t kName = 32, kUuid = 40;

std::string text_at(ConstBytes bytes, size_t at, size_t room) {
  const char* text = reinterpret_cast<const char*>(bytes.data() + at);
  return {text, ::strnlen(text, room)};
}

template <class E>
Result<E> named(std::string_view name, std::string_view what) {
  const auto names = enum_names(E{});
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return fail(Errc::Unsupported, "{} '{}' is not known", what, name);
  return static_cast<E>(found - names.begin());
}

// "aes" with "xts-plain64", "cbc-essiv:sha256", "ecb" and a key's size.
Result<CipherSpec> parse_cipher(const std::string& name, std::string_view mode, u32 key_bytes) {
  if (name != "aes") return fail(Errc::Unsupported, "Cipher '{}' is not known, only aes", name);
  CipherSpec spec;
  const size_t dash = std::min(mode.find('-'), mode.size());
  spec.mode = TRY(named<CipherMode>(mode.substr(0, dash), "Cipher mode"));
  std::string_view iv = mode.substr(std::min(mode.size(), dash + 1));
  const size_t colon = std::min(iv.find(':'), iv.size());
  if (!iv.empty()) spec.iv = TRY(named<IvGenerator>(iv.substr(0, colon), "IV generator"));
  if (iv.empty() && spec.mode != CipherMode::Ecb)
    return fail(Errc::Corrupt, "Cipher mode '{}' says no IV generator", mode);
  if (spec.iv == IvGenerator::Essiv)
    spec.iv_hash = TRY(named<Hash>(iv.substr(std::min(iv.size(), colon + 1)), "ESSIV's hash"));
  for (const CipherAlgorithm algorithm :
       {CipherAlgorithm::Aes128, CipherAlgorithm::Aes192, CipherAlgorithm::Aes256}) {
    spec.algorithm = algorithm;
    if (spec.key_bytes() == key_bytes) return spec;
  }
  return fail(Errc::Unsupported, "aes in mode '{}' has no keys of {} bytes", mode, key_bytes);
}

std::string mode_text(const CipherSpec& spec) {
  std::string text(enum_names(spec.mode)[static_cast<size_t>(spec.mode)]);
  if (spec.mode == CipherMode::Ecb) return text;
  text += format("-{}", enum_names(spec.iv)[static_cast<size_t>(spec.iv)]);
  if (spec.iv == IvGenerator::Essiv)
    text += format(":{}", enum_names(spec.iv_hash)[static_cast<size_t>(spec.iv_hash)]);
  return text;
}

}  // namespace

void LuksHeader::lay_out() {
  const u64 room = (material_bytes() + kAlignment - 1) / kAlignment * kAlignment / kSector;
  u32 at = static_cast<u32>(kAlignment / kSector);
  for (Slot& slot : slots) {
    slot.material = at;
    at += static_cast<u32>(room);
  }
  payload = at;
}

Result<LuksHeader> LuksHeader::parse(ConstBytes bytes) {
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    return fail(Errc::Corrupt, "It does not begin as a LUKS header does");
  if (const u16 version = load_be<u16>(bytes, kVersionAt); version != 1)
    return fail(Errc::Unsupported, "Version {} of LUKS is not known here, only 1", version);
  LuksHeader h;
  const u32 key_bytes = load_be<u32>(bytes, kKeyBytesAt);
  h.cipher = TRY(parse_cipher(text_at(bytes, kCipherNameAt, kName),
                              text_at(bytes, kCipherModeAt, kName), key_bytes));
  h.hash = TRY(named<Hash>(text_at(bytes, kHashAt, kName), "Hash"));
  h.payload = load_be<u32>(bytes, kPayloadAt);
  h.iterations = load_be<u32>(bytes, kIterationsAt);
  std::ranges::copy(bytes.subspan(kDigestAt, kDigest), h.digest.begin());
  std::ranges::copy(bytes.subspan(kSaltAt, kSalt), h.salt.begin());
  h.uuid = text_at(bytes, kUuidAt, kUuid);
  if (h.iterations == 0 || h.iterations > kMostIterations)
    return fail(Errc::Corrupt, "The master key's digest takes {} iterations", h.iterations);
  for (size_t i = 0; i < kSlots; i++) {
    const ConstBytes from = bytes.subspan(kSlotsAt + i * kSlotBytes, kSlotBytes);
    Slot& slot = h.slots[i];
    slot.material = load_be<u32>(from, kMaterialAt);
    const u32 state = load_be<u32>(from);
    if (state != kActive && state != kInactive)
      return fail(Errc::Corrupt, "Key slot {} is neither active nor free", i);
    slot.active = state == kActive;
    if (!slot.active) continue;
    slot.iterations = load_be<u32>(from, kSlotIterationsAt);
    std::ranges::copy(from.subspan(kSlotSaltAt, kSalt), slot.salt.begin());
    if (slot.iterations == 0 || slot.iterations > kMostIterations)
      return fail(Errc::Corrupt, "Key slot {} takes {} iterations", i, slot.iterations);
    if (const u32 stripes = load_be<u32>(from, kStripesAt); stripes != kStripes)
      return fail(Errc::Corrupt, "Key slot {} has {} stripes, not {}", i, stripes, kStripes);
    if (slot.material * kSector < kBytes ||
        slot.material * kSector + h.material_bytes() > h.payload_offset())
      return fail(Errc::Corrupt, "Key slot {} does not lie between header and payload", i);
  }
  return h;
}

std::vector<std::byte> LuksHeader::serialize() const {
  std::vector<std::byte> out(kBytes);
  const auto put = [&](size_t at, std::string_view text) {
    std::ranges::copy(bytes_of(text), out.begin() + static_cast<i64>(at));
  };
  std::memcpy(out.data(), kMagic, sizeof kMagic);
  store_be<u16>(out, kVersionAt, 1);
  put(kCipherNameAt, "aes");
  put(kCipherModeAt, mode_text(cipher));
  put(kHashAt, enum_names(hash)[static_cast<size_t>(hash)]);
  store_be<u32>(out, kPayloadAt, payload);
  store_be<u32>(out, kKeyBytesAt, static_cast<u32>(cipher.key_bytes()));
  std::ranges::copy(digest, out.begin() + kDigestAt);
  std::ranges::copy(salt, out.begin() + kSaltAt);
  store_be<u32>(out, kIterationsAt, iterations);
  put(kUuidAt, uuid.substr(0, kUuid - 1));
  for (size_t i = 0; i < kSlots; i++) {
    const Bytes to = Bytes(out).subspan(kSlotsAt + i * kSlotBytes, kSlotBytes);
    store_be<u32>(to, 0, slots[i].active ? kActive : kInactive);
    store_be<u32>(to, kSlotIterationsAt, slots[i].iterations);
    std::ranges::copy(slots[i].salt, to.begin() + kSlotSaltAt);
    store_be<u32>(to, kMaterialAt, slots[i].material);
    store_be<u32>(to, kStripesAt, kStripes);
  }
  return out;
}

namespace {

// H1 of the specification's chapter 2.4: a hash of each digest-sized piece, with its number.
void diffuse(Hash hash, Bytes block) {
  const size_t piece = hash_bytes(hash);
  for (u32 i = 0; i * piece < block.size(); i++) {
    const Bytes part = block.subspan(i * piece, std::min(piece, block.size() - i * piece));
    std::vector<std::byte> numbered(4 + part.size());
    store_be<u32>(numbered, 0, i);
    std::ranges::copy(part, numbered.begin() + 4);
    const std::vector<std::byte> out = digest(hash, numbered);
    std::copy_n(out.begin(), part.size(), part.begin());
    wipe(numbered);
  }
}

void add(Bytes into, ConstBytes what) {
  for (size_t i = 0; i < into.size(); i++) into[i] ^= what[i];
}

}  // namespace

std::vector<std::byte> split_key(Hash hash, ConstBytes key) {
  std::vector<std::byte> split(key.size() * LuksHeader::kStripes);
  const size_t random = key.size() * (LuksHeader::kStripes - 1);
  fill_random(Bytes(split).first(random));
  std::vector<std::byte> block(key.size());
  for (u32 i = 0; i + 1 < LuksHeader::kStripes; i++) {
    add(block, ConstBytes(split).subspan(i * key.size(), key.size()));
    diffuse(hash, block);
  }
  add(block, key);
  std::ranges::copy(block, split.begin() + static_cast<i64>(random));
  wipe(block);
  return split;
}

std::vector<std::byte> merge_key(Hash hash, ConstBytes split, size_t key_bytes) {
  std::vector<std::byte> block(key_bytes);
  for (u32 i = 0; i < LuksHeader::kStripes; i++) {
    add(block, split.subspan(i * key_bytes, key_bytes));
    if (i + 1 < LuksHeader::kStripes) diffuse(hash, block);
  }
  return block;
}

}  // namespace menura::luks
