// The table of QMP commands.
#include "control/monitor/qmp_balloon.h"
#include "control/monitor/qmp_block.h"
#include "control/monitor/qmp_block_graph.h"
#include "control/monitor/qmp_export.h"
#include "control/monitor/qmp_introspect.h"
#include "control/monitor/qmp_jobs.h"
#include "control/monitor/qmp_memory.h"
#include "control/monitor/qmp_net.h"
#include "control/monitor/qmp_objects.h"
#include "control/monitor/qmp_query.h"
#include "control/monitor/qmp_run.h"
#include "control/monitor/qmp_screen.h"
#include "control/monitor/qmp_tools.h"
#include "control/monitor/qmp_vnc.h"

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
    command<&qmp_set_action>("set-action",
                             "Choose what follows a reboot, a shutdown, a panic, a watchdog"),
    command<&qmp_watchdog_set_action>("watchdog-set-action", "Choose what follows a watchdog"),
    command<&qmp_inject_nmi>("inject-nmi", "Send an NMI to every CPU"),
    command<&qmp_send_key>("send-key", "Press keys together"),
    command<&input_send_event>("input-send-event",
                               "Press and release keys and buttons, move the pointer"),
    command<&screendump>("screendump", "Save a picture of the screen"),
    command<&query_screen>("x-query-screen", "The screen's size, and what a text mode shows"),
    command<&query_mice>("query-mice", "The mice and tablets"),
    command<&qmp_human_monitor_command>("human-monitor-command",
                                        "Run a line of the monitor for people"),
    // What this build is and has
    command<&query_version>("query-version", "The version"),
    command<&query_commands>("query-commands", "This table"),
    command<&query_qmp_schema>("query-qmp-schema", "Every command, event and type"),
    command<&query_command_line_options>("query-command-line-options",
                                         "The program's options and their parameters"),
    command<&query_target>("query-target", "The architecture"),
    command<&query_machines>("query-machines", "The machine types"),
    command<&query_cpu_definitions>("query-cpu-definitions", "The CPU models"),
    command<&query_cpu_model_expansion>("query-cpu-model-expansion",
                                        "The features of a CPU model with this accelerator"),
    command<&query_balloon>("query-balloon", "How much RAM the guest keeps"),
    command<&qmp_balloon>("balloon", "How much RAM the guest shall keep"),
    command<&qom_set>("qom-set", "Change a property"),
    command<&qom_list_types>("qom-list-types", "Devices, accelerators and machines by name"),
    command<&qom_list_properties>("qom-list-properties", "The properties of a type"),
    command<&device_list_properties>("device-list-properties", "The properties of a device"),
    command<&query_chardev_backends>("query-chardev-backends", "The kinds of character devices"),
    // This machine
    command<&query_status>("query-status", "The run state"),
    command<&query_kvm>("query-kvm", "Whether KVM runs the guest, or could"),
    command<&query_jit>("x-query-jit", "What the translator has done, as `info jit` shows it"),
    command<&query_name>("query-name", "The guest's name"),
    command<&query_generation_id>("query-vm-generation-id", "The machine's generation ID"),
    command<&query_uuid>("query-uuid", "The machine's UUID"),
    command<&query_current_machine>("query-current-machine", "What the machine type can do"),
    command<&query_cpus_fast>("query-cpus-fast", "The CPUs and their threads"),
    command<&query_hotpluggable_cpus>("query-hotpluggable-cpus", "The places for CPUs"),
    command<&query_memory_size_summary>("query-memory-size-summary", "The amount of RAM"),
    command<&query_memdev>("query-memdev", "The RAM's backend"),
    command<&query_iothreads>("query-iothreads", "Threads for I/O (there are none)"),
    command<&query_chardev>("query-chardev", "The character devices"),
    command<&qom_list>("qom-list", "The properties and children of an object"),
    command<&qom_get>("qom-get", "The value of a property"),
    command<&query_migrate_capabilities>("query-migrate-capabilities",
                                         "What a migration can do (there is none yet)"),
    command<&migrate_set_capabilities>("migrate-set-capabilities", "Choose what a migration does"),
    command<&query_block>("query-block", "The drives"),
    command<&query_named_block_nodes>("query-named-block-nodes", "The nodes of the image graph"),
    command<&blockdev_add>("blockdev-add", "Open a node of the image graph"),
    command<&blockdev_del>("blockdev-del", "Close a node that nobody uses"),
    command<&block_resize>("block_resize", "Change the size of an image"),
    command<&block_set_io_throttle>("block_set_io_throttle",
                                    "Limit the bytes and requests of a drive's second"),
    command<&nbd_server_start>("nbd-server-start", "Listen for NBD clients"),
    command<&nbd_server_add>("nbd-server-add", "Export a drive or node to NBD clients"),
    command<&nbd_server_remove>("nbd-server-remove", "Export it no more"),
    command<&nbd_server_stop>("nbd-server-stop", "End the NBD server and all its exports"),
    command<&block_export_add>("block-export-add", "Export a node"),
    command<&block_export_del>("block-export-del", "Export it no more"),
    command<&query_block_exports>("query-block-exports", "What is exported"),
    command<&blockdev_reopen>("blockdev-reopen", "Give nodes new options under their users"),
    command<&change_backing_file>("change-backing-file", "Write a backing file's name to a header"),
    command<&blockdev_snapshot>("blockdev-snapshot", "Let writes go to an overlay from here on"),
    command<&blockdev_snapshot_sync>("blockdev-snapshot-sync",
                                     "Make an overlay, and let writes go there"),
    command<&transaction>("transaction", "Change several things at once, or none"),
    command<&bitmap_add>("block-dirty-bitmap-add", "Make a bitmap of what is written"),
    command<&bitmap_remove>("block-dirty-bitmap-remove", "Remove a bitmap"),
    command<&bitmap_clear>("block-dirty-bitmap-clear", "Forget what a bitmap has recorded"),
    command<&bitmap_enable>("block-dirty-bitmap-enable", "Let a bitmap record"),
    command<&bitmap_disable>("block-dirty-bitmap-disable", "Let a bitmap stay as it is"),
    command<&bitmap_merge>("block-dirty-bitmap-merge", "Add bitmaps to another"),
    // Jobs
    command<&block_stream>("block-stream", "Move the content of backing images up"),
    command<&block_commit>("block-commit", "Move the content of images down"),
    command<&blockdev_mirror>("blockdev-mirror", "Copy a disk to a node, and follow its writes"),
    command<&drive_mirror>("drive-mirror", "Copy a disk to a file, and follow its writes"),
    command<&blockdev_backup>("blockdev-backup", "Copy a disk, as it is now, to a node"),
    command<&drive_backup>("drive-backup", "Copy a disk, as it is now, to a file"),
    command<&blockdev_create>("blockdev-create", "Make an image"),
    command<&block_job_set_speed>("block-job-set-speed", "Limit a job's bytes a second"),
    command<&block_job_cancel>("block-job-cancel", "End a job before its time"),
    command<&block_job_pause>("block-job-pause", "Let a job rest"),
    command<&block_job_resume>("block-job-resume", "Let a job go on"),
    command<&block_job_complete>("block-job-complete", "End a job that is ready"),
    command<&job_finalize>("block-job-finalize", "Let a job's work take effect"),
    command<&job_dismiss>("block-job-dismiss", "Forget a job that has ended"),
    command<&job_cancel>("job-cancel", "End a job at once"),
    command<&job_pause>("job-pause", "Let a job rest"),
    command<&job_resume>("job-resume", "Let a job go on"),
    command<&job_complete>("job-complete", "End a job that is ready"),
    command<&job_finalize>("job-finalize", "Let a job's work take effect"),
    command<&job_dismiss>("job-dismiss", "Forget a job that has ended"),
    command<&query_jobs>("query-jobs", "The jobs"),
    command<&query_block_jobs>("query-block-jobs", "The block jobs and how far they are"),
    command<&query_fdsets>("query-fdsets", "The descriptors of add-fd"),
    command<&add_fd>("add-fd", "Put the descriptor sent along into a set"),
    command<&remove_fd>("remove-fd", "Close descriptors of a set"),
    command<&getfd>("getfd", "Name the descriptor sent along"),
    command<&closefd>("closefd", "Close a named descriptor"),
    // VNC
    command<&query_vnc>("query-vnc", "The first VNC server and its clients"),
    command<&query_vnc_servers>("query-vnc-servers", "The VNC servers and their clients"),
    command<&set_password>("set_password", "Set a password for new clients"),
    command<&expire_password>("expire_password", "Say how long a password counts"),
    command<&change_vnc_password>("change-vnc-password", "Set VNC's password"),
    // Looking into the guest
    command<&memsave>("memsave", "Save memory at linear addresses to a file"),
    command<&pmemsave>("pmemsave", "Save memory at physical addresses to a file"),
    command<&dump_guest_memory>("dump-guest-memory", "Save the guest as an ELF core"),
    command<&query_dump>("query-dump", "How the last dump went"),
    command<&query_dump_capability>("query-dump-guest-memory-capability", "The formats of dumps"),
    command<&trace_event_get_state>("trace-event-get-state", "Which events are traced"),
    command<&trace_event_set_state>("trace-event-set-state", "Trace events, or not"),
    // Changing it
    command<&device_add>("device_add",
                         "Plug a device into a slot that takes one while the machine runs")
        .with_features("json-cli json-cli-hotplug"),
    command<&device_del>("device_del", "Ask the guest to let a device go"),
    command<&object_add>("object-add", "Make an object"),
    command<&object_del>("object-del", "Remove an object"),
    command<&chardev_add>("chardev-add", "Make a character device"),
    command<&chardev_change>("chardev-change", "Put another character device into its place"),
    command<&chardev_remove>("chardev-remove", "Remove a character device that nobody uses"),
    command<&ringbuf_read>("ringbuf-read", "Take the oldest output out of a ringbuf"),
    command<&ringbuf_write>("ringbuf-write", "Send input from a ringbuf"),
    // The network
    command<&netdev_add>("netdev_add", "Make a network back end"),
    command<&netdev_del>("netdev_del", "Take a network back end away"),
    command<&set_link>("set_link", "Plug a network cable in or out"),
    command<&query_rx_filter>("query-rx-filter", "What network cards let in"),
};

}  // namespace

std::span<const Command> qmp_commands() { return kCommands; }

const Command* find_qmp_command(std::string_view name) {
  for (const Command& command : kCommands)
    if (command.name == name) return &command;
  return nullptr;
}

}  // namespace menura
