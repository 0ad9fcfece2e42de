#include "machine/tables/smbios.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/format.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr size_t kAnchorSize = 0x1f;
constexpr u64 kModuleLimit = 16 * GiB;

// One structure: the formatted area, then its strings.
class Structure {
 public:
  Structure(u8 type, u16 handle) { u8_(type).u8_(0).u16_(handle); }
  Structure& u8_(u64 v) { return put(static_cast<u8>(v)); }
  Structure& u16_(u64 v) { return put(static_cast<u16>(v)); }
  Structure& u32_(u64 v) { return put(static_cast<u32>(v)); }
  Structure& u64_(u64 v) { return put(v); }
  // A string's number, 0 for the empty one.
  Structure& text(const std::string& s) {
    if (s.empty()) return u8_(0);
    strings_.push_back(s);
    return u8_(strings_.size());
  }
  // A string that no byte refers to.
  Structure& string(const std::string& s) {
    strings_.push_back(s.empty() ? " " : s);
    return *this;
  }
  u8 type() const { return static_cast<u8>(area_[0]); }
  std::vector<std::byte> finish() {
    area_[1] = static_cast<std::byte>(area_.size());
    for (const std::string& s : strings_) {
      const ConstBytes bytes = bytes_of(s);
      area_.insert(area_.end(), bytes.begin(), bytes.end());
      area_.push_back(std::byte{0});
    }
    area_.resize(area_.size() + (strings_.empty() ? 2 : 1));
    return std::move(area_);
  }

 private:
  template <class T>
  Structure& put(T v) {
    const size_t at = area_.size();
    area_.resize(at + sizeof v);
    store_le(Bytes(area_), at, v);
    return *this;
  }
  std::vector<std::byte> area_;
  std::vector<std::string> strings_;
};

enum : u16 {
  kBiosHandle = 0x000,
  kSystemHandle = 0x100,
  kBoardHandle = 0x200,
  kChassisHandle = 0x300,
  kCpuHandle = 0x400,
  kOemHandle = 0xe00,
  kArrayHandle = 0x1000,
  kModuleHandle = 0x1100,
  kMappedHandle = 0x1300,
  kBootHandle = 0x2000,
  kEndHandle = 0x7f00
};
constexpr u8 kUnknown = 2, kOther = 1;

// A thing's maker, unless it names its own.
const std::string& maker(const SmbiosConfig& c, const SmbiosNames& names) {
  return names.manufacturer.empty() ? c.manufacturer : names.manufacturer;
}

Structure bios(const SmbiosConfig& c) {
  constexpr u8 kUefi = 1 << 3, kVirtualMachine = 1 << 4, kTargetedContent = 1 << 2;
  Structure s(0, kBiosHandle);
  s.text(c.bios.vendor).text(c.bios.version).u16_(0xe800).text(c.bios.date).u8_(0);
  s.u64_(8);  // characteristics are not supported here, but in the two bytes that follow
  s.u8_(0).u8_(kVirtualMachine | kTargetedContent | (c.bios.uefi ? kUefi : 0));
  s.u8_(c.bios.release ? c.bios.release->first : 0)
      .u8_(c.bios.release ? c.bios.release->second : 0);
  s.u8_(0xff).u8_(0xff);
  return s;
}

