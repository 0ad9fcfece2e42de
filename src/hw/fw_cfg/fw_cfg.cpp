#include "hw/fw_cfg/fw_cfg.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace menura {

namespace {

// The Id item: the port interface, and DMA.
constexpr u32 kIdTraditional = 1, kIdDma = 2;

// The DMA descriptor: control, length, address; big-endian.
constexpr size_t kDescriptorSize = 16;
enum : u32 { kDmaError = 1, kDmaRead = 2, kDmaSkip = 4, kDmaSelect = 8, kDmaWrite = 16 };

// "QEMU CFG" as a big-endian number: what the DMA register reads as.
constexpr u64 kDmaSignature = 0x5145'4d55'2043'4647;

constexpr size_t kDirectoryEntrySize = 64;

std::vector<std::byte> to_bytes(std::string_view text) {
  const ConstBytes view = bytes_of(text);
  return {view.begin(), view.end()};
}

}  // namespace

FwCfg::FwCfg(std::string id, AddressSpace& memory)
    : Device(std::move(id)),
      memory_(memory),
      control_ports_(
          Region::mmio("fw_cfg", 2, control_window_, {.valid_max = 2, .handler_max = 2})),
      dma_ports_(
          Region::mmio("fw_cfg.dma", 8, dma_window_,
                       {.valid_min = 1, .valid_max = 8, .handler_min = 1, .handler_max = 8})) {
  add(FwCfgKey::Signature, to_bytes("QEMU"));
  add(FwCfgKey::Id, u32{kIdTraditional | kIdDma});
  rebuild_directory();
}

void FwCfg::add(FwCfgKey key, std::vector<std::byte> content) {
  items_[static_cast<u16>(key)] = std::move(content);
}

Result<void> FwCfg::add_file(std::string name, std::vector<std::byte> content) {
  return add_writable_file(std::move(name), std::move(content), nullptr);
}

Result<void> FwCfg::add_writable_file(std::string name, std::vector<std::byte> content,
                                      std::function<void(ConstBytes)> written) {
  if (name.empty() || name.size() >= kNameSize)
    return fail(Errc::InvalidArgument, "fw_cfg file name '{}' must have 1 to {} characters", name,
                kNameSize - 1);
  if (files_.size() >= kFileLimit && !files_.contains(name))
    return fail(Errc::OutOfRange, "Adding fw_cfg file '{}': all {} places are taken", name,
                kFileLimit);
  const bool writable = written != nullptr;
  files_[std::move(name)] = {std::move(content), writable, std::move(written)};
  rebuild_directory();
  return {};
}

const std::vector<std::byte>* FwCfg::file(std::string_view name) const {
  const auto at = files_.find(name);
  return at == files_.end() ? nullptr : &at->second.content;
}

// Count, then per file: size, key, reserved, name; big-endian.
void FwCfg::rebuild_directory() {
  std::vector<std::byte> directory(4 + kDirectoryEntrySize * files_.size());
  store_be(Bytes(directory), 0, static_cast<u32>(files_.size()));
  size_t at = 4;
  u16 key = static_cast<u16>(FwCfgKey::FirstFile);
  for (const auto& [name, file] : files_) {
    store_be(Bytes(directory), at, static_cast<u32>(file.content.size()));
    store_be(Bytes(directory), at + 4, key++);
    std::ranges::copy(bytes_of(name), directory.begin() + static_cast<ptrdiff_t>(at) + 8);
    at += kDirectoryEntrySize;
  }
  add(FwCfgKey::FileDirectory, std::move(directory));
}

const std::string* FwCfg::name_of(u16 key) const {
  const u16 first = static_cast<u16>(FwCfgKey::FirstFile);
  if (key < first || key - first >= static_cast<int>(files_.size())) return nullptr;
  return &std::next(files_.begin(), key - first)->first;
}

FwCfg::File* FwCfg::file_of(u16 key) {
  const std::string* name = name_of(key);
  return name ? &files_.find(*name)->second : nullptr;
}

std::vector<std::byte>* FwCfg::selected() {
  if (File* file = file_of(selector_)) return &file->content;
  const auto at = items_.find(selector_);
  return at == items_.end() ? nullptr : &at->second;
}

void FwCfg::reset(ResetKind) {
  selector_ = 0;
  offset_ = 0;
  dma_high_ = 0;
}

