#include "hw/intc/info.h"

#include "base/bits.h"
#include "base/format.h"
#include "hw/intc/lapic_registers.h"

namespace menura {

namespace {

std::string_view delivery_name(u64 mode) {
  constexpr std::string_view kNames[] = {"fixed", "lowest", "smi",  "reserved",
                                         "nmi",   "init",   "sipi", "extint"};
  return kNames[mode & 7];
}

std::string flag(bool on, std::string_view name) { return on ? fmt::format(" {}", name) : ""; }

std::string print_chip(std::string_view name, const PicState& s) {
  return fmt::format(
      "{}: irr={:02x} imr={:02x} isr={:02x} vectors={:02x}-{:02x} highest=ir{} elcr={:02x} "
      "pins={:02x}{}{}{}{}{}\n",
      name, s.irr, s.imr, s.isr, s.vector_base, s.vector_base + 7, s.highest, s.elcr, s.levels,
      flag(s.auto_eoi, "auto-eoi"), flag(s.rotate_on_auto_eoi, "rotate"),
      flag(s.special_mask, "special-mask"), flag(s.special_fully_nested, "special-nested"),
      flag(s.expect != PicState::Expect::Ocw1, "initialising"));
}

std::string print_vectors(std::string_view name, const VectorSet& set) {
  std::string text;
  for (unsigned vector = 0; vector < 256; vector++)
    if (set.test(static_cast<u8>(vector))) text += fmt::format(" {:02x}", vector);
  return fmt::format("  {}{}\n", name, text.empty() ? " none" : text);
}

std::string print_lvt(std::string_view name, u32 entry) {
  return fmt::format("  lvt {:<11} {:08x} vector={:02x} {}{}{}{}\n", name, entry, entry & 0xff,
                     delivery_name(bits(entry, 10, 8)), flag(entry & lapic::kLvtLevel, "level"),
                     flag(entry & lapic::kLvtRemoteIrr, "remote-irr"),
                     flag(entry & lapic::kLvtMasked, "masked"));
}

std::string print_timer(const LapicState& s, i64 now_ns) {
  switch (s.timer_mode()) {
    case LapicState::TimerMode::TscDeadline:
      return fmt::format("  timer tsc-deadline={:#x}\n", s.tsc_deadline);
    case LapicState::TimerMode::Periodic:
    case LapicState::TimerMode::OneShot:
    case LapicState::TimerMode::Reserved: break;
  }
  const bool periodic = s.timer_mode() == LapicState::TimerMode::Periodic;
  return fmt::format("  timer {} initial={} current={} divisor={}\n",
                     periodic ? "periodic" : "one-shot", s.timer_initial, s.timer_current(now_ns),
                     s.timer_divisor());
}

std::string print_target(const GsiTarget& target) {
  if (const PicPin* pic = std::get_if<PicPin>(&target)) return fmt::format("pic {}", pic->pin);
  if (const IoapicPin* ioapic = std::get_if<IoapicPin>(&target))
    return fmt::format("ioapic {}", ioapic->pin);
  if (const MsiMessage* msi = std::get_if<MsiMessage>(&target))
    return fmt::format("msi {:#x}={:#x}", msi->address, msi->data);
  const HypervSint& sint = std::get<HypervSint>(target);
  return fmt::format("sint {} of vCPU {}", sint.sint, sint.vcpu);
}

}  // namespace

std::string print_pic(const PicState& master, const PicState& slave) {
  return print_chip("master", master) + print_chip("slave", slave);
}

std::string print_ioapic(const IoapicState& state) {
  std::string text = fmt::format("ioapic id={} select={:02x} pins={:06x}\n", state.id,
                                 state.ioregsel, state.levels);
  for (unsigned pin = 0; pin < IoapicState::kPins; pin++) {
    const u64 entry = state.ioredtbl[pin];
    text += fmt::format("  pin {:2} {:016x} vector={:02x} {} to {}{:02x} {}{}{}{}\n", pin, entry,
                        entry & 0xff, delivery_name(bits(entry, 10, 8)),
                        test_bit(entry, 11) ? "logical " : "", bits(entry, 63, 56),
                        entry & IoapicState::kLevelTriggered ? "level" : "edge",
                        flag(test_bit(entry, 13), "active-low"),
                        flag(entry & IoapicState::kRemoteIrr, "remote-irr"),
                        flag(entry & IoapicState::kMasked, "masked"));
  }
  return text;
}

std::string print_lapic(const LapicState& s, i64 now_ns) {
  constexpr std::string_view kLvtNames[] = {"timer", "thermal", "performance",
                                            "lint0", "lint1",   "error"};
  const u32 ldr = s.x2apic() ? lapic::x2apic_ldr(s.id) : s.ldr;
  std::string text = fmt::format(
      "lapic id={} base={:#x} {} spurious={:02x}{} tpr={:02x} ldr={:08x} dfr={:08x} esr={:02x} "
      "icr={:016x}\n",
      s.id, s.apic_base & lapic::kBaseAddressMask,
      s.x2apic()    ? "x2apic"
      : s.enabled() ? "xapic"
                    : "disabled",
      s.svr & 0xff, flag(!(s.svr & 0x100), "software-disabled"), s.tpr, ldr, s.dfr, s.esr, s.icr);
  for (unsigned i = 0; i < LapicState::kLvts; i++) text += print_lvt(kLvtNames[i], s.lvt[i]);
  text += print_timer(s, now_ns);
  return text + print_vectors("isr", s.isr) + print_vectors("irr", s.irr);
}

std::string print_irqs(const IrqStatistics& statistics, const GsiRouting& routing) {
  std::string text;
  const std::vector<GsiRoute> routes = routing.entries();
  for (unsigned gsi = 0; gsi < statistics.size(); gsi++) {
    const IrqStatistics::Line line = statistics.line(gsi);
    if (line.raised == 0) continue;
    text += fmt::format("{:4}: {:10} raised {:8} coalesced{}", gsi, line.raised, line.coalesced,
                        line.level ? " high" : "");
    for (const GsiRoute& route : routes)
      if (route.gsi == gsi) text += fmt::format("  {}", print_target(route.target));
    text += '\n';
  }
  return text;
}

}  // namespace menura
