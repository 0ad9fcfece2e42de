// What an AHCI port and its driver share in guest memory: command list, command tables, physical
// region descriptors, received FISes.
//
// Owner: AhciPort. Threads: under the machine lock. Source: Serial ATA AHCI 1.3.1 §4. Everything is
// copied before it is looked at. Example:
//   AhciCommand command;  if (!fetch_command(dma, list, slot, command)) ...
//   command.regions.scatter(dma, data);
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "memory/address_space.h"
#include "state/visitor.h"

namespace menura {

// How the port reaches guest memory: a PCI function's checked DMA.
struct AhciDma {
  std::function<AccessStatus(GuestAddr, Bytes)> read;
  std::function<AccessStatus(GuestAddr, ConstBytes)> write;
};

// A walk through a table of physical region descriptors.
class AhciRegions {
 public:
  enum class Outcome : u8 { Moved, TableEnded, Failed };

  AhciRegions() = default;
  AhciRegions(u64 table, u32 entries) : table_(table), entries_(entries) {}

  // The whole of data, to or from the regions from where the last transfer ended. TableEnded: as
  // much as there was room for.
  Outcome scatter(const AhciDma& dma, ConstBytes data);
  Outcome gather(const AhciDma& dma, Bytes data);
  u64 moved() const { return moved_; }
  // A region that asked for an interrupt at its end was passed; asking forgets it.
  bool take_interrupt() { return std::exchange(interrupt_, false); }
  void describe(StateVisitor& v);

 private:
  template <class Move>
  Outcome walk(const AhciDma& dma, size_t size, Move move);

  // State
  u64 table_ = 0;
  u32 entries_ = 0;  // at most 65535: the walk's bound
  u32 next_ = 0;
  u64 address_ = 0;  // what is left of the present region
  u32 left_ = 0;
  bool wants_interrupt_ = false;
  bool interrupt_ = false;
  u64 moved_ = 0;
};

struct AhciCommand {
  static constexpr size_t kFis = 20;
  static constexpr size_t kPacket = 16;

  u64 header = 0;  // its address, for the byte count
  bool atapi = false;
  std::array<u8, kFis> fis{};
  std::array<u8, kPacket> packet{};
  AhciRegions regions;
  void describe(StateVisitor& v);
};

// Nothing: a part of it is not RAM.
std::optional<AhciCommand> fetch_command(const AhciDma& dma, u64 list, unsigned slot);

}  // namespace menura
