#include "hw/scsi/scsi_cd.h"

#include <algorithm>

namespace menura {

namespace {

constexpr u64 kPieceSectors = 128;

}  // namespace

struct ScsiCd::Read {
  ScsiTaskPtr task;
  u64 lba, sectors;
  u64 done = 0;
  std::vector<std::byte> buffer = {};
};

ScsiCd::ScsiCd(std::string id, ScsiBus& bus, ScsiCdConfig config, Disk& disk)
    : Device(std::move(id)),
      bus_(bus),
      disk_(disk),
      mmc_(disk, {.transport = MmcIdentity::Transport::Scsi,
                  .vendor = config.vendor,
                  .product = config.product,
                  .version = config.version}) {
  bus_.plug(config.target, config.lun, *this);
}

ScsiCd::~ScsiCd() {
  disk_.drain();
  bus_.unplug(*this);
}

void ScsiCd::reset(ResetKind) {
  disk_.drain();
  mmc_.reset();
}

void ScsiCd::fail_task(ScsiTask& task) {
  const Sense& sense = mmc_.sense();
  task.done(ScsiStatus::CheckCondition, 0, {sense.key, sense.asc, sense.ascq});
}

void ScsiCd::execute(ScsiTaskPtr task) {
  MmcCommands::Packet packet;
  std::copy_n(task->cdb.begin(), packet.size(), packet.begin());
  const MmcReply reply = mmc_.execute(packet);
  switch (reply.kind) {
    case MmcReply::Kind::Good: return task->done(ScsiStatus::Good, 0, {});
    case MmcReply::Kind::Failed: return fail_task(*task);
    case MmcReply::Kind::Data: {
      const u64 size = std::min<u64>(reply.data.size(), task->in_size);
      if (task->to_initiator(0, ConstBytes(reply.data).first(size)))
        task->done(ScsiStatus::Good, size, {});
      return;
    }
    case MmcReply::Kind::Sectors: {
      if (reply.count * MmcCommands::kSector > task->in_size)
        return task->done(ScsiStatus::CheckCondition, 0, {0x05, 0x24, 0x00});
      return next_piece(std::make_shared<Read>(
          Read{.task = std::move(task), .lba = reply.lba, .sectors = reply.count}));
    }
  }
}

void ScsiCd::next_piece(std::shared_ptr<Read> read) {
  Read& r = *read;
  const u64 left = r.sectors - r.done;
  if (left == 0) return r.task->done(ScsiStatus::Good, r.sectors * MmcCommands::kSector, {});
  r.buffer.resize(std::min(left, kPieceSectors) * MmcCommands::kSector);
  DiskRequest request{
      .op = DiskOp::Read, .offset = (r.lba + r.done) * MmcCommands::kSector, .data = r.buffer};
  request.done = [this, read = std::move(read)](const Result<void>& outcome) {
    Read& now = *read;
    if (!outcome) {
      mmc_.medium_error();
      return fail_task(*now.task);
    }
    if (!now.task->to_initiator(now.done * MmcCommands::kSector, now.buffer)) return;
    now.done += now.buffer.size() / MmcCommands::kSector;
    next_piece(read);
  };
  disk_.submit(std::move(request));
}

}  // namespace menura
