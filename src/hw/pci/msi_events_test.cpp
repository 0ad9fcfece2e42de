#include "hw/pci/msi_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <map>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

// An interrupt controller whose routes send when the test says so; or one without.
class Controller final : public MsiSink {
 public:
  explicit Controller(bool has_routes) : has_routes_(has_routes) {}
  IrqStatus send_msi(const MsiMessage& message) override {
    sent.push_back(message.data);
    return IrqStatus::Delivered;
  }
  std::unique_ptr<MsiRoute> make_route(int fd) override {
    if (!has_routes_) return nullptr;
    return std::make_unique<Route>(*this, fd);
  }
  // What a kernel does at once.
  void inject() {
    for (const auto& [fd, message] : routes) {
      eventfd_t n = 0;
      if (::eventfd_read(fd, &n) == 0) sent.push_back(message.data);
    }
  }
  std::map<int, MsiMessage> routes;
  std::vector<u32> sent;
  bool full = false;

 private:
  class Route final : public MsiRoute {
   public:
    Route(Controller& owner, int fd) : owner_(owner), fd_(fd) {}
    ~Route() override { owner_.routes.erase(fd_); }
    Result<void> set_message(const std::optional<MsiMessage>& message) override {
      if (message && owner_.full) return fail(Errc::NoSpace, "The table is full");
      if (message)
        owner_.routes[fd_] = *message;
      else
        owner_.routes.erase(fd_);
      return {};
    }

   private:
    Controller& owner_;
    const int fd_;
  };
  const bool has_routes_;
};

struct Rig {
  explicit Rig(bool has_routes) : controller(has_routes) {
    bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    card.config_write(pci::kCommand, 2, pci::kCommandBusMaster | pci::kCommandMemory);
    card.config_write(0x20, 4, kTable);
    entry(1, 0x41, 0);
    control(0x8000);
    card.msix.set_listener(&events);
    fd = events.eventfd(1).value();
  }
  ~Rig() { card.msix.set_listener(nullptr); }
  void entry(unsigned vector, u32 data, u32 mask) {
    machine.write_mem(kTable + 16 * vector, 8, 0xfee0'0000);
    machine.write_mem(kTable + 16 * vector + 8, 4, data);
    machine.write_mem(kTable + 16 * vector + 12, 4, mask);
  }
  void control(u16 value) { card.config_write(card.msix.offset() + 2, 2, value); }
  bool pending() { return machine.read_mem(kTable + 0x800, 8) & 2; }
  void signal() {
    ASSERT_EQ(::eventfd_write(fd, 1), 0);
    controller.inject();
    while (loop->run_once(0)) {}
  }

  static constexpr u32 kTable = 0xfebc'0000;
  TestMachine machine;
  Controller controller;
  PciBus bus{"pci.0",
             {.memory = machine.memory,
              .io = machine.io,
              .memory_window = machine.memory_root,
              .io_window = machine.io_root,
              .intx = &machine,
              .msi = &controller}};
  TestCard card{"card"};
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  MsiEvents events{*loop, &controller, card.msix.vectors(),
                   [this](unsigned vector) { (void)card.msix.notify(vector); }};
  int fd = -1;
};

class MsiEventsTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Routes, MsiEventsTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Kernel" : "Loop"; });

TEST_P(MsiEventsTest, ASignalRaisesTheVectorsPresentMessage) {
  Rig rig(GetParam());
  EXPECT_EQ(rig.events.direct(1), GetParam());
  EXPECT_EQ(rig.controller.routes.size(), GetParam()) << "of those asked for";
  rig.signal();
  rig.entry(1, 0x99, 0);
  rig.signal();
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x41, 0x99}));
  EXPECT_EQ(rig.events.eventfd(1).value(), rig.fd);
}

TEST_P(MsiEventsTest, AMaskedVectorIsPending) {
  Rig rig(GetParam());
  rig.entry(1, 0x41, 1);
  EXPECT_FALSE(rig.events.direct(1));
  rig.signal();
  rig.signal();
  EXPECT_TRUE(rig.controller.sent.empty());
  EXPECT_TRUE(rig.pending());
  rig.entry(1, 0x42, 0);
  EXPECT_FALSE(rig.pending());
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x42}));
  EXPECT_EQ(rig.events.direct(1), GetParam());
  rig.control(0xc000);  // the whole function
  rig.signal();
  EXPECT_TRUE(rig.pending());
  rig.control(0x8000);
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x42, 0x42}));
}

TEST_P(MsiEventsTest, ASignalAcrossTheMaskIsNotLost) {
  Rig rig(GetParam());
  rig.entry(1, 0x41, 1);
  ASSERT_EQ(::eventfd_write(rig.fd, 1), 0);  // the loop has not looked yet
  rig.entry(1, 0x41, 0);
  rig.controller.inject();
  while (rig.loop->run_once(0)) {}
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x41}));
}

TEST_P(MsiEventsTest, NothingIsSentWithoutBusMastering) {
  Rig rig(GetParam());
  rig.card.config_write(pci::kCommand, 2, pci::kCommandMemory);
  EXPECT_FALSE(rig.events.direct(1));
  rig.signal();
  EXPECT_TRUE(rig.controller.sent.empty());
  rig.card.config_write(pci::kCommand, 2, pci::kCommandBusMaster | pci::kCommandMemory);
  EXPECT_EQ(rig.events.direct(1), GetParam());
  rig.signal();
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x41}));
}

TEST(MsiEvents, AFullTableOfRoutesMeansTheLoop) {
  Rig rig(true);
  rig.entry(1, 0x41, 1);
  rig.controller.full = true;
  rig.entry(1, 0x41, 0);
  EXPECT_FALSE(rig.events.direct(1));
  rig.signal();
  EXPECT_EQ(rig.controller.sent, (std::vector<u32>{0x41}));
}

TEST(MsiEvents, ResetClosesEveryVector) {
  Rig rig(true);
  ASSERT_EQ(rig.controller.routes.size(), 1u);
  rig.card.reset(ResetKind::System);
  EXPECT_TRUE(rig.controller.routes.empty());
}

}  // namespace
}  // namespace menura
