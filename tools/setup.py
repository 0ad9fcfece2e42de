"""./x setup: installs the Debian 12 packages that are missing and says what each is for."""

import os
import subprocess

PACKAGES = {
    # Building
    "g++": "compiler",
    "cmake": "build description",
    "ninja-build": "runs the build",
    "ccache": "keeps compiled files between builds",
    "mold": "fast linker",
    "pkg-config": "finds liburing, zstd and seccomp",
    "git": "lists the sources for the checks",
    # Libraries
    "libfmt-dev": "text formatting",
    "nlohmann-json3-dev": "JSON at the edges",
    "libxbyak-dev": "x86 assembler of the just-in-time compiler",
    "libzydis-dev": "x86 disassembler: dumps, and oracle of the decoder's tests",
    "liburing-dev": "asynchronous disk access",
    "libslirp-dev": "user-mode network",
    "libzstd-dev": "compressed clusters and snapshots",
    "zlib1g-dev": "compressed clusters, VNC",
    "libpng-dev": "pictures of the screen",
    "libssl-dev": "TLS and disk encryption",
    "libseccomp-dev": "sandbox",
    "libgnutls28-dev": "TLS of NBD",
    # Tests and checks
    "libgtest-dev": "unit tests",
    "libgmock-dev": "matchers of the unit tests",
    "libbenchmark-dev": "benchmarks",
    "clang-16": "second compiler: thread-safety analysis, fuzzing",
    "libclang-rt-16-dev": "sanitizers and libFuzzer of clang",
    "llvm-16": "names functions in the reports of clang's sanitizers",
    "clang-format-14": "one format for all sources",
    "clang-tidy-14": "static checks",
    # Firmware and guests
    "seabios": "BIOS and VGA BIOS of the PC",
    "ovmf": "UEFI firmware of the PC",
    "ipxe-qemu": "boot ROMs of network cards",
    "acpica-tools": "iasl: judges our ACPI tables",
    "dmidecode": "judges our SMBIOS tables",
    "grub-pc-bin": "boot loader of test disks",
    "grub-common": "grub-mkimage for test disks",
    "xorriso": "makes test CDs",
    "mtools": "fills test disks without mounting them",
    "busybox-static": "userland of test guests",
    "cpio": "makes initial RAM disks",
    "qemu-system-x86": "peer to compare behaviour and speed with",
    "gdb": "judges the GDB server",
    "libvirt-daemon-driver-qemu": "judges the program as an emulator",
    "python3-libvirt": "starts guests through libvirt",
    "qemu-utils": "qemu-img, qemu-nbd: judge our disk images and NBD",
    "libnbd-bin": "nbdinfo, nbdcopy: judge our NBD server",
    "python3-libnbd": "speaks to our NBD server in every way there is",
    "nbdkit": "an NBD server that fails, delays and truncates: judges our NBD client",
    "fio": "loads our NBD server with its nbd engine",
    "gnutls-bin": "makes certificates for the tests of TLS",
}


def is_installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.returncode == 0 and done.stdout == "installed"


def run():
    missing = [package for package in PACKAGES if not is_installed(package)]
    if not missing:
        print(f"setup: all {len(PACKAGES)} packages are installed")
        return 0
    print(f"setup: installing {len(missing)} Debian packages" + (" through sudo" if os.geteuid() else ""))
    for package in missing:
        print(f"  {package:24}{PACKAGES[package]}")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Acquire::Retries=3"]
    if os.geteuid():
        apt = ["sudo", *apt]
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run([*apt, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            print(done.stdout)
            print(f"setup: apt-get {arguments[0]} failed")
            return 1
    print("setup: done")
    return 0
