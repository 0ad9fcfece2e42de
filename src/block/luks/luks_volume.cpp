#include "block/luks/luks_volume.h"

#include <algorithm>

#include "base/random.h"

namespace menura::luks {

namespace {

constexpr u64 kDigestShare = 8;  // of the time for a slot goes into the master key's digest

Result<std::vector<std::byte>> unlock_slot(Node& file, u64 offset, const LuksHeader& h,
                                           const LuksHeader::Slot& slot,
                                           const std::string& password) {
  const size_t key_bytes = h.cipher.key_bytes();
  std::vector<std::byte> slot_key(key_bytes);
  TRY(pbkdf2(h.hash, password, slot.salt, slot.iterations, slot_key));
  std::vector<std::byte> split(static_cast<size_t>(h.material_bytes()));
  TRY(file.read_or_zero(offset + slot.material * kSector, split), "Reading key material");
  const auto cipher = TRY(SectorCipher::create(h.cipher, slot_key));
  wipe(slot_key);
  TRY(cipher->decrypt(0, split));
  std::vector<std::byte> key = merge_key(h.hash, split, key_bytes);
  wipe(split);
  std::array<std::byte, LuksHeader::kDigest> digest;
  TRY(pbkdf2(h.hash, {reinterpret_cast<const char*>(key.data()), key.size()}, h.salt, h.iterations,
             digest));
  if (std::ranges::equal(digest, h.digest)) return key;
  wipe(key);
  return fail(Errc::Permission, "The password does not open this slot");
}

// As RFC 9562 has them, version 4.
std::string random_uuid() {
  std::array<std::byte, 16> bytes;
  fill_random(bytes);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  for (size_t i = 0; i < bytes.size(); i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += format("{:02x}", static_cast<u8>(bytes[i]));
  }
  return text;
}

}  // namespace

void LuksOptions::describe(PropertyVisitor& p) {
  p.field("key-secret", key_secret, "the object that holds the password");
  p.field("cipher-alg", cipher_alg, "aes-128, aes-192 or aes-256");
  p.field("cipher-mode", cipher_mode, "xts, cbc or ecb");
  p.field("ivgen-alg", ivgen_alg, "what a sector's initialization vector is made by");
  p.field("ivgen-hash-alg", ivgen_hash_alg, "hash of the generator essiv");
  p.field("hash-alg", hash_alg, "hash that keys are made of passwords by");
  p.field("iter-time", iter_time, "milliseconds that a try of a password shall take");
}

Result<LuksHeader> LuksVolume::read_header(Node& file, u64 offset) {
  std::array<std::byte, LuksHeader::kBytes> bytes;
  TRY(file.read_or_zero(offset, bytes), "Reading the LUKS header");
  return LuksHeader::parse(bytes);
}

Result<LuksVolume> LuksVolume::open(Node& file, u64 offset, const std::string& password) {
  LuksHeader header = TRY(read_header(file, offset));
  for (const LuksHeader::Slot& slot : header.slots) {
    if (!slot.active) continue;
    Result<std::vector<std::byte>> key = unlock_slot(file, offset, header, slot, password);
    if (!key && key.error().code == Errc::Permission) continue;
    std::vector<std::byte> master = TRY(std::move(key));
    auto cipher = TRY(SectorCipher::create(header.cipher, master));
    wipe(master);
    return LuksVolume(std::move(header), std::move(cipher));
  }
  return fail(Errc::Permission, "No key slot opens by this password");
}

Result<LuksHeader> LuksOptions::header() const {
  LuksHeader h;
  h.cipher.algorithm = cipher_alg.value_or(h.cipher.algorithm);
  h.cipher.mode = cipher_mode.value_or(h.cipher.mode);
  h.cipher.iv = ivgen_alg.value_or(h.cipher.iv);
  if (ivgen_hash_alg && h.cipher.iv != IvGenerator::Essiv)
    return fail(Errc::InvalidArgument, "ivgen-hash-alg is for ivgen-alg=essiv alone");
  h.cipher.iv_hash = ivgen_hash_alg.value_or(h.cipher.iv_hash);
  h.hash = hash_alg.value_or(h.hash);
  h.lay_out();
  return h;
}

Result<LuksVolume::Made> LuksVolume::make(const LuksOptions& options, const Graph& graph) {
  if (options.key_secret.empty())
    return fail(Errc::InvalidArgument,
                "An encrypted image needs a password: key-secret= names the object with it");
  const std::string password = TRY(graph.secrets().find(options.key_secret));
  LuksHeader h = TRY(options.header());
  const u64 time = options.iter_time.value_or(2000);
  if (time == 0 || time > 600'000)
    return fail(Errc::InvalidArgument, "iter-time: from 1 to 600000 milliseconds, not {}", time);
  h.uuid = random_uuid();
  std::vector<std::byte> master(h.cipher.key_bytes());
  fill_random(master);
  fill_random(h.salt);
  h.iterations =
      TRY(pbkdf2_iterations(h.hash, LuksHeader::kDigest, std::max<u64>(1, time / kDigestShare)));
  TRY(pbkdf2(h.hash, {reinterpret_cast<const char*>(master.data()), master.size()}, h.salt,
             h.iterations, h.digest));
  LuksHeader::Slot& slot = h.slots[0];
  slot.active = true;
  fill_random(slot.salt);
  slot.iterations = TRY(pbkdf2_iterations(h.hash, master.size(), time));
  std::vector<std::byte> slot_key(master.size());
  TRY(pbkdf2(h.hash, password, slot.salt, slot.iterations, slot_key));
  std::vector<std::byte> material = split_key(h.hash, master);
  material.resize(static_cast<size_t>(h.material_bytes()));
  const auto cipher = TRY(SectorCipher::create(h.cipher, slot_key));
  wipe(slot_key);
  wipe(master);
  TRY(cipher->encrypt(0, material));
  std::vector<std::byte> bytes = h.serialize();
  bytes.resize(static_cast<size_t>(h.payload_offset()));
  std::ranges::copy(material, bytes.begin() + static_cast<i64>(slot.material * kSector));
  return Made{std::move(h), std::move(bytes)};
}

Value describe_header(const LuksHeader& h) {
  const auto name = [](auto value) { return enum_names(value)[static_cast<size_t>(value)]; };
  Value v = Value::object();
  v.set("ivgen-alg", name(h.cipher.iv));
  if (h.cipher.iv == IvGenerator::Essiv) v.set("ivgen-hash-alg", name(h.cipher.iv_hash));
  v.set("hash-alg", name(h.hash));
  v.set("cipher-alg", name(h.cipher.algorithm));
  v.set("uuid", h.uuid);
  v.set("cipher-mode", name(h.cipher.mode));
  Value slots = Value::list();
  for (const LuksHeader::Slot& slot : h.slots) {
    Value one = Value::object();
    one.set("active", slot.active);
    if (slot.active) one.set("iters", u64{slot.iterations});
    one.set("key-offset", slot.material * kSector);
    if (slot.active) one.set("stripes", u64{LuksHeader::kStripes});
    slots.as<Value::List>()->push_back(std::move(one));
  }
  v.set("slots", std::move(slots));
  v.set("payload-offset", h.payload_offset());
  v.set("master-key-iters", u64{h.iterations});
  return v;
}

}  // namespace menura::luks
