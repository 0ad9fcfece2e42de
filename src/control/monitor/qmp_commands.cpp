// The table of QMP commands.
#include "control/monitor/qmp_query.h"
#include "control/monitor/qmp_run.h"

namespace menura {

namespace {

constexpr Command kCommands[] = {
    command<&qmp_capabilities>("qmp_capabilities", "Begin to take commands"),
    // Run state
    command<&qmp_stop>("stop", "Stop all CPUs"),
    command<&qmp_cont>("cont", "Start or continue"),
    command<&qmp_quit>("quit", "End the program"),
    command<&qmp_system_reset>("system_reset", "Reset the machine"),
    command<&qmp_system_powerdown>("system_powerdown", "Press the power button"),
    command<&qmp_system_wakeup>("system_wakeup", "Wake a sleeping guest"),
    command<&qmp_inject_nmi>("inject-nmi", "Send an NMI to every CPU"),
    command<&qmp_send_key>("send-key", "Press keys together"),
    command<&qmp_human_monitor_command>("human-monitor-command",
                                        "Run a line of the monitor for people"),
    // Queries
    command<&query_version>("query-version", "The version"),
    command<&query_status>("query-status", "The run state"),
    command<&query_commands>("query-commands", "This table"),
    command<&query_kvm>("query-kvm", "Whether KVM runs the guest, or could"),
    command<&query_jit>("x-query-jit", "What the translator has done, as `info jit` shows it"),
    command<&query_name>("query-name", "The guest's name"),
    command<&query_uuid>("query-uuid", "The machine's UUID"),
    command<&query_target>("query-target", "The architecture"),
    command<&query_cpus_fast>("query-cpus-fast", "The CPUs and their threads"),
    command<&query_chardev>("query-chardev", "The character devices"),
    command<&query_machines>("query-machines", "The machine types"),
    command<&qom_list_types>("qom-list-types", "Devices, accelerators and machines by name"),
    command<&device_list_properties>("device-list-properties", "The properties of a device"),
};

}  // namespace

std::span<const Command> qmp_commands() { return kCommands; }

const Command* find_qmp_command(std::string_view name) {
  for (const Command& command : kCommands)
    if (command.name == name) return &command;
  return nullptr;
}

}  // namespace menura
