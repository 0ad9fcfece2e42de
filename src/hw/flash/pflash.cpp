#include "hw/flash/pflash.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kCommand, "pflash.command", "{} command {:#x}");
TRACE_EVENT(kErase, "pflash.erase", "{} block {:#x}");

// Table "Command bus-cycle definitions".
enum Command : u8 {
  kAlternateProgram = 0x10,
  kBlockErase = 0x20,
  kByteProgram = 0x40,
  kClearStatus = 0x50,
  kReadStatus = 0x70,
  kReadId = 0x90,
  kReadQuery = 0x98,
  kConfirm = 0xd0,
  kWriteBuffer = 0xe8,
  kReadArray = 0xff,
};

enum Status : u8 {
  kReady = 1 << 7,
  kEraseError = 1 << 5,
  kProgramError = 1 << 4,
  kVoltageError = 1 << 3,
};

// Intel; 28F640J3. (The size that CFI tells is the chip's own.)
constexpr u8 kManufacturer = 0x89, kDevice = 0x17;

constexpr u64 kQueryStart = 0x10;
constexpr size_t kQuerySize = 0x21;

// JESD68.01 §3: the query structure from address 10h on. Times are powers of two.
std::array<u8, kQuerySize> query_table(u64 size) {
  std::array<u8, kQuerySize> q{'Q', 'R', 'Y'};
  const auto put = [&](u64 at, u8 value) { q[at - kQueryStart] = value; };
  const u64 blocks = size / Pflash::kBlock;
  put(0x13, 0x01);  // Intel's extended command set
  put(0x1b, 0x45);  // 4.5 V to 5.5 V
  put(0x1c, 0x55);
  put(0x1f, 0x07);  // byte program: 128 us, buffer: 128 us, erase: 1 s; at most 16 times that
  put(0x20, 0x07);
  put(0x21, 0x0a);
  put(0x23, 0x04);
  put(0x24, 0x04);
  put(0x25, 0x04);
  put(0x27, static_cast<u8>(std::bit_width(size - 1)));
  put(0x28, 0x00);  // x8 only
  put(0x2a, static_cast<u8>(std::bit_width(Pflash::kBuffer - 1)));
  put(0x2c, 1);  // one region of equal blocks
  put(0x2d, static_cast<u8>(blocks - 1));
  put(0x2e, static_cast<u8>((blocks - 1) >> 8));
  put(0x2f, static_cast<u8>(Pflash::kBlock >> 8));
  put(0x30, static_cast<u8>(Pflash::kBlock >> 16));
  return q;
}

}  // namespace

Pflash::Pflash(std::string id, std::shared_ptr<RamBlock> content, Disk& medium)
    : Device(std::move(id)),
      content_(std::move(content)),
      store_(medium, content_),
      region_(Region::rom_device(this->id(), content_, *this)) {
  ensure(content_->size() % kBlock == 0, "a flash chip is made of whole blocks");
}

void Pflash::enter(Mode mode) {
  mode_ = mode;
  region_.set_direct_reads(mode == Mode::Array);
}

void Pflash::reset(ResetKind) {
  status_ = kReady;
  buffer_.clear();
  buffer_start_ = buffer_count_ = 0;
  enter(Mode::Array);
}

void Pflash::describe(StateVisitor& v) {
  v.field("mode", mode_);
  v.field("status", status_);
  v.field("buffer", buffer_);
  v.field("buffer_start", buffer_start_);
  v.field("buffer_count", buffer_count_);
}

Result<void> Pflash::restored() {
  const bool inside =
      buffer_start_ < content_->size() && buffer_start_ % kBuffer + buffer_.size() <= kBuffer;
  if (mode_ > Mode::BufferConfirm || buffer_.size() > buffer_count_ || buffer_count_ > kBuffer ||
      !inside || (mode_ == Mode::BufferConfirm && buffer_.size() != buffer_count_) ||
      (mode_ == Mode::BufferData && buffer_.size() == buffer_count_))
    return fail(Errc::Corrupt, "Flash chip '{}' has an impossible command in its state", id());
  enter(mode_);
  return {};
}

