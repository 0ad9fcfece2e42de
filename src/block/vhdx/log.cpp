#include "block/vhdx/log.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace menura::vhdx {

namespace {

constexpr u32 kEntrySignature = 0x65676f6c;       // "loge"
constexpr u32 kDescriptorSignature = 0x63736564;  // "desc"
constexpr u32 kZeroSignature = 0x6f72657a;        // "zero"
constexpr u32 kDataSignature = 0x61746164;        // "data"
constexpr u64 kEntryHeader = 64, kDescriptor = 32;
constexpr u64 kHead = 8, kTail = 4;  // bytes of a page that stand in its descriptor
// Many entries that claim to be long could keep us summing for ever.
constexpr u64 kMostSummed = 4;  // times the log's length

enum Field : u32 {
  kChecksumAt = 4,
  kLengthAt = 8,
  kTailAt = 12,
  kSequenceAt = 16,
  kCountAt = 24,
  kLogGuidAt = 32,
  kFlushedAt = 48,
  kLastAt = 56,
};

u64 descriptor_bytes(u64 count) {
  return (kEntryHeader + count * kDescriptor + kPage - 1) / kPage * kPage;
}

struct Entry {
  u64 at = 0, length = 0, tail = 0, sequence = 0;
};

class Log {
 public:
  static Result<Log> read(Node& file, const Header& header) {
    Log log;
    log.ring_.resize(static_cast<size_t>(header.log_length));
    TRY(file.read_or_zero(header.log_offset, log.ring_), "Reading the log");
    log.guid_ = header.log;
    TRY(log.find_entries());
    return log;
  }
  // The entries that a crash left unapplied, first to last; none: nothing is to be done.
  std::vector<Entry> active() const;
  Result<void> apply(Node& file, const Entry& entry) const;

 private:
  // An entry may go on at the ring's beginning.
  std::vector<std::byte> bytes_of_entry(u64 at, u64 length) const {
    std::vector<std::byte> out(static_cast<size_t>(length));
    const u64 first = std::min<u64>(length, ring_.size() - at);
    std::memcpy(out.data(), ring_.data() + at, first);
    std::memcpy(out.data() + first, ring_.data(), length - first);
    return out;
  }
  Result<void> find_entries();

  std::vector<std::byte> ring_;
  Guid guid_{};
  std::map<u64, Entry> entries_;  // by where they begin
};

Result<void> Log::find_entries() {
  u64 summed = 0;
  for (u64 at = 0; at + kPage <= ring_.size(); at += kPage) {
    const ConstBytes head = ConstBytes(ring_).subspan(at, kEntryHeader);
    if (load_le<u32>(head) != kEntrySignature ||
        !std::ranges::equal(head.subspan(kLogGuidAt, guid_.size()), guid_))
      continue;
    const Entry entry{at, load_le<u32>(head, kLengthAt), load_le<u32>(head, kTailAt),
                      load_le<u64>(head, kSequenceAt)};
    if (entry.length == 0 || entry.length % kPage || entry.length > ring_.size() ||
        entry.tail % kPage || entry.tail >= ring_.size() || entry.sequence == 0 ||
        descriptor_bytes(load_le<u32>(head, kCountAt)) > entry.length)
      continue;
    summed += entry.length;
    if (summed > kMostSummed * ring_.size())
      return fail(Errc::Corrupt, "The log's entries overlap one another");
    const std::vector<std::byte> whole = bytes_of_entry(at, entry.length);
    if (load_le<u32>(head, kChecksumAt) == checksum_without(whole, kChecksumAt))
      entries_[at] = entry;
  }
  return {};
}

// A sequence is active when its last entry's tail is its first entry; the latest one counts.
std::vector<Entry> Log::active() const {
  std::vector<Entry> heads;
  for (const auto& [at, entry] : entries_) heads.push_back(entry);
  std::ranges::sort(heads, std::greater(), &Entry::sequence);
  for (const Entry& head : heads) {
    std::vector<Entry> chain;
    for (u64 at = head.tail; chain.size() <= entries_.size();) {
      const auto found = entries_.find(at);
      if (found == entries_.end()) break;
      if (!chain.empty() && found->second.sequence != chain.back().sequence + 1) break;
      chain.push_back(found->second);
      if (at == head.at) return chain;
      at = (at + found->second.length) % ring_.size();
    }
  }
  return {};
}

Result<void> Log::apply(Node& file, const Entry& entry) const {
  const std::vector<std::byte> bytes = bytes_of_entry(entry.at, entry.length);
  const u32 count = load_le<u32>(bytes, kCountAt);
  const u64 last = load_le<u64>(bytes, kLastAt);
  if (last > 2 * kMost) return fail(Errc::Corrupt, "The log tells of a file of {} bytes", last);
  if (last > file.size()) TRY(file.truncate(last));
  u64 data = descriptor_bytes(count);
  for (u32 i = 0; i < count; i++) {
    const ConstBytes d = ConstBytes(bytes).subspan(kEntryHeader + i * kDescriptor, kDescriptor);
    const u32 kind = load_le<u32>(d);
    const u64 offset = load_le<u64>(d, 16);
    if (load_le<u64>(d, 24) != entry.sequence || offset % kPage || offset > 2 * kMost)
      return fail(Errc::Corrupt, "A descriptor of the log is damaged");
    if (kind == kZeroSignature) {
      const u64 length = load_le<u64>(d, 8);
      if (length % kPage || length > kMost || offset + length > std::max(last, file.size()))
        return fail(Errc::Corrupt, "The log zeroes {} bytes at {}", length, offset);
      if (length) TRY(file.zero(offset, length));
      continue;
    }
    if (kind != kDescriptorSignature || data + kPage > bytes.size())
      return fail(Errc::Corrupt, "A descriptor of the log is damaged");
    const ConstBytes sector = ConstBytes(bytes).subspan(data, kPage);
    const u64 sequence = u64{load_le<u32>(sector, 4)} << 32 | load_le<u32>(sector, kPage - kTail);
    if (load_le<u32>(sector) != kDataSignature || sequence != entry.sequence)
      return fail(Errc::Corrupt, "A page in the log is torn");
    std::vector<std::byte> page(sector.begin(), sector.end());
    std::memcpy(page.data(), d.data() + 8, kHead);
    std::memcpy(page.data() + kPage - kTail, d.data() + 4, kTail);
    TRY(file.write(offset, page));
    data += kPage;
  }
  return {};
}

}  // namespace

