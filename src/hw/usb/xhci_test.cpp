// The xHCI as its driver sees it.
#include "hw/usb/xhci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/scsi/test_disk.h"
#include "hw/usb/usb_hid.h"
#include "hw/usb/usb_storage.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kBase = 0xfe00'0000, kOp = kBase + 0x40, kPorts = kBase + 0x440,
              kRun = kBase + 0x1000, kDoorbell = kBase + 0x2000;
constexpr u64 kDcbaa = 0x10000, kCommands = 0x11000, kTable = 0x12000, kEvents = 0x13000,
              kInput = 0x14000, kContext = 0x15000, kControlRing = 0x16000, kRing = 0x17000,
              kOutRing = 0x18000, kData = 0x20000;

struct Event {
  u64 parameter;
  u32 status, control;
  u8 code() const { return static_cast<u8>(status >> 24); }
  u8 type() const { return (control >> 10) & 0x3f; }
  u32 length() const { return status & 0xff'ffff; }
};

// A driver as small as it can be: one segment of events, one slot.
struct XhciTest : testing::Test {
  XhciTest() {
    bus.bus.add(usb, PciBus::devfn(3, 0)).value();
    usb.reset(ResetKind::PowerOn);
    usb.config_write(0x10, 4, kBase);
    usb.config_write(0x04, 2, 0x0006);
    m.clock.start();
  }
  void start() {
    m.write_mem(kOp + 0x38, 4, 32);
    write64(kOp + 0x30, kDcbaa);
    write64(kOp + 0x18, kCommands | 1);
    m.write_mem(kTable, 8, kEvents);
    m.write_mem(kTable + 8, 4, 16);
    m.write_mem(kRun + 0x28, 4, 1);
    write64(kRun + 0x38, kEvents);
    write64(kRun + 0x30, kTable);
    m.write_mem(kRun + 0x20, 4, 2);
    m.write_mem(kOp, 4, 5);
  }
  void write64(u64 at, u64 value) {
    m.write_mem(at, 4, static_cast<u32>(value));
    m.write_mem(at + 4, 4, value >> 32);
  }
  u32 read(u64 at) { return static_cast<u32>(m.read_mem(at, 4)); }
  void put(u64& at, u64 parameter, u32 status, u32 control) {
    m.write_mem(at, 8, parameter);
    m.write_mem(at + 8, 4, status);
    m.write_mem(at + 12, 4, control | 1);
    at += 16;
  }
  std::vector<Event> events() {
    std::vector<Event> found;
    for (;;) {
      const u64 at = kEvents + 16 * (consumed % 16);
      const u32 control = read(at + 12);
      if ((control & 1) != (consumed / 16 % 2 == 0)) break;
      found.push_back({m.read_mem(at, 8), read(at + 8), control});
      consumed++;
    }
    write64(kRun + 0x38, (kEvents + 16 * (consumed % 16)) | 8);
    return found;
  }
  Event command(u8 type, u64 parameter = 0, u32 control = 0) {
    put(command_at, parameter, 0, u32{type} << 10 | control);
    m.write_mem(kDoorbell, 4, 0);
    const std::vector<Event> all = events();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? Event{} : all.back();
  }
  void pass() {
    m.tape.advance(1000);
    m.time.run_expired();
  }
  void endpoint(u64 at, u32 type, u32 packet, u64 ring) {
    m.write_mem(at + 4, 4, 3u << 1 | type << 3 | packet << 16);
    m.write_mem(at + 8, 8, ring | 1);
  }
  // Slot 1 at a port of the registers, from 1.
  void address(unsigned port) {
    m.write_mem(kPorts + 16 * (port - 1), 4, 0x210);  // reset
    events();
    EXPECT_EQ(command(trb::kEnableSlot).control >> 24, 1u);
    m.write_mem(kDcbaa + 8, 8, kContext);
    m.write_mem(kInput + 4, 4, 3);
    m.write_mem(kInput + 32, 4, 1u << 27);
    m.write_mem(kInput + 36, 4, u64{port} << 16);
    endpoint(kInput + 64, 4, 64, kControlRing);
    EXPECT_EQ(command(trb::kAddressDevice, kInput, 1u << 24).code(), trb::kSuccess);
  }
  std::vector<Event> control(std::array<u8, 8> setup, u64 data, u32 length) {
    const bool in = setup[0] & 0x80;
    put(control_at, load_le<u64>(bytes_of(setup)), 8, 2u << 10 | 0x40);
    if (length) put(control_at, data, length, 3u << 10 | (in ? 1u << 16 : 0) | 4);
    put(control_at, 0, 0, 4u << 10 | (in && length ? 0 : 1u << 16) | 0x20);
    m.write_mem(kDoorbell + 4, 4, 1);
    return events();
  }

