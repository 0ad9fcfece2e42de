#include "hw/ide/ahci_memory.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"

namespace menura {

namespace {

constexpr size_t kHeaderSize = 32;
constexpr u64 kPacketOffset = 0x40, kRegionsOffset = 0x80;
constexpr size_t kDescriptorSize = 16;
constexpr u32 kAtapi = 1 << 5;
constexpr u32 kInterrupt = u32{1} << 31;

}  // namespace

template <class Move>
AhciRegions::Outcome AhciRegions::walk(const AhciDma& dma, size_t size, Move move) {
  size_t done = 0;
  while (done < size) {
    if (left_ == 0) {
      if (next_ >= entries_) return Outcome::TableEnded;
      std::array<std::byte, kDescriptorSize> raw;
      if (dma.read({table_ + kDescriptorSize * next_}, raw) != AccessStatus::Ok)
        return Outcome::Failed;
      next_++;
      address_ = load_le<u64>(raw) & ~u64{1};
      const u32 count = load_le<u32>(raw, 12);
      left_ = ((count & 0x3f'ffff) | 1) + 1;  // an even number of bytes
      wants_interrupt_ = (count & kInterrupt) != 0;
    }
    const size_t part = std::min<size_t>(size - done, left_);
    if (move(GuestAddr{address_}, done, part) != AccessStatus::Ok) return Outcome::Failed;
    address_ += part;
    left_ -= static_cast<u32>(part);
    done += part;
    moved_ += part;
    if (left_ == 0) interrupt_ |= wants_interrupt_;
  }
  return Outcome::Moved;
}

AhciRegions::Outcome AhciRegions::scatter(const AhciDma& dma, ConstBytes data) {
  return walk(dma, data.size(), [&](GuestAddr at, size_t done, size_t part) {
    return dma.write(at, data.subspan(done, part));
  });
}

AhciRegions::Outcome AhciRegions::gather(const AhciDma& dma, Bytes data) {
  return walk(dma, data.size(), [&](GuestAddr at, size_t done, size_t part) {
    return dma.read(at, data.subspan(done, part));
  });
}

void AhciRegions::describe(StateVisitor& v) {
  v.field("table", table_);
  v.field("entries", entries_);
  v.field("next", next_);
  v.field("address", address_);
  v.field("left", left_);
  v.field("wants_interrupt", wants_interrupt_);
  v.field("interrupt", interrupt_);
  v.field("moved", moved_);
  if (v.loading() && (entries_ > 0xffff || next_ > entries_ || left_ > 0x40'0000))
    v.fail(fail(Errc::Corrupt, "An AHCI region table of {} entries is at {}, {} bytes left",
                entries_, next_, left_));
}

void AhciCommand::describe(StateVisitor& v) {
  v.field("header", header);
  v.field("atapi", atapi);
  v.field("fis", fis);
  v.field("packet", packet);
  v.field("regions", regions);
}

std::optional<AhciCommand> fetch_command(const AhciDma& dma, u64 list, unsigned slot) {
  AhciCommand command{.header = list + kHeaderSize * slot};
  std::array<std::byte, kHeaderSize> header;
  if (dma.read({command.header}, header) != AccessStatus::Ok) return {};
  const u32 flags = load_le<u32>(header);
  const u64 table = load_le<u64>(header, 8) & ~low_mask(7);
  command.atapi = (flags & kAtapi) != 0;
  if (dma.read({table}, std::as_writable_bytes(std::span(command.fis))) != AccessStatus::Ok)
    return {};
  if (command.atapi &&
      dma.read({table + kPacketOffset}, std::as_writable_bytes(std::span(command.packet))) !=
          AccessStatus::Ok)
    return {};
  command.regions = AhciRegions(table + kRegionsOffset, flags >> 16);
  return command;
}

}  // namespace menura
