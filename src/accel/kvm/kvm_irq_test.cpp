// Interrupts from a line, a message or an eventfd to a guest's handler, with the chips in the kernel,
// split, and in menura; starting the other CPUs; the in-kernel chips' states.

#include <sys/eventfd.h>

#include <atomic>
#include <thread>

#include "accel/kvm/kvm_chips.h"
#include "accel/kvm/kvm_test_machine.h"
#include "accel/vcpu_thread.h"
#include "hw/core/test_machine.h"
#include "hw/intc/apic_bus.h"
#include "hw/intc/gsi_routing.h"
#include "state/tree.h"

namespace menura {
namespace {

using Write = RecordingHandler::Write;

constexpr u16 kEnd = KvmTestMachine::kPorts + 15;
constexpr u64 kHandler = 0x30000;
constexpr u8 kReady = 0xaa;
constexpr u64 kLapicPage = 0xfee0'0000;

// Payload pieces.
void enable_lapic(KvmPayload& code) { code.store32(kLapicPage + 0xf0, 0x1ff); }
// Masks the PIC, to which ISA lines lead as well.
void route_pin(KvmPayload& code, u32 pin, u32 low) {
  code.out8(0x21, 0xff);
  code.store32(0xfec0'0000, 0x11 + 2 * pin);
  code.store32(0xfec0'0010, 0);
  code.store32(0xfec0'0000, 0x10 + 2 * pin);
  code.store32(0xfec0'0010, low);
}
void spin(KvmPayload& code) {
  code.L("spin");
  code.jmp("spin");
}
// Says ready, and sleeps with interrupts on for ever.
void wait_for_interrupts(KvmPayload& code) {
  code.sti();
  code.out8(KvmTestMachine::kPorts + 1, kReady);
  code.L("sleep");
  code.hlt();
  code.jmp("sleep");
}
// Reports `value`, ends the interrupt at the LAPIC, and ends the payload after `times` interrupts.
void handler(KvmPayload& code, u8 value, u32 times) {
  code.out8(KvmTestMachine::kPorts, value);
  code.store32(kLapicPage + 0xb0, 0);
  code.inc(code.r15);
  code.cmp(code.r15, times);
  code.jb("again");
  code.out8(kEnd, 1);
  code.L("again");
  code.iretq();
}

// A board's interrupt wiring around the test machine.
class IrqBoard {
 public:
  explicit IrqBoard(KvmOptions options, unsigned cpus = 1)
      : mode(options.irqchip),
        m(options),
        pic("pic", IrqLine{pic_out, 0}),
        ioapic("ioapic", {}, msi_out) {
    EXPECT_TRUE(m.ok()) << m.error();
    const MachineLock::Guard guard(m.lock);
    for (unsigned i = 0; i < cpus; i++)
      if (mode == IrqchipMode::User)
        lapics.push_back(std::make_unique<Lapic>(
            format("lapic{}", i), Lapic::Config{.apic_id = i, .bootstrap = i == 0}, bus, m.time));
    bus.add(ioapic);
    bus.set_extint(pic);
    if (mode != IrqchipMode::Kernel) {
      m.memory_root.map(0xfec0'0000, ioapic.registers());
      m.io_root.map(0x20, pic.master_ports());
      m.io_root.map(0xa0, pic.slave_ports());
    }
    if (mode == IrqchipMode::User) m.memory_root.map(kLapicPage, bus.messages());
    routing.set_default_pc();
    if (KernelIrqchip* chip = m.accel().kernel_irqchip())
      chip->mirror(routing, mode == IrqchipMode::Split ? &ioapic : nullptr);
    routing.commit();
    pic.reset(ResetKind::PowerOn);
    ioapic.reset(ResetKind::PowerOn);
  }
  ~IrqBoard() {
    m.remove_cpus();
    const MachineLock::Guard guard(m.lock);
    if (mode != IrqchipMode::Kernel) {
      m.memory_root.unmap(ioapic.registers());
      m.io_root.unmap(pic.master_ports());
      m.io_root.unmap(pic.slave_ports());
    }
    if (mode == IrqchipMode::User) m.memory_root.unmap(bus.messages());
  }

  VcpuConfig config(unsigned index) {
    VcpuConfig c{.index = index, .apic_id = index};
    if (mode == IrqchipMode::User) {
      c.lapic = lapics[index].get();
      c.interrupts = lapics[index].get();
    } else if (mode == IrqchipMode::Split && index == 0) {
      c.interrupts = &pic;
    }
    return c;
  }
  // Chips learn of their CPU, and get their reset.
  void connect(unsigned index, Vcpu& vcpu) {
    const MachineLock::Guard guard(m.lock);
    if (index == 0) boot_cpu = &vcpu;
    if (mode == IrqchipMode::User) {
      lapics[index]->connect(vcpu);
      lapics[index]->reset(ResetKind::PowerOn);
    }
  }
  KvmVcpu& add_cpu() {
    KvmVcpu& vcpu = m.add_cpu(config(0));
    connect(0, vcpu);
    return vcpu;
  }
  // A handler that reports its vector and ends the payload after `times` interrupts.
  void handle(u8 vector, u32 times, u64 at = kHandler) {
    KvmPayload isr;
    handler(isr, vector, times);
    m.load(isr, at);
    m.set_handler(vector, at);
  }
  // The first CPU, about to run `code` at CPL 0.
  KvmVcpu& start(KvmPayload& code) {
    m.load(code);
    KvmVcpu& cpu = add_cpu();
    m.enter(cpu, Ring::Kernel);
    return cpu;
  }
  IrqStatus set_irq(unsigned gsi, bool level) {
    const MachineLock::Guard guard(m.lock);
    if (mode == IrqchipMode::Kernel) return m.accel().kernel_irqchip()->set_irq(gsi, level);
    return routing.set_irq(gsi, level);
  }
  IrqStatus send_msi(const MsiMessage& message) {
    const MachineLock::Guard guard(m.lock);
    return msi_out.send_msi(message);
  }
  // Calls `act` on another thread once the guest says that it is ready.
  void when_ready(std::function<void()> act) {
    ready_ = std::move(act);
    auto before = m.ports.on_write;
    m.ports.on_write = [this, before](const Write& write) {
      before(write);
      if (write.offset == 1 && write.value == kReady && ready_)
        sender_ = std::jthread(std::exchange(ready_, {}));
    };
  }
  std::vector<u64> heard() const {
    std::vector<u64> values;
    for (const Write& w : m.ports.writes)
      if (w.offset == 0) values.push_back(w.value);
    return values;
  }

  const IrqchipMode mode;
  KvmTestMachine m;
  ApicBus bus;
  struct MsiOut final : MsiSink {
    explicit MsiOut(IrqBoard& b) : board(b) {}
    IrqStatus send_msi(const MsiMessage& message) override {
      if (KernelIrqchip* chip = board.m.accel().kernel_irqchip()) return chip->send_msi(message);
      return board.bus.send_msi(message);
    }
    IrqBoard& board;
  } msi_out{*this};
  IrqFunction pic_out{[this](unsigned, bool level) {
    if (mode == IrqchipMode::User) bus.set_irq(0, level);
    if (mode == IrqchipMode::Split && boot_cpu) boot_cpu->set_intr(level);
    return IrqStatus::Delivered;
  }};
  Pic pic;
  Ioapic ioapic;
  GsiRouting routing{{.pic = &pic, .ioapic = &ioapic, .msi = &msi_out}};
  std::vector<std::unique_ptr<Lapic>> lapics;
  Vcpu* boot_cpu = nullptr;

 private:
  std::function<void()> ready_;
  std::jthread sender_;
};

class KvmIrq : public ::testing::TestWithParam<IrqchipMode> {
 protected:
  void SetUp() override { MENURA_NEEDS_KVM(); }
  KvmOptions options() const { return {.irqchip = GetParam()}; }
};

// What needs LAPICs in the kernel.
class KvmKernelIrq : public KvmIrq {};

std::string mode_name(const ::testing::TestParamInfo<IrqchipMode>& info) {
  return info.param == IrqchipMode::User    ? "User"
         : info.param == IrqchipMode::Split ? "Split"
                                            : "Kernel";
}
INSTANTIATE_TEST_SUITE_P(Irqchip, KvmIrq,
                         ::testing::Values(IrqchipMode::User, IrqchipMode::Split,
                                           IrqchipMode::Kernel),
                         mode_name);
INSTANTIATE_TEST_SUITE_P(Irqchip, KvmKernelIrq,
                         ::testing::Values(IrqchipMode::Split, IrqchipMode::Kernel), mode_name);

// With chips in menura, HLT comes back as Halted.
Exit run_through_halts(IrqBoard& b, KvmVcpu& cpu) {
  Exit exit = Exit::Halted;
  for (int i = 0; i < 10'000 && exit == Exit::Halted; i++) {
    exit = b.m.run_to_end(cpu);
    if (exit == Exit::Halted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return exit;
}

TEST_P(KvmIrq, AnEdgeThroughTheIoapicWakesAHaltedCpu) {
  IrqBoard b(options());
  KvmPayload code;
  enable_lapic(code);
  route_pin(code, 4, 0x44);
  wait_for_interrupts(code);
  b.handle(0x44, 1);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(b.set_irq(4, true), IrqStatus::Delivered);
    b.set_irq(4, false);
  });
  EXPECT_EQ(run_through_halts(b, cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x44}));
}

TEST_P(KvmIrq, TheEightZeroFiveNinePairInterruptsASpinningCpu) {
  IrqBoard b(options());
  KvmPayload code;
  for (const auto& [port, value] :
       {std::pair<u16, u8>{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1}, {0x21, 0xfd}})
    code.out8(port, value);
  code.sti();
  code.out8(KvmTestMachine::kPorts + 1, kReady);
  spin(code);
  KvmPayload isr;
  isr.out8(KvmTestMachine::kPorts, 0x21);
  isr.out8(0x20, 0x20);
  isr.out8(kEnd, 1);
  isr.iretq();
  b.m.load(isr, kHandler);
  b.m.set_handler(0x21, kHandler);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] { b.set_irq(1, true); });
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x21}));
}

TEST_P(KvmIrq, AMessageReachesACpuAtUserLevel) {
  IrqBoard b(options());
  KvmPayload code;  // at CPL0 first, for the LAPIC; then IRETQ to CPL3
  enable_lapic(code);
  for (const u64 word : {u64{KvmLayout::kUserSs}, KvmLayout::kUserStack, u64{x86::kIf | 2},
                         u64{KvmLayout::kUserCs}, u64{0x40000}}) {
    code.mov(code.rax, word);
    code.push(code.rax);
  }
  code.iretq();
  KvmPayload user;
  user.out8(KvmTestMachine::kPorts + 1, kReady);
  spin(user);
  b.m.load(user, 0x40000);
  b.handle(0x55, 3);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] {
    for (int i = 0; i < 2000 && !b.m.ended; i++) {
      b.send_msi({.address = kLapicPage, .data = 0x55});
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x55, 0x55, 0x55}));
}

