// NvmeRig: an NVMe controller with a disk in memory on a test machine, and what a driver does to it;
// for this room's tests and fuzzing.
//
// Owner: the test. Threads: one. Source: NVM Express Base 1.4 §7.6.1 (initialisation), §4.6 (completion).
// Example: `NvmeRig rig;  rig.enable();  EXPECT_EQ(rig.admin({.opcode = 6, .prp1 = 0x9000}).status, 0u);`
#pragma once

#include <optional>
#include <string>

#include "hw/nvme/nvme.h"
#include "hw/pci/pci_conformance.h"
#include "io/memory_disk.h"

namespace menura {

// A submission queue entry as the test writes it.
struct NvmeEntry {
  u8 opcode = 0;
  u8 flags = 0;
  u32 nsid = 0;
  u64 prp1 = 0, prp2 = 0;
  u32 cdw10 = 0, cdw11 = 0, cdw12 = 0;
};

struct NvmeRig {
  static constexpr u64 kBar = 0xfe00'0000, kDiskSize = 1 << 20;
  static constexpr unsigned kEntries = 16;
  struct Done {
    u32 result;
    u16 status;
  };

  NvmeRig() {
    nvme.add_namespace(1, disk, {}).value();
    rig.bus.add(nvme, PciBus::devfn(4, 0)).value();
    nvme.reset(ResetKind::PowerOn);
    nvme.config_write(0x10, 4, kBar);
    nvme.config_write(0x04, 2, 0x0006);
  }
  ~NvmeRig() { rig.bus.remove(nvme); }

  u32 reg(u64 at) { return static_cast<u32>(m.read_mem(kBar + at, 4)); }
  u64 reg64(u64 at) { return m.read_mem(kBar + at, 8); }
  void set_reg(u64 at, u32 value) { m.write_mem(kBar + at, 4, value); }
  unsigned pin() const { return nvme.slot() % 4; }
  std::string text(u64 at, size_t size) {
    std::string found;
    for (u64 i = 0; i < size; i++) found.push_back(static_cast<char>(m.ram->load<u8>(at + i)));
    return found;
  }

  // Admin queues of kEntries at 10000h and 11000h; 4 KiB pages; entries of 64 and 16 bytes.
  void enable() {
    set_reg(0x24, (kEntries - 1) << 16 | (kEntries - 1));
    set_reg(0x28, 0x1'0000);
    set_reg(0x30, 0x1'1000);
    set_reg(0x14, 4u << 20 | 6u << 16 | 1);
  }
  // A pair of queues, number 1.
  void make_io_queues() {
    (void)admin({.opcode = 5, .prp1 = 0x1'3000, .cdw10 = (kEntries - 1) << 16 | 1, .cdw11 = 3});
    (void)admin(
        {.opcode = 1, .prp1 = 0x1'2000, .cdw10 = (kEntries - 1) << 16 | 1, .cdw11 = 1u << 16 | 1});
  }
  void open_vector(u64 vector, u64 address, u32 data) {
    const u64 entry = kBar + 0x2000 + 16 * vector;
    m.write_mem(entry, 4, address);
    m.write_mem(entry + 8, 4, data);
    m.write_mem(entry + 12, 4, 0);
    const unsigned cap = std::as_const(nvme).config().find_capability(0x11);
    nvme.config_write(cap + 2, 2, 0x8000);
  }

  void submit(unsigned queue, const NvmeEntry& entry) {
    Queue& q = queues[queue];
    const u64 at = (queue ? 0x1'2000 : 0x1'0000) + 64 * q.tail;
    for (u64 i = 0; i < 64; i += 8) m.ram->store<u64>(at + i, 0);
    m.ram->store<u32>(at, entry.opcode | u32{entry.flags} << 8 | u32{q.id++} << 16);
    m.ram->store<u32>(at + 4, entry.nsid);
    m.ram->store<u64>(at + 24, entry.prp1);
    m.ram->store<u64>(at + 32, entry.prp2);
    m.ram->store<u32>(at + 40, entry.cdw10);
    m.ram->store<u32>(at + 44, entry.cdw11);
    m.ram->store<u32>(at + 48, entry.cdw12);
    q.tail = (q.tail + 1) % kEntries;
    set_reg(0x1000 + 8 * queue, q.tail);
  }
  // The next completion, if it has come.
  std::optional<Done> poll(unsigned queue) {
    Queue& q = queues[queue];
    const u64 at = (queue ? 0x1'3000 : 0x1'1000) + 16 * q.head;
    const u16 status = m.ram->load<u16>(at + 14);
    if ((status & 1) != q.phase) return {};
    q.head = (q.head + 1) % kEntries;
    if (q.head == 0) q.phase ^= 1;
    const Done done{m.ram->load<u32>(at), static_cast<u16>(status >> 1)};
    set_reg(0x1004 + 8 * queue, q.head);
    return done;
  }
  Done admin(const NvmeEntry& entry) { return run(0, entry); }
  Done io(const NvmeEntry& entry) { return run(1, entry); }
  Done run(unsigned queue, const NvmeEntry& entry) {
    submit(queue, entry);
    return poll(queue).value_or(Done{0, 0xffff});
  }

  struct Queue {
    u32 tail = 0, head = 0;
    u16 id = 1, phase = 1;
  };
  PciTestBus rig;
  TestMachine& m = rig.machine;
  MemoryDisk disk{kDiskSize};
  Nvme nvme{"nvme0", {.serial = "SERIAL-1"}};
  Queue queues[2];
};

}  // namespace menura
