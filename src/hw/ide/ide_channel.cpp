#include "hw/ide/ide_channel.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"

namespace menura {

namespace {

enum : u8 { kControlNoInterrupt = 0x02, kControlReset = 0x04, kControlHighOrder = 0x80 };

// The bus master's registers.
enum : u64 { kBmCommand = 0, kBmStatus = 2, kBmTable = 4 };
enum : u8 { kBmStart = 0x01, kBmToMemory = 0x08 };
enum : u8 { kBmActive = 0x01, kBmError = 0x02, kBmInterrupt = 0x04, kBmDrivesDma = 0x60 };
constexpr u32 kDescriptorSize = 8;
constexpr u32 kEndOfTable = 0x8000'0000;
// A table lies within 64 KiB.
constexpr u32 kTableSpan = 0x1'0000;

}  // namespace

IdeChannel::IdeChannel(std::string name, IrqLine irq, IdeDma dma)
    : name_(std::move(name)),
      irq_(irq),
      dma_(std::move(dma)),
      command_region_(Region::mmio(name_, 8, command_window_, {.valid_max = 4, .handler_max = 4})),
      control_region_(Region::mmio(name_ + "-control", 1, control_window_, {.handler_max = 1})) {}

void IdeChannel::plug(unsigned unit, IdeDrive& drive) {
  ensure(!drives_[unit], "an IDE connector takes one drive");
  drives_[unit] = &drive;
  drive.attach(*this);
}

void IdeChannel::reset() {
  selected_ = control_ = 0;
  bm_command_ = bm_status_ = 0;
  bm_table_ = next_descriptor_ = piece_address_ = piece_length_ = 0;
  last_piece_ = false;
}

void IdeChannel::describe(StateVisitor& v) {
  v.field("selected", selected_);
  v.field("control", control_);
  v.field("bm_command", bm_command_);
  v.field("bm_status", bm_status_);
  v.field("bm_table", bm_table_);
  v.field("next_descriptor", next_descriptor_);
  v.field("piece_address", piece_address_);
  v.field("piece_length", piece_length_);
  v.field("last_piece", last_piece_);
}

Result<void> IdeChannel::restored() {
  if (selected_ > 1 || piece_length_ > kTableSpan)
    return fail(Errc::Corrupt, "IDE channel '{}' has an impossible state", name_);
  irq_.import(level());
  return {};
}

u64 IdeChannel::read_command(Access access) {
  IdeDrive* drive = selected();
  if (access.offset == 0) return drive ? drive->read_data(std::max(access.size, 2u)) : ~u64{0};
  if (access.size != 1) return ~u64{0};
  if (!drive) {
    // A lone device 0 answers for device 1 with zeros; an empty cable floats, its DD7 pulled down.
    return drives_[0] ? 0 : 0x7f;
  }
  const auto reg = static_cast<IdeDrive::Register>(access.offset);
  if (reg == IdeDrive::Register::StatusCommand) drive->acknowledge_interrupt();
  return drive->read(reg, control_ & kControlHighOrder);
}

void IdeChannel::write_command(Access access, u64 value) {
  if (access.offset == 0) {
    if (selected()) selected()->write_data(std::max(access.size, 2u), static_cast<u32>(value));
    return;
  }
  if (access.size != 1) return;
  const auto reg = static_cast<IdeDrive::Register>(access.offset);
  const u8 byte = static_cast<u8>(value);
  control_ &= static_cast<u8>(~kControlHighOrder);  // any write shows the newest values again
  constexpr u8 kDiagnose = 0x90;
  if (reg == IdeDrive::Register::StatusCommand) {
    // EXECUTE DEVICE DIAGNOSTIC goes to both, all else to the selected one.
    if (byte == kDiagnose && drives_[0] && drives_[1]) drives_[1 - selected_]->command(byte);
    if (selected()) selected()->command(byte);
    return;
  }
  for (IdeDrive* drive : drives_)
    if (drive) drive->write(reg, byte);
  if (reg == IdeDrive::Register::Device) select(byte);
}

void IdeChannel::select(u8 device) {
  selected_ = device & ata::kSelect ? 1 : 0;
  interrupt_changed();
}

// Alternate status: without acknowledging.
u64 IdeChannel::read_control(Access) {
  if (selected()) return selected()->status();
  return drives_[0] ? 0 : 0x7f;
}

void IdeChannel::write_control(Access, u64 value) {
  const bool resets = (value & kControlReset) && !(control_ & kControlReset);
  control_ = static_cast<u8>(value);
  if (resets) {
    selected_ = 0;
    for (IdeDrive* drive : drives_)
      if (drive) drive->soft_reset();
  }
  interrupt_changed();
}

bool IdeChannel::level() const {
  return selected() && selected()->interrupt() && !(control_ & kControlNoInterrupt);
}

void IdeChannel::interrupt_changed() {
  const bool now = level();
  if (now == irq_.level()) return;
  if (now) bm_status_ |= kBmInterrupt;
  irq_.set(now);
}

u64 IdeChannel::read_bus_master(Access access) {
  switch (access.offset) {
    case kBmCommand: return bm_command_;
    case kBmStatus: return bm_status_;
    default:
      if (access.offset >= kBmTable && access.size <= 4)
        return bm_table_ >> (8 * (access.offset - kBmTable));
      return 0;
  }
}

void IdeChannel::write_bus_master(Access access, u64 value) {
  if (access.offset == kBmStatus) {
    // Error and interrupt are cleared by ones; the drives' DMA capability is plain storage.
    const u8 cleared = static_cast<u8>(value) & (kBmError | kBmInterrupt);
    bm_status_ = static_cast<u8>((bm_status_ & ~(cleared | kBmDrivesDma)) | (value & kBmDrivesDma));
  } else if (access.offset >= kBmTable) {
    const unsigned shift = static_cast<unsigned>(8 * (access.offset - kBmTable));
    const u32 mask = static_cast<u32>(low_mask(8 * access.size) << shift);
    bm_table_ = merge(bm_table_, static_cast<u32>(value << shift), mask & ~u32{3});
  } else if (access.offset == kBmCommand) {
    const bool starts = (value & kBmStart) && !(bm_command_ & kBmStart);
    bm_command_ = static_cast<u8>(value) & (kBmStart | kBmToMemory);
    if (!(bm_command_ & kBmStart)) bm_status_ &= static_cast<u8>(~kBmActive);
    if (!starts) return;
    bm_status_ |= kBmActive;
    next_descriptor_ = bm_table_;
    piece_length_ = 0;
    last_piece_ = false;
    dma_ready();
  }
}

void IdeChannel::dma_ready() {
  if (dma_active() && selected()) selected()->run_dma();
}

bool IdeChannel::next_piece() {
  // The table is bounded by its 64 KiB; beyond it a guest would loop us.
  if (last_piece_ || next_descriptor_ - bm_table_ >= kTableSpan) return false;
  std::array<std::byte, kDescriptorSize> raw;
  if (dma_.read({next_descriptor_}, raw) != AccessStatus::Ok) {
    bm_status_ |= kBmError;
    return false;
  }
  next_descriptor_ += kDescriptorSize;
  const u32 control = load_le<u32>(raw, 4);
  piece_address_ = load_le<u32>(raw, 0) & ~u32{1};
  piece_length_ = control & 0xfffe;
  if (piece_length_ == 0) piece_length_ = kTableSpan;
  last_piece_ = control & kEndOfTable;
  return true;
}

// False when the transfer cannot go on: stopped, or the table ended before the data.
template <class Move>
bool IdeChannel::move_dma(size_t size, Move move) {
  size_t done = 0;
  while (done < size) {
    if (!dma_active()) return false;
    if (piece_length_ == 0 && !next_piece()) {
      bm_status_ &= static_cast<u8>(~kBmActive);
      return false;
    }
    const size_t part = std::min<size_t>(size - done, piece_length_);
    if (move(GuestAddr{piece_address_}, done, part) != AccessStatus::Ok) {
      bm_status_ = static_cast<u8>((bm_status_ | kBmError) & ~kBmActive);
      return false;
    }
    piece_address_ += static_cast<u32>(part);
    piece_length_ -= static_cast<u32>(part);
    done += part;
  }
  return true;
}

bool IdeChannel::dma_to_host(ConstBytes data) {
  return move_dma(data.size(), [&](GuestAddr at, size_t done, size_t part) {
    return dma_.write(at, data.subspan(done, part));
  });
}

bool IdeChannel::dma_from_host(Bytes data) {
  return move_dma(data.size(), [&](GuestAddr at, size_t done, size_t part) {
    return dma_.read(at, data.subspan(done, part));
  });
}

// Active stays set when the table is longer than the transfer was (the interface's §3.1).
void IdeChannel::dma_finished() {
  if (last_piece_ && piece_length_ == 0) bm_status_ &= static_cast<u8>(~kBmActive);
}

}  // namespace menura