TEST_P(KvmIrq, ALevelIsInterruptedAgainUntilItFalls) {
  IrqBoard b(options());
  KvmPayload code;
  enable_lapic(code);
  route_pin(code, 17, 0x66 | 1u << 15);
  code.sti();
  code.out8(KvmTestMachine::kPorts + 1, kReady);
  spin(code);
  b.handle(0x66, 3);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] { b.set_irq(17, true); });
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x66, 0x66, 0x66}));
  if (GetParam() == IrqchipMode::Split) {
    EXPECT_GE(cpu.exit_count(KVM_EXIT_IOAPIC_EOI), 2u);
  }
}

TEST_P(KvmKernelIrq, EventfdsRaiseRoutedMessages) {
  IrqBoard b(options());
  KernelIrqchip& chip = *b.m.accel().kernel_irqchip();
  const UniqueFd fd = make_eventfd().value();
  std::unique_ptr<MsiRoute> route;
  {
    const MachineLock::Guard guard(b.m.lock);
    route = chip.make_route(fd.get());
    ASSERT_TRUE(route && route->set_message(MsiMessage{.address = kLapicPage, .data = 0x70}).ok());
    EXPECT_EQ(b.routing.entries().back().gsi, GsiRouting::kFirstMsi);
  }
  KvmPayload code;
  enable_lapic(code);
  wait_for_interrupts(code);
  b.handle(0x70, 1);
  b.handle(0x71, 1, kHandler + 0x1000);
  KvmVcpu& cpu = b.start(code);
  const auto signal = [&] { eventfd_write(fd.get(), 1); };
  const auto go_on = [&] {
    x86::State state;
    cpu.get(state);
    state.gpr[x86::R15] = 0;
    cpu.set(state);
    return b.m.run_to_end(cpu);
  };
  b.when_ready(signal);
  ASSERT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  // The guest writes another message.
  {
    const MachineLock::Guard guard(b.m.lock);
    ASSERT_TRUE(route->set_message(MsiMessage{.address = kLapicPage, .data = 0x71}).ok());
  }
  signal();
  ASSERT_EQ(go_on(), Exit::Kicked) << cpu.failure();
  // It masks the vector: the signal waits in the eventfd until that opens again.
  {
    const MachineLock::Guard guard(b.m.lock);
    ASSERT_TRUE(route->set_message(std::nullopt).ok());
    EXPECT_LT(b.routing.entries().back().gsi, GsiRouting::kFirstMsi);
    signal();
    ASSERT_TRUE(route->set_message(MsiMessage{.address = kLapicPage, .data = 0x70}).ok());
  }
  ASSERT_EQ(go_on(), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x70, 0x71, 0x70}));
  const MachineLock::Guard guard(b.m.lock);
  route.reset();
}

