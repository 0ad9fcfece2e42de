// The admin command set: queues, identification, logs, features, events, format.
#include <algorithm>

#include "base/bits.h"
#include "base/units.h"
#include "base/version.h"
#include "hw/nvme/nvme.h"

namespace menura {

using namespace nvme;  // NOLINT: this file is written in it

namespace {

constexpr u32 kEntrySizes = 4u << 20 | 6u << 16;  // of CC: 16 and 64 bytes
constexpr u32 kEntrySizesMask = 0x00ff'0000;
constexpr u16 kRoomTemperature = 273 + 38, kWarning = 273 + 80, kCritical = 273 + 100;  // kelvin
constexpr u64 kUnit = 1000 * 512;  // of data, in the health log
constexpr size_t kMostEvents = 64;

// What features are after a reset (§5.21.1); those kept here are answered as they were set.
u32 default_feature(u8 feature) {
  switch (feature) {
    case kTemperatureThreshold: return kWarning;
    case kVolatileWriteCache: return 1;
    default: return 0;
  }
}

void put_text(Bytes to, std::string_view text) {
  for (size_t i = 0; i < to.size(); i++)
    to[i] = static_cast<std::byte>(i < text.size() ? text[i] : ' ');
}

// Stable for a controller's id, its serial number and the namespace; different for any others.
std::array<u8, 16> make_uuid(std::string_view id, std::string_view serial, u32 nsid) {
  std::array<u8, 16> uuid{};
  for (unsigned half = 0; half < 2; half++) {
    u64 hash = 0xcbf2'9ce4'8422'2325 + half + (u64{nsid} << 8);
    for (const std::string_view text : {id, std::string_view("/"), serial})
      for (const char c : text) hash = (hash ^ static_cast<u8>(c)) * 0x100'0000'01b3;
    for (unsigned i = 0; i < 8; i++) uuid[half * 8 + i] = static_cast<u8>(hash >> (8 * i));
  }
  uuid[6] = static_cast<u8>((uuid[6] & 0x0f) | 0x80);  // version 8: of our own making
  uuid[8] = static_cast<u8>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

}  // namespace

void Nvme::admin(const RequestPtr& request) {
  const NvmeCommand& c = request->command;
  const auto end = [&](u16 status) { finish(request, status); };
  // §4.4: over PCI Express no admin command has a scatter-gather list.
  if (c.uses_sgl()) return end(no_retry(kInvalidField));
  switch (c.opcode) {
    case kDeleteSq: return end(delete_submission_queue(static_cast<u16>(c.dword(10))));
    case kCreateSq: return end(create_submission_queue(c));
    case kDeleteCq: return end(delete_completion_queue(static_cast<u16>(c.dword(10))));
    case kCreateCq: return end(create_completion_queue(c));
    case kGetLogPage: return log_page(request);
    case kIdentify: return identify(request);
    case kAbort: return abort_command(request);
    case kSetFeatures: return set_feature(request);
    case kGetFeatures: return get_feature(request);
    case kAsyncEvent: return async_request(request);
    case kFormat: return format_namespace(request);
    default: return end(no_retry(kInvalidOpcode));
  }
}

u16 Nvme::create_completion_queue(const NvmeCommand& c) {
  constexpr u32 kContiguous = 1, kInterrupts = 2;
  const u16 number = static_cast<u16>(c.dword(10)), vector = static_cast<u16>(c.dword(11) >> 16);
  const u32 size = (c.dword(10) >> 16) + 1;
  if (number == 0 || number > config_.max_ioqpairs || completions_.contains(number))
    return no_retry(kInvalidQueueId);
  if (size < 2 || size > kMostEntries) return no_retry(kInvalidQueueSize);
  if (c.prp1 % page_size() != 0) return no_retry(kPrpOffsetInvalid);
  if (vector >= config_.msix_qsize || (!msix_.enabled() && vector != 0))
    return no_retry(kInvalidVector);
  if ((c.dword(11) & kContiguous) == 0 || (cc_ & kEntrySizesMask) != kEntrySizes)
    return no_retry(kInvalidField);
  completions_[number] = {.base = c.prp1,
                          .size = size,
                          .vector = vector,
                          .interrupts = (c.dword(11) & kInterrupts) != 0};
  return kSuccess;
}

u16 Nvme::create_submission_queue(const NvmeCommand& c) {
  constexpr u32 kContiguous = 1;
  const u16 number = static_cast<u16>(c.dword(10)), cq = static_cast<u16>(c.dword(11) >> 16);
  const u32 size = (c.dword(10) >> 16) + 1;
  if (cq == 0 || !completions_.contains(cq)) return no_retry(kCqInvalid);
  if (number == 0 || number > config_.max_ioqpairs || submissions_.contains(number))
    return no_retry(kInvalidQueueId);
  if (size < 2 || size > kMostEntries) return no_retry(kInvalidQueueSize);
  if (c.prp1 % page_size() != 0) return no_retry(kPrpOffsetInvalid);
  if ((c.dword(11) & kContiguous) == 0 || (cc_ & kEntrySizesMask) != kEntrySizes)
    return no_retry(kInvalidField);
  submissions_[number] = {.base = c.prp1, .size = size, .cq = cq};
  return kSuccess;
}

// Its commands end first (§5.6 lets us): their completions are on the way before this one's.
u16 Nvme::delete_submission_queue(u16 number) {
  if (number == 0 || !submissions_.contains(number)) return no_retry(kInvalidQueueId);
  for (auto& [nsid, space] : namespaces_) space.disk->drain();
  submissions_.erase(number);
  return kSuccess;
}

u16 Nvme::delete_completion_queue(u16 number) {
  if (number == 0 || !completions_.contains(number)) return no_retry(kInvalidQueueId);
  const auto uses = [number](const auto& entry) { return entry.second.cq == number; };
  if (std::ranges::any_of(submissions_, uses)) return no_retry(kInvalidQueueDeletion);
  completions_.erase(number);
  update_intx();
  return kSuccess;
}

void Nvme::reply(const RequestPtr& request, ConstBytes answer) {
  const Status mapped = map_data(*request, answer.size());
  if (mapped != kSuccess) return finish(request, no_retry(mapped));
  finish(request, scatter(*request, answer) ? kSuccess : kDataTransferError);
}

void Nvme::identify(const RequestPtr& request) {
  enum : u8 { kNamespace = 0, kController = 1, kActiveList = 2, kDescriptors = 3 };
  const u32 nsid = request->command.nsid;
  const bool known = namespaces_.contains(nsid);
  switch (static_cast<u8>(request->command.dword(10))) {
    case kNamespace:
      // A number that nobody has yet is answered with zeroes.
      if (nsid == 0 || (nsid > kMostNamespaces && nsid != kEveryNamespace)) break;
      return reply(request, known || nsid == kEveryNamespace
                                ? identify_namespace(nsid)
                                : std::vector<std::byte>(kIdentifySize));
    case kController: return reply(request, identify_controller());
    case kActiveList: {
      if (nsid >= kEveryNamespace - 1) break;
      std::vector<std::byte> list(kIdentifySize);
      size_t at = 0;
      for (const auto& [number, space] : namespaces_)
        if (number > nsid) store_le(Bytes(list), 4 * at++, number);
      return reply(request, list);
    }
    case kDescriptors:
      if (!known) break;
      return reply(request, identify_descriptors(nsid));
    default: return finish(request, no_retry(kInvalidField));
  }
  finish(request, no_retry(kInvalidNamespace));
}

std::vector<std::byte> Nvme::identify_controller() const {
  std::vector<std::byte> d(kIdentifySize);
  const Bytes b(d);
  const auto byte = [&](size_t at, u8 value) { d[at] = static_cast<std::byte>(value); };
  const auto put16 = [&](size_t at, u16 value) { store_le(b, at, value); };
  const auto put32 = [&](size_t at, u32 value) { store_le(b, at, value); };
  put16(0, identity().vendor);
  put16(2, identity().subsystem_vendor);
  put_text(b.subspan(4, 20), config_.serial);
  put_text(b.subspan(24, 40), "menura NVMe disk");
  put_text(b.subspan(64, 8), version());
  byte(72, 6);  // best burst of commands: 64
  byte(77, config_.mdts);
  put32(80, kVersion14);
  byte(111, 1);        // an I/O controller
  put16(256, 1 << 1);  // Format
  byte(258, 3);        // commands that may be aborted at once, less one
  byte(259, config_.aerl);
  byte(260, 1 << 1 | 1);       // one firmware slot, not to be written
  byte(261, 1 << 1 | 1 << 2);  // the log of effects; long logs
  put16(266, kWarning);
  put16(268, kCritical);
  byte(512, 0x66);
  byte(513, 0x44);
  put32(516, kMostNamespaces);
  put16(520, 1 << 0 | 1 << 2 | 1 << 3);  // compare, dataset management, write zeroes
  byte(525, 3 << 1 | 1);                 // a volatile cache; flush may name all namespaces
  put32(536, 1);                         // scatter-gather lists, at any alignment
  std::string nqn = format("nqn.2026-01.org.menura:{}:{}", id(), config_.serial);
  nqn.resize(std::min<size_t>(nqn.size(), 223));
  std::ranges::copy(bytes_of(nqn), d.begin() + 768);
  put16(2048, 2500);  // 25 W
  return d;
}

std::vector<std::byte> Nvme::identify_namespace(u32 nsid) const {
  std::vector<std::byte> d(kIdentifySize);
  const Bytes b(d);
  constexpr u8 kPreferred = 1 << 4, kZeroesMayUnmap = 1 << 3;
  const auto found = namespaces_.find(nsid);
  // All of them at once: what they have in common, which is the kind of features.
  const NvmeNamespaceConfig config =
      found == namespaces_.end() ? NvmeNamespaceConfig{} : found->second.config;
  const u64 blocks = found == namespaces_.end() ? 0 : found->second.blocks();
  for (const size_t at : {0, 8, 16}) store_le(b, at, blocks);
  d[24] = static_cast<std::byte>(kPreferred);
  d[33] = static_cast<std::byte>(kZeroesMayUnmap);
  const u32 per_physical = config.physical_block_size / config.logical_block_size;
  for (const size_t at : {64, 66, 68, 70}) store_le(b, at, static_cast<u16>(per_physical - 1));
  store_le(b, 128, static_cast<u32>(std::countr_zero(config.logical_block_size)) << 16);
  return d;
}

std::vector<std::byte> Nvme::identify_descriptors(u32 nsid) const {
  constexpr std::byte kUuid{3}, kUuidSize{16};
  std::vector<std::byte> d(kIdentifySize);
  d[0] = kUuid;
  d[1] = kUuidSize;
  const std::array<u8, 16> uuid = make_uuid(id(), config_.serial, nsid);
  std::ranges::copy(bytes_of(uuid), d.begin() + 4);
  return d;
}

void Nvme::log_page(const RequestPtr& request) {
  enum : u8 { kErrors = 1, kHealth = 2, kFirmware = 3, kEffects = 5 };
  const NvmeCommand& c = request->command;
  std::vector<std::byte> log;
  switch (static_cast<u8>(c.dword(10))) {
    case kErrors: log.resize(64); break;  // there were none
    case kHealth: log = health_log(); break;
    case kFirmware:
      log.resize(512);
      log[0] = std::byte{1};
      put_text(Bytes(log).subspan(8, 8), version());
      break;
    case kEffects: {
      constexpr u32 kSupported = 1, kChangesData = 1 << 1;
      log.resize(4096);
      const auto set = [&](size_t at, u32 value) { store_le(Bytes(log), 4 * at, value); };
      for (const u8 opcode :
           {kDeleteSq, kCreateSq, kGetLogPage, kDeleteCq, kCreateCq, AdminOpcode::kIdentify, kAbort,
            kSetFeatures, kGetFeatures, kAsyncEvent})
        set(opcode, kSupported);
      set(kFormat, kSupported | kChangesData);
      for (const u8 opcode : {kFlush, kRead, kCompare}) set(256 + opcode, kSupported);
      for (const u8 opcode : {kWrite, kWriteZeroes, kDatasetManagement})
        set(256 + opcode, kSupported | kChangesData);
      break;
    }
    default: return finish(request, no_retry(kInvalidLogPage));
  }
  const u64 dwords = (c.dword(10) >> 16 | u64{c.dword(11) & 0xffff} << 16) + 1;
  const u64 offset = c.qword(12);
  if (offset % 4 != 0 || offset > log.size()) return finish(request, no_retry(kInvalidField));
  // RAE clear: what was told of this page may be told again.
  constexpr u32 kRetainEvent = 1 << 15;
  if ((c.dword(10) & kRetainEvent) == 0 && static_cast<u8>(c.dword(10)) == kErrors)
    events_told_ &= static_cast<u8>(~1u);
  reply(request, ConstBytes(log).subspan(offset, std::min(dwords * 4, log.size() - offset)));
  send_events();
}

std::vector<std::byte> Nvme::health_log() const {
  std::vector<std::byte> log(512);
  const Bytes b(log);
  store_le(b, 1, kRoomTemperature);
  log[3] = std::byte{100};  // all of the spare blocks are there,
  log[4] = std::byte{10};   // and 10 % would be few
  store_le(b, 32, (units_read_ + kUnit - 1) / kUnit);
  store_le(b, 48, (units_written_ + kUnit - 1) / kUnit);
  store_le(b, 64, reads_);
  store_le(b, 80, writes_);
  return log;
}

void Nvme::abort_command(const RequestPtr& request) {
  constexpr u32 kNotAborted = 1;
  const u16 queue = static_cast<u16>(request->command.dword(10));
  const u16 id = static_cast<u16>(request->command.dword(10) >> 16);
  const auto waiting = std::ranges::find(event_requests_, id);
  if (queue != 0 || waiting == event_requests_.end()) return finish(request, kSuccess, kNotAborted);
  event_requests_.erase(waiting);
  post(0, {0, kAbortRequested, 0, id});
  finish(request, kSuccess);
}

void Nvme::set_feature(const RequestPtr& request) {
  const NvmeCommand& c = request->command;
  constexpr u32 kSave = 1u << 31;
  const u8 feature = static_cast<u8>(c.dword(10));
  if ((c.dword(10) & kSave) != 0) return finish(request, no_retry(kNotSaveable));
  switch (feature) {
    case kNumberOfQueues: {
      // 65535 is none of the numbers that can be asked for.
      if ((c.dword(11) & 0xffff) == 0xffff || c.dword(11) >> 16 == 0xffff) break;
      const u32 most = config_.max_ioqpairs - 1u;
      return finish(request, kSuccess, most << 16 | most);
    }
    case kVolatileWriteCache:
      features_[feature] = c.dword(11) & 1;
      if (features_[feature] != 0) return finish(request, kSuccess);
      // Off: what was cached before is written now.
      request->command.nsid = kEveryNamespace;
      return namespaces_.empty() ? finish(request, kSuccess) : flush(request);
    case kInterruptVector:
      if ((c.dword(11) & 0xffff) >= config_.msix_qsize) break;
      return finish(request, kSuccess);
    case kArbitration:
    case kPowerManagement:
    case kTemperatureThreshold:
    case kErrorRecovery:
    case kInterruptCoalescing:
    case kWriteAtomicity:
    case kAsyncEventConfig:
      if (feature == kPowerManagement && (c.dword(11) & 0x1f) != 0) break;  // state 0 is the only
      features_[feature] = c.dword(11);
      return finish(request, kSuccess);
    default: break;
  }
  finish(request, no_retry(kInvalidField));
}

void Nvme::get_feature(const RequestPtr& request) {
  enum : u32 { kCurrent = 0, kDefault = 1, kSaved = 2, kCapabilities = 3 };
  const NvmeCommand& c = request->command;
  const u8 feature = static_cast<u8>(c.dword(10));
  const u32 select = bits(c.dword(10), 10, 8);
  if (feature < kArbitration || feature > kAsyncEventConfig || feature == 3 ||
      select > kCapabilities)
    return finish(request, no_retry(kInvalidField));
  constexpr u32 kChangeable = 1 << 2;
  if (select == kCapabilities) return finish(request, kSuccess, kChangeable);
  const u32 most = config_.max_ioqpairs - 1u;
  if (feature == kNumberOfQueues) return finish(request, kSuccess, most << 16 | most);
  if (feature == kInterruptVector) {
    const u32 vector = c.dword(11) & 0xffff;
    if (vector >= config_.msix_qsize) return finish(request, no_retry(kInvalidField));
    return finish(request, kSuccess, vector);
  }
  const auto set = features_.find(feature);
  finish(request, kSuccess,
         select == kCurrent && set != features_.end() ? set->second : default_feature(feature));
}

// It is answered when there is something to tell (§5.2).
void Nvme::async_request(const RequestPtr& request) {
  if (event_requests_.size() > config_.aerl) return finish(request, no_retry(kAsyncLimitExceeded));
  in_flight_--;  // it may wait for ever
  event_requests_.push_back(request->command.id);
  send_events();
}

void Nvme::event(u8 type, u8 information, u8 page) {
  if (events_.size() >= kMostEvents) return;
  events_.push_back(u32{page} << 16 | u32{information} << 8 | type);
  send_events();
}

// One of a type, until its log was read.
void Nvme::send_events() {
  for (size_t i = 0; i < events_.size() && !event_requests_.empty() && running();) {
    const u8 type = static_cast<u8>(1u << (events_[i] & 7));
    if ((events_told_ & type) != 0) {
      i++;
      continue;
    }
    events_told_ |= type;
    const Completion completion{events_[i], kSuccess, 0, event_requests_.front()};
    event_requests_.erase(event_requests_.begin());
    events_.erase(events_.begin() + static_cast<ptrdiff_t>(i));
    post(0, completion);
  }
}

// §5.23: there is one format; erasing zeroes all blocks.
void Nvme::format_namespace(const RequestPtr& request) {
  const NvmeCommand& c = request->command;
  Namespace* const space = find_namespace(c.nsid);
  if (!space) return finish(request, no_retry(kInvalidNamespace));
  const u32 lba_format = bits(c.dword(10), 3, 0), erase = bits(c.dword(10), 11, 9);
  if (lba_format != 0 || bits(c.dword(10), 8, 4) != 0 || erase > 1)
    return finish(request, no_retry(kInvalidFormat));
  if (space->disk->read_only()) return finish(request, no_retry(kReadOnlyRange));
  submit(*space->disk, {.op = DiskOp::WriteZeroes, .length = space->disk->size()},
         [this, request](const Result<void>& outcome) {
           finish(request, outcome ? kSuccess : kInternalError);
         });
}

}  // namespace menura
