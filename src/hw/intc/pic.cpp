#include "hw/intc/pic.h"

#include "base/bits.h"
#include "base/trace.h"

namespace menura {

TRACE_EVENT(kPicWrite, "pic.write", "{} port {} value {:#04x}");
TRACE_EVENT(kPicAcknowledge, "pic.acknowledge", "vector {:#04x}");

namespace {

constexpr unsigned kTimer = 0;
constexpr unsigned kCascade = 2;
constexpr unsigned kSpurious = 7;
constexpr AccessRules kBytes{.handler_max = 1};

// OCW2 bits 7:5.
enum class Ocw2 : u8 {
  RotateInAutoEoiOff,
  NonSpecificEoi,
  NoOperation,
  SpecificEoi,
  RotateInAutoEoiOn,
  RotateOnNonSpecificEoi,
  SetPriority,
  RotateOnSpecificEoi,
};

}  // namespace

void PicState::describe(StateVisitor& v) {
  v.field("levels", levels);
  v.field("irr", irr);
  v.field("isr", isr);
  v.field("imr", imr);
  v.field("elcr", elcr);
  v.field("highest", highest);
  v.field("vector_base", vector_base);
  v.field("expect", expect);
  v.field("icw4_needed", icw4_needed);
  v.field("single", single);
  v.field("read_isr", read_isr);
  v.field("poll", poll);
  v.field("special_mask", special_mask);
  v.field("auto_eoi", auto_eoi);
  v.field("rotate_on_auto_eoi", rotate_on_auto_eoi);
  v.field("special_fully_nested", special_fully_nested);
}

Result<void> PicState::check() const {
  if (highest > 7 || (vector_base & 7) != 0)
    return fail(Errc::Corrupt, "The 8259A's saved priority or vector is out of range");
  return {};
}

void Pic8259::reset() {
  // The pins belong to the devices: they lower them in their own reset.
  state = PicState{.levels = state.levels};
}

int Pic8259::highest_of(u8 set) const {
  if (set == 0) return -1;
  unsigned ir = state.highest;
  while (!test_bit(set, ir)) ir = (ir + 1) & 7;
  return static_cast<int>(ir);
}

int Pic8259::request() const {
  const int wanted = highest_of(state.irr & ~state.imr);
  if (wanted < 0) return -1;
  // Special mask mode: a masked level in service holds nobody back.
  u8 serving = state.special_mask ? state.isr & ~state.imr : state.isr;
  if (state.special_fully_nested && place_ == Place::Master && wanted == kCascade)
    serving &= ~bit(kCascade);
  const int busy = highest_of(serving);
  if (busy >= 0 && distance(static_cast<unsigned>(busy)) <= distance(static_cast<unsigned>(wanted)))
    return -1;
  return wanted;
}

void Pic8259::accept(unsigned ir) {
  if (!state.auto_eoi)
    state.isr |= bit(ir);
  else if (state.rotate_on_auto_eoi)
    state.highest = (ir + 1) & 7;
  if (!test_bit(state.elcr, ir)) state.irr &= ~bit(ir);
}

IrqStatus Pic8259::set_pin(unsigned pin, bool level) {
  const u8 mask = static_cast<u8>(bit(pin));
  const bool rises = level && !(state.levels & mask);
  const bool was_requested = state.irr & mask;
  state.levels = level ? state.levels | mask : state.levels & ~mask;
  if (state.elcr & mask)
    state.irr = merge(state.irr, state.levels, mask);
  else if (rises)
    state.irr |= mask;
  if (!rises || (state.imr & mask)) return IrqStatus::Ignored;
  return was_requested ? IrqStatus::Coalesced : IrqStatus::Delivered;
}

void Pic8259::set_elcr(u8 value) {
  state.elcr = value & elcr_writable_;
  state.irr = merge(state.irr, state.levels, state.elcr);
}

u8 Pic8259::read(unsigned port) {
  if (state.poll) {
    state.poll = false;
    const int ir = request();
    if (ir < 0) return kSpurious;  // bit 7 clear; the rest as INTA would give it
    accept(static_cast<unsigned>(ir));
    return static_cast<u8>(0x80 | ir);
  }
  if (port == 1) return state.imr;
  return state.read_isr ? state.isr : state.irr;
}

void Pic8259::write(unsigned port, u8 value) {
  using Expect = PicState::Expect;
  if (port == 0) {
    if (test_bit(value, 4))
      write_icw1(value);
    else if (test_bit(value, 3))
      write_ocw3(value);
    else
      write_ocw2(value);
    return;
  }
  switch (state.expect) {
    case Expect::Ocw1: state.imr = value; return;
    case Expect::Icw2:
      state.vector_base = value & 0xf8;
      if (!state.single)
        state.expect = Expect::Icw3;
      else
        state.expect = state.icw4_needed ? Expect::Icw4 : Expect::Ocw1;
      return;
    case Expect::Icw3:  // the cascade is soldered
      state.expect = state.icw4_needed ? Expect::Icw4 : Expect::Ocw1;
      return;
    case Expect::Icw4:
      state.special_fully_nested = test_bit(value, 4);
      state.auto_eoi = test_bit(value, 1);
      state.expect = Expect::Ocw1;
      return;
  }
}

// ICW1's LTIM (bit 3) has no effect in PIIX3: the ELCR took its place.
void Pic8259::write_icw1(u8 value) {
  const PicState old = state;
  state = PicState{.levels = old.levels, .elcr = old.elcr, .vector_base = old.vector_base};
  // Edges must come anew; levels that are there stay.
  state.irr = old.levels & old.elcr;
  state.icw4_needed = test_bit(value, 0);
  state.single = test_bit(value, 1);
  state.expect = PicState::Expect::Icw2;
  if (state.icw4_needed) {
    state.special_fully_nested = old.special_fully_nested;
    state.auto_eoi = old.auto_eoi;
  }
}

void Pic8259::write_ocw2(u8 value) {
  const u8 level = value & 7;
  // A non-specific EOI never ends a level that special mask mode has masked.
  const int serving = highest_of(state.special_mask ? state.isr & ~state.imr : state.isr);
  switch (static_cast<Ocw2>(value >> 5)) {
    case Ocw2::RotateInAutoEoiOff: state.rotate_on_auto_eoi = false; return;
    case Ocw2::RotateInAutoEoiOn: state.rotate_on_auto_eoi = true; return;
    case Ocw2::NonSpecificEoi:
      if (serving >= 0) state.isr &= ~bit(static_cast<unsigned>(serving));
      return;
    case Ocw2::RotateOnNonSpecificEoi:
      if (serving < 0) return;
      state.isr &= ~bit(static_cast<unsigned>(serving));
      state.highest = (serving + 1) & 7;
      return;
    case Ocw2::NoOperation: return;
    case Ocw2::SpecificEoi: state.isr &= ~bit(level); return;
    case Ocw2::SetPriority: state.highest = (level + 1) & 7; return;
    case Ocw2::RotateOnSpecificEoi:
      state.isr &= ~bit(level);
      state.highest = (level + 1) & 7;
      return;
  }
}

void Pic8259::write_ocw3(u8 value) {
  if (test_bit(value, 6)) state.special_mask = test_bit(value, 5);
  if (test_bit(value, 2))
    state.poll = true;
  else if (test_bit(value, 1))
    state.read_isr = test_bit(value, 0);
}

// PIIX3 leaves IRQ0, 1, 2, 8 and 13 edge-triggered.
Pic::Pic(std::string id, IrqLine intr)
    : Device(std::move(id)),
      intr_(intr),
      master_ports_(Region::mmio("pic", 2, master_window_, kBytes)),
      slave_ports_(Region::mmio("pic", 2, slave_window_, kBytes)),
      elcr_ports_(Region::mmio("elcr", 2, elcr_window_, kBytes)),
      master_(Pic8259::Place::Master, 0xf8),
      slave_(Pic8259::Place::Slave, 0xde) {}

void Pic::reset(ResetKind) {
  master_.reset();
  slave_.reset();
  update();
}

void Pic::describe(StateVisitor& v) {
  v.field("master", master_.state);
  v.field("slave", slave_.state);
}

Result<void> Pic::restored() {
  TRY(master_.state.check());
  TRY(slave_.state.check());
  master_.state.levels = with_bits(master_.state.levels, kCascade, kCascade, slave_.request() >= 0);
  intr_.import(master_.request() >= 0);
  return {};
}

IrqStatus Pic::set_irq(unsigned pin, bool level) {
  if (pin == kCascade || pin > 15) return IrqStatus::Ignored;
  const IrqStatus status = pin < 8 ? master_.set_pin(pin, level) : slave_.set_pin(pin - 8, level);
  update();
  return status;
}

void Pic::update() {
  master_.set_pin(kCascade, slave_.request() >= 0);
  const bool intr = master_.request() >= 0;
  if (intr != intr_.level()) intr_.set(intr);
}

int Pic::acknowledge() {
  int vector = master_.state.vector_base;
  const int ir = master_.request();
  if (ir < 0) {
    vector += kSpurious;
  } else {
    master_.accept(static_cast<unsigned>(ir));
    vector += ir;
  }
  if (ir == kCascade) {
    const int slave_ir = slave_.request();
    if (slave_ir >= 0) slave_.accept(static_cast<unsigned>(slave_ir));
    master_.set_pin(kCascade, false);  // INT falls at INTA: what still waits is a new edge
    vector = slave_.state.vector_base + (slave_ir >= 0 ? slave_ir : static_cast<int>(kSpurious));
  }
  trace(kPicAcknowledge, vector);
  update();
  if (ir == kTimer && timer_taken_) timer_taken_();
  return vector;
}

u64 Pic::read_master(Access access) {
  const u8 value = master_.read(static_cast<unsigned>(access.offset));
  update();  // a poll changes what is requested
  return value;
}

void Pic::write_master(Access access, u64 value) {
  trace(kPicWrite, "master", access.offset, value);
  master_.write(static_cast<unsigned>(access.offset), static_cast<u8>(value));
  update();
}

u64 Pic::read_slave(Access access) {
  const bool polled = slave_.state.poll;
  const u8 value = slave_.read(static_cast<unsigned>(access.offset));
  if (polled) master_.set_pin(kCascade, false);
  update();
  return value;
}

void Pic::write_slave(Access access, u64 value) {
  trace(kPicWrite, "slave", access.offset, value);
  slave_.write(static_cast<unsigned>(access.offset), static_cast<u8>(value));
  update();
}

u64 Pic::read_elcr(Access access) { return (access.offset == 0 ? master_ : slave_).elcr(); }

void Pic::write_elcr(Access access, u64 value) {
  (access.offset == 0 ? master_ : slave_).set_elcr(static_cast<u8>(value));
  update();
}

}  // namespace menura