// Writes down the routes it is given, and takes those that this KVM would not.
class RouteIoctl final : public KvmIoctl {
 public:
  explicit RouteIoctl(int has_synic) : has_synic_(has_synic) {}
  int issue(int fd, unsigned long request, unsigned long argument) override {
    if (request == KVM_CHECK_EXTENSION && argument == KVM_CAP_HYPERV_SYNIC2) return has_synic_;
    if (request != KVM_SET_GSI_ROUTING) return KvmIoctl::issue(fd, request, argument);
    const auto& table = *reinterpret_cast<const kvm_irq_routing*>(argument);
    routes.assign(table.entries, table.entries + table.nr);
    return 0;
  }
  std::vector<kvm_irq_routing_entry> routes;

 private:
  const int has_synic_;
};

TEST(KvmChips, HyperVSourcesAreRoutedWhereKvmHasThem) {
  MENURA_NEEDS_KVM();
  for (const bool has_synic : {true, false}) {
    auto owned = std::make_unique<RouteIoctl>(has_synic);
    RouteIoctl& kvm = *owned;
    KvmTestMachine m({.irqchip = IrqchipMode::Kernel}, std::move(owned));
    ASSERT_TRUE(m.ok()) << m.error();
    GsiRouting routing({});
    routing.set_default_pc();
    m.accel().kernel_irqchip()->mirror(routing, nullptr);
    const size_t without = kvm.routes.size();
    ASSERT_TRUE(routing.add(30, HypervSint{.vcpu = 1, .sint = 2}).ok());
    routing.commit();
    ASSERT_EQ(kvm.routes.size(), without + has_synic);
    if (!has_synic) continue;
    EXPECT_EQ(kvm.routes.back().gsi, 30u);
    EXPECT_EQ(kvm.routes.back().type, unsigned{KVM_IRQ_ROUTING_HV_SINT});
    EXPECT_EQ(kvm.routes.back().u.hv_sint.vcpu, 1u);
    EXPECT_EQ(kvm.routes.back().u.hv_sint.sint, 2u);
  }
}

