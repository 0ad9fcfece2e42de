#include "control/options/option_table.h"

#include "control/options/chardev_forms.h"
#include "control/options/handlers.h"

namespace menura {

namespace {

template <class Struct>
std::vector<PropertyInfo> properties_of() {
  return list_properties(Struct{});
}

constexpr Option kOptions[] = {
    // The machine
    {"machine", "[type=]TYPE[,property=value...]", "choose the machine", set_machine, machine_help,
     properties_of<MachineOptions>},
    {"M", "[type=]TYPE[,property=value...]", "the same as -machine", set_machine, machine_help,
     properties_of<MachineOptions>, true},
    {"accel", "[accel=]NAME[,property=value...]",
     "what runs the guest; given several times, the first that works", add_accelerator, accel_help},
    {"enable-kvm", "", "the same as -accel kvm", enable_kvm},
    {"cpu", "MODEL", "choose the CPU model", set_cpu, cpu_help},
    {"smp", "[cpus=]N[,property=value...]", "number and arrangement of the CPUs", set_smp, nullptr,
     properties_of<SmpOptions>},
    {"m", "[size=]SIZE", "amount of RAM; a bare number is MiB", set_memory, nullptr,
     properties_of<MemoryOptions>},
    {"numa",
     "node[,nodeid=N][,cpus=A-B][,memdev=ID], dist,src=A,dst=B,val=N, hmat-lb,... or "
     "hmat-cache,...",
     "NUMA nodes of CPUs and memory objects, how far apart they are, and how fast", add_numa},
    {"mem-path", "PATH", "a file, or a folder for files, that holds the RAM", set_memory_path},
    {"mem-prealloc", "", "have all RAM in memory from the start", set_preallocation},
    {"bios", "FILE", "the firmware: a path, or a name in the firmware folders", set_bios},
    {"kernel", "FILE", "start this Linux kernel, without firmware", set_kernel},
    {"initrd", "FILE", "the kernel's initial RAM disk", set_initrd},
    {"append", "TEXT", "the kernel's command line", set_append},
    {"boot", "[order=]LETTERS[,property=value...]", "what the firmware boots from", set_boot,
     nullptr, properties_of<BootOptions>},
    {"rtc", "[base=]utc|localtime|DATE[,property=value...]", "date and drive of the clock chip",
     set_rtc, nullptr, properties_of<RtcOptions>},
    {"no-acpi", "", "the same as -machine acpi=off", set_no_acpi},
    {"no-hpet", "", "the same as -machine hpet=off", set_no_hpet},
    {"name", "[guest=]NAME[,debug-threads=on]", "the guest's name", set_name, nullptr,
     properties_of<NameOptions>},
    {"uuid", "UUID", "the machine's UUID", set_uuid},
    {"smbios", "type=N[,property=value...] or file=FILE",
     "what SMBIOS says of the machine: types 0 to 4, 11, 17; or whole structures", add_smbios},
    {"acpitable", "file=FILE or sig=NAME,data=FILE[:FILE...]",
     "one more ACPI table; oem_id= and so on fill in its header", add_acpi_table},
    {"object", "TYPE,id=ID[,property=value...] or JSON", "a secret, or memory", add_object,
     object_help},
    {"overcommit", "[mem-lock=on|off]", "how the host's memory is used", set_overcommit, nullptr,
     properties_of<OvercommitOptions>},
    // Disks
    {"blockdev", "[driver=]DRIVER[,property=value...]", "a node of the image graph, or JSON",
     add_blockdev},
    {"drive", "file=FILE[,property=value...]", "a disk or CD", add_drive, nullptr,
     properties_of<DriveOptions>},
    {"hda", "FILE", "first disk (also -hdb, -hdc and -hdd; a lone FILE is -hda)", add_disk<0>},
    {"hdb", "FILE", "second disk", add_disk<1>},
    {"hdc", "FILE", "third disk", add_disk<2>},
    {"hdd", "FILE", "fourth disk", add_disk<3>},
    {"cdrom", "FILE", "CD image, in the place of the third disk", add_cdrom},
    {"snapshot", "", "keep all drives' images as they are; writes are lost at the end",
     set_snapshot},
    // Devices
    {"device", "DRIVER[,property=value...] or JSON", "plug in a device", add_device, device_help},
    {"global", "DRIVER.PROPERTY=VALUE", "another default for a property of all such devices",
     add_global},
    {"nodefaults", "", "no devices but those asked for", set_no_defaults},
    {"readconfig", "FILE", "take the options that this file has", read_config},
    {"no-user-config", "", "read no configuration files (there are none)", accept_switch},
    // Character devices and monitors
    {"add-fd", "set=N,fd=N[,opaque=TEXT]", "have an inherited descriptor as the file /dev/fdset/N",
     add_fd, nullptr, properties_of<FdOptions>},
    {"chardev", "KIND,id=ID[,property=value...]", "a character device", add_chardev, chardev_help},
    {"serial", "FORM", "where the next serial port goes; see -serial help", add_serial, forms_help},
    {"debugcon", "FORM", "where the firmware's debug port 402h goes", set_debugcon, forms_help},
    {"monitor", "FORM", "a monitor for people (HMP)", add_monitor, forms_help},
    {"qmp", "FORM", "a monitor for programs (QMP)", add_qmp, forms_help},
    {"qmp-pretty", "FORM", "the same, its JSON indented", add_qmp_pretty, forms_help},
    {"mon", "[chardev=]ID[,mode=readline|control]", "a monitor on a character device", add_mon,
     nullptr, properties_of<MonitorOptions>},
    {"nographic", "", "no display: the first serial port and the monitor share the terminal",
     set_nographic},
    {"display", "none or vnc=host:display", "the kind of display", set_display, display_help},
    {"vnc", "[vnc=]host:display[,property=value...]", "show the screen to VNC clients", add_vnc,
     nullptr, properties_of<VncOptions>},
    {"k", "LAYOUT", "the keyboard that keysyms of VNC clients are typed on", set_keyboard},
    {"usb", "", "add the machine's USB host controller", set_usb},
    {"vga", "std|none", "the graphics card", set_vga},
    {"netdev", "KIND,id=ID[,property=value...] or JSON", "a network back end", add_netdev,
     netdev_help},
    {"nic", "[KIND][,model=CARD][,mac=ADDRESS][,property=value...] or none",
     "a network card with its back end", add_nic, netdev_help},
    {"net", "nic[,model=CARD][,macaddr=ADDRESS], KIND[,property=value...] or none",
     "a card or a back end on the hub that all -net share", add_net, netdev_help},
    {"parallel", "none", "the parallel port", accept_none<Absent::Parallel>},
    {"audio", "none", "sound", accept_none<Absent::Audio>},
    {"audiodev", "[driver=]none|wav,id=ID[,path=FILE]",
     "a place for sound to go: nowhere, or a file", add_audio, nullptr,
     properties_of<AudioOptions>},
    {"fsdev", "local,id=ID,path=FOLDER,security_model=MODEL[,property=value...]",
     "a folder of the host that a device can share", add_fsdev, nullptr,
     properties_of<ShareOptions>},
    {"virtfs", "local,path=FOLDER,mount_tag=TAG,security_model=MODEL[,property=value...]",
     "a shared folder and the virtio device that shows it", add_virtfs, nullptr,
     properties_of<ShareOptions>},
    // Running
    {"S", "", "do not start the CPUs: a monitor's cont does", set_paused},
    {"action", "EVENT=ACTION[,...]",
     "what follows a reboot, a shutdown, a panic, a watchdog that ran out", set_action, nullptr,
     properties_of<ActionOptions>},
    {"watchdog-action", "ACTION", "the same as -action watchdog=ACTION", set_watchdog_action},
    {"no-reboot", "", "end instead of rebooting", set_no_reboot},
    {"no-shutdown", "", "stop the machine instead of ending when the guest powers off",
     set_no_shutdown},
    {"daemonize", "", "go on in the background once everything is set up", set_daemonize},
    {"runas", "USER", "become this user before the guest starts", set_user},
    {"pidfile", "FILE", "write the process's number there", set_pidfile},
    {"d", "ITEM[,ITEM...]", "log these; see -d help", set_log_items, log_help},
    {"dfilter", "RANGE[,RANGE...]", "log code only there: START..END, START+SIZE, START-SIZE",
     set_log_ranges},
    {"D", "FILE", "log there instead of on stderr", set_log_file},
    {"trace", "[enable=]PATTERN", "trace the events that match; see -trace help", add_trace,
     trace_help},
    {"msg", "timestamp=on|off", "begin messages with the time", set_messages, nullptr,
     properties_of<MessageOptions>},
    {"gdb", "FORM", "serve GDB there, like tcp::1234", set_gdb, forms_help},
    {"s", "", "the same as -gdb tcp::1234", set_gdb_default},
    {"sandbox", "[enable=]on|off[,property=value...]", "give up system calls that are not needed",
     set_sandbox, nullptr, properties_of<SandboxOptions>},
    {"qtest", "FORM", "drive the devices by the qtest protocol", set_qtest, forms_help},
    {"qtest-log", "FILE|none", "a transcript of the qtest protocol", set_qtest_log},
    // Information
    {"help", "", "this list", show_help},
    {"h", "", "this list", show_help},
    {"version", "", "the version", show_version},
};

}  // namespace

std::span<const Option> option_table() { return kOptions; }

}  // namespace menura
