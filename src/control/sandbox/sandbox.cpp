#include "control/sandbox/sandbox.h"

#include <sched.h>
#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace menura {

namespace {

constexpr std::string_view kElevations[] = {"allow", "deny", "children"};
constexpr std::string_view kAllowed[] = {"allow", "deny"};

// What only administrators of a host do.
constexpr int kAdministration[] = {SCMP_SYS(reboot),
                                   SCMP_SYS(swapon),
                                   SCMP_SYS(swapoff),
                                   SCMP_SYS(mount),
                                   SCMP_SYS(umount2),
                                   SCMP_SYS(pivot_root),
                                   SCMP_SYS(chroot),
                                   SCMP_SYS(kexec_load),
                                   SCMP_SYS(kexec_file_load),
                                   SCMP_SYS(init_module),
                                   SCMP_SYS(finit_module),
                                   SCMP_SYS(delete_module),
                                   SCMP_SYS(acct),
                                   SCMP_SYS(settimeofday),
                                   SCMP_SYS(clock_settime),
                                   SCMP_SYS(adjtimex),
                                   SCMP_SYS(clock_adjtime),
                                   SCMP_SYS(syslog),
                                   SCMP_SYS(quotactl),
                                   SCMP_SYS(ptrace),
                                   SCMP_SYS(process_vm_readv),
                                   SCMP_SYS(process_vm_writev),
                                   SCMP_SYS(bpf),
                                   SCMP_SYS(perf_event_open),
                                   SCMP_SYS(sethostname),
                                   SCMP_SYS(setdomainname),
                                   SCMP_SYS(iopl),
                                   SCMP_SYS(ioperm),
                                   SCMP_SYS(unshare),
                                   SCMP_SYS(setns)};
constexpr int kObsolete[] = {
    SCMP_SYS(_sysctl),       SCMP_SYS(uselib),        SCMP_SYS(ustat),
    SCMP_SYS(sysfs),         SCMP_SYS(create_module), SCMP_SYS(get_kernel_syms),
    SCMP_SYS(query_module),  SCMP_SYS(nfsservctl),    SCMP_SYS(getpmsg),
    SCMP_SYS(putpmsg),       SCMP_SYS(afs_syscall),   SCMP_SYS(tuxcall),
    SCMP_SYS(security),      SCMP_SYS(vserver),       SCMP_SYS(epoll_ctl_old),
    SCMP_SYS(epoll_wait_old)};
constexpr int kElevation[] = {SCMP_SYS(setuid),   SCMP_SYS(setgid),    SCMP_SYS(setreuid),
                              SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid),
                              SCMP_SYS(setfsuid), SCMP_SYS(setfsgid),  SCMP_SYS(setgroups),
                              SCMP_SYS(setpgid),  SCMP_SYS(setsid),    SCMP_SYS(capset)};
constexpr int kSpawn[] = {SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat)};
constexpr int kResourceControl[] = {SCMP_SYS(setpriority),        SCMP_SYS(sched_setparam),
                                    SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setattr),
                                    SCMP_SYS(sched_setaffinity),  SCMP_SYS(ioprio_set)};

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

Result<void> check(int status, std::string_view what) {
  if (status < 0) return fail_errno(-status, "-sandbox: {}", what);
  return {};
}

Result<void> forbid(scmp_filter_ctx filter, std::span<const int> calls) {
  for (const int call : calls)
    TRY(check(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0), "adding a rule"));
  return {};
}

// Threads are clones too. clone3's flags lie in memory, where a filter cannot look: the C library
// takes clone when it is told that there is no clone3.
Result<void> forbid_processes(scmp_filter_ctx filter) {
  TRY(forbid(filter, kSpawn));
  TRY(check(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)),
            "adding a rule"));
  return check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0),
               "adding a rule");
}

}  // namespace

std::span<const std::string_view> enum_names(SandboxOptions::Elevation) { return kElevations; }
std::span<const std::string_view> enum_names(SandboxOptions::Allowed) { return kAllowed; }

void SandboxOptions::describe(PropertyVisitor& p) {
  p.field("enable", enable, "give up what only administrators do: mount, reboot, trace...");
  p.field("obsolete", obsolete, "system calls of long ago");
  p.field("elevateprivileges", elevateprivileges, "gaining rights, by itself or by its children");
  p.field("spawn", spawn, "starting programs");
  p.field("resourcecontrol", resourcecontrol, "changing priorities and affinities");
}

Result<void> enter_sandbox(const SandboxOptions& options) {
  if (!options.enable) return {};
  // Then no program it starts gains rights either. Loading the filter asks for it in any case, unless
  // told not to.
  const bool keeps_children = options.elevateprivileges != SandboxOptions::Elevation::Allow;
  const Filter filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!filter) return fail(Errc::NoMemory, "-sandbox: making a filter: out of memory");
  TRY(check(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "reaching all threads"));
  if (!keeps_children && ::geteuid() == 0)
    TRY(check(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0), "keeping privileges"));
  TRY(forbid(filter.get(), kAdministration));
  if (options.obsolete == SandboxOptions::Allowed::Deny) TRY(forbid(filter.get(), kObsolete));
  if (options.elevateprivileges == SandboxOptions::Elevation::Deny)
    TRY(forbid(filter.get(), kElevation));
  if (options.spawn == SandboxOptions::Allowed::Deny) TRY(forbid_processes(filter.get()));
  if (options.resourcecontrol == SandboxOptions::Allowed::Deny)
    TRY(forbid(filter.get(), kResourceControl));
  return check(seccomp_load(filter.get()), "loading the filter into the kernel");
}

}  // namespace menura
