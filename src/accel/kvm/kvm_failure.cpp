// What is said about a vCPU that KVM cannot run any further.

#include <algorithm>
#include <cerrno>

#include "accel/kvm/kvm_vcpu.h"
#include "base/bytes.h"

namespace menura {

namespace {

constexpr size_t kInstructionBytes = 15;

std::string_view suberror_name(u32 suberror) {
  switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION: return "it cannot emulate an instruction";
    case KVM_INTERNAL_ERROR_SIMUL_EX: return "an exception struck while another was delivered";
    case KVM_INTERNAL_ERROR_DELIVERY_EV: return "an exit struck while an event was delivered";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
      return "an exit of the processor that it does not expect";
    default: return "no further explanation";
  }
}

std::string_view mode_of(const x86::State& s) {
  if (!(s.cr0 & x86::kCr0Pe)) return "real mode";
  if (s.rflags & x86::kVm) return "virtual-8086 mode";
  if (s.code64()) return "64-bit mode";
  if (s.long_mode_active()) return "compatibility mode";
  return s.seg[x86::Cs].db() ? "32-bit protected mode" : "16-bit protected mode";
}

std::string hex_bytes(ConstBytes bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    if (!text.empty()) text += ' ';
    text += format("{:02x}", static_cast<unsigned>(b));
  }
  return text.empty() ? "(not readable)" : text;
}

// The bytes at a linear address, as far as guest RAM goes.
std::vector<std::byte> instruction_at(const KvmFd& vcpu, const AddressSpace& memory, u64 linear) {
  std::vector<std::byte> bytes;
  while (bytes.size() < kInstructionBytes) {
    kvm_translation page{};
    page.linear_address = linear + bytes.size();
    if (vcpu.call(KVM_TRANSLATE, &page) < 0 || !page.valid) break;
    const size_t left_in_page = kPageSize - (page.linear_address & (kPageSize - 1));
    std::vector<std::byte> part(std::min(kInstructionBytes - bytes.size(), left_in_page));
    if (memory.dma_read(GuestAddr{page.physical_address}, part) != AccessStatus::Ok) break;
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

}  // namespace

std::string KvmVcpu::describe_internal_error() {
  const u32 suberror = run_->internal.suberror;
  std::string text = format("KVM cannot go on with vCPU {}: {} (internal error, suberror {}",
                            config_.index, suberror_name(suberror), suberror);
  // The data of an emulation failure are its instruction, shown below.
  if (suberror != KVM_INTERNAL_ERROR_EMULATION)
    for (u32 i = 0; i < std::min<u32>(run_->internal.ndata, 16); i++)
      text += format(", {:#x}", u64{run_->internal.data[i]});
  return text + ")\n" + describe_where();
}

std::string KvmVcpu::describe_where() {
  x86::State state;
  get(state);
  const x86::Segment& cs = state.seg[x86::Cs];
  const u64 linear = state.code64() ? state.rip : cs.base + state.rip;
  std::vector<std::byte> bytes = instruction_at(fd_, environment_.memory, linear);
  if (bytes.empty() && run_->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
      run_->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
      run_->emulation_failure.ndata >= 3 &&
      (run_->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
    const auto& failed = run_->emulation_failure;
    const auto seen =
        std::as_bytes(std::span(failed.insn_bytes, std::min<size_t>(failed.insn_size, 15)));
    bytes.assign(seen.begin(), seen.end());
  }
  return format("at RIP {:#x}, CS {:#06x} base {:#x}, {}, CPL {}, bytes {}\n{}", state.rip,
                cs.selector, cs.base, mode_of(state), state.cpl(), hex_bytes(bytes),
                print_registers(state));
}

}  // namespace menura
