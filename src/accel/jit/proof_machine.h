// ProofMachine: the same user-mode world twice, under the JIT and on the host's CPU, with the same
// linear addresses and page permissions, so that one instruction can be run in both and every visible
// effect compared: registers, memory, the exception's vector, error code and CR2.
//
// Owner: tests of accel/jit. Threads: one. The guest is in long mode with paging, CPL 3, and an IDT
// whose handlers halt. Make it before the NativeCpu (both handle signals). Example:
//   ProofMachine m({.block_limit = 8});  m.place(code, rip);  m.fill(image);
//   NativeOutcome host = m.run_native(cpu, r, false), guest = m.run_guest(r, false);
#pragma once

#include <span>

#include "accel/jit/jit_accelerator.h"
#include "accel/jit/native_cpu.h"
#include "base/fd.h"

namespace menura::engine {

// Where things lie, in both worlds. Below 4 GiB, so that 32-bit code and addresses reach them.
namespace proof {
inline constexpr u64 kData = 0x4000'0000, kCode = 0x4010'0000;
inline constexpr unsigned kDataPages = 8, kCodePages = 2;
enum class Page : u8 { Writable, ReadOnly, Absent };
inline constexpr Page kLayout[kDataPages] = {Page::Writable, Page::Writable, Page::Absent,
                                             Page::Writable, Page::ReadOnly, Page::Writable,
                                             Page::Absent,   Page::Absent};
inline constexpr u64 kDataSize = kDataPages * 4096, kCodeSize = kCodePages * 4096;
}  // namespace proof

class ProofMachine {
 public:
  explicit ProofMachine(const JitOptions& options);
  ~ProofMachine();
  ProofMachine(const ProofMachine&) = delete;
  ProofMachine& operator=(const ProofMachine&) = delete;

  // Code at kCode + offset, surrounded by INT3, in both worlds.
  void place(std::span<const u8> code, u64 offset);
  // Both worlds' data pages, absent ones included.
  void fill(std::span<const u8> image);
  std::span<const u8> native_data() const { return {native_, proof::kDataSize}; }
  std::span<const u8> guest_data() const { return {guest_ + kGuestData, proof::kDataSize}; }

  NativeOutcome run_native(NativeCpu& cpu, const CpuRegisters& r, bool bits32) {
    return cpu.run(r, bits32);
  }
  // A vector of 255 says that the guest did not end with an exception.
  NativeOutcome run_guest(const CpuRegisters& r, bool bits32);

 private:
  static constexpr u64 kGuestData = 0x1'0000, kGuestCode = 0x2'0000, kRam = 0x4'0000;
  void map_natively();
  void make_tables();
  void put(u64 physical, u64 value) { std::memcpy(guest_ + physical, &value, 8); }
  x86::State state_of(const CpuRegisters& r, bool bits32) const;

  Region root_ = Region::container("memory", Region::kWholeSpace);
  Region io_root_ = Region::container("io", 0x10000);
  AddressSpace memory_{"memory", root_}, io_{"io", io_root_};
  MachineLock lock_;
  LiveTape tape_;
  std::shared_ptr<RamBlock> ram_ = RamBlock::create({.name = "ram", .size = kRam}).value();
  Region ram_region_ = Region::ram("ram", ram_);
  u8* guest_ = reinterpret_cast<u8*>(ram_->host());
  std::unique_ptr<JitAccelerator> accelerator_;
  std::unique_ptr<Vcpu> cpu_;
  UniqueFd file_;
  u8* native_ = nullptr;  // writable alias: data, then code
};

}  // namespace menura::engine
