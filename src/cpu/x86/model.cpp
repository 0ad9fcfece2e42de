#include "cpu/x86/model.h"

#include <algorithm>
#include <charconv>

#include "base/bits.h"
#include "base/check.h"
#include "base/text.h"
#include "cpu/x86/feature_names.h"
#include "cpu/x86/model_table.h"

namespace menura::x86 {

namespace {

// What is offered, all of it.
constexpr std::string_view kWhole[] = {"max", "host"};

// The leaves of a model of its own; the rest describes the host.
constexpr u32 kPlainLeaves[] = {0,           1,           2,           4,           6,
                                7,           0xb,         0xd,         0x8000'0000, 0x8000'0001,
                                0x8000'0002, 0x8000'0003, 0x8000'0004, 0x8000'0005, 0x8000'0006,
                                0x8000'0007, 0x8000'0008, 0x8000'0021};

u32 CpuidEntry::*in_entry(u32 CpuidLeaf::*reg) {
  if (reg == &CpuidLeaf::eax) return &CpuidEntry::eax;
  if (reg == &CpuidLeaf::ebx) return &CpuidEntry::ebx;
  return reg == &CpuidLeaf::ecx ? &CpuidEntry::ecx : &CpuidEntry::edx;
}

class Narrowing {
 public:
  explicit Narrowing(std::vector<CpuidEntry> offered) : offered_(offered) {
    out_.leaves = std::move(offered);
  }

  Result<AppliedModel> apply(std::string_view text) {
    const std::vector<std::string_view> parts = split(text.empty() ? "max" : text, ',');
    const NamedModel* model = find_model(parts[0]);
    const bool whole = std::ranges::find(kWhole, parts[0]) != std::end(kWhole);
    if (!model && !whole)
      return fail(Errc::InvalidArgument, "There is no CPU model '{}'{}", parts[0],
                  suggestion(parts[0], model_names()));
    if (model) use(resolve(*model));
    for (std::string_view part : std::span(parts).subspan(1)) TRY(property(part));
    settle();
    if (enforce_ && !out_.missing.empty())
      return fail(Errc::Unsupported, "CPU model '{}': '{}' is not available here", parts[0],
                  out_.missing.front());
    if (!check_) out_.missing.clear();
    return std::move(out_);
  }

 private:
  void use(const ResolvedModel& model) {
    std::erase_if(out_.leaves, [](const CpuidEntry& e) {
      return std::ranges::find(kPlainLeaves, e.leaf) == std::end(kPlainLeaves) ||
             (e.leaf == 7 && e.subleaf.value_or(0) != 0);
    });
    if (CpuidEntry* e = entry(0)) e->eax = std::min(e->eax, model.level);
    if (CpuidEntry* e = entry(0x8000'0000)) e->eax = std::min(e->eax, 0x8000'0008u);
    // Whole words: bits without a name go too.
    for (const NamedFeature& f : named_features())
      if (CpuidEntry* e = entry(f.bit.leaf, f.bit.subleaf)) e->*in_entry(f.bit.in) = 0;
    // Not features of the CPU, but what its surroundings are like: the accelerator decides.
    for (const std::string_view name : {"hypervisor", "srso-no", "tsa-sq-no", "tsa-l1-no"})
      if (const NamedFeature& f = *find_feature(name); offered(f)) set(f, true);
    if (CpuidEntry* e = entry(0x8000'0000); e && has(*find_feature("srso-no")))
      e->eax = 0x8000'0021;
    for (const std::string_view name : model.features) {
      const NamedFeature* f = find_feature(name);
      ensure(f != nullptr, "a CPU model's feature has a name");
      request(*f);
    }
    set_vendor(model.vendor);
    set_identity(model.family, model.model, model.stepping);
    set_brand(model.brand);
  }

  CpuidEntry* entry(u32 leaf, u32 subleaf = 0) {
    for (CpuidEntry& e : out_.leaves)
      if (e.leaf == leaf && e.subleaf.value_or(0) == subleaf) return &e;
    return nullptr;
  }

  bool offered(const NamedFeature& f) const {
    for (const CpuidEntry& e : offered_)
      if (e.leaf == f.bit.leaf && e.subleaf.value_or(0) == f.bit.subleaf)
        return e.*in_entry(f.bit.in) >> f.bit.number & 1;
    return false;
  }

  bool has(const NamedFeature& f) {
    const CpuidEntry* e = entry(f.bit.leaf, f.bit.subleaf);
    return e && (e->*in_entry(f.bit.in) >> f.bit.number & 1);
  }

  void set(const NamedFeature& f, bool on) {
    if (CpuidEntry* e = entry(f.bit.leaf, f.bit.subleaf)) {
      u32& word = e->*in_entry(f.bit.in);
      word = with_bits(word, f.bit.number, f.bit.number, on);
    }
  }

  void request(const NamedFeature& f) {
    if (offered(f))
      set(f, true);
    else
      out_.missing.emplace_back(f.name);
  }

  Result<void> feature(std::string_view name, bool on) {
    const NamedFeature* f = find_feature(name);
    if (!f)
      return fail(Errc::InvalidArgument, "There is no CPU feature '{}'{}", name,
                  suggestion(name, feature_names()));
    if (on)
      request(*f);
    else
      set(*f, false);
    return {};
  }

  Result<void> property(std::string_view part) {
    if (part.empty()) return {};
    if (part[0] == '+' || part[0] == '-') return feature(part.substr(1), part[0] == '+');
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const std::string_view value = equals == part.npos ? "on" : part.substr(equals + 1);
    if (key == "vendor") return vendor(value);
    if (key == "model-id") {
      set_brand(value);
      return {};
    }
    if (key == "family" || key == "model" || key == "stepping" || key == "phys-bits")
      return number(key, value);
    if (value != "on" && value != "off")
      return fail(Errc::InvalidArgument, "CPU property '{}' is on or off, not '{}'", key, value);
    if (key == "enforce" || key == "check") {
      (key == "enforce" ? enforce_ : check_) = value == "on";
      return {};
    }
    return feature(key, value == "on");
  }

  Result<void> vendor(std::string_view value) {
    if (value.size() != 12)
      return fail(Errc::InvalidArgument, "CPU vendor '{}' has not twelve letters", value);
    set_vendor(value);
    return {};
  }

  Result<void> number(std::string_view key, std::string_view text) {
    u32 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const u32 highest = key == "family"     ? 0x10e
                        : key == "stepping" ? 15
                        : key == "model"    ? 255
                                            : 52;
    const u32 lowest = key == "phys-bits" ? 32 : 0;
    if (error != std::errc{} || end != text.data() + text.size() || value < lowest ||
        value > highest)
      return fail(Errc::InvalidArgument, "CPU property '{}' is a number from {} to {}, not '{}'",
                  key, lowest, highest, text);
    if (key == "phys-bits") {
      if (CpuidEntry* e = entry(0x8000'0008)) e->eax = with_bits(e->eax, 7, 0, value);
      return {};
    }
    const u32 eax = entry(1) ? entry(1)->eax : 0;
    u32 family = bits(eax, 11, 8) + bits(eax, 27, 20);
    u32 model = bits(eax, 7, 4) | bits(eax, 19, 16) << 4;
    u32 stepping = bits(eax, 3, 0);
    (key == "family" ? family : key == "model" ? model : stepping) = value;
    set_identity(family, model, stepping);
    return {};
  }

  // Leaf 1: extended family and model; AMD repeats it in 80000001h.
  void set_identity(u32 family, u32 model, u32 stepping) {
    const u32 base = std::min(family, 15u);
    const u32 eax =
        stepping | (model & 15) << 4 | base << 8 | (model >> 4) << 16 | (family - base) << 20;
    for (u32 leaf : {1u, 0x8000'0001u})
      if (CpuidEntry* e = entry(leaf)) e->eax = eax;
  }

  static u32 letters(std::string_view text, size_t at) {
    u32 word = 0;
    for (size_t i = 0; i < 4 && at + i < text.size(); ++i)
      word |= static_cast<u32>(static_cast<u8>(text[at + i])) << (8 * i);
    return word;
  }

  void set_vendor(std::string_view vendor) {
    for (u32 leaf : {0u, 0x8000'0000u})
      if (CpuidEntry* e = entry(leaf)) {
        e->ebx = letters(vendor, 0);
        e->edx = letters(vendor, 4);
        e->ecx = letters(vendor, 8);
      }
  }

  void set_brand(std::string_view brand) {
    for (u32 i = 0; i < 3; ++i)
      if (CpuidEntry* e = entry(0x8000'0002 + i))
        *e = {.leaf = e->leaf,
              .subleaf = e->subleaf,
              .eax = letters(brand, 16 * i),
              .ebx = letters(brand, 16 * i + 4),
              .ecx = letters(brand, 16 * i + 8),
              .edx = letters(brand, 16 * i + 12)};
  }

  // What follows from the features.
  void settle() {
    bool changed = true;
    while (changed) {
      changed = false;
      for (const NamedFeature& f : named_features())
        if (!f.needs.empty() && has(f) && !has(*find_feature(f.needs))) {
          set(f, false);
          changed = true;
        }
    }
    settle_xsave();
    // AMD repeats bits of leaf 1 in 80000001h, Intel has zeros there.
    constexpr u32 kShared = 0x0183'f3ff;
    const CpuidEntry *leaf0 = entry(0), *leaf1 = entry(1);
    CpuidEntry* extended = entry(0x8000'0001);
    if (!leaf0 || !leaf1 || !extended) return;
    const u32 repeated = leaf0->ebx == kAuth ? leaf1->edx & kShared : 0;
    extended->edx = (extended->edx & ~kShared) | repeated;
  }

  // Leaf 0Dh shows the components that are left, and the room they need.
  void settle_xsave() {
    constexpr u32 kAvxState = 1u << 2, kPkruState = 1u << 9, kAvx512State = 7u << 5;
    u32 components = 0;
    if (has(*find_feature("xsave"))) {
      components = ~0u;
      if (!has(*find_feature("avx"))) components &= ~(kAvxState | kAvx512State);
      if (!has(*find_feature("pku"))) components &= ~kPkruState;
    }
    CpuidEntry* main = entry(0xd);
    if (!main) return;
    main->eax &= components;
    u32 room = main->eax ? 576 : 0;
    std::erase_if(out_.leaves, [&](const CpuidEntry& e) {
      if (e.leaf != 0xd || e.subleaf.value_or(0) < 2) return false;
      return *e.subleaf >= 32 || !(components >> *e.subleaf & 1);
    });
    for (const CpuidEntry& e : out_.leaves)
      if (e.leaf == 0xd && e.subleaf.value_or(0) >= 2) room = std::max(room, e.ebx + e.eax);
    main = entry(0xd);
    main->ebx = main->ecx = room;
    if (CpuidEntry* more = entry(0xd, 1)) more->ebx = components ? room : 0;
  }

  // Configuration
  const std::vector<CpuidEntry> offered_;
  // State
  AppliedModel out_;
  bool enforce_ = false;
  bool check_ = true;
};

}  // namespace

Result<AppliedModel> apply_model(std::string_view text, std::vector<CpuidEntry> offered) {
  return Narrowing(std::move(offered)).apply(text);
}

std::vector<std::string_view> model_names() {
  std::vector<std::string_view> names;
  names.assign(std::begin(kWhole), std::end(kWhole));
  // Short names first: they are what is suggested.
  for (const NamedModel& m : named_models())
    if (m.name.ends_with("-v1")) names.push_back(m.name.substr(0, m.name.size() - 3));
  for (const NamedModel& m : named_models()) names.push_back(m.name);
  for (const ModelAlias& alias : model_aliases()) names.push_back(alias.name);
  return names;
}

std::vector<std::string_view> feature_names() {
  std::vector<std::string_view> names;
  for (const NamedFeature& f : named_features()) names.push_back(f.name);
  return names;
}

}  // namespace menura::x86