  PciTestBus bus;
  TestMachine& m = bus.machine;
  Inputs inputs{m.tape};
  UsbHid tablet{"tablet", UsbHid::Kind::Tablet, inputs};
  Xhci usb{"usb", m.time, {}};
  u64 command_at = kCommands, control_at = kControlRing;
  unsigned consumed = 0;
};

TEST_F(XhciTest, IsAPciFunction) { EXPECT_THAT(check_pci_function(usb), IsEmpty()); }

TEST_F(XhciTest, Capabilities) {
  EXPECT_EQ(m.read_mem(kBase, 1), 0x40u);
  EXPECT_EQ(m.read_mem(kBase + 2, 2), 0x0100u);
  EXPECT_EQ(read(kBase + 4), 32u | 4u << 8 | 8u << 24) << "slots, interrupters, ports";
  EXPECT_EQ(read(kOp + 4), 1u) << "halted";
  EXPECT_EQ(read(kOp + 8), 1u) << "pages of 4 KiB";
  const u64 protocols = kBase + 4 * (read(kBase + 0x10) >> 16);
  EXPECT_EQ(read(protocols), 0x0200'0402u);
  EXPECT_EQ(read(protocols + 4), 0x20425355u);
  EXPECT_EQ(read(protocols + 8), 0x0401u) << "ports 1 to 4";
  EXPECT_EQ(read(protocols + 16), 0x0300'0002u);
  EXPECT_EQ(read(protocols + 24), 0x0405u) << "ports 5 to 8";
  EXPECT_EQ(usb.config_read(0x08, 4) >> 8, 0x0c0330u);
}

TEST_F(XhciTest, APortTellsWhoComesAndGoes) {
  start();
  EXPECT_EQ(read(kPorts) & 1, 0u);
  usb.ports().plug(tablet, 1).value();
  EXPECT_EQ(read(kPorts + 16), 0x0002'0ee1u) << "connected, powered, polling, high speed, changed";
  std::vector<Event> all = events();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].type(), trb::kPortStatusChange);
  EXPECT_EQ(all[0].parameter >> 24, 2u);
  m.write_mem(kPorts + 16, 4, 0x0002'0210);  // reset; the change is known
  EXPECT_EQ(read(kPorts + 16), 0x0020'0e03u) << "enabled, in U0, reset done";
  usb.ports().unplug(tablet);
  EXPECT_EQ(read(kPorts + 16) & 3, 0u);
  EXPECT_TRUE(read(kPorts + 16) & 1u << 17);
}

TEST_F(XhciTest, ControlTransfers) {
  usb.ports().plug(tablet).value();
  start();
  address(1);
  EXPECT_EQ(tablet.address(), 1);
  EXPECT_EQ(read(kContext + 12), 2u << 27 | 1u) << "addressed";
  EXPECT_EQ(read(kContext + 32) & 7, 1u) << "running";
  std::vector<Event> all = control({0x80, 6, 0, 1, 0, 0, 64, 0}, kData, 64);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].code(), trb::kShortPacket);
  EXPECT_EQ(all[0].length(), 64u - 18);
  EXPECT_EQ(all[1].code(), trb::kSuccess);
  EXPECT_EQ(all[1].control >> 16, 0x0101u) << "slot 1, endpoint 1";
  EXPECT_EQ(m.read_mem(kData, 2), 0x0112u);
  // A request that it does not have: the endpoint stops, until it is put right.
  all = control({0x80, 6, 0, 0x44, 0, 0, 64, 0}, kData, 64);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].code(), trb::kStall);
  EXPECT_EQ(read(kContext + 32) & 7, 2u) << "halted";
  EXPECT_EQ(command(trb::kResetEndpoint, 0, 1u << 24 | 1u << 16).code(), trb::kSuccess);
  EXPECT_EQ(command(trb::kSetDequeue, control_at | 1, 1u << 24 | 1u << 16).code(), trb::kSuccess);
  EXPECT_EQ(control({0x80, 8, 0, 0, 0, 0, 1, 0}, kData, 1).back().code(), trb::kSuccess);
  EXPECT_EQ(command(trb::kStopEndpoint, 0, 1u << 24 | 2u << 16).code(), trb::kContextState);
  EXPECT_EQ(command(trb::kDisableSlot, 0, 1u << 24).code(), trb::kSuccess);
  EXPECT_EQ(command(trb::kDisableSlot, 0, 1u << 24).code(), trb::kSlotNotEnabled);
}

TEST_F(XhciTest, AnInterruptEndpointWaitsForTheUser) {
  usb.ports().plug(tablet).value();
  start();
  address(1);
  m.write_mem(kInput + 4, 4, 1u | 1u << 3);
  endpoint(kInput + 4 * 32, 7, 8, kRing);
  EXPECT_EQ(command(trb::kConfigureEndpoint, kInput, 1u << 24).code(), trb::kSuccess);
  EXPECT_EQ(read(kContext + 12) >> 27, 3u) << "configured";
  control({0x00, 9, 1, 0, 0, 0, 0, 0}, 0, 0);
  u64 at = kRing;
  put(at, kData, 8, 1u << 10 | 0x24);
  m.write_mem(kDoorbell + 4, 4, 3);
  EXPECT_THAT(events().size(), 0u);
  inputs.move_to(100, 200);
  inputs.sync();
  pass();
  const std::vector<Event> all = events();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].code(), trb::kShortPacket);
  EXPECT_EQ(all[0].length(), 2u) << "six bytes of eight";
  EXPECT_EQ(m.read_mem(kData + 1, 2), 100u);
}

