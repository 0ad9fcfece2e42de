#include <gtest/gtest.h>

#include "control/gdbstub/gdb_registers.h"
#include "control/gdbstub/gdb_stub.h"
#include "machine/catalogue/catalogue_tables.h"

namespace menura {
namespace {

struct Client final : Chardev {
  size_t write(ConstBytes bytes) override {
    sent.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return bytes.size();
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override {}
  std::string sent;
  CharSink* sink = nullptr;
};

std::string frame(std::string_view packet) {
  u8 sum = 0;
  for (const char c : packet) sum = static_cast<u8>(sum + static_cast<u8>(c));
  return format("${}#{:02x}", packet, sum);
}

// A PC with two CPUs that do not run, and a client of its stub.
struct Rig {
  Rig() {
    MachineConfig config;
    config.smp.cpus = 2;
    config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
    machine = Machine::build(std::move(config), catalogue()).value();
    target = std::make_unique<MonitorTarget>(*machine);
    const MachineLock::Guard guard(machine->lock());
    stub = std::make_unique<GdbStub>(*target, client);
    client.sink->event(CharEvent::Opened);
  }
  ~Rig() {
    const MachineLock::Guard guard(machine->lock());
    stub.reset();
    target.reset();
  }
  void type(std::string_view text) {
    const MachineLock::Guard guard(machine->lock());
    client.sink->receive(bytes_of(text));
  }
  // The reply's content; what follows the acknowledgement.
  std::string ask(std::string_view packet) {
    client.sent.clear();
    type(frame(packet));
    std::string reply = client.sent;
    if (reply.starts_with('+')) reply.erase(0, 1);
    const size_t end = reply.rfind('#');
    return end == std::string::npos ? reply : reply.substr(1, end - 1);
  }
  Client client;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<MonitorTarget> target;
  std::unique_ptr<GdbStub> stub;
};

TEST(GdbPacketsTest, SumsAndAcknowledges) {
  Rig rig;
  rig.type("$qC#b4");
  EXPECT_EQ(rig.client.sent, "+$QC01#f5");  // 'Q'+'C'+'0'+'1' = f5h
  rig.client.sent.clear();
  rig.type("$qC#00");
  EXPECT_EQ(rig.client.sent, "-");
  rig.client.sent.clear();
  rig.type("-");
  EXPECT_EQ(rig.client.sent, "$QC01#f5");
  EXPECT_EQ(rig.ask("QStartNoAckMode"), "OK");
  rig.client.sent.clear();
  rig.type("$qC#b4");
  EXPECT_EQ(rig.client.sent, "$QC01#f5");
  rig.type("$" + std::string(GdbPackets::kMaxPacket + 10, 'x') + "#00" + "$}\x03#00\n+garbage");
  EXPECT_EQ(rig.ask("vMustReplyEmpty"), "");
}

TEST(GdbStubTest, SpeaksOfEveryCpuAsAThread) {
  Rig rig;
  EXPECT_EQ(rig.ask("qfThreadInfo"), "m01,02");
  EXPECT_EQ(rig.ask("qsThreadInfo"), "l");
  EXPECT_NE(rig.ask("qSupported:multiprocess+;swbreak+").find("multiprocess+"), std::string::npos);
  EXPECT_EQ(rig.ask("qfThreadInfo"), "mp01.01,p01.02");
  EXPECT_EQ(rig.ask("Hgp1.2"), "OK");
  EXPECT_EQ(rig.ask("qC"), "QCp01.02");
  EXPECT_EQ(rig.ask("T3"), "E22");
  EXPECT_EQ(rig.ask("Hg-1"), "OK");
  EXPECT_EQ(rig.ask("?").substr(0, 3), "T05");
}

TEST(GdbStubTest, RegistersAreThoseOfTheDescription) {
  Rig rig;
  // Sizes of all registers as the description tells them, as a client sums them up.
  std::string xml;
  for (size_t at = 0;;) {
    const std::string part = rig.ask(format("qXfer:features:read:target.xml:{:x},200", at));
    ASSERT_TRUE(part.starts_with('m') || part.starts_with('l'));
    xml += part.substr(1);
    at += part.size() - 1;
    if (part[0] == 'l') break;
  }
  // Escapes: '*', '$', '#' and '}' are not in it.
  size_t bits = 0;
  for (size_t at = 0; (at = xml.find("bitsize=\"", at)) != std::string::npos; at++)
    bits += std::stoul(xml.substr(at + 9));
  EXPECT_EQ(rig.ask("g").size(), bits / 4);
  // The reset vector.
  EXPECT_EQ(rig.ask("p10"), "f0ff000000000000");
  EXPECT_EQ(rig.ask("p12"), "00f00000");  // cs
  EXPECT_EQ(rig.ask("P0=8877665544332211"), "OK");
  EXPECT_EQ(rig.ask("p0"), "8877665544332211");
  EXPECT_EQ(rig.ask("g").substr(0, 16), "8877665544332211");
  EXPECT_EQ(rig.ask("P12=00000000"), "E22");
  EXPECT_EQ(rig.ask("pffff"), "E22");
  const std::string all = rig.ask("g");
  EXPECT_EQ(rig.ask("G" + all), "OK");
  EXPECT_EQ(rig.ask("g"), all);
}

TEST(GdbStubTest, MemoryIsReadAndWritten) {
  Rig rig;
  EXPECT_EQ(rig.ask("M1000,4:deadbeef"), "OK");
  EXPECT_EQ(rig.ask("m1000,4"), "deadbeef");
  EXPECT_EQ(rig.ask("mfee00000,4"), "E14");  // a LAPIC's registers are not looked at
  EXPECT_EQ(rig.ask("mfffffff0,1"), "ea");   // the BIOS begins with a far jump
  EXPECT_EQ(rig.ask("M1000,4:dead"), "E22");
  EXPECT_EQ(rig.ask("qqemu.PhyMemMode"), "0");
  EXPECT_EQ(rig.ask("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_EQ(rig.ask("m1000,2"), "dead");
}

TEST(GdbStubTest, MonitorCommandsAnswerOnTheConsole) {
  Rig rig;
  rig.client.sent.clear();
  rig.type(frame("qRcmd," + to_hex(std::string_view("info status"))));
  EXPECT_NE(rig.client.sent.find("$O" + to_hex(std::string_view("VM status: paused"))),
            std::string::npos);
  EXPECT_TRUE(rig.client.sent.ends_with("$OK#9a"));
}

// Whatever comes, the stub answers the next question.
TEST(GdbStubTest, NothingThatAClientSaysBreaksIt) {
  Rig rig;
  constexpr std::string_view kStarts[] = {"m",
                                          "M",
                                          "g",
                                          "G",
                                          "p",
                                          "P",
                                          "H",
                                          "T",
                                          "Z0,",
                                          "z1,",
                                          "vCont;s:",
                                          "qXfer:features:read:",
                                          "qRcmd,",
                                          "c",
                                          "s",
                                          "qThreadExtraInfo,",
                                          "Qqemu.PhyMemMode:",
                                          "qSupported:",
                                          "v",
                                          "X",
                                          "?"};
  constexpr std::string_view kTails = "0123456789abcdef,;:=p.-+#$}*";
  u64 random = 1;
  const auto next = [&](size_t limit) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return static_cast<size_t>(random >> 33) % limit;
  };
  for (int i = 0; i < 5000; i++) {
    std::string packet(kStarts[next(std::size(kStarts))]);
    for (size_t n = next(24); n > 0; n--) packet += kTails[next(kTails.size())];
    rig.type(frame(packet));
    rig.client.sent.clear();
  }
  rig.type("#00");
  rig.ask("?");
  EXPECT_EQ(rig.ask("vCont?"), "vCont;c;C;s;S");
}

TEST(GdbStubTest, RunsAndStops) {
  Rig rig;
  EXPECT_EQ(rig.ask("vCont?"), "vCont;c;C;s;S");
  EXPECT_EQ(rig.ask("vCont;c"), "");
  EXPECT_TRUE(rig.machine->running());
  EXPECT_EQ(rig.ask("Z1,1000,1").substr(0, 1), "E");  // this accelerator has no guest debugging
  rig.client.sent.clear();
  EXPECT_EQ(rig.ask("c"), "");
  rig.client.sent.clear();
  rig.type("\x03");
  EXPECT_TRUE(rig.client.sent.starts_with("$T02thread:01;")) << rig.client.sent;
  EXPECT_FALSE(rig.machine->running());
  EXPECT_EQ(rig.ask("s"), "E01");
  EXPECT_EQ(rig.ask("D"), "OK");
  EXPECT_TRUE(rig.machine->running());
}

}  // namespace
}  // namespace menura