TEST(KvmChips, ALineTellsItsFate) {
  MENURA_NEEDS_KVM();
  IrqBoard b({.irqchip = IrqchipMode::Kernel});
  KvmVcpu& cpu = b.add_cpu();  // never runs: interrupts stay off
  ASSERT_TRUE(cpu.flush().ok());
  // The IOAPIC is masked after reset, the PIC is not, and remembers an edge.
  EXPECT_EQ(b.set_irq(3, true), IrqStatus::Delivered);
  b.set_irq(3, false);
  EXPECT_EQ(b.set_irq(3, true), IrqStatus::Coalesced);
  EXPECT_EQ(b.set_irq(17, true), IrqStatus::Ignored);  // the IOAPIC's alone
  // A message to a CPU that does not exist.
  EXPECT_EQ(b.send_msi({.address = kLapicPage | 0x7f << 12, .data = 0x44}), IrqStatus::Ignored);
}

TEST_P(KvmKernelIrq, AResampledEventfdHearsOfTheEnd) {
  IrqBoard b(options());
  KernelIrqchip& chip = *b.m.accel().kernel_irqchip();
  const UniqueFd fd = make_eventfd().value();
  const UniqueFd resample = make_eventfd().value();
  {
    const MachineLock::Guard guard(b.m.lock);
    ASSERT_TRUE(chip.attach_irqfd(17, fd.get(), resample.get()).ok());
  }
  KvmPayload code;
  enable_lapic(code);
  route_pin(code, 17, 0x66 | 1u << 15);
  wait_for_interrupts(code);
  b.handle(0x66, 1);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] { eventfd_write(fd.get(), 1); });
  ASSERT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  eventfd_t ends = 0;
  EXPECT_EQ(eventfd_read(resample.get(), &ends), 0);
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x66}));  // lowered by the kernel: not twice
  const MachineLock::Guard guard(b.m.lock);
  chip.detach_irqfd(17, fd.get());
}

