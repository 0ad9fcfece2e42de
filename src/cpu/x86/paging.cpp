#include "cpu/x86/paging.h"

#include "base/bits.h"

namespace menura::x86 {

namespace {

// Bits of every kind of table entry.
constexpr u64 kPresent = bit(0), kWritable = bit(1), kUser = bit(2), kAccessed = bit(5),
              kDirty = bit(6), kLarge = bit(7), kGlobal = bit(8), kNoExecute = bit(63);

// How the tables of one paging mode are shaped.
struct Shape {
  unsigned levels;      // tables to walk
  unsigned entry_size;  // bytes
  unsigned index_bits;
  bool pdptes;  // the top table is PAE's four PDPTEs
};

Shape shape_of(const State& s) {
  if (s.efer & kEferLma) return {(s.cr4 & kCr4La57) ? 5u : 4u, 8, 9, false};
  if (s.cr4 & kCr4Pae) return {3, 8, 9, true};
  return {2, 4, 10, false};
}

class Walk {
 public:
  Walk(const State& state, PhysicalBus& memory, u64 linear, const WalkRequest& request,
       const WalkFrom* from)
      : s_(state), memory_(memory), linear_(linear), request_(request), shape_(shape_of(state)) {
    const u64 top = s_.cr3 & (shape_.pdptes ? 0xffff'ffe0 : physical_mask() & ~low_mask(12));
    from_ =
        from ? *from : WalkFrom{.level = shape_.levels, .table = top, .rights = kWritable | kUser};
  }

  OrFault<Translation> run() {
    // A concurrent change of an entry between reading and marking it restarts the walk; the guest
    // could do that for ever, so the marking is given up after some rounds.
    for (int round = 0; round < 16; ++round) {
      bool marked = true;
      Translation result = TRY(once(marked));
      if (marked) return result;
    }
    bool ignored;
    request_.set_bits = false;
    return once(ignored);
  }

 private:
  OrFault<Translation> once(bool& marked) {
    rights_ = from_.rights;
    no_execute_ = from_.no_execute;
    u64 table = from_.table;
    for (unsigned level = from_.level;; --level) {
      const unsigned shift = 12 + (level - 1) * shape_.index_bits;
      const bool top_pdpte = shape_.pdptes && level == 3;
      const u64 index = (linear_ >> shift) & low_mask(top_pdpte ? 2 : shape_.index_bits);
      const GuestAddr at{table + index * shape_.entry_size};
      const u64 entry = memory_.load_physical(at, shape_.entry_size);
      if (!(entry & kPresent)) return fault(0);
      const bool leaf = level == 1 || (!top_pdpte && (entry & kLarge) && large_allowed(level));
      if (entry & reserved(level, leaf)) return fault(kPfPresent | kPfReserved);
      const u64 above = rights_;
      const bool unexecutable = no_execute_;
      if (!top_pdpte) {
        rights_ &= entry;
        if ((s_.efer & kEferNxe) && (entry & kNoExecute)) no_execute_ = true;
      }
      if (leaf) {
        TRY(check_rights(entry));
        const u64 dirty = request_.access == PageAccess::Write ? kDirty : 0;
        marked = mark(at, entry, kAccessed | dirty);
        Translation found = translation(entry, level, entry | dirty);
        if (shape_.entry_size == 8)
          found.from = {level, linear_ >> (12 + 9 * level), table, above, unexecutable};
        return found;
      }
      if (!top_pdpte && !mark(at, entry, kAccessed)) {
        marked = false;
        return Translation{};
      }
      table = entry & physical_mask() & ~low_mask(12);
    }
  }

  u64 physical_mask() const {
    return shape_.entry_size == 4 ? 0xffff'ffff : low_mask(request_.physical_bits);
  }

  bool large_allowed(unsigned level) const {
    if (shape_.entry_size == 4) return level == 2 && (s_.cr4 & kCr4Pse);
    return level == 2 || (level == 3 && !shape_.pdptes);
  }

  u64 reserved(unsigned level, bool leaf) const {
    // 2-level: bits 20:13 of a 4 MiB entry are address bits 39:32 (PSE-36), bit 21 is reserved.
    if (shape_.entry_size == 4) return leaf && level == 2 ? bit(21) : 0;
    u64 mask = low_mask(52) & ~low_mask(request_.physical_bits);
    if (!(s_.efer & kEferNxe)) mask |= kNoExecute;
    if (shape_.pdptes && level == 3) return mask | 0x1e6 | low_mask(12) << 52;
    if (shape_.pdptes) mask |= low_mask(63) & ~low_mask(52);
    if (leaf && level > 1) mask |= low_mask(12 + 9 * (level - 1)) & ~low_mask(13);
    if (!leaf && level >= 4) mask |= kLarge;
    return mask;
  }

  OrFault<void> check_rights(u64 entry) const {
    const bool user_page = rights_ & kUser;
    const bool write = request_.access == PageAccess::Write;
    if (request_.user) {
      if (!user_page || (write && !(rights_ & kWritable))) return fault(kPfPresent);
    } else {
      if (write && !(rights_ & kWritable) && (s_.cr0 & kCr0Wp)) return fault(kPfPresent);
      if (user_page && request_.access == PageAccess::Fetch && (s_.cr4 & kCr4Smep))
        return fault(kPfPresent);
      if (user_page && request_.access != PageAccess::Fetch && smap_forbids())
        return fault(kPfPresent);
    }
    if (request_.access == PageAccess::Fetch && no_execute_) return fault(kPfPresent);
    if (user_page && request_.access != PageAccess::Fetch && key_forbids(entry, write))
      return fault(kPfPresent | kPfKey);
    return {};
  }

  bool smap_forbids() const {
    return (s_.cr4 & kCr4Smap) && (request_.implicit || !(s_.rflags & kAc));
  }

  bool key_forbids(u64 entry, bool write) const {
    if (!(s_.cr4 & kCr4Pke) || !(s_.efer & kEferLma)) return false;
    const u32 key_rights = s_.pkru >> (2 * bits(entry, 62, 59)) & 3;
    if (key_rights & 1) return true;
    return write && (key_rights & 2) && (request_.user || (s_.cr0 & kCr0Wp));
  }

  bool mark(GuestAddr at, u64 entry, u64 wanted) {
    if ((entry & wanted) == wanted || !request_.set_bits) return true;
    return memory_.compare_exchange_physical(at, shape_.entry_size, entry, entry | wanted);
  }

  Translation translation(u64 entry, unsigned level, u64 marked_entry) const {
    const unsigned page_bits = 12 + (level - 1) * shape_.index_bits;
    u64 base = entry & physical_mask() & ~low_mask(page_bits) & ~kNoExecute;
    if (shape_.entry_size == 4 && level == 2) base |= (entry >> 13 & 0xff) << 32;
    const bool may_write = (rights_ & kWritable) || (!request_.user && !(s_.cr0 & kCr0Wp));
    return {.physical = base | (linear_ & low_mask(page_bits)),
            .page_size = bit(page_bits),
            .writable = may_write && (marked_entry & kDirty) &&
                        !((rights_ & kUser) && key_forbids(entry, true)),
            .global = (entry & kGlobal) && (s_.cr4 & kCr4Pge)};
  }

  Fault fault(u32 code) const {
    if (request_.access == PageAccess::Write) code |= kPfWrite;
    if (request_.user) code |= kPfUser;
    const bool reports_fetch =
        (s_.cr4 & kCr4Smep) || ((s_.efer & kEferNxe) && shape_.entry_size == 8);
    if (request_.access == PageAccess::Fetch && reports_fetch) code |= kPfFetch;
    return page_fault(linear_, code);
  }

  const State& s_;
  PhysicalBus& memory_;
  u64 linear_;
  WalkRequest request_;
  Shape shape_;
  WalkFrom from_;
  u64 rights_ = 0;  // kWritable and kUser of all levels so far
  bool no_execute_ = false;
};

}  // namespace

OrFault<Translation> walk(const State& state, PhysicalBus& memory, u64 linear,
                          const WalkRequest& request, const WalkFrom* from) {
  if (!(state.cr0 & kCr0Pg))
    return Translation{.physical = linear, .page_size = 4096, .writable = true, .global = true};
  return Walk(state, memory, linear, request, from).run();
}

bool canonical(const State& state, u64 linear) {
  const unsigned width = (state.cr4 & kCr4La57) ? 57 : 48;
  return static_cast<u64>(sign_extend(linear, width)) == linear;
}

}  // namespace menura::x86