u64 log_capacity(const Header& header) {
  u64 pages = header.log_length / kPage - 1;
  while (descriptor_bytes(pages) + pages * kPage > header.log_length) pages--;
  return pages;
}

Result<void> write_log(Node& file, const Header& header, u64 sequence, const Pages& pages) {
  const u64 head = descriptor_bytes(pages.size());
  std::vector<std::byte> bytes(static_cast<size_t>(head + pages.size() * kPage));
  store_le<u32>(bytes, 0, kEntrySignature);
  store_le<u32>(bytes, kLengthAt, static_cast<u32>(bytes.size()));
  store_le<u64>(bytes, kSequenceAt, sequence);
  store_le<u32>(bytes, kCountAt, static_cast<u32>(pages.size()));
  std::ranges::copy(header.log, bytes.begin() + kLogGuidAt);
  store_le<u64>(bytes, kFlushedAt, file.size());
  store_le<u64>(bytes, kLastAt, file.size());
  u64 descriptor = kEntryHeader, data = head;
  for (const auto& [offset, page] : pages) {
    const Bytes d = Bytes(bytes).subspan(descriptor, kDescriptor);
    store_le<u32>(d, 0, kDescriptorSignature);
    std::memcpy(d.data() + 4, page.data() + kPage - kTail, kTail);
    std::memcpy(d.data() + 8, page.data(), kHead);
    store_le<u64>(d, 16, offset);
    store_le<u64>(d, 24, sequence);
    const Bytes sector = Bytes(bytes).subspan(data, kPage);
    std::ranges::copy(page, sector.begin());
    store_le<u32>(sector, 0, kDataSignature);
    store_le<u32>(sector, 4, static_cast<u32>(sequence >> 32));
    store_le<u32>(sector, kPage - kTail, static_cast<u32>(sequence));
    descriptor += kDescriptor, data += kPage;
  }
  store_checksum(bytes, kChecksumAt);
  TRY(file.write(header.log_offset, bytes), "Writing to the log");
  return file.flush();
}

Result<bool> has_log(Node& file, const Header& header) {
  if (header.log == Guid{}) return false;
  return !TRY(Log::read(file, header)).active().empty();
}

Result<bool> replay_log(Node& file, const Header& header) {
  if (header.log == Guid{}) return false;
  const Log log = TRY(Log::read(file, header));
  const std::vector<Entry> entries = log.active();
  for (const Entry& entry : entries) TRY(log.apply(file, entry), "Applying the log");
  TRY(file.flush());
  return !entries.empty();
}

}  // namespace menura::vhdx
