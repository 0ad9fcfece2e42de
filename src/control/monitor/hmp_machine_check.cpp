#include "control/monitor/hmp_machine_check.h"

#include "base/text.h"

namespace menura::hmp {

namespace {

// IA32_MCi_STATUS
constexpr u64 kValid = u64{1} << 63, kOverflow = u64{1} << 62, kUncorrected = u64{1} << 61;
// IA32_MCG_STATUS
constexpr u64 kRestartValid = 1, kInProgress = 4;
// IA32_MCG_CAP
constexpr u64 kBanks = 0xff, kControlPresent = u64{1} << 8;

// Of the four registers of a bank.
enum : size_t { kCtl, kStatus, kAddr, kMisc };

// What every other CPU sees of an error that is told to all.
constexpr MachineCheck kNews{
    .bank = 1, .status = kValid | kUncorrected, .mcgstatus = kInProgress | kRestartValid};

Result<ErrorEffect> report_to(VcpuThread& cpu, const MachineCheck& check) {
  Result<ErrorEffect> effect = ErrorEffect::Logged;
  cpu.run_on([&](Vcpu& vcpu) {
    x86::State state;
    vcpu.get(state);
    effect = report_error(state, check);
    if (effect && *effect != ErrorEffect::Shutdown) vcpu.set(state);
  });
  return effect;
}

}  // namespace

Result<ErrorEffect> report_error(x86::State& state, const MachineCheck& check) {
  const u64 banks = std::min<u64>(state.mcg_cap & kBanks, x86::kMceBanks);
  if (check.bank >= banks)
    return fail(Errc::OutOfRange, "The CPU has {} banks, there is no number {}", banks, check.bank);
  if (!(check.status & kValid))
    return fail(Errc::InvalidArgument, "A status without bit 63 (VAL) tells of no error");
  const auto bank = std::span(state.mce).subspan(4 * check.bank, 4);
  const bool held = bank[kStatus] & kValid;
  const u64 status = check.status | (held ? kOverflow : 0);
  const auto log = [&] {
    bank[kStatus] = status;
    bank[kAddr] = check.addr;
    bank[kMisc] = check.misc;
  };
  if (!(check.status & kUncorrected)) {
    if (held && (bank[kStatus] & kUncorrected))
      bank[kStatus] |= kOverflow;
    else
      log();
    return ErrorEffect::Logged;
  }
  if ((state.mcg_cap & kControlPresent) && state.mcg_ctl != ~u64{0})
    return fail(Errc::Permission, "The guest has not switched machine checks on (IA32_MCG_CTL)");
  if (bank[kCtl] != ~u64{0})
    return fail(Errc::Permission, "The guest has not switched bank {} on (IA32_MC{}_CTL)",
                check.bank, check.bank);
  if ((state.mcg_status & kInProgress) || !(state.cr4 & x86::kCr4Mce)) return ErrorEffect::Shutdown;
  log();
  state.mcg_status = check.mcgstatus;
  state.event = {.valid = true, .vector = x86::kMc, .is_exception = true};
  if (state.activity == x86::Activity::Halted) state.activity = x86::Activity::Running;
  return ErrorEffect::Raised;
}

Result<std::string> machine_check(HmpContext& context, HmpWords words) {
  const bool to_all = !words.empty() && words[0] == "-b";
  if (to_all) words = words.subspan(1);
  if (words.size() != 6)
    return fail(Errc::InvalidArgument, "mce: expected [-b] cpu bank status mcgstatus addr misc");
  std::array<u64, 6> numbers;
  for (size_t i = 0; i < numbers.size(); i++) numbers[i] = TRY(parse_u64(words[i]));
  const auto [cpu, bank, status, mcgstatus, addr, misc] = numbers;
  const auto& cpus = context.target.machine.cpus();
  if (cpu >= cpus.size())
    return fail(Errc::OutOfRange, "There is no CPU {}, there are {}", cpu, cpus.size());
  const auto report = [&](VcpuThread& to, const MachineCheck& check) -> Result<void> {
    if (TRY(report_to(to, check)) == ErrorEffect::Shutdown)
      context.target.machine.request_reset(Cause::GuestReset);
    return {};
  };
  TRY(report(*cpus[cpu], {bank, status, mcgstatus, addr, misc}));
  for (size_t i = 0; to_all && i < cpus.size(); i++)
    if (i != cpu) TRY(report(*cpus[i], kNews));
  return std::string();
}

}  // namespace menura::hmp
