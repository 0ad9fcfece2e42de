#include "hw/scsi/scsi_disk.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

enum Opcode : u8 {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kRead6 = 0x08,
  kWrite6 = 0x0a,
  kInquiry = 0x12,
  kModeSelect6 = 0x15,
  kModeSense6 = 0x1a,
  kStartStop = 0x1b,
  kPreventRemoval = 0x1e,
  kReadCapacity10 = 0x25,
  kRead10 = 0x28,
  kWrite10 = 0x2a,
  kVerify10 = 0x2f,
  kSynchronize10 = 0x35,
  kWriteSame10 = 0x41,
  kUnmap = 0x42,
  kModeSelect10 = 0x55,
  kModeSense10 = 0x5a,
  kRead16 = 0x88,
  kWrite16 = 0x8a,
  kVerify16 = 0x8f,
  kSynchronize16 = 0x91,
  kWriteSame16 = 0x93,
  kServiceActionIn16 = 0x9e,
  kRead12 = 0xa8,
  kWrite12 = 0xaa
};
constexpr u8 kReadCapacity16Action = 0x10;

constexpr ScsiSense kMediumError{0x03, 0x11, 0x00}, kWriteError{0x03, 0x0c, 0x00},
    kInvalidOpcode{0x05, 0x20, 0x00}, kOutOfRange{0x05, 0x21, 0x00},
    kInvalidField{0x05, 0x24, 0x00}, kInvalidParameter{0x05, 0x26, 0x00},
    kParameterLength{0x05, 0x1a, 0x00}, kPowerOn{0x06, 0x29, 0x00}, kProtected{0x07, 0x27, 0x00};

constexpr u64 kSector = 512, kPiece = MiB;
constexpr u32 kMostUnmap = 0x3f'ffff;
constexpr u64 kMostUnmapRanges = 256;
constexpr u8 kPageCaching = 0x08, kPageAll = 0x3f;

u64 be(const std::array<u8, 16>& cdb, size_t at, size_t size) {
  u64 value = 0;
  for (size_t i = 0; i < size; i++) value = value << 8 | cdb[at + i];
  return value;
}
void put_be(std::vector<u8>& to, u64 value, size_t size) {
  for (size_t i = size; i-- > 0;) to.push_back(static_cast<u8>(value >> (8 * i)));
}
void put_text(std::vector<u8>& to, std::string_view text, size_t width) {
  for (size_t i = 0; i < width; i++) to.push_back(static_cast<u8>(i < text.size() ? text[i] : ' '));
}
void fail_task(ScsiTask& task, const ScsiSense& sense) {
  task.done(ScsiStatus::CheckCondition, 0, sense);
}
void succeed(ScsiTask& task) { task.done(ScsiStatus::Good, 0, {}); }

// Where and how much, as each length of command has them.
struct Extent {
  u64 lba = 0, count = 0;
};
Extent extent_of(const std::array<u8, 16>& cdb) {
  switch (cdb[0] >> 5) {
    case 0: return {be(cdb, 1, 3) & 0x1f'ffff, cdb[4] ? cdb[4] : u64{256}};
    case 4: return {be(cdb, 2, 8), be(cdb, 10, 4)};
    case 5: return {be(cdb, 2, 4), be(cdb, 6, 4)};
    default: return {be(cdb, 2, 4), be(cdb, 7, 2)};
  }
}

}  // namespace

struct ScsiDisk::Transfer {
  ScsiTaskPtr task;
  u64 offset;
  u64 size;
  bool writes;
  bool fua;
  u64 done = 0;
  u64 piece = 0;
  std::unique_ptr<std::byte[]> buffer = {};
};

ScsiDisk::ScsiDisk(std::string id, ScsiBus& bus, ScsiDiskConfig config, Disk& disk)
    : Device(std::move(id)),
      config_(std::move(config)),
      bus_(bus),
      disk_(disk),
      write_cache_(config_.write_cache) {
  bus_.plug(config_.target, config_.lun, *this);
}

ScsiDisk::~ScsiDisk() {
  disk_.drain();
  bus_.unplug(*this);
}

