// The accelerators by name, and the choice among them: `-accel kvm -accel jit`, `accel=kvm:tcg`.
//
// Owner: accel; the rows come from the machine, which sees every engine. Threads: none. The first of
// the wanted ones that can be made wins; why others failed is kept. Example:
//   std::vector<AcceleratorKind> kinds{{.name = "kvm", .help = "…", .create = make_kvm}, …};
//   for (AcceleratorKind& kind : foreign_accelerators()) kinds.push_back(std::move(kind));
//   ChosenAccelerator chosen = TRY(choose_accelerator(wanted, kinds, context));
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "accel/accelerator.h"

namespace menura {

struct AcceleratorKind {
  std::string_view name;
  std::vector<std::string_view> aliases = {};
  std::string_view help;  // one line for `-accel help`
  // Refuses with why, and what to use instead, on a host or build that has it not.
  std::function<Result<std::unique_ptr<Accelerator>>(const AcceleratorContext&)> create;
  bool foreign = false;  // belongs to another host system: not in the help
};

struct ChosenAccelerator {
  const AcceleratorKind* kind;  // of the span given
  std::unique_ptr<Accelerator> accelerator;
  std::vector<std::string> warnings;  // a line for each that was wanted more but failed
};

// By name or alias; an unknown one is an Error with the nearest known.
Result<const AcceleratorKind*> find_accelerator(std::string_view name,
                                                std::span<const AcceleratorKind> kinds);

// Tries `wanted` (not empty) in order. An unknown name is an Error even when an earlier one would
// work: the user has mistyped. When none works the Error holds every reason.
Result<ChosenAccelerator> choose_accelerator(std::span<const std::string> wanted,
                                             std::span<const AcceleratorKind> kinds,
                                             const AcceleratorContext& context);

// Accelerators that other systems have and Linux has not, each refused in a line.
std::vector<AcceleratorKind> foreign_accelerators();

// For `-accel help`.
std::string accelerator_help(std::span<const AcceleratorKind> kinds);

}  // namespace menura