TEST_P(KvmKernelIrq, TheLapicTimerTicks) {
  IrqBoard b(options());
  KvmPayload code;
  enable_lapic(code);
  code.store32(kLapicPage + 0x3e0, 0xb);              // divide by 1: 1 GHz
  code.store32(kLapicPage + 0x320, 0x77 | 1u << 17);  // periodic
  code.store32(kLapicPage + 0x380, 2'000'000);        // 2 ms
  wait_for_interrupts(code);
  b.handle(0x77, 4);
  KvmVcpu& cpu = b.start(code);
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard().size(), 4u);
}

// A PC's IRQ0 is wired to the IOAPIC's pin 2, and to no other.
TEST_P(KvmIrq, Irq0ArrivesAtPinTwoAlone) {
  IrqBoard b(options());
  KvmPayload code;
  enable_lapic(code);
  route_pin(code, 0, 0x51);
  route_pin(code, 2, 0x52);
  wait_for_interrupts(code);
  b.handle(0x51, 1, kHandler + 0x1000);
  b.handle(0x52, 1);
  KvmVcpu& cpu = b.start(code);
  b.when_ready([&] {
    b.set_irq(0, true);
    b.set_irq(0, false);
  });
  EXPECT_EQ(run_through_halts(b, cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x52}));
}

// An HPET in legacy mode has IRQ0 to itself.
TEST(KvmChips, AnHpetSilencesTheKernelsPit) {
  MENURA_NEEDS_KVM();
  IrqBoard b({.irqchip = IrqchipMode::Kernel, .pit = true});
  KvmVcpu& cpu = b.add_cpu();
  IrqSink* gate = b.m.accel().kernel_pit();
  ASSERT_NE(gate, nullptr);
  const auto replaced = [&] {
    kvm_pit_state2 k{};
    EXPECT_EQ(b.m.accel().vm().fd().call(KVM_GET_PIT2, &k), 0);
    return (k.flags & KVM_PIT_FLAGS_HPET_LEGACY) != 0;
  };
  const MachineLock::Guard guard(b.m.lock);
  EXPECT_FALSE(replaced());
  gate->set_irq(0, true);
  EXPECT_TRUE(replaced());
  for (Device* device : b.m.accel().devices())
    if (device->id() == "pit") {
      const StateTree tree = save_state(*device);
      ASSERT_TRUE(load_state(*device, tree).ok());
      ASSERT_TRUE(device->restored().ok());
    }
  EXPECT_TRUE(replaced()) << "loading leaves it to the HPET";
  gate->set_irq(0, false);
  EXPECT_FALSE(replaced());
  (void)cpu;
}

