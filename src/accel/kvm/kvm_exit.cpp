// What a vCPU does about each reason to leave the guest.

#include <algorithm>
#include <cstring>

#include "accel/kvm/kvm_vcpu.h"
#include "base/bytes.h"
#include "base/log.h"

namespace menura {

namespace {

struct NamedExit {
  u32 reason;
  std::string_view name;
};

#define ROW(name) \
  { KVM_EXIT_##name, #name }
constexpr NamedExit kExits[] = {ROW(UNKNOWN),
                                ROW(EXCEPTION),
                                ROW(IO),
                                ROW(HYPERCALL),
                                ROW(DEBUG),
                                ROW(HLT),
                                ROW(MMIO),
                                ROW(IRQ_WINDOW_OPEN),
                                ROW(SHUTDOWN),
                                ROW(FAIL_ENTRY),
                                ROW(INTR),
                                ROW(SET_TPR),
                                ROW(TPR_ACCESS),
                                ROW(NMI),
                                ROW(INTERNAL_ERROR),
                                ROW(SYSTEM_EVENT),
                                ROW(IOAPIC_EOI),
                                ROW(HYPERV),
                                ROW(X86_RDMSR),
                                ROW(X86_WRMSR),
                                ROW(DIRTY_RING_FULL),
                                ROW(X86_BUS_LOCK),
                                ROW(NOTIFY)};
#undef ROW

bool is_access_size(unsigned size) { return size == 1 || size == 2 || size == 4 || size == 8; }

u64 load_sized(const u8* from, unsigned size) {
  u64 value = 0;
  std::memcpy(&value, from, size);
  return value;
}

}  // namespace

std::string_view KvmVcpu::exit_name(size_t reason) {
  for (const NamedExit& row : kExits)
    if (row.reason == reason) return row.name;
  return "OTHER";
}

KvmVcpu::Next KvmVcpu::handle_exit() {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO: do_port_io(); return Next::Again;
    case KVM_EXIT_MMIO: do_mmio(); return Next::Again;
    case KVM_EXIT_HLT:
      activity_ = x86::Activity::Halted;  // the loop's next turn says Halted, or wakes it
      return user_lapic() ? Next::Again : give(Exit::Halted);
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR: return Next::Again;
    case KVM_EXIT_IOAPIC_EOI: {
      const MachineLock::Guard guard(environment_.lock);
      if (environment_.irqchip) environment_.irqchip->eoi(run_->eoi.vector);
      return Next::Again;
    }
    case KVM_EXIT_X86_RDMSR: do_msr_read(); return Next::Again;
    case KVM_EXIT_X86_WRMSR: do_msr_write(); return Next::Again;
    case KVM_EXIT_DIRTY_RING_FULL: {
      const MachineLock::Guard guard(environment_.lock);
      environment_.slots.collect_rings();
      return Next::Again;
    }
    case KVM_EXIT_HYPERV: return do_hyperv();
    case KVM_EXIT_DEBUG: debug_exit_ = run_->debug.arch; return give(Exit::Debug);
    case KVM_EXIT_SHUTDOWN: return give(Exit::Reset);
    case KVM_EXIT_SYSTEM_EVENT: return do_system_event();
    case KVM_EXIT_NOTIFY: return do_notify();
    case KVM_EXIT_INTERNAL_ERROR: return give_failure(describe_internal_error());
    case KVM_EXIT_FAIL_ENTRY:
      return give_failure(format(
          "The processor refused to enter the guest on vCPU {}: hardware reason {:#x}\n{}",
          config_.index, u64{run_->fail_entry.hardware_entry_failure_reason}, describe_where()));
    case KVM_EXIT_UNKNOWN:
      return give_failure(format("KVM left vCPU {} for an unknown hardware reason {:#x}\n{}",
                                 config_.index, u64{run_->hw.hardware_exit_reason},
                                 describe_where()));
    default:
      return give_failure(format("KVM left vCPU {} for a reason that menura does not know ({})\n{}",
                                 config_.index, u32{run_->exit_reason}, describe_where()));
  }
}

// A string instruction brings several accesses at once.
void KvmVcpu::do_port_io() {
  const auto& exit = run_->io;
  u8* data = reinterpret_cast<u8*>(run_) + exit.data_offset;
  const u8 size = exit.size;
  const u32 count = exit.count;
  const GuestAddr port{exit.port};
  const bool in = exit.direction == KVM_EXIT_IO_IN;
  completing_ = true;
  const MachineLock::Guard guard(environment_.lock);
  for (u32 i = 0; i < count; i++, data += size) {
    if (in) {
      const u64 value = environment_.io.load(port, size);
      std::memcpy(data, &value, size);
    } else {
      environment_.io.store(port, size, load_sized(data, size));
    }
  }
}

void KvmVcpu::do_mmio() {
  auto& exit = run_->mmio;
  const GuestAddr address{exit.phys_addr};
  const unsigned size = std::min<u32>(exit.len, sizeof exit.data);
  completing_ = true;
  const MachineLock::Guard guard(environment_.lock);
  if (config_.lapic && config_.lapic->claims(address)) {
    const Access access{address.value & 0xfff, size};
    if (exit.is_write) {
      config_.lapic->write(access, load_sized(exit.data, size));
    } else {
      const u64 value = config_.lapic->read(access);
      std::memcpy(exit.data, &value, size);
    }
    cr8_ = config_.lapic->cr8();  // its TPR may have moved
    return;
  }
  const bool in_smm = (run_->flags & KVM_RUN_X86_SMM) && environment_.smm;
  AddressSpace& memory = in_smm ? *environment_.smm : environment_.memory;
  if (is_access_size(size)) {
    if (exit.is_write) return memory.store(address, size, load_sized(exit.data, size));
    const u64 value = memory.load(address, size);
    std::memcpy(exit.data, &value, size);
  } else if (exit.is_write) {
    (void)memory.write(address, std::as_bytes(std::span(exit.data, size)));
  } else {
    (void)memory.read(address, std::as_writable_bytes(std::span(exit.data, size)));
  }
}

// Only asked for with a LAPIC in user space; what is not the LAPIC's faults as it would have anyway.
void KvmVcpu::do_msr_read() {
  completing_ = true;
  u64 value = 0;
  const MachineLock::Guard guard(environment_.lock);
  const bool known = config_.lapic && config_.lapic->read_msr(run_->msr.index, value);
  run_->msr.data = value;
  run_->msr.error = !known;
}

void KvmVcpu::do_msr_write() {
  completing_ = true;
  const MachineLock::Guard guard(environment_.lock);
  const bool known = config_.lapic && config_.lapic->write_msr(run_->msr.index, run_->msr.data);
  run_->msr.error = !known;
  if (config_.lapic) cr8_ = config_.lapic->cr8();
}

KvmVcpu::Next KvmVcpu::do_system_event() {
  switch (run_->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN: return give(Exit::Shutdown);
    case KVM_SYSTEM_EVENT_RESET: return give(Exit::Reset);
    case KVM_SYSTEM_EVENT_CRASH:
      log_warning("kvm: the guest of vCPU {} reports that it crashed", config_.index);
      return give(Exit::Shutdown);
    default: return Next::Again;
  }
}

// The guest has let no event through for a long time.
KvmVcpu::Next KvmVcpu::do_notify() {
  const bool broken = run_->notify.flags & KVM_NOTIFY_CONTEXT_INVALID;
  if (!broken && environment_.vm.options().notify_exit == KvmOptions::NotifyExit::Run)
    return Next::Again;
  return give_failure(format("The guest of vCPU {} keeps its processor from seeing any event{}\n{}",
                             config_.index, broken ? ", and its state is lost" : "",
                             describe_where()));
}

// Enlightenments that KVM carries out itself report here, too; no hypercall is ours.
KvmVcpu::Next KvmVcpu::do_hyperv() {
  constexpr u64 kInvalidHypercallCode = 2;
  if (run_->hyperv.type == KVM_EXIT_HYPERV_HCALL)
    run_->hyperv.u.hcall.result = kInvalidHypercallCode;
  completing_ = true;
  return Next::Again;
}

}  // namespace menura
