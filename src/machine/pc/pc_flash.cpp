#include "machine/pc/pc_flash.h"

#include "base/units.h"
#include "machine/drives.h"

namespace menura {

namespace {

constexpr u64 kFlashLimit = 16 * MiB;  // of both: what lies above is other chips' space

using Chosen = std::array<Drive*, 2>;

Result<Chosen> choose_drives(Machine& machine) {
  Chosen chosen{};
  for (const std::unique_ptr<Drive>& drive : machine.drives().all()) {
    const DriveOptions& options = drive->options;
    if (options.interface != DriveOptions::Interface::Pflash) continue;
    const std::optional<u32> said = TRY(options.place(chosen.size()));
    const u32 unit = said.value_or(chosen[0] ? 1 : 0);
    if (unit >= chosen.size() || chosen[unit])
      return fail(Errc::InvalidArgument,
                  "-drive file={}: a PC has places 0 and 1 for flash, and {} is {}",
                  options.file_name(), unit, unit < chosen.size() ? "taken" : "not among them");
    drive->plugged = true;
    chosen[unit] = drive.get();
  }
  for (size_t unit = 0; unit < chosen.size(); unit++) {
    const std::string& name = machine.config().machine.pflash[unit];
    if (name.empty()) continue;
    if (chosen[unit])
      return fail(Errc::InvalidArgument, "-machine pflash{}: there is a -drive for the same place",
                  unit);
    chosen[unit] = TRY(machine.drives().take(name), "-machine pflash{}", unit);
  }
  return chosen;
}

Result<std::unique_ptr<Pflash>> make_chip(Drive& drive, size_t unit) {
  const u64 size = drive.disk->size();
  if (size == 0 || size % Pflash::kBlock != 0 || size > kFlashLimit)
    return fail(Errc::InvalidArgument,
                "Flash image '{}' has {} bytes; a chip has whole blocks of {} KiB, up to {}",
                drive.options.file_name(), size, Pflash::kBlock / KiB, format_size(kFlashLimit));
  const std::string id = format("system.flash{}", unit);
  std::shared_ptr<RamBlock> content = TRY(RamBlock::create({.name = id, .size = size}));
  TRY(FlashStore::load(*drive.disk, *content), "Reading flash image '{}'",
      drive.options.file_name());
  return std::make_unique<Pflash>(id, std::move(content), *drive.disk);
}

}  // namespace

Result<std::vector<std::unique_ptr<Pflash>>> build_flash(Machine& machine, Region& pci_memory) {
  const Chosen chosen = TRY(choose_drives(machine));
  std::vector<std::unique_ptr<Pflash>> chips;
  if (!chosen[0] && !chosen[1]) return chips;
  if (!chosen[0])
    return fail(Errc::InvalidArgument, "There is flash for variables but none for the firmware");
  if (!machine.config().firmware.bios.empty())
    return fail(Errc::InvalidArgument, "-bios and flash memory both are the firmware; give one");
  u64 end = 4 * GiB;
  for (size_t unit = 0; unit < chosen.size() && chosen[unit]; unit++) {
    chips.push_back(TRY(make_chip(*chosen[unit], unit)));
    end -= chips.back()->content()->size();
    if (end < 4 * GiB - kFlashLimit)
      return fail(Errc::OutOfRange, "The flash chips together are larger than {}",
                  format_size(kFlashLimit));
    pci_memory.map(end, chips.back()->region());
  }
  return chips;
}

}  // namespace menura
