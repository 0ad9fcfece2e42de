// For the tests of this room: a machine of RAM, recorded ports and registers, and one accelerator;
// and payloads that run in long mode at CPL0 or CPL3 on any KVM, with no firmware.
//
// Owner: the test. Threads: the test's own (a vCPU made by add_cpu() runs on it). Example:
//   KvmTestMachine m({.irqchip = IrqchipMode::User});  KvmPayload code;  code.out8(0x10, 7);
//   m.load(code);  KvmVcpu& cpu = m.add_cpu();  m.enter(cpu, Ring::User);
//   EXPECT_EQ(cpu.run(), Exit::Halted);
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <vector>

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include "accel/kvm/kvm_accelerator.h"
#include "base/units.h"
#include "event/clock.h"
#include "event/tape.h"
#include "memory/region.h"
#undef XBYAK_NO_EXCEPTION

namespace menura {

// Skips the test where there is no KVM to be opened; a KVM that then fails is a failed test.
#define MENURA_NEEDS_KVM()                                            \
  if (const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC); fd < 0)    \
    GTEST_SKIP() << "NO KVM ON THIS HOST: /dev/kvm cannot be opened"; \
  else                                                                \
    close(fd)

enum class Ring : u8 { Kernel, User };

// Guest physical addresses of what KvmTestMachine lays out; virtual ones are the same.
struct KvmLayout {
  static constexpr u64 kPml4 = 0x1000, kPdpt = 0x2000, kPageDirectories = 0x10000;
  static constexpr u64 kGdt = 0x5000, kTss = 0x8000, kIdt = 0xb000;
  static constexpr u64 kKernelStack = 0xf000, kUserStack = 0x1f000;
  static constexpr u64 kCode = 0x20000, kData = 0x100000;
  static constexpr u16 kKernelCs = 0x08, kKernelSs = 0x10, kUserSs = 0x2b, kUserCs = 0x33,
                       kTssSelector = 0x40;
};

// Code for KvmLayout::kCode, assembled by Xbyak. The few words below are for the common cases.
class KvmPayload : public Xbyak::CodeGenerator {
 public:
  KvmPayload() : Xbyak::CodeGenerator(16 * 1024) {}
  void out8(u16 port, u8 value) {
    mov(dx, port);
    mov(al, value);
    out_(dx, al);
  }
  // What Xbyak has no word for.
  void bytes(std::initializer_list<u8> list) {
    for (const u8 byte : list) db(byte);
  }
  void iretq() { bytes({0x48, 0xcf}); }
  // A store to memory-mapped registers.
  void store32(u64 address, u32 value) {
    mov(rbx, address);
    mov(dword[rbx], value);
  }
};

// Records accesses and answers reads from a list, then with all ones.
class RecordingHandler final : public MmioHandler {
 public:
  struct Write {
    u64 offset;
    unsigned size;
    u64 value;
    bool operator==(const Write&) const = default;
  };
  u64 read(Access access) override {
    reads.push_back({access.offset, access.size, 0});
    if (answers.empty()) return ~u64{0};
    const u64 value = answers.front();
    answers.erase(answers.begin());
    return value;
  }
  void write(Access access, u64 value) override {
    writes.push_back({access.offset, access.size,
                      access.size >= 8 ? value : value & ((u64{1} << (8 * access.size)) - 1)});
    if (on_write) on_write(writes.back());
  }
  std::vector<Write> reads, writes;
  std::vector<u64> answers;
  std::function<void(const Write&)> on_write;
};

class KvmTestMachine {
 public:
  static constexpr u64 kMmio = 0xd000'0000;  // `device`, 64 KiB
  static constexpr u16 kPorts = 0xe00;       // `ports`, 16 of them
  static constexpr u64 kRamSize = 16 * MiB;

  explicit KvmTestMachine(const KvmOptions& options = {},
                          std::unique_ptr<KvmIoctl> ioctls = std::make_unique<KvmIoctl>());
  ~KvmTestMachine();

  Region& ram_region() { return ram_region_; }
  Region& device_region() { return device_region_; }
  Region& port_region() { return port_region_; }
  // The accelerator, whose creation must have worked.
  KvmAccelerator& accel() { return *accel_; }
  bool ok() const { return accel_ != nullptr; }
  const std::string& error() const { return error_; }

  void load(KvmPayload& code, u64 at = KvmLayout::kCode);
  void set_handler(u8 vector, u64 address);
  // On this thread, at its reset state.
  KvmVcpu& add_cpu(VcpuConfig config = {});
  void remove_cpus() { cpus.clear(); }
  // Long mode with everything below 4 GiB mapped, at kCode.
  static x86::State long_mode(Ring ring, x86::State state, u64 rip = KvmLayout::kCode);
  void enter(KvmVcpu& cpu, Ring ring);
  // Runs until the guest writes to port kPorts + 15 (the end of a payload), for at most 10 s.
  Exit run_to_end(KvmVcpu& cpu);

  LiveTape tape;
  HostClock clock{tape};
  TimerQueue time{clock};
  MachineLock lock;
  std::shared_ptr<RamBlock> ram;
  Region memory_root = Region::container("memory", Region::kWholeSpace);
  Region smm_root = Region::container("smm", Region::kWholeSpace);  // for the test to fill
  Region io_root = Region::container("io", 0x10000);
  RecordingHandler device, ports;
  bool ended = false;
  std::vector<std::unique_ptr<KvmVcpu>> cpus;

 private:
  void build_tables();
  void put64(u64 address, u64 value) { ram->store<u64>(address, value); }

  Region ram_region_;
  Region device_region_;
  Region port_region_;

 public:
  AddressSpace memory{"memory", memory_root};
  AddressSpace smm{"smm", smm_root};
  AddressSpace io{"io", io_root};

 private:
  std::unique_ptr<KvmAccelerator> accel_;
  std::string error_;
};

}  // namespace menura