void FwCfg::describe(StateVisitor& v) {
  v.field("selector", selector_);
  v.field("offset", offset_);
  v.field("dma_high", dma_high_);
  for (auto& [name, file] : files_)
    if (file.writable) v.field("file:" + name, file.content);
}

// Bit 14 of a key asks for writing, which the port interface no longer has.
void FwCfg::select(u16 key) {
  selector_ = key & 0xbfff;
  offset_ = 0;
  const std::string* name = on_select_ ? name_of(selector_) : nullptr;
  if (name) on_select_(std::string(*name));
}

u8 FwCfg::read_byte() {
  const std::vector<std::byte>* item = selected();
  if (!item || offset_ >= item->size()) return 0;
  return static_cast<u8>((*item)[offset_++]);
}

u64 FwCfg::read_control(Access access) {
  return access.offset == 1 && access.size == 1 ? read_byte() : 0;
}

void FwCfg::write_control(Access access, u64 value) {
  if (access.offset == 0 && access.size == 2) select(static_cast<u16>(value));
}

u64 FwCfg::read_dma(Access access) {
  return byte_swap(kDmaSignature) >> (8 * access.offset) & low_mask(8 * access.size);
}

// The upper half first; the lower half starts the transfer.
void FwCfg::write_dma(Access access, u64 value) {
  if (access.size == 8 && access.offset == 0) {
    run_dma({byte_swap(value)});
  } else if (access.size == 4 && access.offset == 0) {
    dma_high_ = byte_swap(static_cast<u32>(value));
  } else if (access.size == 4 && access.offset == 4) {
    const u64 high = std::exchange(dma_high_, 0);
    run_dma({high << 32 | byte_swap(static_cast<u32>(value))});
  }
}

void FwCfg::run_dma(GuestAddr descriptor) {
  std::array<std::byte, kDescriptorSize> raw;
  if (memory_.dma_read(descriptor, raw) != AccessStatus::Ok) return;
  const u32 control = load_be<u32>(raw, 0);
  const bool good = transfer(control, {load_be<u64>(raw, 8)}, load_be<u32>(raw, 4));
  store_be(Bytes(raw), 0, good ? u32{0} : u32{kDmaError});
  // The descriptor was readable RAM; if it is ROM the guest cannot learn the outcome.
  (void)memory_.dma_write(descriptor, Bytes(raw).first(4));
}

bool FwCfg::transfer(u32 control, GuestAddr at, u32 length) {
  if (control & kDmaSelect) select(static_cast<u16>(control >> 16));
  if (control & kDmaRead) return dma_read_item(at, length);
  if (control & kDmaWrite) return dma_write_item(at, length);
  if (control & kDmaSkip) {
    const std::vector<std::byte>* item = selected();
    const u64 rest = item ? item->size() - std::min<u64>(offset_, item->size()) : 0;
    offset_ += static_cast<u32>(std::min<u64>(length, rest));
  }
  return true;
}

// Past the item's end the guest reads zeros.
bool FwCfg::dma_read_item(GuestAddr to, u32 length) {
  constexpr u32 kChunk = 65536;
  const std::vector<std::byte>* item = selected();
  while (length > 0) {
    const u64 rest = item ? item->size() - std::min<u64>(offset_, item->size()) : 0;
    const u32 chunk = std::min(length, kChunk);
    const u32 content = static_cast<u32>(std::min<u64>(chunk, rest));
    std::vector<std::byte> buffer(chunk);
    if (content > 0) std::copy_n(item->begin() + offset_, content, buffer.begin());
    if (memory_.dma_write(to, buffer) != AccessStatus::Ok) return false;
    offset_ += content;
    to = to + chunk;
    length -= chunk;
  }
  return true;
}

bool FwCfg::dma_write_item(GuestAddr from, u32 length) {
  File* file = file_of(selector_);
  if (!file || !file->writable || offset_ > file->content.size() ||
      length > file->content.size() - offset_)
    return false;
  std::vector<std::byte> buffer(length);
  if (memory_.dma_read(from, buffer) != AccessStatus::Ok) return false;
  std::ranges::copy(buffer, file->content.begin() + offset_);
  offset_ += length;
  file->written(file->content);
  return true;
}

}  // namespace menura
