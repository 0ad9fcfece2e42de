#include "accel/registry.h"

#include <algorithm>

#include "base/text.h"

namespace menura {

namespace {

bool answers_to(const AcceleratorKind& kind, std::string_view name) {
  return kind.name == name || std::ranges::find(kind.aliases, name) != kind.aliases.end();
}

}  // namespace

Result<const AcceleratorKind*> find_accelerator(std::string_view name,
                                                std::span<const AcceleratorKind> kinds) {
  std::vector<std::string_view> known;
  std::vector<std::string_view> offered;
  for (const AcceleratorKind& kind : kinds) {
    if (answers_to(kind, name)) return &kind;
    known.push_back(kind.name);
    known.insert(known.end(), kind.aliases.begin(), kind.aliases.end());
    if (!kind.foreign) offered.push_back(kind.name);
  }
  const std::string near = suggestion(name, known);
  return fail(Errc::NotFound, "There is no accelerator '{}'{}", name,
              near.empty() ? format("; there are {}", join(offered, ", ")) : near);
}

Result<ChosenAccelerator> choose_accelerator(std::span<const std::string> wanted,
                                             std::span<const AcceleratorKind> kinds,
                                             const AcceleratorContext& context) {
  ensure(!wanted.empty(), "some accelerator is wanted");
  std::vector<const AcceleratorKind*> row;
  for (const std::string& name : wanted) row.push_back(TRY(find_accelerator(name, kinds)));
  std::vector<std::string> reasons;
  Errc code = Errc::Unsupported;
  for (const AcceleratorKind* kind : row) {
    Result<std::unique_ptr<Accelerator>> made = kind->create(context);
    if (made) return ChosenAccelerator{kind, std::move(made).value(), std::move(reasons)};
    code = made.error().code;
    reasons.push_back(
        format("Accelerator {} does not work here: {}", kind->name, made.error().text));
  }
  if (reasons.size() == 1) return Error{code, reasons[0]};
  std::string text = "None of the accelerators works here";
  for (size_t i = 0; i < row.size(); i++) text += format("\n  {}", reasons[i]);
  return Error{code, text};
}

std::vector<AcceleratorKind> foreign_accelerators() {
  const auto row = [](std::string_view name, std::string_view system, std::string_view instead) {
    const auto refuse = [=](const AcceleratorContext&) -> Result<std::unique_ptr<Accelerator>> {
      return fail(Errc::Unsupported, "{} is an accelerator of {}, menura runs on Linux; use {}",
                  name, system, instead);
    };
    return AcceleratorKind{.name = name, .help = system, .create = refuse, .foreign = true};
  };
  return {row("hvf", "macOS", "kvm, or jit where there is no /dev/kvm"),
          row("whpx", "Windows", "kvm, or jit where there is no /dev/kvm"),
          row("hax", "Windows and macOS until 2023", "kvm, or jit where there is no /dev/kvm")};
}

std::string accelerator_help(std::span<const AcceleratorKind> kinds) {
  std::string text = "Accelerators:\n";
  for (const AcceleratorKind& kind : kinds) {
    if (kind.foreign) continue;
    std::string names(kind.name);
    for (std::string_view alias : kind.aliases) names += format(", {}", alias);
    text += format("  {:<14}  {}\n", names, kind.help);
  }
  return text;
}

}  // namespace menura
