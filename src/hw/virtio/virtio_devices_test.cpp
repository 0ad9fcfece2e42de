// Serial ports and the balloon, driven from the specification's driver side.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/virtio/test_driver.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_input.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_serial.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr u64 kBar4 = 0xc000'0000;
constexpr u64 kRings = 0x10000, kData = 0x100000;

// A device on a bus, its BAR 4 programmed.
template <class Kind>
struct Card : PciConformanceRig {
  template <class... Args>
  explicit Card(Args&&... args)
      : card("card", std::make_unique<Kind>(std::forward<Args>(args)...), {.vectors = 0},
             {.time = machine.time}) {
    plug(card, PciBus::devfn(3, 0));
  }
  ~Card() override { bus.remove(card); }
  void power_on() {
    card.reset(ResetKind::PowerOn);
    card.config_write(pci::kBar0 + 16, 4, kBar4);
    card.config_write(pci::kCommand, 2, 7);
  }
  Kind& kind() { return static_cast<Kind&>(card.device()); }
  std::string text(u64 at, u64 size) {
    std::string bytes(size, 0);
    (void)machine.memory.read({at}, writable_bytes_of(bytes));
    return bytes;
  }
  void put(u64 at, std::string_view bytes) { (void)machine.memory.write({at}, bytes_of(bytes)); }

  VirtioPci card;
  TestPciDriver driver{machine, kBar4};
};