TEST_F(XhciTest, BulkTransfersThroughChains) {
  SlowDisk disk(64 * KiB);
  for (size_t i = 0; i < disk.content.size(); i++) disk.content[i] = std::byte(i >> 4);
  UsbStorage stick("stick", "1");
  stick.set_drive(std::make_unique<ScsiDisk>("stick.drive", stick, ScsiDiskConfig{}, disk));
  usb.ports().plug(stick).value();
  start();
  EXPECT_EQ(read(kPorts + 64) & 0x3e03u, 0x1203u) << "super speed, and trained";
  EXPECT_EQ(read(kPorts) & 1, 0u);
  address(5);
  m.write_mem(kInput + 4, 4, 1u | 3u << 3);
  endpoint(kInput + 4 * 32, 6, 1024, kRing);
  endpoint(kInput + 5 * 32, 2, 1024, kOutRing);
  EXPECT_EQ(command(trb::kConfigureEndpoint, kInput, 1u << 24).code(), trb::kSuccess);
  control({0x00, 9, 1, 0, 0, 0, 0, 0}, 0, 0);
  u64 in = kRing, out = kOutRing;
  const auto send = [&](std::vector<u8> cdb, u32 length) {
    const u64 at = kData;
    m.write_mem(at, 8, 0x0000'0001'4342'5355);
    m.write_mem(at + 8, 4, length);
    m.write_mem(at + 12, 4, 0x0a'0080);
    for (size_t i = 0; i < 16; i++) m.write_mem(at + 15 + i, 1, i < cdb.size() ? cdb[i] : 0);
    put(out, at, 31, 1u << 10 | 0x20);
    m.write_mem(kDoorbell + 4, 4, 4);
  };
  send({0, 0, 0, 0, 0, 0}, 0);  // takes the unit attention
  put(in, kData + 64, 13, 1u << 10 | 0x20);
  m.write_mem(kDoorbell + 4, 4, 3);
  events();
  send({0x28, 0, 0, 0, 0, 1, 0, 0, 2, 0}, 1024);
  put(in, kData + 0x1000, 600, 1u << 10 | 0x14);
  put(in, kData + 0x2000, 424, 1u << 10 | 0x24);
  put(in, kData + 64, 13, 1u << 10 | 0x24);
  m.write_mem(kDoorbell + 4, 4, 3);
  EXPECT_EQ(events().size(), 1u) << "the command has gone, the disk works";
  disk.complete();
  pass();
  const std::vector<Event> all = events();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].code(), trb::kSuccess);
  EXPECT_EQ(all[0].parameter, kRing + 32) << "the end of the chain";
  EXPECT_EQ(m.read_mem(kData + 0x1000, 8), 0x2020202020202020u);
  EXPECT_EQ(m.read_mem(kData + 0x2000 + 423, 1), (512 + 1023) >> 4 & 0xff);
  EXPECT_EQ(m.read_mem(kData + 64, 4), 0x53425355u);
  usb.ports().unplug(stick);
}

TEST_F(XhciTest, AFullEventRingSaysSo) {
  start();
  for (int i = 0; i < 20; i++) put(command_at, 0, 0, 23u << 10);
  m.write_mem(kDoorbell, 4, 0);
  u32 last = 0;
  for (u64 at = kEvents; at < kEvents + 256; at += 16)
    if (read(at + 12) & 1) last = read(at + 8) >> 24;
  EXPECT_EQ(last, trb::kEventRingFull);
}

TEST_F(XhciTest, RingsOutsideRamStopIt) {
  start();
  write64(kOp + 0x18, 0xffff'ffff'0000'0001);
  m.write_mem(kDoorbell, 4, 0);
  EXPECT_EQ(read(kOp + 4) & 5, 5u);
  m.write_mem(kOp, 4, 2);
  EXPECT_EQ(read(kOp + 4), 1u);
}

struct XhciRig final : PciConformanceRig {
  XhciRig() {
    plug(usb, PciBus::devfn(3, 0));
    usb.ports().plug(tablet).value();
  }
  Inputs inputs{machine.tape};
  UsbHid tablet{"tablet", UsbHid::Kind::Tablet, inputs};
  Xhci usb{"usb", machine.time, {}};
};

TEST(XhciConformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<XhciRig>(), IsEmpty());
  survive_hostile_states<XhciRig>();
}

}  // namespace
}  // namespace menura