TEST(KvmChips, TheKernelsPitTicksAndIsSeen) {
  MENURA_NEEDS_KVM();
  IrqBoard b({.irqchip = IrqchipMode::Kernel, .pit = true, .lost_ticks = LostTickPolicy::Discard});
  KvmPayload code;
  enable_lapic(code);
  route_pin(code, 2, 0x50);
  code.out8(0x43, 0x34);  // counter 0, both bytes, mode 2
  code.out8(0x40, 0x00);
  code.out8(0x40, 0x10);  // 4096 ticks: 3.4 ms
  wait_for_interrupts(code);
  b.handle(0x50, 3);
  KvmVcpu& cpu = b.start(code);
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard().size(), 3u);
  DeviceList list;
  for (Device* device : b.m.accel().devices()) list.add(*device);
  ASSERT_NE(list.find("pit"), nullptr);
  const StateTree tree = save_state(*list.find("pit"));
  const StateTree& counter = tree.find("state")->find("counters")->children[0];
  EXPECT_EQ(counter.find("mode")->integer, 2u);
  EXPECT_EQ(counter.find("count_register")->integer, 0x1000u);
  EXPECT_EQ(counter.find("initial")->integer, 0x1000u);
  // The same state is one that the PIT in user space takes.
  TestMachine t;
  Pit pit("pit", {}, t.time, {});
  const auto loaded = load_state(pit, tree);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  EXPECT_TRUE(pit.restored().ok());
  EXPECT_EQ(pit.state().counters[0].initial, 0x1000u);
}

// The other CPUs start as firmware starts them: INIT, then SIPI, by the bootstrap CPU's ICR.
TEST_P(KvmIrq, InitAndSipiStartTheSecondCpu) {
  IrqBoard b(options(), 2);
  KvmPayload code;
  enable_lapic(code);
  code.store32(kLapicPage + 0x310, 1u << 24);
  code.store32(kLapicPage + 0x300, 0x4500);  // INIT
  code.store32(kLapicPage + 0x310, 1u << 24);
  code.store32(kLapicPage + 0x300, 0x4609);  // SIPI to 9000h
  spin(code);
  b.m.load(code);
  const std::array<u8, 18> ap{0xba, 0x00, 0x0e,        // mov dx, 0e00h
                              0x8c, 0xc8,              // mov ax, cs
                              0xef,                    // out dx, ax
                              0xe8, 0,    0,    0x58,  // call next; pop ax
                              0xef,                    // out dx, ax
                              0xb2, 0x0f,              // mov dl, 0fh
                              0xee,                    // out dx, al
                              0xeb, 0xfe, 0x90, 0x90};
  b.m.ram->write(0x9000, std::as_bytes(std::span(ap)));
  std::atomic<bool> started = false;
  b.m.ports.on_write = [&](const Write& write) { started = started || write.offset == 15; };
  std::vector<std::unique_ptr<VcpuThread>> cpus;
  for (unsigned i = 0; i < 2; i++) {
    auto made = VcpuThread::start(
        b.m.accel(), b.m.lock,
        {.name = format("CPU {}/KVM", i),
         .vcpu = b.config(i),
         .on_exit = [](VcpuThread& cpu, Exit) { ADD_FAILURE() << cpu.vcpu().failure(); }});
    ASSERT_TRUE(made.ok()) << made.error().text;
    cpus.push_back(std::move(made).value());
    b.connect(i, cpus[i]->vcpu());
  }
  x86::State state;
  cpus[1]->vcpu().get(state);
  EXPECT_EQ(state.activity, x86::Activity::WaitForSipi);
  cpus[0]->vcpu().get(state);
  EXPECT_EQ(state.activity, x86::Activity::Running);
  cpus[0]->vcpu().set(KvmTestMachine::long_mode(Ring::Kernel, state));
  resume_all(cpus);
  for (int i = 0; i < 5000 && !started; i++)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_TRUE(started);
  pause_all(cpus);
  ASSERT_GE(b.m.ports.writes.size(), 2u);
  EXPECT_EQ(b.m.ports.writes[0], (Write{0, 2, 0x900}));
  EXPECT_EQ(b.m.ports.writes[1], (Write{0, 2, 9}));  // its IP
  b.boot_cpu = nullptr;
  cpus.clear();
}

