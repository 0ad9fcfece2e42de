#include "accel/kvm/kvm_test_machine.h"

#include <chrono>
#include <thread>

#include "accel/kvm/kvm_cpuid.h"

namespace menura {

namespace {

constexpr u16 kEndPort = 15;
// Descriptors: SDM vol. 3 §3.4.5, §7.2.3.
constexpr u64 kKernelCode64 = 0x00af'9b00'0000'ffff;
constexpr u64 kKernelData = 0x00cf'9300'0000'ffff;
constexpr u64 kUserData = 0x00cf'f300'0000'ffff;
constexpr u64 kUserCode64 = 0x00af'fb00'0000'ffff;
constexpr u32 kIoBitmapOffset = 0x68;
constexpr u32 kTssLimit = kIoBitmapOffset + 0x2000;

x86::Segment flat(u16 selector, u16 attributes) {
  return {.selector = selector, .attributes = attributes, .limit = 0xffff'ffff};
}

}  // namespace

KvmTestMachine::KvmTestMachine(const KvmOptions& options, std::unique_ptr<KvmIoctl> ioctls)
    : ram(RamBlock::create({.name = "ram", .size = kRamSize}).value()),
      ram_region_(Region::ram("ram", ram)),
      device_region_(Region::mmio("device", 64 * KiB, device, {.handler_max = 8})),
      port_region_(Region::mmio("ports", 16, ports)) {
  build_tables();
  const MachineLock::Guard guard(lock);
  memory_root.map(0, ram_region_);
  memory_root.map(kMmio, device_region_);
  io_root.map(kPorts, port_region_);
  auto made =
      KvmAccelerator::create({.memory = memory, .io = io, .lock = lock, .max_cpus = 4, .smm = &smm},
                             {tape, time}, options, std::move(ioctls));
  if (made)
    accel_ = std::move(made).value();
  else
    error_ = made.error().text;
  ports.on_write = [this](const RecordingHandler::Write& write) {
    if (write.offset == kEndPort) {
      ended = true;
      if (!cpus.empty()) cpus.front()->kick();
    }
  };
}

KvmTestMachine::~KvmTestMachine() {
  cpus.clear();
  const MachineLock::Guard guard(lock);
  accel_.reset();
}

void KvmTestMachine::build_tables() {
  using L = KvmLayout;
  constexpr u64 kPresentWritableUser = 7;
  constexpr u64 kLargePage = 0x80;
  put64(L::kPml4, L::kPdpt | kPresentWritableUser);
  for (u64 gib = 0; gib < 4; gib++) {
    const u64 directory = L::kPageDirectories + gib * kPageSize;
    put64(L::kPdpt + 8 * gib, directory | kPresentWritableUser);
    for (u64 i = 0; i < 512; i++)
      put64(directory + 8 * i, (gib << 30 | i << 21) | kPresentWritableUser | kLargePage);
  }
  put64(L::kGdt + L::kKernelCs, kKernelCode64);
  put64(L::kGdt + L::kKernelSs, kKernelData);
  put64(L::kGdt + (L::kUserSs & ~7), kUserData);
  put64(L::kGdt + (L::kUserCs & ~7), kUserCode64);
  put64(L::kGdt + L::kTssSelector, 0x0000'8900'0000'0000 | (L::kTss & 0xffffff) << 16 | kTssLimit);
  put64(L::kTss + 4, L::kKernelStack);  // RSP0
  ram->store<u16>(L::kTss + 0x66, kIoBitmapOffset);
  ram->store<u8>(L::kTss + kTssLimit, 0xff);  // the bitmap's end; its zeros allow every port
}

void KvmTestMachine::load(KvmPayload& code, u64 at) {
  ram->write(at, std::as_bytes(std::span(code.getCode(), code.getSize())));
}

void KvmTestMachine::set_handler(u8 vector, u64 address) {
  // A 64-bit interrupt gate, SDM vol. 3 §6.14.1; DPL 3.
  const u64 gate = (address & 0xffff) | u64{KvmLayout::kKernelCs} << 16 | u64{0xee00} << 32 |
                   (address >> 16 & 0xffff) << 48;
  put64(KvmLayout::kIdt + 16u * vector, gate);
  put64(KvmLayout::kIdt + 16u * vector + 8, address >> 32);
}

KvmVcpu& KvmTestMachine::add_cpu(VcpuConfig config) {
  config.index = config.apic_id = static_cast<u32>(cpus.size());
  auto made = accel_->create_vcpu(config);
  EXPECT_TRUE(made.ok()) << (made ? "" : made.error().text);
  cpus.emplace_back(static_cast<KvmVcpu*>(std::move(made).value().release()));
  return *cpus.back();
}

x86::State KvmTestMachine::long_mode(Ring ring, x86::State s, u64 rip) {
  using L = KvmLayout;
  const bool user = ring == Ring::User;
  s.seg.fill(flat(user ? L::kUserSs : L::kKernelSs, user ? 0xc0f3 : 0xc093));
  s.seg[x86::Cs] = flat(user ? L::kUserCs : L::kKernelCs, user ? 0xa0fb : 0xa09b);
  s.tr = {.selector = L::kTssSelector, .attributes = 0x8b, .limit = kTssLimit, .base = L::kTss};
  s.ldtr = {.unusable = true};
  s.gdtr = {.base = L::kGdt, .limit = 0x4f};
  s.idtr = {.base = L::kIdt, .limit = 0xfff};
  s.cr0 = x86::kCr0Pe | x86::kCr0Pg | x86::kCr0Et | x86::kCr0Ne | x86::kCr0Mp | x86::kCr0Wp;
  s.cr3 = L::kPml4;
  s.cr4 = x86::kCr4Pae | x86::kCr4Osfxsr | x86::kCr4Osxmmexcpt;
  s.efer = x86::kEferLme | x86::kEferLma | x86::kEferSce;
  s.gpr.fill(0);
  s.gpr[x86::Rsp] = user ? L::kUserStack : L::kKernelStack;
  s.rip = rip;
  s.rflags = x86::kRflagsAlwaysOne;
  s.activity = x86::Activity::Running;
  return s;
}

void KvmTestMachine::enter(KvmVcpu& cpu, Ring ring) {
  x86::State state;
  cpu.get(state);
  cpu.set(long_mode(ring, state));
}

Exit KvmTestMachine::run_to_end(KvmVcpu& cpu) {
  std::atomic<bool> done = false;
  std::thread watchdog([&] {
    for (int i = 0; i < 1000 && !done; i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (!done) cpu.kick();
  });
  ended = false;
  const Exit exit = cpu.run();
  done = true;
  watchdog.join();
  if (exit == Exit::Kicked) {
    EXPECT_TRUE(ended) << "the payload did not end in time";
  }
  return exit;
}

}  // namespace menura
