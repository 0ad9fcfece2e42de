#include "control/monitor/hmp_block.h"

#include <algorithm>

#include "base/units.h"
#include "control/monitor/qmp_block.h"
#include "control/monitor/qmp_block_graph.h"
#include "machine/drives.h"

namespace menura::hmp {

namespace {

// Words in their places, and letters before them: "-n -f hd0 copy.qcow2".
struct Parts {
  std::string letters;
  std::vector<std::string> words;
  bool has(char letter) const { return letters.find(letter) != std::string::npos; }
};

Result<Parts> parts_of(HmpWords words, std::string_view letters, size_t least, size_t most) {
  Parts parts;
  for (const std::string_view word : words) {
    if (parts.words.empty() && word.size() == 2 && word[0] == '-') {
      if (letters.find(word[1]) == std::string_view::npos)
        return fail(Errc::InvalidArgument, "'{}' is no letter of this command", word);
      parts.letters += word[1];
    } else {
      parts.words.emplace_back(word);
    }
  }
  if (parts.words.size() < least || parts.words.size() > most)
    return fail(Errc::InvalidArgument, "Expected {} to {} words, not {}", least, most,
                parts.words.size());
  return parts;
}

template <auto function>
Result<std::string> on_job(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "", 1, 1));
  JobDevice job;
  job.device = parts.words[0];
  TRY(function(context.target, job));
  return std::string();
}

}  // namespace

Result<std::string> resize_block(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "", 2, 2));
  BlockResize wanted;
  wanted.device = parts.words[0];
  wanted.size = {TRY(parse_size(parts.words[1]))};
  TRY(block_resize(context.target, wanted));
  return std::string();
}

Result<std::string> stream_block(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "", 1, 3));
  BlockStream wanted;
  wanted.device = parts.words[0];
  if (parts.words.size() > 1) wanted.speed = TRY(parse_size(parts.words[1]));
  if (parts.words.size() > 2) wanted.base = parts.words[2];
  TRY(block_stream(context.target, wanted));
  return std::string();
}

Result<std::string> set_job_speed(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "", 2, 2));
  JobSpeed wanted;
  wanted.device = parts.words[0];
  wanted.speed = TRY(parse_size(parts.words[1]));
  TRY(block_job_set_speed(context.target, wanted));
  return std::string();
}

Result<std::string> cancel_job(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "f", 1, 1));
  JobCancel wanted;
  wanted.device = parts.words[0];
  wanted.force = parts.has('f');
  TRY(block_job_cancel(context.target, wanted));
  return std::string();
}

Result<std::string> pause_job(HmpContext& context, HmpWords words) {
  return on_job<block_job_pause>(context, words);
}
Result<std::string> resume_job(HmpContext& context, HmpWords words) {
  return on_job<block_job_resume>(context, words);
}
Result<std::string> complete_job(HmpContext& context, HmpWords words) {
  return on_job<block_job_complete>(context, words);
}

Result<std::string> mirror_drive(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "nf", 2, 3));
  DriveMirror wanted;
  wanted.device = parts.words[0], wanted.target = parts.words[1];
  if (parts.words.size() > 2) wanted.format = parts.words[2];
  wanted.mode = parts.has('n') ? NewImageMode::Existing : NewImageMode::AbsolutePaths;
  wanted.sync = parts.has('f') ? Sync::Full : Sync::Top;
  TRY(drive_mirror(context.target, wanted));
  return std::string();
}

Result<std::string> backup_drive(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "nfc", 2, 3));
  DriveBackup wanted;
  wanted.device = parts.words[0], wanted.target = parts.words[1];
  if (parts.words.size() > 2) wanted.format = parts.words[2];
  wanted.mode = parts.has('n') ? NewImageMode::Existing : NewImageMode::AbsolutePaths;
  wanted.sync = parts.has('f') ? Sync::Full : Sync::Top;
  wanted.compress = parts.has('c');
  TRY(drive_backup(context.target, wanted));
  return std::string();
}

Result<std::string> snapshot_drive(HmpContext& context, HmpWords words) {
  const Parts parts = TRY(parts_of(words, "n", 2, 3));
  BlockdevSnapshotSync wanted;
  wanted.device = parts.words[0], wanted.file = parts.words[1];
  if (parts.words.size() > 2) wanted.format = parts.words[2];
  wanted.mode = parts.has('n') ? NewImageMode::Existing : NewImageMode::AbsolutePaths;
  TRY(blockdev_snapshot_sync(context.target, wanted));
  return std::string();
}

Result<std::string> info_block_jobs(HmpContext& context, HmpWords) {
  const std::vector<BlockJobInfo> jobs = TRY(query_block_jobs(context.target, {}));
  if (jobs.empty()) return std::string("No active jobs\n");
  std::string text;
  for (const BlockJobInfo& job : jobs)
    text += format("Type {}, device {}: {} of {} bytes, speed limit {} bytes/s, {}{}\n", job.type,
                   job.device, job.offset, job.len, job.speed,
                   enum_names(job.status)[static_cast<size_t>(job.status)],
                   job.error ? ": " + *job.error : "");
  return text;
}

std::vector<std::string> complete_drive(HmpContext& context) {
  std::vector<std::string> names;
  for (const std::unique_ptr<Drive>& drive : context.target.machine.drives().all())
    names.push_back(drive->options.id);
  return names;
}

std::vector<std::string> complete_job_name(HmpContext& context) {
  std::vector<std::string> names;
  for (const std::shared_ptr<Job>& job : context.target.machine.drives().jobs().all())
    names.push_back(job->options().id);
  return names;
}

}  // namespace menura::hmp
