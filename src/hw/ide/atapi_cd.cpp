#include "hw/ide/atapi_cd.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

enum : u8 {
  kDeviceReset = 0x08,
  kDiagnose = 0x90,
  kPacket = 0xa0,
  kIdentifyPacket = 0xa1,
  kIdentify = 0xec,
  kSetFeatures = 0xef,
  kStandbyNow = 0xe0,
  kIdleNow = 0xe1,
  kCheckPower = 0xe5,
  kSleep = 0xe6
};
// The interrupt reason, in the count register.
enum : u8 { kCommandPhase = 0x01, kToHost = 0x02 };
constexpr u64 kChunkSectors = 32;  // 64 KiB

}  // namespace

AtapiCd::AtapiCd(std::string id, Disk& disk, const DriveNames& names)
    : IdeDrive(std::move(id), &disk, names.filled_from({"MN00002", "1.0", "MENURA CD-ROM"})),
      mmc_(disk, {.product = this->names().model}) {}

void AtapiCd::reset_drive() {
  phase_ = Phase::Idle;
  pending_.clear();
  sectors_left_ = 0;
  mmc_.reset();
}

// ATA/ATAPI-7 vol. 1 §9.12: a device with the packet feature set.
void AtapiCd::set_signature() {
  now_ = {.feature = 0, .count = 1, .lba_low = 1, .lba_mid = 0x14, .lba_high = 0xeb};
  previous_ = {};
  device_ = 0;
  error_ = 0x01;
  status_ = 0;  // not ready in ATA's sense until told so
}

void AtapiCd::describe_drive(StateVisitor& v) {
  v.field("mmc", mmc_);
  v.field("phase", phase_);
  v.field("dma", dma_);
  v.field("byte_limit", byte_limit_);
  v.field("pending", pending_);
  v.field("next_sector", next_sector_);
  v.field("sectors_left", sectors_left_);
  v.field("dma_mode", dma_mode_);
}

Result<void> AtapiCd::restored_drive() {
  const u64 sectors = disk()->size() / MmcCommands::kSector;
  if (pending_.size() > (1 << 20) || byte_limit_ > 0x10000 || next_sector_ > sectors ||
      sectors_left_ > sectors - next_sector_ ||
      (phase_ == Phase::Data && !dma_ && byte_limit_ == 0) ||
      (pio_out_size() != 0 && pio_out_size() != MmcCommands::kPacket))
    return fail(Errc::Corrupt, "CD drive '{}' has an impossible transfer in its state", id());
  return {};
}

void AtapiCd::execute(u8 code) {
  phase_ = Phase::Idle;
  pending_.clear();
  sectors_left_ = 0;
  switch (code) {
    case kPacket: return begin_packet();
    case kIdentifyPacket:
      return start_pio_in(build_packet_identify(names(), dma_mode_, host().serial()));
    case kDeviceReset: soft_reset(); return;
    case kDiagnose: set_signature(); return raise_interrupt();
    case kIdentify: set_signature(); return abort();
    case kSetFeatures:
      if (now_.feature == 0x03 && now_.count >> 3 >= 4) dma_mode_ = now_.count;
      return finish();
    case kCheckPower: now_.count = 0xff; return finish();
    case kStandbyNow:
    case kIdleNow:
    case kSleep: return finish();
    default: return abort();
  }
}

void AtapiCd::begin_packet() {
  dma_ = now_.feature & 1;
  byte_limit_ = now_.lba_mid | now_.lba_high << 8;
  // The limit is even, and never zero.
  if (byte_limit_ == 0 || byte_limit_ == 0xffff) byte_limit_ = 0xfffe;
  if (byte_limit_ > 1) byte_limit_ &= ~1u;
  byte_limit_ = std::max(byte_limit_, 2u);
  phase_ = Phase::Packet;
  now_.count = kCommandPhase;
  start_pio_out(MmcCommands::kPacket);
}

void AtapiCd::pio_out_done(std::vector<std::byte> data) {
  MmcCommands::Packet packet;
  std::ranges::transform(data, packet.begin(), [](std::byte b) { return static_cast<u8>(b); });
  run_packet(packet);
}

void AtapiCd::run_packet(const MmcCommands::Packet& packet) {
  MmcReply reply = mmc_.execute(packet);
  switch (reply.kind) {
    case MmcReply::Kind::Good: return finish_packet(true);
    case MmcReply::Kind::Failed: return finish_packet(false);
    case MmcReply::Kind::Data:
      phase_ = Phase::Data;
      pending_ = std::move(reply.data);
      return send_some();
    case MmcReply::Kind::Sectors:
      phase_ = Phase::Sectors;
      next_sector_ = reply.lba;
      sectors_left_ = reply.count;
      return fetch_sectors();
  }
}

void AtapiCd::fetch_sectors() {
  const u64 count = std::min(sectors_left_, kChunkSectors);
  read_disk(next_sector_ * MmcCommands::kSector, count * MmcCommands::kSector,
            [this, count](Buffer data, Result<void> result) {
              if (!result) {
                mmc_.medium_error();
                return finish_packet(false);
              }
              next_sector_ += count;
              sectors_left_ -= count;
              phase_ = Phase::Data;
              pending_ = std::move(*data);
              send_some();
            });
}

void AtapiCd::send_some() {
  if (dma_) {
    set_busy();
    return host().dma_ready();
  }
  const size_t block = std::min<size_t>(pending_.size(), byte_limit_);
  std::vector<std::byte> data(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(block));
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(block));
  now_.count = kToHost;
  now_.lba_mid = static_cast<u8>(block);
  now_.lba_high = static_cast<u8>(block >> 8);
  data.resize((block + 1) & ~size_t{1});
  start_pio_in(std::move(data));
}

void AtapiCd::pio_in_done() {
  if (phase_ != Phase::Data) return;  // IDENTIFY PACKET DEVICE
  if (!pending_.empty()) return send_some();
  if (sectors_left_ > 0) return fetch_sectors();
  finish_packet(true);
}

void AtapiCd::move_dma() {
  if (phase_ != Phase::Data || !dma_) return;
  if (!host().dma_to_host(pending_)) return;
  pending_.clear();
  if (sectors_left_ > 0) return fetch_sectors();
  finish_packet(true);
}

void AtapiCd::finish_packet(bool good) {
  if (dma_ && phase_ == Phase::Data) host().dma_finished();
  phase_ = Phase::Idle;
  now_.count = kCommandPhase | kToHost;
  if (good) return finish();
  // The sense key stands in the error register's upper half.
  finish(static_cast<u8>(mmc_.sense().key << 4 | ata::kAbort));
}

}  // namespace menura
