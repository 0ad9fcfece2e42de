#include "hw/nvme/nvme.h"

#include <algorithm>

#include "base/bits.h"
#include "base/units.h"

namespace menura {

using namespace nvme;  // NOLINT: this file is written in it

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1b36,
                                .device = 0x0010,
                                .class_code = 0x010802,
                                .revision = 0x02,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};

// BAR 0: registers and doorbells, the MSI-X table, its pending bits.
constexpr u64 kRegistersSize = 8 * KiB, kTableAt = 8 * KiB, kPbaAt = 12 * KiB, kBarSize = 16 * KiB;
constexpr u16 kMostPairs = 255, kMostVectors = 256;
constexpr u8 kMostMdts = 11;

// CAP: 2048 entries; queues lie in one piece; ready within 7.5 s; the NVM command set; pages of 4 to 64 KiB.
constexpr u64 kCapabilities =
    (Nvme::kMostEntries - 1) | u64{1} << 16 | u64{15} << 24 | u64{1} << 37 | u64{4} << 52;
constexpr u32 kMostPageShift = 4;

constexpr u32 kCcWritable = 0x00ff'fff1;
enum : u8 { kEventError = 0 };
enum : u8 { kInvalidDoorbellRegister = 0, kInvalidDoorbellValue = 1 };
constexpr u8 kErrorLog = 1;

}  // namespace

void NvmeConfig::describe(PropertyVisitor& p) {
  p.required("serial", serial, "serial number, up to 20 characters");
  p.field("max_ioqpairs", max_ioqpairs, "pairs of I/O queues, 1 to 255");
  p.field("msix_qsize", msix_qsize, "interrupt vectors, 1 to 256");
  p.field("mdts", mdts, "longest transfer: 4 KiB times 2 to the power of this, 1 to 11");
  p.field("aerl", aerl, "how many requests for events may wait, less one");
}

Result<void> NvmeConfig::check() const {
  constexpr size_t kSerialSize = 20;
  if (serial.empty() || serial.size() > kSerialSize)
    return fail(Errc::OutOfRange, "serial has {} characters, it must have 1 to {}", serial.size(),
                kSerialSize);
  if (max_ioqpairs == 0 || max_ioqpairs > kMostPairs)
    return fail(Errc::OutOfRange, "max_ioqpairs={} is not 1 to {}", max_ioqpairs, kMostPairs);
  if (msix_qsize == 0 || msix_qsize > kMostVectors)
    return fail(Errc::OutOfRange, "msix_qsize={} is not 1 to {}", msix_qsize, kMostVectors);
  if (mdts == 0 || mdts > kMostMdts)
    return fail(Errc::OutOfRange, "mdts={} is not 1 to {}", mdts, kMostMdts);
  return {};
}

void NvmeNamespaceConfig::describe(PropertyVisitor& p) {
  p.field("logical_block_size", logical_block_size, "size of a block, in bytes");
  p.field("physical_block_size", physical_block_size, "best unit of a write, in bytes");
}

Result<void> NvmeNamespaceConfig::check() const {
  const auto good = [](u32 size) {
    return is_power_of_two(size) && size >= 512 && size <= 64 * KiB;
  };
  if (good(logical_block_size) && good(physical_block_size) &&
      physical_block_size >= logical_block_size)
    return {};
  return fail(Errc::OutOfRange,
              "logical_block_size={} and physical_block_size={} must be powers of two from 512 to "
              "65536, the second not below the first",
              logical_block_size, physical_block_size);
}

