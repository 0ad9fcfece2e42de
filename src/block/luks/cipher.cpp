#include "block/luks/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <time.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/units.h"

namespace menura::luks {

namespace {

constexpr std::string_view kAlgorithms[] = {"aes-128", "aes-192", "aes-256"};
constexpr std::string_view kModes[] = {"ecb", "cbc", "xts"};
constexpr std::string_view kIvs[] = {"plain", "plain64", "essiv"};
constexpr std::string_view kHashes[] = {"sha1",   "sha224", "sha256",
                                        "sha384", "sha512", "ripemd160"};
constexpr size_t kIv = 16;

const unsigned char* raw(ConstBytes bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(Bytes bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

const EVP_CIPHER* cipher_of(CipherMode mode, size_t key_bytes) {
  switch (mode) {
    case CipherMode::Xts: return key_bytes == 32 ? EVP_aes_128_xts() : EVP_aes_256_xts();
    case CipherMode::Cbc:
      return key_bytes == 16   ? EVP_aes_128_cbc()
             : key_bytes == 24 ? EVP_aes_192_cbc()
                               : EVP_aes_256_cbc();
    case CipherMode::Ecb:
      return key_bytes == 16   ? EVP_aes_128_ecb()
             : key_bytes == 24 ? EVP_aes_192_ecb()
                               : EVP_aes_256_ecb();
  }
  unreachable();
}

const EVP_MD* md_of(Hash hash) {
  switch (hash) {
    case Hash::Sha1: return EVP_sha1();
    case Hash::Sha224: return EVP_sha224();
    case Hash::Sha256: return EVP_sha256();
    case Hash::Sha384: return EVP_sha384();
    case Hash::Sha512: return EVP_sha512();
    case Hash::Ripemd160: return EVP_ripemd160();
  }
  unreachable();
}

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

Result<Context> make_context(const EVP_CIPHER* cipher, ConstBytes key, bool encrypts) {
  Context context(EVP_CIPHER_CTX_new());
  if (!context ||
      EVP_CipherInit_ex(context.get(), cipher, nullptr, raw(key), nullptr, encrypts ? 1 : 0) != 1)
    return fail(Errc::Unsupported, "The host's OpenSSL refuses this cipher or key");
  EVP_CIPHER_CTX_set_padding(context.get(), 0);
  return context;
}

i64 thread_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<i64>(now.tv_sec) * kNsPerSecond + now.tv_nsec;
}

}  // namespace

std::span<const std::string_view> enum_names(CipherAlgorithm) { return kAlgorithms; }
std::span<const std::string_view> enum_names(CipherMode) { return kModes; }
std::span<const std::string_view> enum_names(IvGenerator) { return kIvs; }
std::span<const std::string_view> enum_names(Hash) { return kHashes; }

// One thread's at a time.
struct SectorCipher::Contexts {
  Context encrypts, decrypts, iv;
};

SectorCipher::SectorCipher(const CipherSpec& spec, ConstBytes key)
    : spec_(spec), key_(key.begin(), key.end()) {
  if (spec.iv == IvGenerator::Essiv) iv_key_ = digest(spec.iv_hash, key);
}

SectorCipher::~SectorCipher() {
  wipe(key_);
  wipe(iv_key_);
}

Result<std::unique_ptr<SectorCipher>> SectorCipher::create(const CipherSpec& spec, ConstBytes key) {
  if (spec.mode == CipherMode::Xts && spec.algorithm == CipherAlgorithm::Aes192)
    return fail(Errc::InvalidArgument, "XTS has no keys of 192 bits");
  if (key.size() != spec.key_bytes())
    return fail(Errc::Corrupt, "A key of {} bytes, where the cipher wants {}", key.size(),
                spec.key_bytes());
  std::unique_ptr<SectorCipher> made(new SectorCipher(spec, key));
  const size_t iv_key = made->iv_key_.size();
  if (spec.iv == IvGenerator::Essiv && iv_key != 16 && iv_key != 24 && iv_key != 32)
    return fail(Errc::Unsupported, "ESSIV by {} gives no key for AES",
                kHashes[static_cast<size_t>(spec.iv_hash)]);
  made->idle_.push_back(TRY(made->take()));
  return made;
}

Result<std::unique_ptr<SectorCipher::Contexts>> SectorCipher::take() const {
  {
    const std::lock_guard guard(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Contexts> one = std::move(idle_.back());
      idle_.pop_back();
      return one;
    }
  }
  auto fresh = std::make_unique<Contexts>();
  const EVP_CIPHER* cipher = cipher_of(spec_.mode, key_.size());
  fresh->encrypts = TRY(make_context(cipher, key_, true));
  fresh->decrypts = TRY(make_context(cipher, key_, false));
  if (!iv_key_.empty())
    fresh->iv = TRY(make_context(cipher_of(CipherMode::Ecb, iv_key_.size()), iv_key_, true));
  return fresh;
}

Result<void> SectorCipher::run(bool encrypts, u64 sector, Bytes data) const {
  ensure(data.size() % kSector == 0, "whole sectors");
  std::unique_ptr<Contexts> mine = TRY(take());
  EVP_CIPHER_CTX* context = encrypts ? mine->encrypts.get() : mine->decrypts.get();
  bool good = true;
  for (; !data.empty() && good; data = data.subspan(kSector), sector++) {
    std::array<std::byte, kIv> iv{};
    store_le<u64>(iv, 0, spec_.iv == IvGenerator::Plain ? sector & 0xffffffff : sector);
    int out = 0;
    if (mine->iv) {
      std::array<std::byte, kIv> number = iv;
      good =
          EVP_CipherUpdate(mine->iv.get(), raw(Bytes(iv)), &out, raw(ConstBytes(number)), kIv) == 1;
    }
    good = good &&
           EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, raw(ConstBytes(iv)), -1) == 1 &&
           EVP_CipherUpdate(context, raw(data), &out, raw(data), static_cast<int>(kSector)) == 1;
  }
  const std::lock_guard guard(mutex_);
  idle_.push_back(std::move(mine));
  if (!good) return fail(Errc::Internal, "OpenSSL fails at a sector");
  return {};
}

size_t hash_bytes(Hash hash) {
  switch (hash) {
    case Hash::Sha1:
    case Hash::Ripemd160: return 20;
    case Hash::Sha224: return 28;
    case Hash::Sha256: return 32;
    case Hash::Sha384: return 48;
    case Hash::Sha512: return 64;
  }
  unreachable();
}

std::vector<std::byte> digest(Hash hash, ConstBytes data) {
  std::vector<std::byte> out(hash_bytes(hash));
  unsigned size = 0;
  ensure(EVP_Digest(data.data(), data.size(), raw(Bytes(out)), &size, md_of(hash), nullptr) == 1 &&
             size == out.size(),
         "OpenSSL knows this hash");
  return out;
}

Result<void> pbkdf2(Hash hash, std::string_view password, ConstBytes salt, u32 iterations,
                    Bytes key) {
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), raw(salt),
                        static_cast<int>(salt.size()), static_cast<int>(iterations), md_of(hash),
                        static_cast<int>(key.size()), raw(key)) == 1)
    return {};
  return fail(Errc::Unsupported, "The host's OpenSSL refuses to make a key of a password");
}

Result<u32> pbkdf2_iterations(Hash hash, size_t bytes, u64 milliseconds) {
  const std::array<std::byte, 32> salt{};
  std::array<std::byte, 64> key;
  constexpr i64 kEnough = 100 * kNsPerMs;
  for (u32 count = 1 << 14;; count *= 2) {
    const i64 begin = thread_time_ns();
    TRY(pbkdf2(hash, "menura", salt, count, Bytes(key).first(std::min(bytes, key.size()))));
    const i64 took = thread_time_ns() - begin;
    if (took < kEnough && count < 1 << 26) continue;
    const double rate = static_cast<double>(count) / static_cast<double>(std::max<i64>(took, 1));
    const double wanted = rate * static_cast<double>(milliseconds) * static_cast<double>(kNsPerMs);
    return static_cast<u32>(std::clamp(wanted, 1000.0, 50e6));
  }
}

void wipe(Bytes secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

}  // namespace menura::luks