void ScsiDisk::reset(ResetKind) {
  disk_.drain();
  unit_attention_ = true;
  write_cache_ = config_.write_cache;
}

void ScsiDisk::describe(StateVisitor& v) {
  v.field("unit_attention", unit_attention_);
  v.field("write_cache", write_cache_);
}

// SPC-4 §5.14: whoever comes first after power-on hears of it, unless he only asks who is there.
void ScsiDisk::execute(ScsiTaskPtr task) {
  const u8 code = task->cdb[0];
  if (code != kInquiry && code != kRequestSense && std::exchange(unit_attention_, false))
    return fail_task(*task, kPowerOn);
  dispatch(std::move(task));
}

void ScsiDisk::dispatch(ScsiTaskPtr task) {
  ScsiTask& t = *task;
  const auto [lba, count] = extent_of(t.cdb);
  switch (t.cdb[0]) {
    case kTestUnitReady:
    case kStartStop:
    case kPreventRemoval: return succeed(t);
    case kRequestSense:
      return reply(t, {0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, t.cdb[4]);
    case kInquiry: return inquiry(t);
    case kModeSense6:
    case kModeSense10: return mode_sense(t, t.cdb[0] == kModeSense10);
    case kModeSelect6:
    case kModeSelect10: return mode_select(t, t.cdb[0] == kModeSelect10);
    case kReadCapacity10: {
      Data data;
      put_be(data, std::min<u64>(sectors() - 1, 0xffff'ffff), 4);
      put_be(data, kSector, 4);
      return reply(t, data, 8);
    }
    case kServiceActionIn16:
      if ((t.cdb[1] & 0x1f) != kReadCapacity16Action) return fail_task(t, kInvalidField);
      return read_capacity16(t);
    case kRead6:
    case kRead10:
    case kRead12:
    case kRead16: return transfer(std::move(task), lba, count, false);
    case kWrite6:
    case kWrite10:
    case kWrite12:
    case kWrite16: return transfer(std::move(task), lba, count, true);
    case kVerify10:
    case kVerify16: return verify(t, lba, count);
    case kSynchronize10:
    case kSynchronize16: return submit(std::move(task), {.op = DiskOp::Flush});
    case kUnmap: return unmap(std::move(task));
    case kWriteSame10:
    case kWriteSame16: return write_same(std::move(task), lba, count);
    default: return fail_task(t, kInvalidOpcode);
  }
}

void ScsiDisk::reply(ScsiTask& task, const Data& data, u64 allocation) {
  const u64 size = std::min({u64{data.size()}, allocation, task.in_size});
  if (!task.to_initiator(0, bytes_of(data).first(size))) return;
  task.done(ScsiStatus::Good, size, {});
}

void ScsiDisk::transfer(ScsiTaskPtr task, u64 lba, u64 count, bool writes) {
  if (!on_disk(lba, count)) return fail_task(*task, kOutOfRange);
  if (writes && disk_.read_only()) return fail_task(*task, kProtected);
  if (count == 0) return succeed(*task);
  const u64 size = count * kSector;
  if (size > (writes ? task->out_size : task->in_size)) return fail_task(*task, kInvalidField);
  const bool fua = task->cdb[0] >> 5 != 0 && (task->cdb[1] & 0x08) != 0;
  next_piece(std::make_shared<Transfer>(Transfer{.task = std::move(task),
                                                 .offset = lba * kSector,
                                                 .size = size,
                                                 .writes = writes,
                                                 .fua = fua || !write_cache_}));
}

void ScsiDisk::next_piece(TransferPtr transfer) {
  Transfer& t = *transfer;
  if (t.done == t.size) return t.task->done(ScsiStatus::Good, t.done, {});
  t.piece = std::min(kPiece, t.size - t.done);
  if (!t.buffer) t.buffer = std::make_unique_for_overwrite<std::byte[]>(t.piece);
  const Bytes data(t.buffer.get(), t.piece);
  if (t.writes && !t.task->from_initiator(t.done, data)) return;
  const auto done = [this, transfer](const Result<void>& outcome) {
    Transfer& now = *transfer;
    if (!outcome) return fail_task(*now.task, now.writes ? kWriteError : kMediumError);
    if (!now.writes && !now.task->to_initiator(now.done, Bytes(now.buffer.get(), now.piece)))
      return;
    now.done += now.piece;
    next_piece(transfer);
  };
  disk_.submit({.op = t.writes ? DiskOp::Write : DiskOp::Read,
                .offset = t.offset + t.done,
                .data = data,
                .fua = t.writes && t.fua,
                .done = done});
}

void ScsiDisk::submit(ScsiTaskPtr task, DiskRequest request) {
  request.done = [task = std::move(task)](const Result<void>& outcome) {
    outcome ? succeed(*task) : fail_task(*task, kWriteError);
  };
  disk_.submit(std::move(request));
}

void ScsiDisk::verify(ScsiTask& task, u64 lba, u64 count) {
  if (task.cdb[1] & 0x06) return fail_task(task, kInvalidField);  // no comparing
  on_disk(lba, count) ? succeed(task) : fail_task(task, kOutOfRange);
}

// SBC-3 §5.28: ranges in the parameter list. One after the other, each when the last one is done.
void ScsiDisk::unmap(ScsiTaskPtr task) {
  if (disk_.read_only()) return fail_task(*task, kProtected);
  const u64 size = be(task->cdb, 7, 2);
  if (size == 0) return succeed(*task);
  if (size < 8 || size > task->out_size || size > 8 + 16 * kMostUnmapRanges)
    return fail_task(*task, kParameterLength);
  std::vector<std::byte> list(size);
  if (!task->from_initiator(0, list)) return;
  std::vector<DiskRequest> requests;
  for (u64 at = 8; at + 16 <= size; at += 16) {
    const u64 lba = load_be<u64>(list, at), count = load_be<u32>(list, at + 8);
    if (!on_disk(lba, count) || count > kMostUnmap) return fail_task(*task, kOutOfRange);
    if (count != 0)
      requests.push_back(
          {.op = DiskOp::Discard, .offset = lba * kSector, .length = count * kSector});
  }
  if (requests.empty()) return succeed(*task);
  struct Group {
    size_t left;
    bool good = true;
  };
  const auto group = std::make_shared<Group>(Group{.left = requests.size()});
  for (DiskRequest& request : requests) {
    request.done = [task, group](const Result<void>& outcome) {
      group->good &= outcome.ok();
      if (--group->left > 0) return;
      group->good ? succeed(*task) : fail_task(*task, kWriteError);
    };
    disk_.submit(std::move(request));
  }
}

// Only with a sector of zeroes, which is what drivers zero disks with.
void ScsiDisk::write_same(ScsiTaskPtr task, u64 lba, u64 count) {
  if (disk_.read_only()) return fail_task(*task, kProtected);
  if (count == 0 || count > kMostUnmap) return fail_task(*task, kInvalidField);
  if (!on_disk(lba, count)) return fail_task(*task, kOutOfRange);
  std::array<std::byte, kSector> pattern{};
  const bool no_data_out = task->cdb[0] == kWriteSame16 && (task->cdb[1] & 1);
  if (!no_data_out) {
    if (task->out_size < pattern.size()) return fail_task(*task, kInvalidField);
    if (!task->from_initiator(0, pattern)) return;
  }
  if (std::ranges::any_of(pattern, [](std::byte b) { return b != std::byte{0}; }))
    return fail_task(*task, kInvalidField);
  const bool unmaps = (task->cdb[1] & 0x08) != 0;
  submit(std::move(task), {.op = DiskOp::WriteZeroes,
                           .offset = lba * kSector,
                           .length = count * kSector,
                           .fua = !write_cache_,
                           .may_unmap = unmaps});
}

void ScsiDisk::inquiry(ScsiTask& task) {
  const u64 allocation = be(task.cdb, 3, 2);
  if (task.cdb[1] & 1) {
    Data data;
    if (!vital_product_data(task.cdb[2], data)) return fail_task(task, kInvalidField);
    Data page{0, task.cdb[2]};
    put_be(page, data.size(), 2);
    page.insert(page.end(), data.begin(), data.end());
    return reply(task, page, allocation);
  }
  if (task.cdb[2] != 0) return fail_task(task, kInvalidField);
  Data data{0, 0, 0x05, 0x12, 31, 0, 0, 0x02};  // SPC-3; hierarchical LUNs; command queuing
  if (config_.removable) data[1] = 0x80;
  put_text(data, config_.vendor, 8);
  put_text(data, config_.product, 16);
  put_text(data, config_.version, 4);
  reply(task, data, allocation);
}

bool ScsiDisk::vital_product_data(u8 page, Data& data) const {
  const std::string& name = config_.device_id.empty() ? config_.serial : config_.device_id;
  switch (page) {
    case 0x00: data = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2}; return true;
    case 0x80: put_text(data, config_.serial, config_.serial.size()); return true;
    case 0x83:
      if (name.empty()) return true;
      data = {0x02, 0x00, 0x00, static_cast<u8>(std::min<size_t>(name.size(), 200))};
      put_text(data, name, data[3]);
      return true;
    case 0xb0:  // block limits: of transfers none, of UNMAP and WRITE SAME
      data.resize(16);
      put_be(data, disk_.read_only() ? 0 : kMostUnmap, 4);
      put_be(data, kMostUnmapRanges - 1, 4);
      put_be(data, 0, 8);
      put_be(data, kMostUnmap, 8);
      data.resize(60);
      return true;
    case 0xb1:
      put_be(data, config_.rotation_rate, 2);
      data.resize(60);
      return true;
    case 0xb2: data = {0, 0xe0, 0x01, 0}; return true;  // UNMAP, WRITE SAME(16) and (10)
    default: return false;
  }
}

void ScsiDisk::mode_sense(ScsiTask& task, bool ten) {
  const u8 page = task.cdb[2] & 0x3f, control = task.cdb[2] >> 6;
  if (page != kPageCaching && page != kPageAll) return fail_task(task, kInvalidField);
  if (control == 3) return fail_task(task, {0x05, 0x39, 0x00});  // nothing is saved
  Data caching(20);
  caching[0] = kPageCaching;
  caching[1] = 18;
  caching[2] = control == 1 || write_cache_ ? 0x04 : 0;
  const u8 device = static_cast<u8>((disk_.read_only() ? 0x80 : 0) | 0x10);  // DPO and FUA
  Data data;
  if (ten)
    data = {0, static_cast<u8>(6 + caching.size()), 0, device, 0, 0, 0, 0};
  else
    data = {static_cast<u8>(3 + caching.size()), 0, device, 0};
  data.insert(data.end(), caching.begin(), caching.end());
  reply(task, data, ten ? be(task.cdb, 7, 2) : task.cdb[4]);
}

// The write cache can be switched, nothing else.
void ScsiDisk::mode_select(ScsiTask& task, bool ten) {
  const u64 size = ten ? be(task.cdb, 7, 2) : task.cdb[4];
  const u64 header = ten ? 8 : 4;
  if (size == 0) return succeed(task);
  if (size > task.out_size || size < header) return fail_task(task, kParameterLength);
  std::vector<std::byte> list(size);
  if (!task.from_initiator(0, list)) return;
  const u64 page = header + (ten ? load_be<u16>(list, 6) : u64{load_be<u8>(list, 3)});
  if (page + 3 > size || (load_be<u8>(list, page) & 0x3f) != kPageCaching)
    return fail_task(task, kInvalidParameter);
  write_cache_ = (load_be<u8>(list, page + 2) & 0x04) != 0;
  succeed(task);
}

void ScsiDisk::read_capacity16(ScsiTask& task) {
  Data data;
  put_be(data, sectors() - 1, 8);
  put_be(data, kSector, 4);
  data.push_back(0);
  data.push_back(0);
  data.push_back(0xc0);  // unmapped sectors read as zeroes
  data.resize(32);
  reply(task, data, be(task.cdb, 10, 4));
}

}  // namespace menura
