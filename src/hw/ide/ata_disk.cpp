#include "hw/ide/ata_disk.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"

namespace menura {

namespace {

constexpr u64 kLba28Limit = u64{1} << 28;
constexpr u64 kDmaChunkSectors = 512;  // 256 KiB at a time
constexpr u8 kMaxMultiple = 16;
constexpr u64 kTrimEntry = 8;

enum : u8 {
  kRecalibrate = 0x10,
  kSeek = 0x70,
  kDiagnose = 0x90,
  kSetParameters = 0x91,
  kDataSetManagement = 0x06,
  kSetMultiple = 0xc6,
  kStandbyNow = 0xe0,
  kIdleNow = 0xe1,
  kStandby = 0xe2,
  kIdle = 0xe3,
  kCheckPower = 0xe5,
  kSleep = 0xe6,
  kReadLogExt = 0x2f,
  kFlush = 0xe7,
  kFlushExt = 0xea,
  kIdentify = 0xec,
  kSetFeatures = 0xef,
  kReadNativeMaxExt = 0x27,
  kReadNativeMax = 0xf8
};

}  // namespace

struct AtaDisk::Command {
  u8 code;
  Transfer transfer;
  bool extended = false;
  bool multiple = false;
  bool fua = false;
};

const AtaDisk::Command* AtaDisk::find_command(u8 code) {
  static constexpr Command kCommands[] = {
      {0x20, Transfer::PioIn},
      {0x21, Transfer::PioIn},
      {0x24, Transfer::PioIn, true},
      {0x25, Transfer::DmaIn, true},
      {0x29, Transfer::PioIn, true, true},
      {0x30, Transfer::PioOut},
      {0x31, Transfer::PioOut},
      {0x34, Transfer::PioOut, true},
      {0x35, Transfer::DmaOut, true},
      {0x39, Transfer::PioOut, true, true},
      {0x3d, Transfer::DmaOut, true, false, true},
      {0x40, Transfer::Verify},
      {0x41, Transfer::Verify},
      {0x42, Transfer::Verify, true},
      {0xc4, Transfer::PioIn, false, true},
      {0xc5, Transfer::PioOut, false, true},
      {0xc8, Transfer::DmaIn},
      {0xc9, Transfer::DmaIn},
      {0xca, Transfer::DmaOut},
      {0xcb, Transfer::DmaOut},
      {0xce, Transfer::PioOut, true, true, true},
  };
  for (const Command& command : kCommands)
    if (command.code == code) return &command;
  return nullptr;
}

AtaDisk::AtaDisk(std::string id, Disk& disk, const DriveNames& names)
    : IdeDrive(std::move(id), &disk, names.filled_from({"MN00001", "1.0", "MENURA HARDDISK"})) {}

void AtaDisk::reset_drive() {
  transfer_ = Transfer::None;
  trim_ = false;
  multiple_ = 0;
  block_multiple_ = 1;
  queued_error_.reset();
}

// ATA/ATAPI-7 vol. 1 §9.12: a device without the packet feature set.
void AtaDisk::set_signature() {
  now_ = {.feature = 0, .count = 1, .lba_low = 1, .lba_mid = 0, .lba_high = 0};
  previous_ = {};
  device_ = 0;
  error_ = 0x01;  // diagnostics passed
  status_ = ata::kDrdy | ata::kDsc;
}

void AtaDisk::describe_drive(StateVisitor& v) {
  v.field("transfer", transfer_);
  v.field("extended", extended_);
  v.field("fua", fua_);
  v.field("trim", trim_);
  v.field("next_lba", next_lba_);
  v.field("end_lba", end_lba_);
  v.field("multiple", multiple_);
  v.field("block_multiple", block_multiple_);
  v.field("heads", heads_);
  v.field("sectors_per_track", sectors_per_track_);
  v.field("dma_mode", dma_mode_);
  v.field("write_cache", write_cache_);
  v.field("read_ahead", read_ahead_);
  bool failed = queued_error_.has_value();
  v.field("queued_error", failed);
  QueuedCommand error = queued_error_.value_or(QueuedCommand{});
  v.field("queued_error_tag", error.tag);
  v.field("queued_error_lba", error.lba);
  v.field("queued_error_sectors", error.sectors);
  if (v.loading()) queued_error_ = failed ? std::optional(error) : std::nullopt;
}

// A transfer stays on the disk, and moves whole blocks of what is left.
bool AtaDisk::transfer_is_possible() const {
  const bool wants_data = transfer_ == Transfer::PioOut && pio_out_size() != 0;
  if (pio_out_size() != (wants_data ? pio_block() * ata::kSector : 0)) return false;
  if (transfer_ == Transfer::None || trim_) return true;
  if (end_lba_ > sectors()) return false;
  const bool dma = transfer_ == Transfer::DmaIn || transfer_ == Transfer::DmaOut;
  return !dma || sectors_left() > 0;
}

Result<void> AtaDisk::restored_drive() {
  if (next_lba_ > end_lba_ || multiple_ > kMaxMultiple || block_multiple_ == 0 ||
      block_multiple_ > kMaxMultiple || heads_ == 0 || sectors_per_track_ == 0 ||
      !transfer_is_possible())
    return fail(Errc::Corrupt, "Disk '{}' has an impossible transfer in its state", id());
  return {};
}

void AtaDisk::execute(u8 code) {
  transfer_ = Transfer::None;
  trim_ = false;
  const Command* command = find_command(code);
  if (!command) return execute_other(code);
  if (command->multiple && multiple_ == 0) return abort();
  const bool writes =
      command->transfer == Transfer::PioOut || command->transfer == Transfer::DmaOut;
  if (writes && disk()->read_only()) return abort();
  if (!begin_transfer(*command)) return finish(ata::kIdNotFound);
  switch (transfer_) {
    case Transfer::PioIn: return next_pio_in();
    case Transfer::PioOut: return start_pio_out(pio_block() * ata::kSector);
    case Transfer::DmaIn:
    case Transfer::DmaOut: set_busy(); return host().dma_ready();
    case Transfer::Verify: return finish_transfer();
    case Transfer::None: return;
  }
}

u64 AtaDisk::lba_of_task_file(bool extended) const {
  const u64 low = now_.lba_low | now_.lba_mid << 8 | now_.lba_high << 16;
  if (extended)
    return low | u64{previous_.lba_low} << 24 | u64{previous_.lba_mid} << 32 |
           u64{previous_.lba_high} << 40;
  if (device_ & ata::kLba) return low | u64{device_ & 0x0fu} << 24;
  const u64 cylinder = now_.lba_mid | now_.lba_high << 8;
  const u64 head = device_ & 0x0f;
  // Sector numbers begin at 1; sector 0 wraps to an address outside of any disk.
  return (cylinder * heads_ + head) * sectors_per_track_ + now_.lba_low - 1;
}

void AtaDisk::put_lba(u64 lba, bool extended) {
  if (!extended && !(device_ & ata::kLba)) {
    const u64 track = lba / sectors_per_track_;
    now_.lba_low = static_cast<u8>(lba % sectors_per_track_ + 1);
    device_ = static_cast<u8>((device_ & 0xf0) | (track % heads_));
    now_.lba_mid = static_cast<u8>(track / heads_);
    now_.lba_high = static_cast<u8>(track / heads_ >> 8);
    return;
  }
  now_.lba_low = static_cast<u8>(lba);
  now_.lba_mid = static_cast<u8>(lba >> 8);
  now_.lba_high = static_cast<u8>(lba >> 16);
  if (extended) {
    previous_.lba_low = static_cast<u8>(lba >> 24);
    previous_.lba_mid = static_cast<u8>(lba >> 32);
    previous_.lba_high = static_cast<u8>(lba >> 40);
  } else {
    device_ = static_cast<u8>((device_ & 0xf0) | (lba >> 24 & 0x0f));
  }
}

bool AtaDisk::begin_transfer(const Command& command) {
  u64 count = now_.count;
  if (command.extended) {
    count |= u64{previous_.count} << 8;
    if (count == 0) count = 65536;
  } else if (count == 0) {
    count = 256;
  }
  const u64 lba = lba_of_task_file(command.extended);
  if (lba >= sectors() || count > sectors() - lba) return false;
  transfer_ = command.transfer;
  extended_ = command.extended;
  fua_ = command.fua;
  block_multiple_ = command.multiple ? multiple_ : u8{1};
  next_lba_ = lba;
  end_lba_ = lba + count;
  return true;
}

u64 AtaDisk::pio_block() const { return std::min<u64>(block_multiple_, sectors_left()); }

bool AtaDisk::succeeded(const Result<void>& result) {
  if (result) return true;
  put_lba(next_lba_, extended_);
  finish_transfer(ata::kUncorrectable);
  return false;
}

void AtaDisk::finish_transfer(u8 error_bits) {
  const bool dma = transfer_ == Transfer::DmaIn || transfer_ == Transfer::DmaOut;
  transfer_ = Transfer::None;
  trim_ = false;
  if (dma) host().dma_finished();
  finish(error_bits);
}

void AtaDisk::next_pio_in() {
  const u64 block = pio_block();
  read_disk(next_lba_ * ata::kSector, block * ata::kSector,
            [this, block](Buffer data, Result<void> result) {
              if (!succeeded(result)) return;
              next_lba_ += block;
              start_pio_in(std::move(*data));
            });
}

void AtaDisk::pio_in_done() {
  if (transfer_ == Transfer::PioIn && sectors_left() > 0)
    next_pio_in();
  else
    transfer_ = Transfer::None;  // the last block interrupted when it became ready
}

void AtaDisk::pio_out_done(std::vector<std::byte> data) {
  write_next(std::make_shared<std::vector<std::byte>>(std::move(data)), [this] {
    start_pio_out(pio_block() * ata::kSector);
    raise_interrupt();
  });
}

void AtaDisk::move_dma() {
  if (transfer_ == Transfer::DmaIn)
    next_dma_in();
  else if (transfer_ == Transfer::DmaOut && trim_)
    begin_trim();
  else if (transfer_ == Transfer::DmaOut)
    next_dma_out();
}

void AtaDisk::next_dma_in() {
  const u64 block = std::min(sectors_left(), kDmaChunkSectors);
  read_disk(next_lba_ * ata::kSector, block * ata::kSector,
            [this, block](Buffer data, Result<void> result) {
              if (!succeeded(result)) return;
              // A bus master that was stopped, or whose table ends early, leaves the command unfinished.
              if (!host().dma_to_host(*data)) return;
              next_lba_ += block;
              if (sectors_left() == 0) return finish_transfer();
              next_dma_in();
            });
}

void AtaDisk::next_dma_out() {
  const u64 block = std::min(sectors_left(), kDmaChunkSectors);
  auto buffer = std::make_shared<std::vector<std::byte>>(block * ata::kSector);
  if (!host().dma_from_host(*buffer)) return;
  write_next(buffer, [this] { next_dma_out(); });
}

void AtaDisk::write_next(Buffer data, std::function<void()> go_on) {
  submit({.op = DiskOp::Write,
          .offset = next_lba_ * ata::kSector,
          .data = *data,
          .fua = fua_ || !write_cache_},
         [this, data, go_on = std::move(go_on)](Result<void> result) {
           if (!succeeded(result)) return;
           next_lba_ += data->size() / ata::kSector;
           if (sectors_left() == 0) return finish_transfer();
           go_on();
         });
}

void AtaDisk::execute_other(u8 code) {
  if ((code & 0xf0) == kRecalibrate || code == kSeek) return finish();
  switch (code) {
    case kIdentify: return start_pio_in(identify());
    case kSetParameters:
      sectors_per_track_ = now_.count ? now_.count : sectors_per_track_;
      heads_ = static_cast<u8>((device_ & 0x0f) + 1);
      return now_.count ? finish() : abort();
    case kDiagnose: set_signature(); return raise_interrupt();
    case kSetMultiple: return set_multiple();
    case kSetFeatures: return set_features();
    case kFlush:
    case kFlushExt: return flush();
    case kReadLogExt: return host().serial() ? read_log() : abort();
    case kReadNativeMax:
      device_ |= ata::kLba;
      put_lba(std::min(sectors(), kLba28Limit) - 1, false);
      return finish();
    case kReadNativeMaxExt: put_lba(sectors() - 1, true); return finish();
    case kCheckPower: now_.count = 0xff; return finish();  // active or idle
    case kStandbyNow:
    case kIdleNow:
    case kStandby:
    case kIdle:
    case kSleep: return finish();
    case kDataSetManagement:
      if (!(now_.feature & 1) || disk()->read_only()) return abort();
      transfer_ = Transfer::DmaOut;
      trim_ = true;
      next_lba_ = end_lba_ = 0;
      set_busy();
      return host().dma_ready();
    default: return abort();
  }
}

bool AtaDisk::accepts(const QueuedCommand& command) const {
  return command.lba < sectors() && command.sectors <= sectors() - command.lba &&
         !(command.write && disk()->read_only());
}

void AtaDisk::move_queued(const QueuedCommand& command, u64 first, Bytes data,
                          std::function<void(Result<void>)> then) {
  disk()->submit({.op = command.write ? DiskOp::Write : DiskOp::Read,
                  .offset = (command.lba + first) * ata::kSector,
                  .data = data,
                  .fua = command.write && (command.fua || !write_cache_),
                  .done = std::move(then)});
}

// READ LOG EXT: the directory of logs, and the one of queued errors; both have a single page.
void AtaDisk::read_log() {
  constexpr u8 kDirectory = 0x00, kQueuedErrors = 0x10;
  const u8 log = now_.lba_low;
  const bool first_page = now_.lba_mid == 0 && previous_.lba_mid == 0;
  const bool one_page = now_.count == 1 && previous_.count == 0;
  if ((log != kDirectory && log != kQueuedErrors) || !first_page || !one_page) return abort();
  if (log == kQueuedErrors) return start_pio_in(queued_error_log());
  std::vector<std::byte> page(ata::kSector);
  store_le(Bytes(page), 0, u16{1});                  // version
  store_le(Bytes(page), 2 * kQueuedErrors, u16{1});  // pages
  start_pio_in(std::move(page));
}

// Serial ATA 2.6 §13.7: the error's tag and task file, and a checksum to zero.
std::vector<std::byte> AtaDisk::queued_error_log() const {
  constexpr u8 kNotQueued = 0x80;
  std::vector<std::byte> page(ata::kSector);
  const auto put = [&](size_t at, u64 value) { page[at] = static_cast<std::byte>(value); };
  const QueuedCommand error = queued_error_.value_or(QueuedCommand{});
  put(0, queued_error_ ? error.tag : kNotQueued);
  if (queued_error_) {
    const bool outside = error.lba >= sectors() || error.sectors > sectors() - error.lba;
    put(2, ata::kDrdy | ata::kDsc | ata::kErr);
    put(3, outside ? ata::kIdNotFound : ata::kUncorrectable);
  }
  constexpr size_t kLbaPlaces[] = {4, 5, 6, 8, 9, 10};
  for (unsigned i = 0; i < std::size(kLbaPlaces); i++) put(kLbaPlaces[i], error.lba >> (8 * i));
  put(7, ata::kLba);
  put(12, error.sectors);
  put(13, error.sectors >> 8);
  u8 sum = 0;
  for (const std::byte byte : page) sum = static_cast<u8>(sum + static_cast<u8>(byte));
  put(511, static_cast<u8>(-sum));
  return page;
}

void AtaDisk::set_multiple() {
  if (now_.count > kMaxMultiple || (now_.count && !is_power_of_two(now_.count))) return abort();
  multiple_ = now_.count;
  finish();
}

void AtaDisk::set_features() {
  enum : u8 {
    kEnableCache = 0x02,
    kTransferMode = 0x03,
    kNoReadAhead = 0x55,
    kNoRevert = 0x66,
    kDisableCache = 0x82,
    kReadAhead = 0xaa,
    kRevert = 0xcc
  };
  switch (now_.feature) {
    case kEnableCache: write_cache_ = true; return finish();
    case kDisableCache: write_cache_ = false; return flush();
    case kNoReadAhead: read_ahead_ = false; return finish();
    case kReadAhead: read_ahead_ = true; return finish();
    case kNoRevert:
    case kRevert: return finish();
    case kTransferMode: {
      const u8 kind = now_.count >> 3, mode = now_.count & 7;
      const bool known = (kind == 0 && mode <= 1) || (kind == 1 && mode <= 4) ||
                         (kind == 4 && mode <= 2) || (kind == 8 && mode <= 5);
      if (!known) return abort();
      if (kind >= 4) dma_mode_ = now_.count;
      return finish();
    }
    default: return abort();
  }
}

void AtaDisk::flush() {
  submit({.op = DiskOp::Flush},
         [this](Result<void> result) { finish(result ? 0 : ata::kUncorrectable); });
}

// DATA SET MANAGEMENT: the sectors' worth of ranges that the count says.
void AtaDisk::begin_trim() {
  const u64 blocks = std::clamp<u64>(now_.count | previous_.count << 8, 1, 64);
  auto ranges = std::make_shared<std::vector<std::byte>>(blocks * ata::kSector);
  if (!host().dma_from_host(*ranges)) return;
  trim(ranges, 0);
}

void AtaDisk::trim(Buffer ranges, size_t at) {
  while (at < ranges->size()) {
    const u64 entry = load_le<u64>(*ranges, at);
    at += kTrimEntry;
    const u64 lba = entry & low_mask(48);
    const u64 count = entry >> 48;
    if (count == 0) continue;
    if (lba >= sectors() || count > sectors() - lba) return finish_transfer(ata::kIdNotFound);
    return submit(
        {.op = DiskOp::Discard, .offset = lba * ata::kSector, .length = count * ata::kSector},
        [this, ranges, at](Result<void>) { trim(ranges, at); });  // a hint: it may fail
  }
  finish_transfer();
}

std::vector<std::byte> AtaDisk::identify() const {
  return build_disk_identify({.names = names(),
                              .sectors = sectors(),
                              .heads = heads_,
                              .sectors_per_track = sectors_per_track_,
                              .max_multiple = kMaxMultiple,
                              .multiple = multiple_,
                              .dma_mode = dma_mode_,
                              .write_cache = write_cache_,
                              .read_ahead = read_ahead_,
                              .serial_link = host().serial()});
}

}  // namespace menura
