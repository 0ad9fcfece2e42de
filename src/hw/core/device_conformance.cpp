#include "hw/core/device_conformance.h"

#include <algorithm>
#include <array>
#include <random>

#include "state/tree.h"

namespace menura {

namespace {

constexpr size_t kMaxProblems = 10;

// A guest without manners: accesses of every size all over the device's registers. Equal seeds give
// equal guests.
class WildGuest {
 public:
  WildGuest(ConformanceRig& rig, unsigned seed, bool lets_time_pass)
      : rig_(rig), random_(seed), lets_time_pass_(lets_time_pass) {}

  // Everything that it read.
  std::vector<u64> run(unsigned accesses) {
    for (unsigned i = 0; i < accesses; i++) access(rig_.machine.io, 4);
    for (unsigned i = 0; i < accesses; i++) access(rig_.machine.memory, 8);
    return std::move(seen_);
  }

  // Each offset once (of a large region the first), with every size.
  std::vector<u64> read_all() {
    constexpr u64 kOffsets = 512;
    for (AddressSpace* space : {&rig_.machine.io, &rig_.machine.memory}) {
      const View view = space->view();
      for (const FlatRange& range : view->ranges()) {
        if (range.region == &rig_.machine.ram_region) continue;
        const u64 count = std::min(range.last - range.start, kOffsets - 1) + 1;
        for (u64 i = 0; i < count; i++)
          for (unsigned size : {1u, 2u, 4u, 8u})
            seen_.push_back(space->load(range.start + i, size));
      }
    }
    return std::move(seen_);
  }

 private:
  void access(AddressSpace& space, unsigned max_size) {
    const std::optional<GuestAddr> addr = some_register(space);
    if (!addr) return;
    const unsigned size = std::min(1u << random_() % 4, max_size);
    switch (random_() % 4) {
      case 0: {
        std::array<std::byte, 7> odd{};
        (void)space.read(*addr, odd);
        for (std::byte b : odd) seen_.push_back(static_cast<u64>(b));
        break;
      }
      case 1: seen_.push_back(space.load(*addr, size)); break;
      default: space.store(*addr, size, some_value());
    }
    if (lets_time_pass_ && random_() % 16 == 0) rig_.machine.step_ns(random_() % 10'000);
  }

  // Anew each time: writes may move, show and hide registers.
  std::optional<GuestAddr> some_register(const AddressSpace& space) {
    const View view = space.view();
    std::vector<const FlatRange*> ranges;
    for (const FlatRange& range : view->ranges())
      if (range.region != &rig_.machine.ram_region) ranges.push_back(&range);
    if (ranges.empty()) return {};
    const FlatRange& range = *ranges[random_() % ranges.size()];
    const u64 last = range.last - range.start;
    // Registers mostly lie at the beginning.
    const u64 offset = random_() % 4 != 0 ? random_() % 256 : (u64{random_()} << 16) + random_();
    return range.start + (offset > last ? offset % (last + 1) : offset);
  }

  u64 some_value() {
    switch (random_() % 8) {
      case 0: return 0;
      case 1: return ~u64{0};
      case 2: return u64{1} << random_() % 64;
      // An address that DMA can reach, somewhere in the machine's RAM.
      case 3: return random_() % rig_.machine.ram->size() & ~u64{3};
      default: return (u64{random_()} << 32) | random_();
    }
  }

  ConformanceRig& rig_;
  std::mt19937 random_;
  bool lets_time_pass_;
  std::vector<u64> seen_;
};

StateTree state_of(ConformanceRig& rig) {
  Device& device = rig.device();
  return save_state(device, device.id(), device.state_version());
}

void power_on(ConformanceRig& rig) {
  rig.device().reset(ResetKind::PowerOn);
  rig.program();
}

class Problems {
 public:
  void add(std::string text) {
    if (found_.size() < kMaxProblems) found_.push_back(std::move(text));
  }
  void compare_states(const char* when, const StateTree& left, const StateTree& right,
                      const std::vector<std::string>& except = {}) {
    for (const StateDifference& d : compare(left, right)) {
      // A byte string differs at an index: "rtc.cmos[3]".
      const std::string_view whole = std::string_view(d.path).substr(
          0, d.path.ends_with(']') ? d.path.rfind('[') : std::string::npos);
      const auto excused = [&](const std::string& end) {
        return d.path.ends_with(end) || whole.ends_with(end);
      };
      if (std::ranges::any_of(except, excused)) continue;
      add(std::string(when) + ": " + d.path + ": " + d.left + " became " + d.right);
    }
  }
  void compare_reads(const char* when, const std::vector<u64>& left,
                     const std::vector<u64>& right) {
    if (left == right) return;
    const auto [l, r] = std::mismatch(left.begin(), left.end(), right.begin(), right.end());
    add(format("{}: read {} gives {:#x}, not {:#x}", when, l - left.begin(),
               r == right.end() ? 0 : *r, l == left.end() ? 0 : *l));
  }
  std::vector<std::string> take() { return std::move(found_); }