TEST_P(KvmIrq, X2apicRegistersWorkWhereverTheLapicIs) {
  IrqBoard b(options());
  KvmPayload code;
  code.mov(code.ecx, 0x1b);
  code.bytes({0x0f, 0x32});  // rdmsr
  code.or_(code.eax, 1u << 10);
  code.bytes({0x0f, 0x30});  // wrmsr: x2APIC on
  code.mov(code.ecx, 0x80f);
  code.mov(code.eax, 0x1ff);
  code.xor_(code.edx, code.edx);
  code.bytes({0x0f, 0x30});
  code.mov(code.ecx, 0x80f);
  code.bytes({0x0f, 0x32});
  code.mov(code.esi, code.eax);
  code.mov(code.ecx, 0x83f);  // SELF IPI
  code.mov(code.eax, 0x48);
  code.xor_(code.edx, code.edx);
  code.bytes({0x0f, 0x30});
  code.sti();
  spin(code);
  KvmPayload isr;
  isr.out8(KvmTestMachine::kPorts, 0x48);
  isr.out8(kEnd, 1);
  b.m.load(isr, kHandler);
  b.m.set_handler(0x48, kHandler);
  KvmVcpu& cpu = b.start(code);
  EXPECT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(b.heard(), (std::vector<u64>{0x48}));
  x86::State state;
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::Rsi] & 0xffff'ffff, 0x1ffu);
  EXPECT_TRUE(state.apic_base & LapicState::kBaseX2apic);
}

