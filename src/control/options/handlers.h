// What each option does: fills in the CommandLine. One function a row of option_table.cpp.
//
// Owner: control/options. Threads: pure. Errors lack the option's name, which the reader puts in
// front. Example: `{"smp", "[cpus=]N", "...", set_smp, ...}` in the table.
#pragma once

#include "control/options/option_table.h"

namespace menura {

using OptionArgument = std::string_view;

Result<void> set_machine(CommandLine& line, OptionArgument argument);
Result<void> add_accelerator(CommandLine& line, OptionArgument argument);
Result<void> enable_kvm(CommandLine& line, OptionArgument argument);
Result<void> set_cpu(CommandLine& line, OptionArgument argument);
Result<void> set_smp(CommandLine& line, OptionArgument argument);
Result<void> set_memory(CommandLine& line, OptionArgument argument);
Result<void> add_numa(CommandLine& line, OptionArgument argument);
Result<void> set_memory_path(CommandLine& line, OptionArgument argument);
Result<void> set_preallocation(CommandLine& line, OptionArgument argument);
Result<void> set_bios(CommandLine& line, OptionArgument argument);
Result<void> set_kernel(CommandLine& line, OptionArgument argument);
Result<void> set_initrd(CommandLine& line, OptionArgument argument);
Result<void> set_append(CommandLine& line, OptionArgument argument);
Result<void> set_boot(CommandLine& line, OptionArgument argument);
Result<void> set_rtc(CommandLine& line, OptionArgument argument);
Result<void> set_name(CommandLine& line, OptionArgument argument);
Result<void> set_uuid(CommandLine& line, OptionArgument argument);
Result<void> add_smbios(CommandLine& line, OptionArgument argument);
Result<void> add_acpi_table(CommandLine& line, OptionArgument argument);

Result<void> add_blockdev(CommandLine& line, OptionArgument argument);
Result<void> add_drive(CommandLine& line, OptionArgument argument);
Result<void> add_disk_at(CommandLine& line, u32 index, OptionArgument file);
template <u32 index>
Result<void> add_disk(CommandLine& line, OptionArgument file) {
  return add_disk_at(line, index, file);
}
Result<void> add_cdrom(CommandLine& line, OptionArgument file);
Result<void> set_snapshot(CommandLine& line, OptionArgument argument);
Result<void> add_device(CommandLine& line, OptionArgument argument);
Result<void> add_global(CommandLine& line, OptionArgument argument);
Result<void> add_object(CommandLine& line, OptionArgument argument);
Result<void> set_overcommit(CommandLine& line, OptionArgument argument);
Result<void> set_no_defaults(CommandLine& line, OptionArgument argument);
Result<void> accept_switch(CommandLine& line, OptionArgument argument);

Result<void> add_audio(CommandLine& line, OptionArgument argument);
Result<void> add_fsdev(CommandLine& line, OptionArgument argument);
Result<void> add_virtfs(CommandLine& line, OptionArgument argument);
Result<void> add_fd(CommandLine& line, OptionArgument argument);

Result<void> add_chardev(CommandLine& line, OptionArgument argument);
Result<void> add_serial(CommandLine& line, OptionArgument argument);
Result<void> set_debugcon(CommandLine& line, OptionArgument argument);
Result<void> add_monitor(CommandLine& line, OptionArgument argument);
Result<void> add_qmp(CommandLine& line, OptionArgument argument);
Result<void> add_qmp_pretty(CommandLine& line, OptionArgument argument);
Result<void> add_mon(CommandLine& line, OptionArgument argument);
std::string forms_help(const CommandLine& line);
// The id of the character device of a short form, made when it must be; empty for none. "mon:" adds
// a monitor to it.
Result<std::string> chardev_of_form(CommandLine& line, OptionArgument form, std::string_view label);

// "socket,id=s0,path=/tmp/s", or JSON: a choice and its own options.
Result<NamedOptions> read_named_options(std::string_view text, std::string_view name_key);

Result<void> add_netdev(CommandLine& line, OptionArgument argument);
Result<void> add_nic(CommandLine& line, OptionArgument argument);
Result<void> add_net(CommandLine& line, OptionArgument argument);
// After the last option: cards of -net and -nic, or the default network.
Result<void> finish_network(CommandLine& line);
std::string netdev_help(const CommandLine& line);

Result<void> set_nographic(CommandLine& line, OptionArgument argument);
Result<void> set_display(CommandLine& line, OptionArgument argument);
std::string display_help(const CommandLine& line);
Result<void> add_vnc(CommandLine& line, OptionArgument argument);
Result<void> set_keyboard(CommandLine& line, OptionArgument argument);
Result<void> finish_usb(CommandLine& line);
Result<void> set_usb(CommandLine& line, OptionArgument argument);
Result<void> set_vga(CommandLine& line, OptionArgument argument);
// Hardware that scripts turn off, and that is not there anyway.
enum class Absent : u8 { Parallel, Audio };
Result<void> accept_none_of(Absent what, OptionArgument argument);
template <Absent what>
Result<void> accept_none(CommandLine&, OptionArgument argument) {
  return accept_none_of(what, argument);
}

Result<void> set_paused(CommandLine& line, OptionArgument argument);
Result<void> set_action(CommandLine& line, OptionArgument argument);
Result<void> set_watchdog_action(CommandLine& line, OptionArgument argument);
Result<void> set_no_acpi(CommandLine& line, OptionArgument argument);
Result<void> set_no_hpet(CommandLine& line, OptionArgument argument);
Result<void> set_no_reboot(CommandLine& line, OptionArgument argument);
Result<void> set_no_shutdown(CommandLine& line, OptionArgument argument);
Result<void> set_daemonize(CommandLine& line, OptionArgument argument);
Result<void> read_config(CommandLine& line, OptionArgument argument);
Result<void> set_user(CommandLine& line, OptionArgument argument);
Result<void> set_pidfile(CommandLine& line, OptionArgument argument);
Result<void> set_log_items(CommandLine& line, OptionArgument argument);
Result<void> set_log_ranges(CommandLine& line, OptionArgument argument);
Result<void> set_log_file(CommandLine& line, OptionArgument argument);
Result<void> add_trace(CommandLine& line, OptionArgument argument);
Result<void> set_messages(CommandLine& line, OptionArgument argument);
Result<void> set_gdb(CommandLine& line, OptionArgument argument);
Result<void> set_gdb_default(CommandLine& line, OptionArgument argument);
Result<void> set_sandbox(CommandLine& line, OptionArgument argument);
Result<void> set_qtest(CommandLine& line, OptionArgument argument);
Result<void> set_qtest_log(CommandLine& line, OptionArgument argument);
Result<void> show_help(CommandLine& line, OptionArgument argument);
Result<void> show_version(CommandLine& line, OptionArgument argument);

}  // namespace menura