// A character device whose other end the test holds.
struct TestChardev final : Chardev {
  size_t write(ConstBytes bytes) override {
    const size_t taken = std::min(bytes.size(), takes);
    output.append(reinterpret_cast<const char*>(bytes.data()), taken);
    takes -= taken;
    return taken;
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override { feed(); }
  void feed() {
    while (sink && !input.empty() && sink->room() > 0) {
      const size_t size = std::min(input.size(), sink->room());
      sink->receive(bytes_of(input).first(size));
      input.erase(0, size);
    }
  }
  std::string input, output;
  size_t takes = ~size_t{0} >> 1;
  CharSink* sink = nullptr;
};

struct SerialRig : Card<VirtioSerial> {
  SerialRig() : Card(4u) { power_on(); }
  Device& device() override { return card; }
  void start() {
    ASSERT_TRUE(driver.negotiate(virtio::kVersion1 | bit(1)));
    for (u16 n = 0; n < 6; n++)
      queues.push_back(driver.queue(n, n == 2 || n == 3 ? 32 : 128, kRings + 0x4000 * u64{n}));
    driver.go();
    for (unsigned n = 0; n < 16; n++) queues[2].offer({}, {{kData + 64 * n, 64}});
    driver.kick(2);
  }
  void control(u32 port, u16 event, u16 value) {
    machine.write_mem(kData + 0x8000, 8, port | u64{event} << 32 | u64{value} << 48);
    queues[3].offer({{kData + 0x8000, 8}}, {});
    driver.kick(3);
    EXPECT_TRUE(queues[3].used());
  }
  // Messages since the last call: "port/event/value text".
  std::vector<std::string> told() {
    std::vector<std::string> messages;
    while (const auto used = queues[2].used()) {
      const u64 at = kData + 64 * u64{used->id};
      messages.push_back(format("{}/{}/{}{}", machine.read_mem(at, 4), machine.read_mem(at + 4, 2),
                                machine.read_mem(at + 6, 2), text(at + 8, used->written - 8)));
    }
    return messages;
  }
  TestChardev console, agent;
  std::vector<bool> opened;
  VirtioSerialPort first{"con", kind(), {.console = true, .number = 0}, &console};
  VirtioSerialPort second{
      "agent", kind(), {.number = 1, .name = "org.test.0"}, &agent, [this](bool open) {
        opened.push_back(open);
      }};
  std::vector<TestQueue> queues;
};

TEST(VirtioSerial, PortsAreTold) {
  SerialRig rig;
  rig.agent.sink->event(CharEvent::Opened);
  rig.start();
  rig.control(0, 0, 1);
  EXPECT_THAT(rig.told(), ElementsAre("0/1/1", "1/1/1"));
  rig.control(0, 3, 1);
  EXPECT_THAT(rig.told(), ElementsAre("0/4/1"));
  rig.control(1, 3, 1);
  EXPECT_THAT(rig.told(), ElementsAre("1/7/1org.test.0", "1/6/1"));
  rig.agent.sink->event(CharEvent::Closed);
  EXPECT_THAT(rig.told(), ElementsAre("1/6/0"));
  rig.control(9, 3, 1);
  rig.control(1, 77, 1);
  EXPECT_THAT(rig.told(), IsEmpty());
}

TEST(VirtioSerial, BytesWaitForTheirReader) {
  SerialRig rig;
  rig.start();
  rig.agent.input = "hello from the host";
  rig.queues[4].offer({}, {{kData + 0x9000, 8}});
  rig.queues[4].offer({}, {{kData + 0x9100, 8}});
  rig.driver.kick(4);
  EXPECT_FALSE(rig.queues[4].used()) << "nobody has opened the port";
  rig.control(1, 6, 1);
  EXPECT_EQ(rig.opened, std::vector<bool>{true});
  EXPECT_EQ(rig.queues[4].used()->written, 8u);
  EXPECT_EQ(rig.queues[4].used()->written, 8u);
  EXPECT_EQ(rig.text(kData + 0x9000, 8) + rig.text(kData + 0x9100, 8), "hello from the h");
  EXPECT_EQ(rig.agent.input, "ost");
  rig.queues[4].offer({}, {{kData + 0x9000, 8}});
  rig.driver.kick(4);
  EXPECT_EQ(rig.queues[4].used()->written, 3u);
  rig.driver.set_status(0);
  EXPECT_EQ(rig.opened, (std::vector<bool>{true, false}));
}

TEST(VirtioSerial, OutputWaitsForTheChardev) {
  SerialRig rig;
  rig.start();
  rig.put(kData + 0x9000, "0123456789");
  rig.console.takes = 4;
  rig.queues[1].offer({{kData + 0x9000, 10}}, {});
  rig.driver.kick(1);
  EXPECT_EQ(rig.console.output, "0123");
  EXPECT_FALSE(rig.queues[1].used());
  rig.console.takes = 100;
  rig.console.sink->writable();
  EXPECT_EQ(rig.console.output, "0123456789");
  EXPECT_TRUE(rig.queues[1].used());
  rig.driver.set_config(8, 4, '!');
  EXPECT_EQ(rig.console.output, "0123456789!") << "an emergency";
}

TEST(VirtioSerial, AnAskerWhoNeverListensIsNotAnsweredForEver) {
  SerialRig rig;
  rig.start();
  for (int i = 0; i < 1000; i++) rig.control(0, 0, 1);
  EXPECT_EQ(rig.told().size(), 16u) << "as many as there were buffers";
}

struct ConformanceSerial final : SerialRig {};
TEST(VirtioSerial, IsADevice) {
  EXPECT_THAT(conformance_problems<ConformanceSerial>(), IsEmpty());
  survive_hostile_states<ConformanceSerial>();
}

struct BalloonRig : Card<VirtioBalloon> {
  BalloonRig()
      : Card(VirtioBalloonConfig{.deflate_on_oom = true, .free_page_reporting = true}, 256 * MiB,
             VirtioBalloon::Wiring{
                 .discard = [this](u64 at, u64 size) { discarded.emplace_back(at, size); },
                 .changed = [this](u64 actual) { changes.push_back(actual); }}) {
    power_on();
  }
  Device& device() override { return card; }
  std::vector<std::pair<u64, u64>> discarded;
  std::vector<u64> changes;
};

TEST(VirtioBalloon, TakesPagesAndReports) {
  BalloonRig rig;
  ASSERT_TRUE(rig.driver.negotiate(virtio::kVersion1 | bit(1) | bit(2) | bit(5)));
  std::vector<TestQueue> queues;
  for (u16 n = 0; n < 4; n++) queues.push_back(rig.driver.queue(n, 32, kRings + 0x4000 * u64{n}));
  rig.driver.go();
  rig.kind().set_target(192 * MiB);
  EXPECT_EQ(rig.driver.isr(), 2) << "the configuration changed";
  EXPECT_EQ(rig.driver.config(0, 4), 64 * MiB / 4096);
  rig.machine.write_mem(kData, 8, 5 | u64{9} << 32);
  queues[0].offer({{kData, 8}}, {});
  rig.driver.kick(0);
  ASSERT_TRUE(queues[0].used());
  EXPECT_THAT(rig.discarded,
              ElementsAre(std::pair{5 * 4096ull, 4096ull}, std::pair{9 * 4096ull, 4096ull}));
  rig.driver.set_config(4, 4, 2);
  EXPECT_EQ(rig.kind().actual(), 256 * MiB - 2 * 4096);
  EXPECT_THAT(rig.changes, ElementsAre(256 * MiB - 2 * 4096));
  rig.discarded.clear();
  queues[1].offer({{kData, 4}}, {});
  rig.driver.kick(1);
  EXPECT_TRUE(queues[1].used());
  EXPECT_THAT(rig.discarded, IsEmpty());
  queues[3].offer({}, {{0x20'0000, 0x10'0000}});
  rig.driver.kick(3);
  EXPECT_TRUE(queues[3].used());
  EXPECT_THAT(rig.discarded, ElementsAre(std::pair{0x20'0000ull, 0x10'0000ull}));
  rig.driver.set_config(4, 4, 0xffff'ffff);
  EXPECT_EQ(rig.kind().actual(), 0u) << "no guest gives more than it has";
}

TEST(VirtioBalloon, AsksForStatistics) {
  BalloonRig rig;
  ASSERT_TRUE(rig.driver.negotiate(virtio::kVersion1 | bit(1)));
  rig.driver.queue(0, 32, kRings);
  rig.driver.queue(1, 32, kRings + 0x4000);
  TestQueue stats = rig.driver.queue(2, 32, kRings + 0x8000);
  rig.driver.go();
  const auto tell = [&](u64 free) {
    rig.machine.write_mem(kData, 2, 4);
    rig.machine.write_mem(kData + 2, 8, free);
    stats.offer({{kData, 10}}, {});
    rig.driver.kick(2);
  };
  tell(1234);
  EXPECT_EQ(rig.kind().statistics()[4], 1234u);
  EXPECT_FALSE(stats.used()) << "the buffer stays until new ones are wanted";
  rig.kind().set_polling_interval(2);
  rig.machine.step_ns(2'000'000'000);
  ASSERT_TRUE(stats.used());
  tell(99);
  EXPECT_EQ(rig.kind().statistics()[4], 99u);
  BalloonRig twin;
  EXPECT_THAT(TestMachine::round_trip(rig.card, twin.card), IsEmpty());
}

TEST(VirtioBalloon, IsADevice) {
  EXPECT_THAT(conformance_problems<BalloonRig>(), IsEmpty());
  survive_hostile_states<BalloonRig>();
}

// A back end whose frames the test sees and sends.
struct TestNet final : NetBackend {
  bool send(const NetPacket& packet) override {
    if (full) return false;
    sent.push_back(
        {std::string(reinterpret_cast<const char*>(packet.frame.data()), packet.frame.size()),
         packet.offload});
    return true;
  }
  void attach(NetSink* s) override { sink = s; }
  void accept_input() override { asked++; }
  bool link_up() const override { return up; }
  NetOffloads offered() const override { return offers; }
  void accept_offloads(const NetOffloads& offloads) override { accepted = offloads; }

  bool full = false, up = true;
  unsigned asked = 0;
  NetOffloads offers{.checksum = true, .tcp4 = true}, accepted;
  std::vector<std::pair<std::string, NetOffload>> sent;
  NetSink* sink = nullptr;
};

constexpr MacAddress kMacOfCard{0x52, 0x54, 0, 1, 2, 3};

struct NetHolder {
  TestNet net;
};

struct NetRig : NetHolder, Card<VirtioNet> {
  NetRig() : Card(VirtioNetConfig{.mac = kMacOfCard, .pairs = 2}, &net) { power_on(); }
  Device& device() override { return card; }
  void start(u64 features) {
    ASSERT_TRUE(driver.negotiate(virtio::kVersion1 | features));
    for (u16 n = 0; n < 5; n++)
      queues.push_back(driver.queue(n, n == 4 ? 64 : 16, kRings + 0x4000 * u64{n}));
    driver.go();
  }
  void receive(std::string_view frame, const NetOffload& offload = {}) {
    net.sink->receive({.frame = bytes_of(frame), .offload = offload});
  }
  // The answer to a command on the queue given.
  u64 command(unsigned queue, std::string_view bytes) {
    put(kData + 0x8000, bytes);
    queues[queue].offer({{kData + 0x8000, static_cast<u32>(bytes.size())}}, {{kData + 0x9000, 1}});
    driver.kick(static_cast<u16>(queue));
    EXPECT_TRUE(queues[queue].used());
    return machine.read_mem(kData + 0x9000, 1);
  }
  std::vector<TestQueue> queues;
};

std::string frame_to(const MacAddress& to, size_t size = 100) {
  std::string frame(size, 'x');
  std::copy(to.begin(), to.end(), frame.begin());
  return frame;
}
constexpr MacAddress kOther{0x02, 0, 0, 0, 0, 9}, kGroup{0x01, 0, 0x5e, 0, 0, 1},
    kAll{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
using std::string_literals::operator""s;

TEST(VirtioNet, OffersWhatItsBackEndCan) {
  NetRig rig;
  const u64 offered = rig.driver.offered();
  EXPECT_TRUE(offered & bit(0));
  EXPECT_TRUE(offered & bit(11)) << "HOST_TSO4";
  EXPECT_FALSE(offered & bit(12)) << "HOST_TSO6";
  EXPECT_TRUE(offered & bit(22)) << "MQ";
  EXPECT_EQ(rig.driver.config(0, 4), 0x01005452u);
  EXPECT_EQ(rig.driver.config(8, 2), 2u);
  rig.net.up = false;
  EXPECT_EQ(rig.driver.config(6, 2), 0u);
}

TEST(VirtioNet, SendsAndWaits) {
  NetRig rig;
  rig.start(bit(0) | bit(11));
  const std::string frame = frame_to(kOther, 200);
  rig.put(kData, "\1\1\x36\0\xb4\5\x22\0\x10\0\0\0"s);
  rig.put(kData + 0x100, frame);
  rig.queues[1].offer({{kData, 12}, {kData + 0x100, 50}, {kData + 0x100 + 50, 150}}, {});
  rig.driver.kick(1);
  ASSERT_EQ(rig.net.sent.size(), 1u);
  EXPECT_EQ(rig.net.sent[0].first, frame);
  const NetOffload expected{.needs_checksum = true,
                            .checksum_start = 0x22,
                            .checksum_offset = 0x10,
                            .segmentation = Segmentation::TcpV4,
                            .segment_size = 0x5b4,
                            .header_size = 0x36};
  EXPECT_EQ(rig.net.sent[0].second, expected);
  EXPECT_TRUE(rig.queues[1].used());
  rig.net.full = true;
  rig.put(kData, std::string(12, 0));
  rig.queues[1].offer({{kData, 12}, {kData + 0x100, 60}}, {});
  rig.driver.kick(1);
  EXPECT_FALSE(rig.queues[1].used());
  rig.net.full = false;
  rig.net.sink->writable();
  EXPECT_EQ(rig.net.sent.size(), 2u);
  EXPECT_TRUE(rig.queues[1].used());
  // What was not agreed on, a checksum outside the frame, a giant: dropped, the buffer comes back.
  for (const std::string& header :
       {"\1\4\0\0\1\0\0\0\0\0\0\0"s, "\1\0\0\0\0\0\xff\0\1\0\0\0"s, "\0\1\0\0\0\0\0\0\0\0\0\0"s}) {
    rig.put(kData, header);
    rig.queues[1].offer({{kData, 12}, {kData + 0x100, 60}}, {});
    rig.driver.kick(1);
    EXPECT_TRUE(rig.queues[1].used());
  }
  EXPECT_EQ(rig.net.sent.size(), 2u);
}

TEST(VirtioNet, ReceivesOverSeveralBuffers) {
  NetRig rig;
  rig.start(bit(15) | bit(1) | bit(7));
  EXPECT_TRUE(rig.net.accepted.checksum && rig.net.accepted.tcp4);
  EXPECT_FALSE(rig.net.sink->ready()) << "no buffers yet";
  const unsigned asked = rig.net.asked;
  for (unsigned n = 0; n < 4; n++) rig.queues[0].offer({}, {{kData + 0x100 * n, 64}});
  rig.driver.kick(0);
  EXPECT_GT(rig.net.asked, asked);
  ASSERT_TRUE(rig.net.sink->ready());
  const std::string frame = frame_to(kMacOfCard, 150);
  rig.receive(frame, {.needs_checksum = true,
                      .checksum_start = 34,
                      .checksum_offset = 16,
                      .segmentation = Segmentation::TcpV4,
                      .segment_size = 1000});
  EXPECT_EQ(rig.queues[0].used()->written, 64u);
  EXPECT_EQ(rig.queues[0].used()->written, 64u);
  EXPECT_EQ(rig.queues[0].used()->written, 34u);
  EXPECT_FALSE(rig.queues[0].used());
  EXPECT_EQ(rig.machine.read_mem(kData, 2), 0x0101u) << "needs a checksum, TCPv4";
  EXPECT_EQ(rig.machine.read_mem(kData + 10, 2), 3u) << "buffers";
  EXPECT_EQ(rig.text(kData + 12, 52) + rig.text(kData + 0x100, 64) + rig.text(kData + 0x200, 34),
            frame);
  rig.receive(frame_to(kMacOfCard, 500));
  EXPECT_FALSE(rig.queues[0].used()) << "too long for what there is: lost";
  rig.receive(frame_to(kMacOfCard, 20));
  EXPECT_EQ(rig.queues[0].used()->written, 32u) << "the last buffer is still there";
}

TEST(VirtioNet, FiltersAsItsDriverSays) {
  NetRig rig;
  rig.start(bit(17) | bit(18) | bit(19) | bit(20) | bit(22) | bit(23));
  for (unsigned n = 0; n < 16; n++) rig.queues[0].offer({}, {{kData + 0x400 * n, 0x400}});
  rig.driver.kick(0);
  const auto comes = [&](const MacAddress& to) {
    rig.receive(frame_to(to, 36));
    return rig.queues[0].used().has_value();
  };
  EXPECT_TRUE(comes(kOther)) << "promiscuous at first";
  EXPECT_EQ(rig.command(4, "\0\0\0"s), 0u);
  EXPECT_FALSE(comes(kOther));
  EXPECT_TRUE(comes(kMacOfCard));
  EXPECT_TRUE(comes(kAll));
  EXPECT_FALSE(comes(kGroup));
  EXPECT_EQ(rig.command(4, "\1\0\1\0\0\0\2\0\0\0\0\x9\1\0\0\0\1\0\x5e\0\0\1"s), 0u);
  EXPECT_TRUE(comes(kOther));
  EXPECT_TRUE(comes(kGroup));
  EXPECT_EQ(rig.command(4, "\1\0\xff\0\0\0"s), 1u) << "a table shorter than it says";
  EXPECT_EQ(rig.command(4, "\0\5\1"s), 0u);
  EXPECT_FALSE(comes(kAll));
  EXPECT_EQ(rig.command(4, "\1\1\2\0\0\0\0\7"s), 0u);
  EXPECT_FALSE(comes(kMacOfCard));
  std::string tagged = frame_to({2, 0, 0, 0, 0, 7}, 60);
  tagged.replace(12, 4, "\x81\0\0\x2a"s);
  rig.receive(tagged);
  EXPECT_FALSE(rig.queues[0].used());
  EXPECT_EQ(rig.command(4, "\2\0\x2a\0"s), 0u);
  rig.receive(tagged);
  EXPECT_TRUE(rig.queues[0].used());
  EXPECT_THAT(rig.net.sink->filter()->vlan_table, ElementsAre(42));
  EXPECT_EQ(rig.command(4, "\4\0\3\0"s), 1u) << "there are two pairs";
  EXPECT_EQ(rig.command(4, "\4\0\2\0"s), 0u);
  EXPECT_EQ(rig.command(4, "\x63\0"s), 1u);
  NetRig twin;
  EXPECT_THAT(TestMachine::round_trip(rig.card, twin.card), IsEmpty());
}

TEST(VirtioNet, AnnouncesItself) {
  NetRig rig;
  rig.start(bit(16) | bit(17) | bit(21));
  rig.kind().announce();
  EXPECT_EQ(rig.driver.config(6, 2), 3u);
  EXPECT_EQ(rig.command(2, "\3\0"s), 0u);
  EXPECT_EQ(rig.driver.config(6, 2), 1u);
}

TEST(VirtioNet, IsADevice) {
  EXPECT_THAT(conformance_problems<NetRig>(), IsEmpty());
  survive_hostile_states<NetRig>();
}

struct InputHolder {
  ScriptedTape tape;
  Inputs inputs{tape};
};

template <VirtioInput::Role role>
struct InputRig : InputHolder, Card<VirtioInput> {
  InputRig() : Card(role, "S", inputs) { power_on(); }
  Device& device() override { return card; }
  std::string select(u8 what, u8 which) {
    driver.set_config(0, 1, what);
    driver.set_config(1, 1, which);
    std::string answer;
    for (unsigned i = 0; i < driver.config(2, 1); i++)
      answer.push_back(static_cast<char>(driver.config(8 + i, 1)));
    return answer;
  }
  void start() {
    ASSERT_TRUE(driver.negotiate(virtio::kVersion1));
    events.emplace(driver.queue(0, 64, kRings));
    status.emplace(driver.queue(1, 64, kRings + 0x4000));
    driver.go();
  }
  void give_buffers(unsigned count) {
    for (unsigned n = 0; n < count; n++) events->offer({}, {{kData + 8 * n, 8}});
  }
  // "type/code/value" of what came.
  std::vector<std::string> came() {
    std::vector<std::string> all;
    while (const auto used = events->used()) {
      const u64 at = kData + 8 * u64{used->id};
      all.push_back(format("{}/{}/{}", machine.read_mem(at, 2), machine.read_mem(at + 2, 2),
                           static_cast<i32>(machine.read_mem(at + 4, 4))));
    }
    return all;
  }
  std::optional<TestQueue> events, status;
};
using KeyboardRig = InputRig<VirtioInput::Role::Keyboard>;
using MouseRig = InputRig<VirtioInput::Role::Mouse>;
using TabletRig = InputRig<VirtioInput::Role::Tablet>;

TEST(VirtioInput, AKeyboardHasKeysAndLights) {
  KeyboardRig rig;
  EXPECT_EQ(rig.select(1, 0), "virtio keyboard");
  EXPECT_EQ(rig.select(2, 0), "S");
  const std::string keys = rig.select(0x11, 1);
  EXPECT_TRUE(keys[30 / 8] & 1 << 30 % 8) << "KEY_A";
  EXPECT_EQ(rig.select(0x11, 3), "") << "no axes";
  rig.start();
  rig.give_buffers(4);
  EXPECT_TRUE(rig.inputs.key(Key::A, true));
  rig.inputs.sync();
  EXPECT_THAT(rig.came(), ElementsAre("1/30/1", "0/0/0"));
  rig.machine.write_mem(kData + 0x1000, 8, 0x11 | u64{1} << 16 | u64{1} << 32);
  rig.status->offer({{kData + 0x1000, 8}}, {});
  rig.driver.kick(1);
  EXPECT_TRUE(rig.status->used());
  EXPECT_TRUE(rig.inputs.leds().caps);
}

TEST(VirtioInput, AReportComesWholeOrNotAtAll) {
  MouseRig rig;
  rig.start();
  rig.give_buffers(2);
  rig.inputs.move(3, -4);
  rig.inputs.sync();
  EXPECT_THAT(rig.came(), IsEmpty()) << "three events, two buffers";
  rig.inputs.wheel(-1, 0);
  rig.inputs.sync();
  EXPECT_THAT(rig.came(), ElementsAre("2/8/-1", "0/0/0"));
}

TEST(VirtioInput, ATabletHasPositions) {
  TabletRig rig;
  EXPECT_EQ(rig.select(0x12, 0).substr(4, 4), "\xff\x7f\0\0"s);
  rig.start();
  rig.give_buffers(9);
  rig.inputs.move_to(100, 200);
  rig.inputs.button(PointerButton::Left, true);
  rig.inputs.sync();
  EXPECT_THAT(rig.came(), ElementsAre("3/0/100", "3/1/200", "1/272/1", "0/0/0"));
}

TEST(VirtioInput, IsADevice) {
  EXPECT_THAT(conformance_problems<KeyboardRig>(), IsEmpty());
  survive_hostile_states<TabletRig>();
}

}  // namespace
}  // namespace menura