TEST(KvmChips, StatesSurviveTheKernel) {
  MENURA_NEEDS_KVM();
  IrqBoard b({.irqchip = IrqchipMode::Kernel, .pit = true}, 1);
  KvmVcpu& cpu = b.add_cpu();
  ASSERT_TRUE(cpu.flush().ok());
  DeviceList list;
  for (Device* device : b.m.accel().devices()) list.add(*device);
  list.reset(ResetKind::PowerOn);
  ASSERT_FALSE(b.m.accel().vm().failed()) << b.m.accel().vm().failure();
  // What user-space chips were made to hold is held by the kernel's, and comes back.
  TestMachine t;
  Pic pic("pic", {});
  t.io_root.map(0x20, pic.master_ports());
  t.io_root.map(0xa0, pic.slave_ports());
  t.io_root.map(0x4d0, pic.elcr_ports());
  for (const auto& [port, value] : {std::pair<u16, u8>{0x20, 0x11},
                                    {0x21, 0x08},
                                    {0x21, 4},
                                    {0x21, 3},
                                    {0x21, 0xb8},
                                    {0xa0, 0x11},
                                    {0xa1, 0x70},
                                    {0xa1, 2},
                                    {0xa1, 1},
                                    {0xa1, 0x8e},
                                    {0x4d0, 0x20},
                                    {0x20, 0xc3}})
    t.out8(port, value);
  pic.set_irq(6, true);
  Ioapic ioapic("ioapic", {}, t);
  t.memory_root.map(0xfec0'0000, ioapic.registers());
  t.write_mem(0xfec0'0000, 4, 0x2e);
  t.write_mem(0xfec0'0010, 4, 0x1'a055);
  t.write_mem(0xfec0'0000, 4, 0x2f);
  t.write_mem(0xfec0'0010, 4, 0x0300'0000);
  for (Device* user : {static_cast<Device*>(&pic), static_cast<Device*>(&ioapic)}) {
    Device* kernel = list.find(user->id());
    ASSERT_NE(kernel, nullptr);
    const StateTree wanted = save_state(*user);
    const auto loaded = load_state(*kernel, wanted);
    ASSERT_TRUE(loaded.ok()) << loaded.error().text;
    const auto restored = kernel->restored();
    ASSERT_TRUE(restored.ok()) << restored.error().text;
    for (const StateDifference& d : compare(wanted, save_state(*kernel)))
      ADD_FAILURE() << user->id() << " " << d.path << ": " << d.left << " became " << d.right;
  }
  t.memory_root.unmap(ioapic.registers());
  t.io_root.unmap(pic.master_ports());
  t.io_root.unmap(pic.slave_ports());
  t.io_root.unmap(pic.elcr_ports());
}

TEST(KvmChips, ALapicsStateMovesBetweenKernelAndMenura) {
  MENURA_NEEDS_KVM();
  IrqBoard b({.irqchip = IrqchipMode::Kernel}, 1);
  KvmPayload code;
  enable_lapic(code);
  code.store32(kLapicPage + 0x80, 0x30);         // TPR
  code.store32(kLapicPage + 0xd0, 0x0200'0000);  // LDR
  code.store32(kLapicPage + 0x3e0, 0x3);         // divide by 16
  code.store32(kLapicPage + 0x320, 0x1'0077);    // masked one-shot
  code.store32(kLapicPage + 0x380, 0xffff'ffff);
  code.store32(kLapicPage + 0x300, 0x4'0029);  // self IPI: stays in IRR
  code.out8(kEnd, 1);
  KvmVcpu& cpu = b.start(code);
  ASSERT_EQ(b.m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  Device* kernel = nullptr;
  for (Device* device : b.m.accel().devices())
    if (device->id() == "lapic0") kernel = device;
  ASSERT_NE(kernel, nullptr);
  const StateTree saved = save_state(*kernel);

  TestMachine t;
  ApicBus bus;
  struct NoCpu final : CpuInterrupts {
    void set_intr(bool) override {}
    void nmi() override {}
    void smi() override {}
    void init() override {}
    void sipi(u8) override {}
  } no_cpu;
  Lapic lapic("lapic0", {.apic_id = 0, .bootstrap = true}, bus, t.time);
  lapic.connect(no_cpu);
  lapic.reset(ResetKind::PowerOn);
  const auto loaded = load_state(lapic, saved);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  EXPECT_EQ(lapic.state().tpr, 0x30u);
  EXPECT_EQ(lapic.state().svr, 0x1ffu);
  EXPECT_EQ(lapic.state().ldr, 0x0200'0000u);
  EXPECT_TRUE(lapic.state().irr.test(0x29));
  EXPECT_EQ(lapic.state().timer_divisor(), 16);
  EXPECT_EQ(lapic.state().timer_initial, 0xffff'ffffu);
  EXPECT_EQ(lapic.state().lvt[LapicState::kTimer], 0x1'0077u);
  // And back, into a reset one.
  kernel->reset(ResetKind::PowerOn);
  EXPECT_EQ(save_state(*kernel).find("state")->find("tpr")->integer, 0u);
  ASSERT_TRUE(load_state(*kernel, saved).ok());
  ASSERT_TRUE(kernel->restored().ok());
  for (const StateDifference& d : compare(saved, save_state(*kernel))) {
    if (d.path.find("timer_start_ns") == std::string::npos)
      ADD_FAILURE() << d.path << ": " << d.left << " became " << d.right;
  }
}

TEST(KvmChips, TheClockStandsStillWhilePaused) {
  MENURA_NEEDS_KVM();
  KvmTestMachine m;
  m.add_cpu();
  Device* clock = nullptr;
  for (Device* device : m.accel().devices())
    if (device->id() == "kvmclock") clock = device;
  ASSERT_NE(clock, nullptr);
  clock->pause();
  const StateTree before = save_state(*clock);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(save_state(*clock), before);
  clock->resume();
  const u64 after = save_state(*clock).find("clock_ns")->integer;
  EXPECT_GE(after, before.find("clock_ns")->integer);
  EXPECT_LT(after - before.find("clock_ns")->integer, 20'000'000u);
}

}  // namespace
}  // namespace menura
