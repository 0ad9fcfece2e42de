// LuksVolume: an unlocked LUKS header, for whoever keeps sectors encrypted by it: the format `luks`
// and qcow2. Making a new one.
//
// Owner: an Image. Threads: any after construction. Example:
//   LuksVolume v = TRY(LuksVolume::open(file, 0, room, password));  TRY(v.cipher().decrypt(0, sector));
#pragma once

#include "block/core/graph.h"
#include "block/luks/luks_header.h"

namespace menura::luks {

struct LuksOptions {
  std::string key_secret;
  std::optional<CipherAlgorithm> cipher_alg;  // else aes-256
  std::optional<CipherMode> cipher_mode;      // xts
  std::optional<IvGenerator> ivgen_alg;       // plain64
  std::optional<Hash> ivgen_hash_alg;         // sha256
  std::optional<Hash> hash_alg;               // sha256
  std::optional<u64> iter_time;               // 2000
  void describe(PropertyVisitor& p);
  // What a header by these options would be, without keys.
  Result<LuksHeader> header() const;
};

class LuksVolume {
 public:
  // The header alone, without a key.
  static Result<LuksHeader> read_header(Node& file, u64 offset);
  // Errc::Permission: no slot opens by this password.
  static Result<LuksVolume> open(Node& file, u64 offset, const std::string& password);
  // A new key in slot 0. The bytes up to the payload, for `offset` of a file.
  struct Made {
    LuksHeader header;
    std::vector<std::byte> bytes;
  };
  static Result<Made> make(const LuksOptions& options, const Graph& graph);

  const LuksHeader& header() const { return header_; }
  const SectorCipher& cipher() const { return *cipher_; }

 private:
  LuksVolume(LuksHeader header, std::unique_ptr<SectorCipher> cipher)
      : header_(std::move(header)), cipher_(std::move(cipher)) {}

  LuksHeader header_;
  std::unique_ptr<SectorCipher> cipher_;
};

// "info" of an encrypted image: query-block's format-specific members.
Value describe_header(const LuksHeader& header);

}  // namespace menura::luks
