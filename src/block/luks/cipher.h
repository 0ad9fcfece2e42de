// What LUKS needs of cryptography: sectors under a cipher with an initialization vector by number,
// hashes, and keys from passwords.
//
// Owner: block/luks. Threads: any. Spec: LUKS On-Disk Format 1.2.3; IEEE 1619 (XTS); RFC 8018.
// Example: `auto c = TRY(SectorCipher::create({}, key));  TRY(c->decrypt(7, sector));`
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura::luks {

inline constexpr u64 kSector = 512;

enum class CipherAlgorithm : u8 { Aes128, Aes192, Aes256 };
std::span<const std::string_view> enum_names(CipherAlgorithm);
enum class CipherMode : u8 { Ecb, Cbc, Xts };
std::span<const std::string_view> enum_names(CipherMode);
enum class IvGenerator : u8 { Plain, Plain64, Essiv };
std::span<const std::string_view> enum_names(IvGenerator);
enum class Hash : u8 { Sha1, Sha224, Sha256, Sha384, Sha512, Ripemd160 };
std::span<const std::string_view> enum_names(Hash);

struct CipherSpec {
  CipherAlgorithm algorithm = CipherAlgorithm::Aes256;
  CipherMode mode = CipherMode::Xts;
  IvGenerator iv = IvGenerator::Plain64;
  Hash iv_hash = Hash::Sha256;  // ESSIV's
  // XTS has two keys.
  size_t key_bytes() const {
    return (16 + 8 * static_cast<size_t>(algorithm)) * (mode == CipherMode::Xts ? 2 : 1);
  }
};

class SectorCipher {
 public:
  // The key has key_bytes() of the spec.
  static Result<std::unique_ptr<SectorCipher>> create(const CipherSpec& spec, ConstBytes key);
  ~SectorCipher();
  SectorCipher(const SectorCipher&) = delete;
  SectorCipher& operator=(const SectorCipher&) = delete;

  // Whole sectors, in place; the first one's number is `sector`.
  Result<void> encrypt(u64 sector, Bytes data) const { return run(true, sector, data); }
  Result<void> decrypt(u64 sector, Bytes data) const { return run(false, sector, data); }

 private:
  struct Contexts;
  SectorCipher(const CipherSpec& spec, ConstBytes key);
  Result<void> run(bool encrypts, u64 sector, Bytes data) const;
  Result<std::unique_ptr<Contexts>> take() const;

  // Configuration
  const CipherSpec spec_;
  std::vector<std::byte> key_, iv_key_;
  // State
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Contexts>> idle_;
};

size_t hash_bytes(Hash hash);
std::vector<std::byte> digest(Hash hash, ConstBytes data);
Result<void> pbkdf2(Hash hash, std::string_view password, ConstBytes salt, u32 iterations,
                    Bytes key);
// How many iterations give `bytes` of a key in so many milliseconds of this processor's time.
Result<u32> pbkdf2_iterations(Hash hash, size_t bytes, u64 milliseconds);
// Overwrites what must not stay in memory.
void wipe(Bytes secret);

}  // namespace menura::luks