Nvme::Nvme(std::string id, NvmeConfig config, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      config_(std::move(config)),
      bar_(Region::container("nvme", kBarSize)),
      registers_(Region::mmio("nvme-registers", kRegistersSize, window_,
                              {.valid_min = 4, .handler_min = 4, .handler_max = 8})),
      msix_(
          *this,
          {.vectors = config_.msix_qsize, .bar = 0, .table_offset = kTableAt, .pba_offset = kPbaAt},
          bar_),
      read_([this](GuestAddr at, Bytes to) { return dma_read(at, to); }) {
  bar_.map(0, registers_);
  add_bar(0, BarKind::Memory64, bar_).value();
  set_interrupt_pin(IntxPin::A);
}

Nvme::~Nvme() {
  life_.reset();
  for (auto& [nsid, space] : namespaces_) space.disk->drain();
}

Result<u32> Nvme::add_namespace(u32 nsid, Disk& disk, const NvmeNamespaceConfig& config) {
  TRY(config.check());
  for (u32 n = 1; nsid == 0 && n <= kMostNamespaces; n++)
    if (!namespaces_.contains(n)) nsid = n;
  if (nsid == 0 || nsid > kMostNamespaces)
    return fail(Errc::OutOfRange, "nsid={}: namespaces are 1 to {}", nsid, kMostNamespaces);
  const auto shift = static_cast<unsigned>(std::countr_zero(config.logical_block_size));
  if (!namespaces_.emplace(nsid, Namespace{&disk, config, shift}).second)
    return fail(Errc::Exists, "{} has a namespace {} already", this->id(), nsid);
  return nsid;
}

u64 Nvme::read_registers(Access access) {
  const auto half = [this](u64 offset) -> u32 {
    switch (offset) {
      case kCap: return static_cast<u32>(kCapabilities);
      case kCap + 4: return static_cast<u32>(kCapabilities >> 32);
      case kVs: return kVersion14;
      case kIntms:
      case kIntmc: return intms_;
      case kCc: return cc_;
      case kCsts: return csts_;
      case kAqa: return aqa_;
      case kAsq: return static_cast<u32>(asq_);
      case kAsq + 4: return static_cast<u32>(asq_ >> 32);
      case kAcq: return static_cast<u32>(acq_);
      case kAcq + 4: return static_cast<u32>(acq_ >> 32);
      default: return 0;
    }
  };
  if (access.offset % 4 != 0) return 0;
  const u64 low = half(access.offset);
  return access.size == 8 ? low | u64{half(access.offset + 4)} << 32 : low;
}

void Nvme::write_registers(Access access, u64 value) {
  if (access.offset % 4 != 0) return;
  if (access.offset >= kDoorbells)
    return write_doorbell(access.offset - kDoorbells, static_cast<u32>(value));
  write_half(access.offset, static_cast<u32>(value));
  if (access.size == 8) write_half(access.offset + 4, static_cast<u32>(value >> 32));
}

void Nvme::write_half(u64 offset, u32 value) {
  constexpr u64 kAddress = ~u64{0xfff};
  const auto low = [&](u64 whole) { return with_bits(whole, 31, 0, value) & kAddress; };
  const auto high = [&](u64 whole) { return with_bits(whole, 63, 32, value); };
  switch (offset) {
    case kIntms:
    case kIntmc:
      if (!msix_.enabled()) intms_ = offset == kIntms ? intms_ | value : intms_ & ~value;
      return update_intx();
    case kCc: return write_control(value);
    case kAqa: aqa_ = value & 0x0fff'0fff; return;
    case kAsq: asq_ = low(asq_); return;
    case kAsq + 4: asq_ = high(asq_); return;
    case kAcq: acq_ = low(acq_); return;
    case kAcq + 4: acq_ = high(acq_); return;
    default: return;  // read-only, or nothing is there
  }
}

// §3.1.5: EN's edges start and reset the controller, SHN says that the guest is about to go.
void Nvme::write_control(u32 value) {
  const bool was = (cc_ & kCcEnable) != 0, now = (value & kCcEnable) != 0;
  cc_ = value & kCcWritable;
  if (now && !was) csts_ = enable() ? kCstsReady : kCstsFatal;
  if (!now && was) {
    stop_queues();
    csts_ = 0;
    cc_ = 0;
  }
  constexpr u32 kShutdownNotice = 3 << 14, kShutdownStatus = 3 << 2;
  csts_ &= ~kShutdownStatus;
  if ((value & kShutdownNotice) != 0) {
    for (auto& [nsid, space] : namespaces_) space.disk->drain();
    csts_ |= kCstsShutdownDone;
  }
}

bool Nvme::enable() {
  const u32 sq_size = bits(aqa_, 11, 0) + 1, cq_size = bits(aqa_, 27, 16) + 1;
  const u64 page_mask = page_size() - 1;
  if (bits(cc_, 10, 7) > kMostPageShift || bits(cc_, 6, 4) != 0 || sq_size < 2 || cq_size < 2 ||
      (asq_ & page_mask) != 0 || (acq_ & page_mask) != 0)
    return false;
  submissions_[0] = {.base = asq_, .size = sq_size};
  completions_[0] = {.base = acq_, .size = cq_size, .interrupts = true};
  return true;
}

// What is in flight ends in the disk, and nobody hears of it.
void Nvme::stop_queues() {
  life_ = std::make_shared<int>();
  for (auto& [nsid, space] : namespaces_) space.disk->drain();
  in_flight_ = 0;
  submissions_.clear();
  completions_.clear();
  event_requests_.clear();
  events_.clear();
  events_told_ = 0;
  features_.clear();
  for (unsigned vector = 0; vector < msix_.vectors(); vector++) msix_.clear_pending(vector);
  update_intx();
}

void Nvme::write_doorbell(u64 offset, u32 value) {
  if (!running()) return;
  const u64 number = offset / 4;
  const u16 queue = static_cast<u16>(number / 2);
  if (number % 2 == 0) return ring_submission(queue, value & 0xffff);
  ring_completion(queue, value & 0xffff);
}

void Nvme::ring_submission(u16 queue, u32 tail) {
  const auto found = submissions_.find(queue);
  if (found == submissions_.end()) return event(kEventError, kInvalidDoorbellRegister, kErrorLog);
  if (tail >= found->second.size) return event(kEventError, kInvalidDoorbellValue, kErrorLog);
  found->second.tail = tail;
  run_queues();
}

void Nvme::ring_completion(u16 queue, u32 head) {
  const auto found = completions_.find(queue);
  if (found == completions_.end()) return event(kEventError, kInvalidDoorbellRegister, kErrorLog);
  if (head >= found->second.size) return event(kEventError, kInvalidDoorbellValue, kErrorLog);
  found->second.head = head;
  flush_waiting(found->second);
  update_intx();
  run_queues();
}

// A command of each queue in turn, until none has any, or the disks have enough. What ends meanwhile
// lets the same loop go on.
void Nvme::run_queues() {
  again_ = true;
  if (fetching_) return;
  fetching_ = true;
  while (std::exchange(again_, false) && running()) {
    std::vector<u16> queues;
    for (const auto& [number, queue] : submissions_) queues.push_back(number);
    for (const u16 number : queues)
      if (fetch(number)) again_ = true;
  }
  fetching_ = false;
}

bool Nvme::fetch(u16 number) {
  const auto found = submissions_.find(number);
  if (found == submissions_.end() || in_flight_ >= kMostInFlight) return false;
  SubmissionQueue& queue = found->second;
  if (queue.head == queue.tail || !completions_.at(queue.cq).waiting.empty()) return false;
  std::array<std::byte, NvmeCommand::kSize> entry;
  if (dma_read({queue.base + u64{queue.head} * NvmeCommand::kSize}, entry) != AccessStatus::Ok) {
    csts_ = kCstsFatal;
    return false;
  }
  queue.head = (queue.head + 1) % queue.size;
  auto request = std::make_shared<Request>();
  request->command = NvmeCommand::parse(entry);
  request->queue = number;
  in_flight_++;
  constexpr u8 kFused = 0x03;
  if ((request->command.flags & kFused) != 0)
    finish(request, no_retry(kInvalidField));
  else if (number == 0)
    admin(request);
  else
    io(request);
  return true;
}

void Nvme::finish(const RequestPtr& request, u16 status, u32 result) {
  in_flight_--;
  const auto queue = submissions_.find(request->queue);
  if (queue == submissions_.end()) return;  // it was deleted meanwhile
  post(queue->second.cq, {result, status, request->queue, request->command.id});
}

void Nvme::post(u16 cq, const Completion& completion) {
  CompletionQueue& queue = completions_.at(cq);
  queue.waiting.push_back(completion);
  flush_waiting(queue);
}

void Nvme::flush_waiting(CompletionQueue& queue) {
  size_t sent = 0;
  while (sent < queue.waiting.size() && !queue.full()) {
    const Completion& c = queue.waiting[sent++];
    std::array<std::byte, 16> entry{};
    const auto sq = submissions_.find(c.sq);
    store_le(Bytes(entry), 0, c.result);
    store_le(Bytes(entry), 8, static_cast<u16>(sq == submissions_.end() ? 0 : sq->second.head));
    store_le(Bytes(entry), 10, c.sq);
    store_le(Bytes(entry), 12, c.id);
    store_le(Bytes(entry), 14, static_cast<u16>(c.status << 1 | (queue.phase ? 1 : 0)));
    if (dma_write({queue.base + u64{queue.tail} * entry.size()}, entry) != AccessStatus::Ok)
      csts_ = kCstsFatal;
    queue.tail = (queue.tail + 1) % queue.size;
    if (queue.tail == 0) queue.phase = !queue.phase;
  }
  queue.waiting.erase(queue.waiting.begin(), queue.waiting.begin() + static_cast<ptrdiff_t>(sent));
  if (sent != 0) raise(queue);
}

void Nvme::raise(const CompletionQueue& queue) {
  if (!queue.interrupts) return;
  if (msix_.enabled())
    (void)msix_.notify(queue.vector);
  else
    update_intx();
}

// §7.5.1.1: the pin is asserted while a queue of an open vector has entries.
void Nvme::update_intx() {
  bool asserted = false;
  for (const auto& [number, queue] : completions_)
    asserted |= queue.interrupts && queue.head != queue.tail && queue.vector < 32 &&
                !test_bit(intms_, queue.vector);
  set_intx(asserted && !msix_.enabled());
}

// Requests end before the machine's state is taken.
void Nvme::pause() {
  for (unsigned turn = 0; in_flight_ > 0 && turn <= kMostNamespaces; turn++)
    for (auto& [nsid, space] : namespaces_) space.disk->drain();
}

void Nvme::reset_chip(ResetKind kind) {
  stop_queues();
  cc_ = csts_ = aqa_ = intms_ = 0;
  asq_ = acq_ = 0;
  if (kind == ResetKind::PowerOn) units_read_ = units_written_ = reads_ = writes_ = 0;
}

void Nvme::Completion::describe(StateVisitor& v) {
  v.field("result", result);
  v.field("status", status);
  v.field("sq", sq);
  v.field("id", id);
}

void Nvme::SubmissionQueue::describe(StateVisitor& v) {
  v.field("base", base);
  v.field("size", size);
  v.field("head", head);
  v.field("tail", tail);
  v.field("cq", cq);
}

void Nvme::CompletionQueue::describe(StateVisitor& v) {
  v.field("base", base);
  v.field("size", size);
  v.field("head", head);
  v.field("tail", tail);
  v.field("vector", vector);
  v.field("phase", phase);
  v.field("interrupts", interrupts);
  v.field("waiting", waiting);
}

namespace {

// A map as a list of pairs.
template <class Key, class T>
void describe_map(StateVisitor& v, std::string_view name, std::map<Key, T>& map) {
  struct Pair {
    Key key{};
    T value{};
    void describe(StateVisitor& visitor) {
      visitor.field("number", key);
      visitor.field("is", value);
    }
  };
  std::vector<Pair> pairs;
  for (auto& [key, value] : map) pairs.push_back({key, value});
  v.field(name, pairs);
  if (!v.loading()) return;
  map.clear();
  for (Pair& pair : pairs) map[pair.key] = std::move(pair.value);
}

}  // namespace

void Nvme::describe_chip(StateVisitor& v) {
  v.field("cc", cc_);
  v.field("csts", csts_);
  v.field("aqa", aqa_);
  v.field("intms", intms_);
  v.field("asq", asq_);
  v.field("acq", acq_);
  describe_map(v, "submission_queues", submissions_);
  describe_map(v, "completion_queues", completions_);
  v.field("event_requests", event_requests_);
  v.field("events", events_);
  v.field("events_told", events_told_);
  describe_map(v, "features", features_);
  v.field("units_read", units_read_);
  v.field("units_written", units_written_);
  v.field("reads", reads_);
  v.field("writes", writes_);
}

// Nothing that a queue's processing takes for granted may be otherwise.
Result<void> Nvme::check_queues() const {
  const auto bad = [this](std::string_view what) {
    return fail(Errc::Corrupt, "Saved state of {}: {}", id(), what);
  };
  if (bits(cc_, 10, 7) > kMostPageShift && running()) return bad("pages of an impossible size");
  const bool started = submissions_.contains(0) && completions_.contains(0);
  if (running() && !started) return bad("it runs without admin queues");
  constexpr u32 kMostAdmin = 4096;
  for (const auto& [number, queue] : submissions_)
    if (queue.size < 2 || queue.size > kMostAdmin || queue.head >= queue.size ||
        queue.tail >= queue.size || !completions_.contains(queue.cq) ||
        number > config_.max_ioqpairs)
      return bad("a submission queue that cannot be");
  for (const auto& [number, queue] : completions_)
    if (queue.size < 2 || queue.size > kMostAdmin || queue.head >= queue.size ||
        queue.tail >= queue.size || queue.vector >= config_.msix_qsize ||
        queue.waiting.size() > kMostAdmin + kMostInFlight || number > config_.max_ioqpairs)
      return bad("a completion queue that cannot be");
  if (event_requests_.size() > config_.aerl + 1u || events_.size() > 256)
    return bad("more events than there can be");
  return {};
}

Result<void> Nvme::restored_chip() {
  life_ = std::make_shared<int>();
  in_flight_ = 0;
  return check_queues();
}

}  // namespace menura