 private:
  std::vector<std::string> found_;
};

void check_reset(const MakeRig& make, Problems& problems) {
  const std::unique_ptr<ConformanceRig> rig = make();
  rig->device().reset(ResetKind::PowerOn);
  const StateTree first = state_of(*rig);
  rig->device().reset(ResetKind::PowerOn);
  problems.compare_states("reset twice", first, state_of(*rig));
  rig->program();
  // No time passes, for a state may hold the time of its reset.
  WildGuest(*rig, 1, false).run(2000);
  rig->device().reset(ResetKind::PowerOn);
  problems.compare_states("reset after a wild guest", first, state_of(*rig), rig->battery_backed());
}

// The twin stands where the original is: at its time, with its RAM.
void place_beside(ConformanceRig& twin, ConformanceRig& original) {
  twin.machine.clock.restore(original.machine.clock.now_ns());
  std::vector<std::byte> content(original.machine.ram->size());
  original.machine.ram->read(0, content);
  twin.machine.ram->write(0, content);
}

void check_twin(const MakeRig& make, unsigned seed, Problems& problems) {
  const std::unique_ptr<ConformanceRig> rig = make();
  power_on(*rig);
  WildGuest(*rig, seed, true).run(1000);
  const std::unique_ptr<ConformanceRig> twin = make();
  twin->device().reset(ResetKind::PowerOn);
  place_beside(*twin, *rig);
  for (std::string& p : TestMachine::round_trip(rig->device(), twin->device()))
    problems.add("loaded into a twin: " + std::move(p));
  problems.compare_reads("reading the loaded twin", WildGuest(*rig, 0, false).read_all(),
                         WildGuest(*twin, 0, false).read_all());
  // Timers that were not saved do not come.
  constexpr i64 kIdleNs = 200'000;
  rig->machine.step_ns(kIdleNs);
  twin->machine.step_ns(kIdleNs);
  problems.compare_states("the twin left alone", state_of(*rig), state_of(*twin));
  problems.compare_reads("the twin under the same guest",
                         WildGuest(*rig, seed + 100, true).run(500),
                         WildGuest(*twin, seed + 100, true).run(500));
  problems.compare_states("the twin after the same guest", state_of(*rig), state_of(*twin));
}

// All leaves of a tree, each replaced in turn: visit(tree with one extreme).
void each_extreme(StateTree& node, const std::function<void()>& visit) {
  const StateTree before = node;
  const auto try_it = [&] {
    visit();
    node = before;
  };
  switch (node.kind) {
    case StateTree::Kind::Integer:
      for (u64 value : {u64{0}, ~u64{0}, u64{1} << 63, (u64{1} << 63) - 1, u64{0x80}}) {
        node.integer = value;
        try_it();
      }
      break;
    case StateTree::Kind::Boolean:
      node.integer = !node.integer;
      try_it();
      break;
    case StateTree::Kind::Text:
      node.text = std::string(1000, 'x');
      try_it();
      break;
    case StateTree::Kind::Bytes:
      node.bytes.clear();
      try_it();
      node.bytes.assign(before.bytes.size(), std::byte{0xff});
      try_it();
      node.bytes.resize(before.bytes.size() + 5000);
      try_it();
      break;
    case StateTree::Kind::List:
      node.children.clear();
      try_it();
      if (!node.children.empty()) {
        node.children.resize(2000, before.children[0]);
        try_it();
      }
      [[fallthrough]];
    case StateTree::Kind::Struct:
      for (StateTree& child : node.children) each_extreme(child, visit);
  }
}

}  // namespace

std::vector<std::string> conformance_problems(const MakeRig& make) {
  Problems problems;
  check_reset(make, problems);
  for (unsigned seed = 1; seed <= 3; seed++) check_twin(make, seed, problems);
  return problems.take();
}

void survive_hostile_states(const MakeRig& make) {
  const std::unique_ptr<ConformanceRig> rig = make();
  power_on(*rig);
  WildGuest(*rig, 7, true).run(300);
  StateTree tree = state_of(*rig);
  each_extreme(tree, [&] {
    const std::unique_ptr<ConformanceRig> victim = make();
    victim->device().reset(ResetKind::PowerOn);
    if (!load_state(victim->device(), tree).ok()) return;
    if (!victim->device().restored().ok()) return;
    WildGuest(*victim, 8, true).run(100);
  });
}

}  // namespace menura
