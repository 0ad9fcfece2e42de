#include "hw/virtio/virtio_scsi.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

constexpr unsigned kControlQueue = 0, kEventQueue = 1, kFirstRequestQueue = 2;
constexpr size_t kConfigSize = 36, kSenseSizeAt = 20, kCdbSizeAt = 24;
constexpr u32 kSenseSize = 96, kCdbSize = 32;
// Before the CDB and before the sense data (§5.6.6.1).
constexpr u64 kRequestHeader = 19, kResponseHeader = 12;
enum Response : u8 { kOk = 0, kBadTarget = 3, kFunctionComplete = 0 };
enum ControlType : u32 { kTaskManagement = 0, kAskEvents = 1, kSubscribeEvents = 2 };
constexpr u8 kReportLuns = 0xa0;
constexpr size_t kFixedSense = 18;

std::vector<u16> queue_sizes(const VirtioScsiConfig& config) {
  return std::vector<u16>(kFirstRequestQueue + config.num_queues,
                          static_cast<u16>(config.virtqueue_size));
}

}  // namespace

void VirtioScsiConfig::describe(PropertyVisitor& p) {
  p.field("num_queues", num_queues, "how many queues requests may come in; 0: one for each CPU");
  p.field("virtqueue_size", virtqueue_size, "places in each queue, a power of two");
  p.field("max_sectors", max_sectors, "longest transfer to tell the driver");
  p.field("cmd_per_lun", cmd_per_lun, "how many commands a unit takes, to tell the driver");
}

Result<void> VirtioScsiConfig::check() const {
  if (num_queues == 0 || num_queues > 1022)
    return fail(Errc::OutOfRange, "num_queues must be 1 to 1022, not {}", num_queues);
  if (!is_power_of_two(virtqueue_size) || virtqueue_size < 4 || virtqueue_size > 1024)
    return fail(Errc::OutOfRange, "virtqueue_size must be a power of two from 4 to 1024, not {}",
                virtqueue_size);
  return {};
}

// A request: its response stands before the data that the initiator reads.
struct VirtioScsi::Task final : ScsiTask {
  Task(VirtioScsi& adapter, unsigned on_queue) : scsi(adapter), queue(on_queue) {}
  u64 request_size() const { return kRequestHeader + scsi.cdb_size_; }
  u64 response_size() const { return kResponseHeader + scsi.sense_size_; }

  bool to_initiator(u64 offset, ConstBytes bytes) override {
    return scsi.write_chain(chain, response_size() + offset, bytes);
  }
  bool from_initiator(u64 offset, Bytes bytes) override {
    return scsi.read_chain(chain, request_size() + offset, bytes);
  }
  void done(ScsiStatus status, u64 moved, const ScsiSense& sense) override {
    respond(kOk, status, moved, sense);
  }
  void respond(Response response, ScsiStatus status, u64 moved, const ScsiSense& sense) {
    if (scsi.broken()) return;
    std::vector<std::byte> bytes(response_size());
    const bool failed = status != ScsiStatus::Good;
    if (failed) {
      std::array<std::byte, kFixedSense> fixed{};
      fixed[0] = std::byte{0x70};
      fixed[2] = std::byte(sense.key);
      fixed[7] = std::byte{10};
      fixed[12] = std::byte(sense.asc);
      fixed[13] = std::byte(sense.ascq);
      const size_t size = std::min<size_t>(fixed.size(), scsi.sense_size_);
      std::copy_n(fixed.begin(), size, bytes.begin() + kResponseHeader);
      store_le(Bytes(bytes), 0, static_cast<u32>(size));
    }
    store_le(Bytes(bytes), 4, static_cast<u32>(std::max(in_size, out_size) - moved));
    bytes[10] = std::byte(status);
    bytes[11] = std::byte(response);
    if (!scsi.write_chain(chain, 0, bytes)) return;
    const u64 read = out_size == 0 ? moved : 0;
    scsi.finish(queue, chain, static_cast<u32>(bytes.size() + read));
  }

  VirtioScsi& scsi;
  unsigned queue;
  VirtioChain chain;
};

VirtioScsi::VirtioScsi(const VirtioScsiConfig& config)
    : VirtioDevice(kKind, queue_sizes(config), kConfigSize),
      config_(config),
      sense_size_(kSenseSize),
      cdb_size_(kCdbSize) {}

ScsiUnit* VirtioScsi::unit(unsigned target, unsigned lun) const {
  const auto at = units_.find({target, lun});
  return at == units_.end() ? nullptr : at->second;
}

void VirtioScsi::plug(unsigned target, unsigned lun, ScsiUnit& unit) {
  ensure(target < kTargets && lun < kLuns && !this->unit(target, lun), "a free place");
  units_[{target, lun}] = &unit;
}

void VirtioScsi::unplug(ScsiUnit& unit) {
  std::erase_if(units_, [&](const auto& entry) { return entry.second == &unit; });
}

