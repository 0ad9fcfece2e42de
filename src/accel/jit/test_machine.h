// TestMachine: JIT vCPUs over a little RAM whose guest addresses are its host addresses, in 64-bit
// mode without paging.
//
// Owner: tests of accel/jit. Threads: one, and any that a test runs a vCPU on. Example:
//   TestMachine m({}); m.load(0, code); m.cpu().run();
#pragma once

#include "accel/jit/jit_accelerator.h"

namespace menura::engine {

inline constexpr u64 kCodeSize = 0x2000, kDataSize = 0x4000;

inline x86::State flat_state(u64 rip) {
  x86::State s;
  s.reset(x86::State::ResetCause::PowerOn, 0x600, true);
  s.cr0 = x86::kCr0Pe;
  s.cr4 = x86::kCr4Osfxsr | x86::kCr4Osxmmexcpt | x86::kCr4Osxsave;
  s.xcr0 = 7;
  s.efer = x86::kEferLme | x86::kEferLma;
  for (x86::Segment& seg : s.seg) seg = {.attributes = 0xc093, .limit = 0xffff'ffff};
  s.seg[x86::Cs].attributes = 0xa09b;
  s.rip = rip;
  return s;
}

class TestMachine {
 public:
  struct Shape {
    unsigned cpus = 1;
    u64 code = kCodeSize, data = kDataSize;  // bytes
  };
  explicit TestMachine(const JitOptions& options, std::vector<CpuidEntry> cpuid = offered_cpuid())
      : TestMachine(options, std::move(cpuid), Shape()) {}
  TestMachine(const JitOptions& options, const Shape& shape)
      : TestMachine(options, offered_cpuid(), shape) {}
  TestMachine(const JitOptions& options, const std::vector<CpuidEntry>& cpuid, const Shape& shape)
      : data_(RamBlock::create({.name = "data", .size = shape.data}).value()),
        code_(RamBlock::create({.name = "code", .size = shape.code}).value()) {
    // Guest addresses are host addresses, so that the oracle sees the same pointers.
    root_.map(address(*data_), data_region_);
    root_.map(address(*code_), code_region_);
    accelerator_ =
        std::move(JitAccelerator::create({memory_, io_, lock_, shape.cpus}, tape_, options))
            .value();
    for (unsigned i = 0; i < shape.cpus; i++)
      cpus_.push_back(std::move(accelerator_->create_vcpu({.index = i, .cpuid = cpuid})).value());
  }
  static u64 address(const RamBlock& ram) { return reinterpret_cast<u64>(ram.host()); }
  u64 data() const { return address(*data_); }
  // Shows the data at another guest address, too.
  void map_data_at(u64 guest) { root_.map(guest, data_alias_); }
  // Code among the data was changed behind the vCPUs' backs.
  void forget(u64 offset, u64 size) {
    accelerator_->translations().written(data_->host() + offset, size);
  }
  u8* data_bytes() { return reinterpret_cast<u8*>(data_->host()); }
  u64 code() const { return address(*code_); }
  Vcpu& cpu(unsigned index = 0) { return *cpus_.at(index); }
  JitReport report() const { return accelerator_->report(); }
  Translations& translations() { return accelerator_->translations(); }
  void load(u64 offset, std::span<const u8> bytes) {
    AccessStatus done = memory_.write(GuestAddr{code() + offset}, std::as_bytes(bytes));
    ensure(done == AccessStatus::Ok, "a test's code fits");
    accelerator_->translations().written(code_->host() + offset, bytes.size());
  }

 private:
  Region root_ = Region::container("memory", Region::kWholeSpace);
  Region io_root_ = Region::container("io", 0x10000);
  AddressSpace memory_{"memory", root_}, io_{"io", io_root_};
  MachineLock lock_;
  LiveTape tape_;
  std::shared_ptr<RamBlock> data_, code_;
  Region data_region_ = Region::ram("data", data_), code_region_ = Region::ram("code", code_);
  Region data_alias_ = Region::alias("data again", data_region_, 0, data_->size());
  std::unique_ptr<JitAccelerator> accelerator_;
  std::vector<std::unique_ptr<Vcpu>> cpus_;
};

}  // namespace menura::engine
