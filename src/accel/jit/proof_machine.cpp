#include "accel/jit/proof_machine.h"

#include <sys/mman.h>

namespace menura::engine {

using namespace proof;

namespace {

// The guest's physical pages.
constexpr u64 kPml4 = 0x1000, kPdptUser = 0x2000, kPdUser = 0x3000, kPtUser = 0x4000,
              kPdptKernel = 0x5000, kPdKernel = 0x6000, kPtKernel = 0x7000;
constexpr u64 kSystem = 0x8000, kIdt = 0x9000, kHandlers = 0xa000, kStack = 0xb000;
// The kernel's linear addresses: user code cannot even name them in 32 bits.
constexpr u64 kKernel = 0xffff'8000'0000'0000;
constexpr u64 kLinearSystem = kKernel, kLinearIdt = kKernel + 0x1000,
              kLinearHandlers = kKernel + 0x2000, kStackTop = kKernel + 0x4000;
constexpr u64 kTss = 0x200;  // behind the GDT

constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kNx = u64{1} << 63;
constexpr u16 kKernelCode = 0x10, kUser32 = 0x23, kUserData = 0x2b, kUser64 = 0x33, kTr = 0x40;

u64 code_index(u64 linear) { return linear >> 12 & 511; }

}  // namespace

ProofMachine::ProofMachine(const JitOptions& options) {
  root_.map(0, ram_region_);
  accelerator_ =
      std::move(JitAccelerator::create({memory_, io_, lock_, 1}, tape_, options)).value();
  cpu_ = std::move(accelerator_->create_vcpu({.cpuid = offered_cpuid()})).value();
  map_natively();
  make_tables();
}

ProofMachine::~ProofMachine() {
  munmap(reinterpret_cast<void*>(kData), kDataSize);
  munmap(reinterpret_cast<void*>(kCode), kCodeSize);
  munmap(native_, kDataSize + kCodeSize);
}

void ProofMachine::map_natively() {
  constexpr u64 kSize = kDataSize + kCodeSize;
  file_ = UniqueFd(memfd_create("proof", MFD_CLOEXEC));
  ensure(file_ && ftruncate(file_.get(), kSize) == 0, "memory for the host's world");
  const auto map = [&](u64 at, u64 size, u64 offset, int protection, int flags) {
    void* made = mmap(reinterpret_cast<void*>(at), size, protection, MAP_SHARED | flags,
                      file_.get(), static_cast<off_t>(offset));
    ensure(made != MAP_FAILED, "mapping the host's world");
    return static_cast<u8*>(made);
  };
  native_ = map(0, kSize, 0, PROT_READ | PROT_WRITE, MAP_POPULATE);
  std::memset(native_, 0, kSize);
  for (unsigned i = 0; i < kDataPages; i++) {
    if (kLayout[i] == Page::Absent) continue;
    const int write = kLayout[i] == Page::Writable ? PROT_WRITE : 0;
    map(kData + 4096 * i, 4096, 4096 * i, PROT_READ | write, MAP_FIXED_NOREPLACE | MAP_POPULATE);
  }
  map(kCode, kCodeSize, kDataSize, PROT_READ | PROT_EXEC, MAP_FIXED_NOREPLACE | MAP_POPULATE);
}

void ProofMachine::make_tables() {
  constexpr u64 kTable = kPresent | kWritable | kUser;
  put(kPml4, kPdptUser | kTable);
  put(kPml4 + 256 * 8, kPdptKernel | kTable);
  put(kPdptUser + 8 * (kData >> 30), kPdUser | kTable);
  put(kPdUser, kPtUser | kTable);
  for (unsigned i = 0; i < kDataPages; i++)
    if (kLayout[i] != Page::Absent)
      put(kPtUser + 8 * i, (kGuestData + 4096 * i) | kPresent | kUser | kNx |
                               (kLayout[i] == Page::Writable ? kWritable : 0));
  for (unsigned i = 0; i < kCodePages; i++)
    put(kPtUser + 8 * (code_index(kCode) + i), (kGuestCode + 4096 * i) | kPresent | kUser);
  put(kPdptKernel, kPdKernel | kTable);
  put(kPdKernel, kPtKernel | kTable);
  const u64 pages[] = {kSystem, kIdt, kHandlers, kStack};
  for (unsigned i = 0; i < 4; i++) put(kPtKernel + 8 * i, pages[i] | kPresent | kWritable);
  // GDT: kernel code, 32-bit user code, user data, 64-bit user code, TSS.
  put(kSystem + (kKernelCode & ~7), 0x00af'9b00'0000'ffff);
  put(kSystem + (kUser32 & ~7), 0x00cf'fb00'0000'ffff);
  put(kSystem + (kUserData & ~7), 0x00cf'f300'0000'ffff);
  put(kSystem + (kUser64 & ~7), 0x00af'fb00'0000'ffff);
  std::memcpy(guest_ + kSystem + kTss + 4, &kStackTop, 8);
  guest_[kSystem + kTss + 0x66] = 0x68;  // no map of I/O permissions within the limit
  for (u64 v = 0; v < 256; v++) {
    const u64 handler = kLinearHandlers + v;
    const u64 dpl = v == x86::kBp || v == x86::kOfTrap ? 3 : 0;
    put(kIdt + 16 * v, (handler & 0xffff) | u64{kKernelCode} << 16 | (0x8e | dpl << 5) << 40 |
                           (handler >> 16 & 0xffff) << 48);
    put(kIdt + 16 * v + 8, handler >> 32);
  }
  std::memset(guest_ + kHandlers, 0xf4, 4096);
}

void ProofMachine::place(std::span<const u8> code, u64 offset) {
  // Whatever lay there before, and what this covers.
  u8* to[] = {native_ + kDataSize, guest_ + kGuestCode};
  for (u8* base : to) {
    std::memset(base, 0xcc, kCodeSize);
    std::memcpy(base + offset, code.data(), code.size());
  }
  for (u64 page = 0; page < kCodeSize; page += 4096)
    accelerator_->translations().written(ram_->host() + kGuestCode + page, 4096);
}

void ProofMachine::fill(std::span<const u8> image) {
  std::memcpy(native_, image.data(), kDataSize);
  std::memcpy(guest_ + kGuestData, image.data(), kDataSize);
}

x86::State ProofMachine::state_of(const CpuRegisters& r, bool bits32) const {
  using namespace x86;
  State s;
  s.reset(State::ResetCause::PowerOn, 0x600, true);
  s.cr0 = kCr0Pe | kCr0Pg | kCr0Ne | kCr0Et | kCr0Wp | kCr0Mp | kCr0Am;
  s.cr3 = kPml4;
  s.cr4 = kCr4Pae | kCr4Osfxsr | kCr4Osxmmexcpt | kCr4Osxsave | kCr4Fsgsbase;
  s.efer = kEferLme | kEferLma | kEferNxe | kEferSce;
  s.xcr0 = 7;
  s.gdtr = {.base = kLinearSystem, .limit = 0x50};
  s.idtr = {.base = kLinearIdt, .limit = 0xfff};
  s.tr = {.selector = kTr, .attributes = 0x8b, .limit = 0x67, .base = kLinearSystem + kTss};
  const Segment data{.selector = kUserData, .attributes = 0xc0f3, .limit = 0xffff'ffff};
  s.seg[Es] = s.seg[Ss] = s.seg[Ds] = data;
  s.seg[Fs] = s.seg[Gs] = {.unusable = true};
  s.seg[Fs].base = thread_pointer();
  s.seg[Cs] = {.selector = bits32 ? kUser32 : kUser64,
               .attributes = static_cast<u16>(bits32 ? 0xc0fb : 0xa0fb),
               .limit = 0xffff'ffff};
  s.gpr = r.gpr;
  s.rip = r.rip;
  s.rflags = r.rflags | kIf | 2;
  s.x87.fcw = r.fcw;
  s.x87.fsw = r.fsw;
  s.x87.ftw = r.ftw;
  s.x87.st = r.st;
  s.mxcsr = r.mxcsr;
  for (size_t i = 0; i < 16; i++) s.vec[i].qwords = r.ymm[i];
  return s;
}

NativeOutcome ProofMachine::run_guest(const CpuRegisters& start, bool bits32) {
  cpu_->set(state_of(start, bits32));
  NativeOutcome out;
  out.vector = 255;
  const Exit exit = cpu_->run();
  x86::State s;
  cpu_->get(s);
  CpuRegisters& r = out.registers;
  r.gpr = s.gpr;
  r.rip = s.rip;
  r.rflags = s.rflags;
  r.fcw = s.x87.fcw;
  r.fsw = s.x87.fsw;
  r.ftw = s.x87.ftw;
  r.st = s.x87.st;
  r.mxcsr = s.mxcsr;
  for (size_t i = 0; i < 16; i++) r.ymm[i] = s.vec[i].qwords;
  if (exit != Exit::Halted || s.cpl() != 0) return out;
  out.vector = static_cast<u8>(s.rip - 1 - kLinearHandlers);
  // What delivery pushed: SS, RSP, RFLAGS, CS, RIP, and perhaps an error code.
  u64 frame[6];
  std::memcpy(frame, guest_ + kStack + 0x1000 - sizeof frame, sizeof frame);
  if (s.gpr[x86::Rsp] == kStackTop - 48) out.error_code = static_cast<u32>(frame[0]);
  r.rip = frame[1];
  r.rflags = frame[3];
  r.gpr[x86::Rsp] = frame[4];
  if (out.vector == x86::kPfault) out.cr2 = s.cr2;
  return out;
}

}  // namespace menura::engine
