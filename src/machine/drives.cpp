#include "machine/drives.h"

#include "base/text.h"
#include "block/raw_disk.h"

namespace menura {

Result<void> Drives::open(const DriveOptions& options) {
  auto drive = std::make_unique<Drive>();
  drive->options = options;
  std::string& id = drive->options.id;
  if (id.empty()) id = format("drive{}", drives_.size());
  for (const std::unique_ptr<Drive>& other : drives_)
    if (other->options.id == id)
      return fail(Errc::Exists, "-drive: there is a drive '{}' already", id);
  if (options.format != "raw")
    return fail(Errc::Unsupported,
                "-drive file={}: image format '{}' is not there yet, only raw is", options.file,
                options.format);
  const bool readonly = options.readonly || options.media == DriveOptions::Media::Cdrom;
  drive->disk = TRY(RawDisk::open(engine_, options.file,
                                  readonly ? RawDisk::Mode::ReadOnly : RawDisk::Mode::ReadWrite),
                    "-drive");
  drives_.push_back(std::move(drive));
  return {};
}

Result<Drive*> Drives::take(std::string_view id) {
  std::vector<std::string_view> ids;
  for (const std::unique_ptr<Drive>& drive : drives_) {
    ids.push_back(drive->options.id);
    if (drive->options.id != id) continue;
    if (drive->plugged) return fail(Errc::Busy, "Drive '{}' is in use already", id);
    drive->plugged = true;
    return drive.get();
  }
  return fail(Errc::NotFound, "There is no drive '{}'{}", id, suggestion(id, ids));
}

}  // namespace menura
