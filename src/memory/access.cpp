// How an address space answers reads and writes: RAM at once, registers through their handler in
// the sizes it wants, all ones where nothing answers.
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "memory/address_space.h"

namespace menura {

// Values in guest RAM are loaded and stored as the host's own integers.
static_assert(std::endian::native == std::endian::little);

namespace {

constexpr std::byte kOnes{0xff};

void worsen(AccessStatus& status, AccessStatus with) { status = std::max(status, with); }

bool is_access_size(unsigned size) { return size == 1 || size == 2 || size == 4 || size == 8; }

// How many bytes, of `wanted`, lie in [addr, last].
u64 reach(GuestAddr addr, GuestAddr last, u64 wanted) {
  return std::min(wanted - 1, last - addr) + 1;
}

u64 load_ram(const RamBlock& ram, u64 offset, unsigned size) {
  switch (size) {
    case 1: return ram.load<u8>(offset);
    case 2: return ram.load<u16>(offset);
    case 4: return ram.load<u32>(offset);
    default: return ram.load<u64>(offset);
  }
}

void store_ram(RamBlock& ram, u64 offset, unsigned size, u64 value) {
  switch (size) {
    case 1: return ram.store(offset, static_cast<u8>(value));
    case 2: return ram.store(offset, static_cast<u16>(value));
    case 4: return ram.store(offset, static_cast<u32>(value));
    default: return ram.store(offset, value);
  }
}

u64 swap_bytes(u64 value, unsigned size) { return byte_swap(value) >> (64 - 8 * size); }

bool is_valid(const Region& region, u64 offset, unsigned size, const char* what) {
  const AccessRules& rules = region.rules();
  if (size >= rules.valid_min && size <= rules.valid_max &&
      (rules.valid_unaligned || offset % size == 0))
    return true;
  guest_error(region.name(), "{} of {} bytes at offset {:#x} is not possible", what, size, offset);
  return false;
}

AccessStatus read_register(const Region& region, u64 offset, unsigned size, u64& value) {
  const AccessRules& rules = region.rules();
  value = low_mask(8 * size);
  if (!is_valid(region, offset, size, "read")) return AccessStatus::Refused;
  value = 0;
  const unsigned step = std::clamp<unsigned>(size, rules.handler_min, rules.handler_max);
  for (unsigned done = 0; done < size;) {
    // A wider read begins at its own alignment; what was asked for may need two of them.
    const u64 at = offset + done;
    const u64 base = step > size ? align_down(at, u64{step}) : at;
    u64 part = region.handler()->read({base, step});
    if (rules.order == ByteOrder::Big) part = swap_bytes(part, step);
    const auto skipped = static_cast<unsigned>(at - base);
    const unsigned taken = std::min(step - skipped, size - done);
    value |= ((part >> (8 * skipped)) & low_mask(8 * taken)) << (8 * done);
    done += taken;
  }
  return AccessStatus::Ok;
}

AccessStatus write_register(const Region& region, u64 offset, unsigned size, u64 value) {
  const AccessRules& rules = region.rules();
  if (!is_valid(region, offset, size, "write")) return AccessStatus::Refused;
  const unsigned step = std::min<unsigned>(size, rules.handler_max);
  for (unsigned done = 0; done < size; done += step) {
    u64 part = (value >> (8 * done)) & low_mask(8 * step);
    if (rules.order == ByteOrder::Big) part = swap_bytes(part, step);
    region.handler()->write({offset + done, step}, part);
  }
  return AccessStatus::Ok;
}

bool matches(const Region::IoEvent& event, unsigned size, u64 value) {
  if (event.size != 0 && event.size != size) return false;
  return !event.value || ((*event.value ^ value) & low_mask(8 * size)) == 0;
}

// Whether an ioeventfd took the write, as the accelerator's kernel would.
bool signal_io_event(const FlatView& view, GuestAddr addr, unsigned size, u64 value) {
  for (const FlatIoEvent& at : view.io_events_at(addr)) {
    if (!matches(at.event, size, value)) continue;
    // A counter that is full means that the reader has not run yet: it will find the signal.
    (void)::eventfd_write(at.event.fd, 1);
    return true;
  }
  return false;
}

// The natural piece of a longer transfer to registers: the largest aligned one that the region
// takes.
unsigned register_piece(const FlatRange& range, GuestAddr addr, u64 wanted) {
  const u64 offset = range.offset_of(addr);
  u64 size = std::min<u64>(reach(addr, range.last, wanted), range.region->rules().valid_max);
  if (offset != 0) size = std::min(size, u64{1} << std::countr_zero(offset));
  return static_cast<unsigned>(std::bit_floor(size));
}

}  // namespace

void AddressSpace::drain() {
  // The queued writes come back through store(), which must not drain again.
  if (!drain_ || draining_) return;
  draining_ = true;
  drain_();
  draining_ = false;
}

AccessStatus AddressSpace::load_from(const FlatRange& range, GuestAddr addr, unsigned size,
                                     u64& value) {
  if (range.ram) {
    value = load_ram(*range.ram, range.offset_of(addr), size);
    return AccessStatus::Ok;
  }
  drain();
  return read_register(*range.region, range.offset_of(addr), size, value);
}

AccessStatus AddressSpace::store_to(const FlatView& view, const FlatRange& range, GuestAddr addr,
                                    unsigned size, u64 value) {
  if (range.writable_ram()) {
    store_ram(*range.ram, range.offset_of(addr), size, value);
    return AccessStatus::Ok;
  }
  if (range.readonly && range.region->kind() != Region::Kind::RomDevice)
    return AccessStatus::Refused;
  drain();
  if (signal_io_event(view, addr, size, value)) return AccessStatus::Ok;
  return write_register(*range.region, range.offset_of(addr), size, value);
}

u64 AddressSpace::load(GuestAddr addr, unsigned size) {
  ensure(is_access_size(size), "a load of 1, 2, 4 or 8 bytes");
  {
    const View view = this->view();
    const FlatRange* range = view->find(addr);
    if (range && size - 1 <= range->last - addr) {
      u64 value = 0;
      (void)load_from(*range, addr, size, value);
      return value;
    }
  }
  std::array<std::byte, 8> bytes{};
  (void)read(addr, Bytes(bytes).first(size));
  return load_le<u64>(bytes);
}

void AddressSpace::store(GuestAddr addr, unsigned size, u64 value) {
  ensure(is_access_size(size), "a store of 1, 2, 4 or 8 bytes");
  {
    const View view = this->view();
    const FlatRange* range = view->find(addr);
    if (range && size - 1 <= range->last - addr) {
      (void)store_to(*view, *range, addr, size, value);
      return;
    }
  }
  std::array<std::byte, 8> bytes{};
  store_le(Bytes(bytes), 0, value);
  (void)write(addr, ConstBytes(bytes).first(size));
}

AccessStatus AddressSpace::read(GuestAddr addr, Bytes to) {
  AccessStatus status = AccessStatus::Ok;
  while (!to.empty()) {
    // Anew for each part: a register access may have changed the map.
    const View view = this->view();
    const FlatRange* range = view->find_from(addr);
    u64 length = 0;
    if (!range || range->start > addr) {
      length = reach(addr, range ? range->start - 1 : GuestAddr{~u64{0}}, to.size());
      std::ranges::fill(to.first(length), kOnes);
      worsen(status, AccessStatus::Unmapped);
    } else if (range->ram) {
      length = reach(addr, range->last, to.size());
      range->ram->read(range->offset_of(addr), to.first(length));
    } else {
      const unsigned size = register_piece(*range, addr, to.size());
      u64 value = 0;
      worsen(status, load_from(*range, addr, size, value));
      std::memcpy(to.data(), &value, size);
      length = size;
    }
    addr = addr + length;
    to = to.subspan(length);
  }
  return status;
}

AccessStatus AddressSpace::write(GuestAddr addr, ConstBytes from) {
  AccessStatus status = AccessStatus::Ok;
  while (!from.empty()) {
    const View view = this->view();
    const FlatRange* range = view->find_from(addr);
    u64 length = 0;
    if (!range || range->start > addr) {
      length = reach(addr, range ? range->start - 1 : GuestAddr{~u64{0}}, from.size());
      worsen(status, AccessStatus::Unmapped);
    } else if (range->writable_ram()) {
      length = reach(addr, range->last, from.size());
      range->ram->write(range->offset_of(addr), from.first(length));
    } else {
      const unsigned size = register_piece(*range, addr, from.size());
      u64 value = 0;
      std::memcpy(&value, from.data(), size);
      worsen(status, store_to(*view, *range, addr, size, value));
      length = size;
    }
    addr = addr + length;
    from = from.subspan(length);
  }
  return status;
}

namespace {

// visit(range, addr, done, length) for each part of [addr, addr+size) that is RAM, until one is not.
template <class Visit>
AccessStatus each_ram_part(const FlatView& view, GuestAddr addr, size_t size, bool writing,
                           Visit visit) {
  for (size_t done = 0; done < size;) {
    const GuestAddr at = addr + done;
    const FlatRange* range = view.find(at);
    if (!range) return AccessStatus::Unmapped;
    if (writing ? !range->writable_ram() : !range->ram) return AccessStatus::Refused;
    const u64 length = reach(at, range->last, size - done);
    visit(*range->ram, range->offset_of(at), done, length);
    done += length;
  }
  return AccessStatus::Ok;
}

}  // namespace

AccessStatus AddressSpace::dma_read(GuestAddr addr, Bytes to) const {
  const View view = this->view();
  const auto copy = [&](RamBlock& ram, u64 offset, size_t done, size_t length) {
    ram.read(offset, to.subspan(done, length));
  };
  const AccessStatus status = each_ram_part(*view, addr, to.size(), false, copy);
  if (status != AccessStatus::Ok) std::ranges::fill(to, kOnes);
  return status;
}

AccessStatus AddressSpace::dma_write(GuestAddr addr, ConstBytes from) {
  const View view = this->view();
  const auto copy = [&](RamBlock& ram, u64 offset, size_t done, size_t length) {
    ram.write(offset, from.subspan(done, length));
  };
  const AccessStatus status = each_ram_part(*view, addr, from.size(), true, [](auto&&...) {});
  if (status == AccessStatus::Ok) (void)each_ram_part(*view, addr, from.size(), true, copy);
  return status;
}

}  // namespace menura