bool VirtioScsi::has_target(unsigned target) const {
  const auto at = units_.lower_bound({target, 0});
  return at != units_.end() && at->first.first == target;
}

void VirtioScsi::fill_config(Bytes config) {
  store_le(config, 0, config_.num_queues);
  store_le(config, 4, config_.virtqueue_size - 2);
  store_le(config, 8, config_.max_sectors);
  store_le(config, 12, config_.cmd_per_lun);
  store_le(config, kSenseSizeAt, sense_size_);
  store_le(config, kCdbSizeAt, cdb_size_);
  store_le(config, 30, static_cast<u16>(kTargets - 1));
  store_le(config, 32, u32{kLuns - 1});
}

// §5.6.4: a driver may choose the sizes of CDBs and sense data; reasonable ones are taken.
void VirtioScsi::config_written(size_t offset, ConstBytes bytes) {
  if (bytes.size() != 4) return;
  const u32 value = load_le<u32>(bytes);
  if (offset == kSenseSizeAt && value <= 256) sense_size_ = value;
  if (offset == kCdbSizeAt && value >= 16 && value <= 256) cdb_size_ = value;
}

void VirtioScsi::drain(unsigned) {
  for (const auto& [place, unit] : units_) unit->drain();
}

void VirtioScsi::process(unsigned queue) {
  if (queue == kControlQueue) return take_control();
  if (queue == kEventQueue) return;  // nothing happens here that a driver would want to hear of
  for (;;) {
    auto task = std::make_shared<Task>(*this, queue);
    if (!take(queue, task->chain)) return;
    take_request(queue, std::move(task));
  }
}

void VirtioScsi::take_request(unsigned, std::shared_ptr<Task> task) {
  Task& t = *task;
  const u64 readable = t.chain.readable_size(), writable = t.chain.writable_size();
  if (readable < t.request_size() || writable < t.response_size())
    return break_down("a request is shorter than its header");
  std::vector<std::byte> header(t.request_size());
  if (!read_chain(t.chain, 0, header)) return;
  t.out_size = readable - t.request_size();
  t.in_size = writable - t.response_size();
  std::copy_n(header.begin() + kRequestHeader, t.cdb.size(), writable_bytes_of(t.cdb).begin());
  // §5.6.6.1: 1, the target, the LUN in SAM's flat form; or the well-known unit for REPORT LUNS.
  const unsigned kind = static_cast<u8>(header[0]), target = static_cast<u8>(header[1]);
  const unsigned lun = load_be<u16>(header, 2) & 0x3fff;
  ScsiUnit* found = kind == 1 ? unit(target, lun) : nullptr;
  if (t.in_size != 0 && t.out_size != 0) return t.done(ScsiStatus::CheckCondition, 0, {5, 0x24, 0});
  if (kind == 1 && t.cdb[0] == kReportLuns && has_target(target)) return report_luns(t, target);
  if (!found) return t.respond(kBadTarget, ScsiStatus::Good, 0, {});
  found->execute(std::move(task));
}

void VirtioScsi::report_luns(Task& task, unsigned target) {
  std::vector<std::byte> list(8);
  for (const auto& [place, unit] : units_) {
    if (place.first != target) continue;
    const size_t at = list.size();
    list.resize(at + 8);
    store_be(Bytes(list), at, static_cast<u16>(place.second));
  }
  store_be(Bytes(list), 0, static_cast<u32>(list.size() - 8));
  const u64 allocation = load_be<u32>(bytes_of(task.cdb), 6);
  const u64 size = std::min({u64{list.size()}, allocation, task.in_size});
  if (task.to_initiator(0, ConstBytes(list).first(size))) task.done(ScsiStatus::Good, size, {});
}

// Task management waits for what is under way, which then is complete.
void VirtioScsi::take_control() {
  VirtioChain chain;
  while (take(kControlQueue, chain)) {
    std::array<std::byte, 4> type{};
    if (!read_chain(chain, 0, type)) return;
    std::vector<std::byte> answer;
    switch (load_le<u32>(type)) {
      case kTaskManagement:
        drain(0);
        answer = {std::byte{kFunctionComplete}};
        break;
      case kAskEvents:
      case kSubscribeEvents: answer.resize(5); break;  // none of them
      default: break;
    }
    if (!answer.empty() && !write_chain(chain, 0, answer)) return;
    finish(kControlQueue, chain, static_cast<u32>(answer.size()));
  }
}

void VirtioScsi::reset_device() {
  sense_size_ = kSenseSize;
  cdb_size_ = kCdbSize;
}

void VirtioScsi::describe_device(StateVisitor& v) {
  v.field("sense_size", sense_size_);
  v.field("cdb_size", cdb_size_);
}

Result<void> VirtioScsi::restored_device() {
  if (sense_size_ <= 256 && cdb_size_ >= 16 && cdb_size_ <= 256) return {};
  reset_device();
  return fail(Errc::Corrupt, "SCSI adapter '{}' has impossible sizes in its state", host().name());
}

}  // namespace menura
