#include "hw/nvme/nvme_regions.h"

#include <algorithm>

namespace menura {

namespace {

using namespace nvme;  // NOLINT: this file is written in it

constexpr u64 kPrpSize = 8;
constexpr size_t kDescriptorSize = 16;
constexpr unsigned kMostDescriptors = 1024, kMostSegments = 64;

class PrpWalk {
 public:
  PrpWalk(const NvmeDmaRead& read, u64 page_size, u64 length, NvmeRegions& regions)
      : read_(read), page_(page_size), left_(length), regions_(regions) {}

  Status walk(u64 prp1, u64 prp2) {
    if (prp1 % 4 != 0) return kPrpOffsetInvalid;
    take(prp1, page_ - prp1 % page_);
    if (left_ == 0) return kSuccess;
    if (left_ > page_) return walk_list(prp2);
    if (prp2 % page_ != 0) return kPrpOffsetInvalid;
    take(prp2, page_);
    return kSuccess;
  }

 private:
  void take(u64 address, u64 most) {
    const u64 size = std::min(left_, most);
    if (!regions_.empty() && regions_.back().address + regions_.back().size == address)
      regions_.back().size += size;
    else
      regions_.push_back({address, size});
    left_ -= size;
  }

  // A list ends with its page; when more is to come, its last entry is the next list.
  Status walk_list(u64 list) {
    if (list % kPrpSize != 0) return kPrpOffsetInvalid;
    while (left_ != 0) {
      const u64 room = (page_ - list % page_) / kPrpSize;
      const u64 wanted = (left_ + page_ - 1) / page_;
      std::vector<std::byte> entries(std::min(room, wanted) * kPrpSize);
      if (read_({list}, entries) != AccessStatus::Ok) return kDataTransferError;
      const bool chained = wanted > room;
      const u64 pages = chained ? room - 1 : wanted;
      for (u64 i = 0; i < pages; i++) {
        const u64 entry = load_le<u64>(entries, i * kPrpSize);
        if (entry % page_ != 0) return kPrpOffsetInvalid;
        take(entry, page_);
      }
      if (!chained) break;
      list = load_le<u64>(entries, pages * kPrpSize);
      if (list % page_ != 0) return kPrpOffsetInvalid;
    }
    return kSuccess;
  }

  const NvmeDmaRead& read_;
  const u64 page_;
  u64 left_;
  NvmeRegions& regions_;
};

struct Descriptor {
  enum Type : u8 { Data = 0, BitBucket = 1, Segment = 2, LastSegment = 3 };
  u64 address;
  u32 length;
  u8 type;

  static Descriptor parse(ConstBytes bytes) {
    return {load_le<u64>(bytes, 0), load_le<u32>(bytes, 8),
            static_cast<u8>(static_cast<u8>(bytes[15]) >> 4)};
  }
  bool is_segment() const { return type == Segment || type == LastSegment; }
};

// The data of one descriptor; more than the command needs is not used.
Status take_data(const Descriptor& d, u64& left, NvmeRegions& regions) {
  if (d.type != Descriptor::Data) return kSglTypeInvalid;
  const u64 size = std::min<u64>(d.length, left);
  if (size != 0) regions.push_back({d.address, size});
  left -= size;
  return kSuccess;
}

Status walk_sgl(const NvmeDmaRead& read, Descriptor next, u64 left, NvmeRegions& regions) {
  unsigned descriptors = 0;
  for (unsigned segment = 0; next.is_segment(); segment++) {
    const bool last = next.type == Descriptor::LastSegment;
    if (next.length == 0 || next.length % kDescriptorSize != 0) return kInvalidSglSegment;
    const u64 count = next.length / kDescriptorSize;
    if (segment >= kMostSegments || count > kMostDescriptors - descriptors) return kInvalidSglCount;
    descriptors += static_cast<unsigned>(count);
    std::vector<std::byte> bytes(next.length);
    if (read({next.address}, bytes) != AccessStatus::Ok) return kDataTransferError;
    for (u64 i = 0; i < count; i++) {
      const Descriptor d =
          Descriptor::parse(ConstBytes(bytes).subspan(i * kDescriptorSize, kDescriptorSize));
      if (d.is_segment()) {
        if (last || i + 1 != count) return kInvalidSglSegment;
        next = d;
      } else if (const Status status = take_data(d, left, regions)) {
        return status;
      } else if (i + 1 == count) {
        if (!last) return kInvalidSglSegment;
        return left == 0 ? kSuccess : kSglLengthInvalid;
      }
    }
  }
  if (const Status status = take_data(next, left, regions)) return status;
  return left == 0 ? kSuccess : kSglLengthInvalid;
}

}  // namespace

Status find_regions(const NvmeDmaRead& read, const NvmeCommand& command, u64 page_size, u64 length,
                    NvmeRegions& regions) {
  regions.clear();
  if (!command.uses_sgl())
    return PrpWalk(read, page_size, length, regions).walk(command.prp1, command.prp2);
  std::array<std::byte, kDescriptorSize> first;
  store_le(Bytes(first), 0, command.prp1);
  store_le(Bytes(first), 8, command.prp2);
  return walk_sgl(read, Descriptor::parse(first), length, regions);
}

}  // namespace menura
