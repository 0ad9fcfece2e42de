// LUKS against published vectors; whole images are judged by QEMU's tools (tests/block/formats.py).
#include <gtest/gtest.h>

#include <string>

#include "block/luks/luks_header.h"

namespace menura::luks {
namespace {

std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> out;
  for (size_t i = 0; i + 1 < text.size(); i += 2)
    out.push_back(static_cast<std::byte>(std::stoul(std::string(text.substr(i, 2)), nullptr, 16)));
  return out;
}

TEST(SectorCipher, EncryptsAsIeee1619Vector4Says) {
  // XTS-AES-128, data unit 0, 512 bytes of 00 01 02 …
  const auto key = from_hex("2718281828459045235360287471352631415926535897932384626433832795");
  std::vector<std::byte> data(512);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<std::byte>(i);
  const std::vector<std::byte> plain = data;
  const auto cipher =
      SectorCipher::create({CipherAlgorithm::Aes128, CipherMode::Xts, IvGenerator::Plain64}, key);
  ASSERT_TRUE(cipher);
  ASSERT_TRUE((*cipher)->encrypt(0, data));
  EXPECT_EQ(std::vector(data.begin(), data.begin() + 16),
            from_hex("27a7479befa1d476489f308cd4cfa6e2"));
  EXPECT_EQ(std::vector(data.end() - 16, data.end()), from_hex("0a282df920147beabe421ee5319d0568"));
  ASSERT_TRUE((*cipher)->decrypt(0, data));
  EXPECT_EQ(data, plain);
}

TEST(Pbkdf2, MakesTheKeysOfRfc6070) {
  std::vector<std::byte> key(20);
  const std::string salt = "salt";
  ASSERT_TRUE(pbkdf2(Hash::Sha1, "password", std::as_bytes(std::span(salt.data(), salt.size())),
                     4096, key));
  EXPECT_EQ(key, from_hex("4b007901b765489abead49d926f721d065a429c1"));
}

TEST(LuksHeader, KeepsAllItsFieldsAndMergesWhatItSplit) {
  LuksHeader h;
  h.cipher = {CipherAlgorithm::Aes192, CipherMode::Cbc, IvGenerator::Essiv, Hash::Sha256};
  h.hash = Hash::Sha512;
  h.iterations = 12345;
  h.uuid = "a uuid";
  h.lay_out();
  h.slots[3].active = true;
  h.slots[3].iterations = 99;
  const Result<LuksHeader> again = LuksHeader::parse(h.serialize());
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(again->serialize(), h.serialize());
  EXPECT_EQ(again->cipher.key_bytes(), 24u);
  const auto key = from_hex("000102030405060708090a0b0c0d0e0f1011121314151617");
  EXPECT_EQ(merge_key(h.hash, split_key(h.hash, key), key.size()), key);
}

TEST(LuksHeader, RefusesWhatWouldKeepItBusy) {
  LuksHeader h;
  h.lay_out();
  h.iterations = 2'000'000'000;
  EXPECT_EQ(LuksHeader::parse(h.serialize()).error().code, Errc::Corrupt);
  h.iterations = 1000;
  h.slots[0].active = true;
  h.slots[0].iterations = 0xffffffff;
  EXPECT_EQ(LuksHeader::parse(h.serialize()).error().code, Errc::Corrupt);
  h.slots[0].iterations = 1;
  h.slots[0].material = h.payload - 1;
  EXPECT_EQ(LuksHeader::parse(h.serialize()).error().code, Errc::Corrupt);
}

}  // namespace
}  // namespace menura::luks
