#include "hw/ide/ata_identify.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/bytes.h"

namespace menura {

namespace {

class Words {
 public:
  void set(size_t word, u64 value) { words_[word] = static_cast<u16>(value); }
  void set32(size_t word, u64 value) {
    set(word, value);
    set(word + 1, value >> 16);
  }
  // ASCII with the first character in the high byte, padded with spaces.
  void text(size_t word, size_t count, std::string_view s) {
    for (size_t i = 0; i < count; i++) {
      const auto at = [&](size_t n) { return static_cast<u8>(n < s.size() ? s[n] : ' '); };
      set(word + i, u64{at(2 * i)} << 8 | at(2 * i + 1));
    }
  }
  // Word 255: signature and a checksum that makes all bytes add up to zero.
  std::vector<std::byte> finish() {
    u8 sum = 0xa5;
    for (size_t i = 0; i < 255; i++)
      sum = static_cast<u8>(sum + (words_[i] & 0xff) + (words_[i] >> 8));
    set(255, u64{static_cast<u8>(-sum)} << 8 | 0xa5);
    std::vector<std::byte> bytes(512);
    for (size_t i = 0; i < 256; i++) store_le(Bytes(bytes), 2 * i, words_[i]);
    return bytes;
  }

 private:
  std::array<u16, 256> words_{};
};

// Words 63 and 88: the modes supported, and the selected one in the high byte.
u64 multiword_word(u8 mode) { return 0x07 | ((mode & 0xf8) == 0x20 ? 0x100u << (mode & 7) : 0); }
u64 ultra_word(u8 mode) { return 0x3f | ((mode & 0xf8) == 0x40 ? 0x100u << (mode & 7) : 0); }

// Words that tell of a serial link: generations 1 and 2, and the transport's version.
void put_serial(Words& w) {
  w.set(76, 0x0006);
  w.set(93, 0);
  w.set(222, 0x101f);
}

void put_common(Words& w, const DriveNames& names, u8 dma_mode) {
  w.text(10, 10, names.serial);
  w.text(23, 4, names.firmware);
  w.text(27, 20, names.model);
  w.set(49, 0x0300);  // LBA, DMA
  w.set(50, 0x4000);
  w.set(53, 0x0007);
  w.set(63, multiword_word(dma_mode));
  w.set(64, 0x0003);                                            // PIO modes 3 and 4
  for (const size_t word : {65, 66, 67, 68}) w.set(word, 120);  // cycle times in ns
  w.set(80, 0x00f0);                                            // ATA/ATAPI-4 to 7
  w.set(88, ultra_word(dma_mode));
  w.set(93, 0x6001);  // 80-conductor cable, device 0's diagnosis passed
}

}  // namespace

DriveNames DriveNames::filled_from(const DriveNames& usual) const {
  return {.serial = serial.empty() ? usual.serial : serial,
          .firmware = firmware.empty() ? usual.firmware : firmware,
          .model = model.empty() ? usual.model : model};
}

std::vector<std::byte> build_disk_identify(const DiskIdentity& d) {
  constexpr u64 kMaxCylinders = 16383, kHeads = 16, kSectors = 63;
  Words w;
  put_common(w, d.names, d.dma_mode);
  w.set(0, 0x0040);  // fixed drive
  w.set(1, std::min(d.sectors / (kHeads * kSectors), kMaxCylinders));
  w.set(3, kHeads);
  w.set(6, kSectors);
  w.set(47, 0x8000u | d.max_multiple);
  const u64 cylinders = std::min<u64>(d.sectors / (u64{d.heads} * d.sectors_per_track), 65535);
  w.set(54, cylinders);
  w.set(55, d.heads);
  w.set(56, d.sectors_per_track);
  w.set32(57, cylinders * d.heads * d.sectors_per_track);
  w.set(59, d.multiple ? 0x0100u | d.multiple : 0);
  w.set32(60, std::min<u64>(d.sectors, 0x0fff'ffff));
  w.set(82, 0x4060);  // NOP is not; write cache, read look-ahead
  w.set(83, 0x7400);  // FLUSH CACHE (EXT), 48-bit addresses
  w.set(84, 0x4040);  // FUA
  w.set(85, 0x4000u | (d.write_cache ? 0x20 : 0) | (d.read_ahead ? 0x40 : 0));
  w.set(86, 0x3400);
  w.set(87, 0x4040);
  w.set32(100, d.sectors);
  w.set32(102, d.sectors >> 32);
  w.set(106, 0x6000);
  w.set(169, 0x0001);  // TRIM
  if (d.serial_link) {
    put_serial(w);
    w.set(75, 31);      // depth of the queue, less one
    w.set(76, 0x0106);  // queued commands
    w.set(84, 0x4060);  // logs
    w.set(87, 0x4060);
  }
  return w.finish();
}

std::vector<std::byte> build_packet_identify(const DriveNames& names, u8 dma_mode,
                                             bool serial_link) {
  Words w;
  put_common(w, names, dma_mode);
  w.set(0, 0x85c0);  // ATAPI CD-ROM, removable, DRQ within 50 us, 12-byte packets
  w.set(71, 30);
  w.set(72, 30);
  w.set(82, 0x0210);  // DEVICE RESET, PACKET
  w.set(83, 0x4000);
  w.set(84, 0x4000);
  w.set(85, 0x0210);
  w.set(87, 0x4000);
  if (serial_link) put_serial(w);
  return w.finish();
}

}  // namespace menura