Structure system(const SmbiosConfig& c) {
  Structure s(1, kSystemHandle);
  s.text(maker(c, c.system)).text(c.system.product).text(c.system.version).text(c.system.serial);
  // The first three fields of a UUID are little-endian since 2.6.
  constexpr size_t kOrder[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  for (const size_t i : kOrder) s.u8_(c.uuid[i]);
  s.u8_(6).text(c.system.sku).text(c.family);  // wake-up: power switch
  return s;
}

Structure baseboard(const SmbiosConfig& c, const SmbiosConfig::Baseboard& board) {
  constexpr u8 kHosting = 1, kMotherboard = 0x0a;
  const SmbiosNames& n = board.names;
  Structure s(2, kBoardHandle);
  s.text(maker(c, n)).text(n.product).text(n.version).text(n.serial).text(n.asset);
  s.u8_(kHosting).text(board.location).u16_(kChassisHandle).u8_(kMotherboard).u8_(0);
  return s;
}

Structure chassis(const SmbiosConfig& c) {
  const SmbiosNames& n = c.chassis;
  Structure s(3, kChassisHandle);
  s.text(maker(c, n)).u8_(kOther).text(n.version.empty() ? c.system.product : n.version);
  s.text(n.serial.empty() ? c.system.serial : n.serial).text(n.asset);
  s.u8_(3).u8_(3).u8_(3).u8_(kUnknown).u32_(0).u8_(0).u8_(0).u8_(0).u8_(0).text(n.sku);
  return s;
}

Structure processor(const SmbiosConfig& c, unsigned socket) {
  const SmbiosNames& n = c.processor.names;
  Structure s(4, static_cast<u16>(kCpuHandle + socket));
  s.text(format("{}{}", c.processor.socket_prefix, socket)).u8_(3).u8_(kOther).text(maker(c, n));
  s.u64_(c.processor.id).text(n.version).u8_(0).u16_(0);
  s.u16_(c.processor.max_mhz).u16_(c.processor.current_mhz).u8_(0x41).u8_(kOther);
  s.u16_(0xffff).u16_(0xffff).u16_(0xffff).text(n.serial).text(n.asset).text(n.part);
  const unsigned cores = std::min(c.cores_per_socket, 255u);
  const unsigned threads = std::min(c.cores_per_socket * c.threads_per_core, 255u);
  s.u8_(cores).u8_(cores).u8_(threads).u16_(0x0004);  // 64-bit capable
  s.u16_(kUnknown);
  return s;
}

Structure oem_strings(const SmbiosConfig& c) {
  Structure s(11, kOemHandle);
  s.u8_(c.oem_strings.size());
  for (const std::string& text : c.oem_strings) s.string(text);
  return s;
}

Structure memory_array(u64 total, size_t modules) {
  Structure s(16, kArrayHandle);
  const u64 kilobytes = total / KiB;
  s.u8_(kOther).u8_(3).u8_(6);  // location other, system memory, multi-bit ECC
  s.u32_(kilobytes < 0x8000'0000 ? kilobytes : 0x8000'0000).u16_(0xfffe).u16_(modules);
  s.u64_(kilobytes < 0x8000'0000 ? 0 : total);
  return s;
}

Structure memory_module(const SmbiosConfig& c, size_t index, u64 size) {
  Structure s(17, static_cast<u16>(kModuleHandle + index));
  const u64 megabytes = size / MiB;
  s.u16_(kArrayHandle).u16_(0xfffe).u16_(0xffff).u16_(0xffff);
  s.u16_(megabytes < 0x7fff ? megabytes : 0x7fff).u8_(9).u8_(0);
  const SmbiosNames& n = c.memory.names;
  s.text(format("{}{}", c.memory.locator_prefix, index)).text(c.memory.bank).u8_(7).u16_(2);  // RAM
  s.u16_(c.memory.speed).text(maker(c, n)).text(n.serial).text(n.asset).text(n.part).u8_(0);
  s.u32_(megabytes < 0x7fff ? 0 : megabytes).u16_(c.memory.speed).u16_(0).u16_(0).u16_(0);
  return s;
}

Structure mapped_range(unsigned index, u64 start, u64 size) {
  Structure s(19, static_cast<u16>(kMappedHandle + index));
  const u64 last = start + size - 1;
  const bool fits = last / KiB < 0xffff'ffff;
  s.u32_(fits ? start / KiB : 0xffff'ffff).u32_(fits ? last / KiB : 0xffff'ffff);
  s.u16_(kArrayHandle).u8_(1).u64_(fits ? 0 : start).u64_(fits ? 0 : last);
  return s;
}

Structure boot_information() {
  Structure s(32, kBootHandle);
  s.u32_(0).u16_(0).u8_(0);
  return s;
}

u8 sum(ConstBytes bytes) {
  u8 total = 0;
  for (const std::byte b : bytes) total = static_cast<u8>(total + static_cast<u8>(b));
  return total;
}

std::vector<std::byte> make_anchor(size_t length, size_t largest, size_t count) {
  std::vector<std::byte> anchor(kAnchorSize);
  const auto text = [&](size_t at, std::string_view s) {
    std::ranges::copy(bytes_of(s), anchor.begin() + static_cast<ptrdiff_t>(at));
  };
  const auto byte = [&](size_t at, u8 v) { anchor[at] = static_cast<std::byte>(v); };
  text(0x00, "_SM_");
  byte(0x05, kAnchorSize);
  byte(0x06, 2);
  byte(0x07, 8);
  store_le(Bytes(anchor), 0x08, static_cast<u16>(largest));
  text(0x10, "_DMI_");
  store_le(Bytes(anchor), 0x16, static_cast<u16>(length));
  store_le(Bytes(anchor), 0x1c, static_cast<u16>(count));
  byte(0x1e, 0x28);
  return anchor;
}

}  // namespace

SmbiosTables build_smbios(const SmbiosConfig& config) {
  SmbiosTables tables;
  size_t largest = 0, count = 0;
  const auto add_bytes = [&](const std::vector<std::byte>& bytes) {
    tables.structures.insert(tables.structures.end(), bytes.begin(), bytes.end());
    largest = std::max(largest, bytes.size());
    count++;
  };
  const auto replaced = [&](u8 type) {
    return std::ranges::any_of(config.structures,
                               [type](const auto& s) { return static_cast<u8>(s[0]) == type; });
  };
  const auto add = [&](Structure structure) {
    if (!replaced(structure.type())) add_bytes(structure.finish());
  };
  for (const std::vector<std::byte>& structure : config.structures) add_bytes(structure);
  add(bios(config));
  add(system(config));
  if (config.board) add(baseboard(config, *config.board));
  add(chassis(config));
  for (unsigned socket = 0; socket < config.sockets; socket++) add(processor(config, socket));
  if (!config.oem_strings.empty()) add(oem_strings(config));
  const u64 total = config.memory_below_4g + config.memory_above_4g;
  // Modules of 16 GiB, but never so many that the 16-bit table length overflows.
  const u64 module_size = std::max(kModuleLimit, align_up((total + 255) / 256, u64{GiB}));
  const size_t modules = static_cast<size_t>((total + module_size - 1) / module_size);
  add(memory_array(total, modules));
  for (size_t i = 0; i < modules; i++)
    add(memory_module(config, i, std::min(module_size, total - i * module_size)));
  add(mapped_range(0, 0, config.memory_below_4g));
  if (config.memory_above_4g) add(mapped_range(1, 4 * GiB, config.memory_above_4g));
  add(boot_information());
  add(Structure(127, kEndHandle));
  tables.anchor = make_anchor(tables.structures.size(), largest, count);
  tables.place(0);
  return tables;
}

// §6.1.2: a structure says how long its area is; its strings end with an empty one.
std::vector<std::vector<std::byte>> split_smbios(ConstBytes file) {
  constexpr size_t kHeader = 4;
  std::vector<std::vector<std::byte>> structures;
  for (size_t at = 0; at < file.size();) {
    if (file.size() - at < kHeader) return {};
    const size_t length = static_cast<size_t>(file[at + 1]);
    size_t end = at + length;
    while (end + 1 < file.size() && (file[end] != std::byte{0} || file[end + 1] != std::byte{0}))
      end++;
    if (length < kHeader || end + 1 >= file.size()) return {};
    structures.emplace_back(file.begin() + static_cast<ptrdiff_t>(at),
                            file.begin() + static_cast<ptrdiff_t>(end + 2));
    at = end + 2;
  }
  return structures;
}

void SmbiosTables::place(u32 address) {
  store_le(Bytes(anchor), 0x18, address);
  anchor[0x15] = std::byte{0};
  anchor[0x15] = static_cast<std::byte>(-sum(ConstBytes(anchor).subspan(0x10)));
  anchor[0x04] = std::byte{0};
  anchor[0x04] = static_cast<std::byte>(-sum(anchor));
}

}  // namespace menura