u64 Pflash::read(Access access) {
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++) value |= u64{read_byte(access.offset + i)} << (8 * i);
  return value;
}

u8 Pflash::read_byte(u64 offset) const {
  switch (mode_) {
    case Mode::Array: return content_->load<u8>(offset);
    case Mode::Id: return id_byte(offset % kBlock);
    case Mode::Query: {
      if (offset < kQueryStart) return id_byte(offset);
      const std::array<u8, kQuerySize> table = query_table(content_->size());
      return offset - kQueryStart < table.size() ? table[offset - kQueryStart] : 0;
    }
    default: return status_;
  }
}

u8 Pflash::id_byte(u64 offset) const {
  return offset == 0 ? kManufacturer : offset == 1 ? kDevice : 0;
}

void Pflash::write(Access access, u64 value) {
  std::array<std::byte, 8> bytes;
  store_le(Bytes(bytes), 0, value);
  const u8 first = static_cast<u8>(value);
  switch (mode_) {
    case Mode::Program: program(access.offset, ConstBytes(bytes).first(access.size)); break;
    case Mode::Erase: first == kConfirm ? erase(access.offset) : sequence_error(); break;
    case Mode::BufferCount:
      if (first >= kBuffer) return sequence_error();
      buffer_count_ = static_cast<u8>(first + 1);
      return enter(Mode::BufferData);
    case Mode::BufferData:
      for (unsigned i = 0; i < access.size && mode_ == Mode::BufferData; i++)
        take_buffer_byte(access.offset + i, static_cast<u8>(value >> (8 * i)));
      return;
    case Mode::BufferConfirm: first == kConfirm ? program_buffer() : sequence_error(); break;
    default: return command(first);
  }
}

void Pflash::command(u8 code) {
  trace(kCommand, id(), code);
  switch (code) {
    case kAlternateProgram:
    case kByteProgram: return enter(Mode::Program);
    case kBlockErase: return enter(Mode::Erase);
    case kClearStatus: status_ = 0; return enter(Mode::Array);
    case kReadStatus: return enter(Mode::Status);
    case kReadId: return enter(Mode::Id);
    case kReadQuery: return enter(Mode::Query);
    case kWriteBuffer:
      buffer_.clear();
      buffer_count_ = 0;
      status_ |= kReady;  // XSR.7: the buffer is free
      return enter(Mode::BufferCount);
    case kReadArray:
    default: return enter(Mode::Array);
  }
}

bool Pflash::writable(u8 error) {
  status_ |= kReady;
  if (!store_.read_only()) return true;
  status_ |= error | kVoltageError;
  return false;
}

// Both error bits: commands in a wrong order.
void Pflash::sequence_error() {
  status_ |= kReady | kEraseError | kProgramError;
  enter(Mode::Status);
}

void Pflash::program(u64 offset, ConstBytes data) {
  enter(Mode::Status);
  if (!writable(kProgramError)) return;
  for (size_t i = 0; i < data.size(); i++) {
    const u8 before = content_->load<u8>(offset + i);
    content_->store<u8>(offset + i, before & static_cast<u8>(data[i]));
  }
  store_.changed(offset, data.size());
}

void Pflash::erase(u64 offset) {
  enter(Mode::Status);
  if (!writable(kEraseError)) return;
  const u64 block = align_down(offset, kBlock);
  trace(kErase, id(), block);
  content_->fill(block, kBlock, std::byte{0xff});
  store_.changed(block, kBlock);
}

// The first address names the place in the array; all must lie in one aligned buffer's worth.
void Pflash::take_buffer_byte(u64 offset, u8 value) {
  if (buffer_.empty()) buffer_start_ = offset;
  const bool in_order = offset == buffer_start_ + buffer_.size();
  if (!in_order || align_down(offset, kBuffer) != align_down(buffer_start_, kBuffer))
    return sequence_error();
  buffer_.push_back(value);
  if (buffer_.size() == buffer_count_) enter(Mode::BufferConfirm);
}

void Pflash::program_buffer() {
  const std::vector<u8> data = std::exchange(buffer_, {});
  program(buffer_start_, std::as_bytes(std::span(data)));
}

}  // namespace menura
