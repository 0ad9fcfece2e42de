// The kinds of block jobs: stream, commit, mirror (also the commit of an active image), backup.
//
// Owner: a Job. Threads: as JobWork. Guests write meanwhile: a WriteObserver of the node sees to it
// that no write is lost, and none is seen that came after a point in time.
// Example: `jobs.start(options, make_mirror({.source = node, .target = copy, .sync = Sync::Full}));`
#pragma once

#include "block/job/job.h"

namespace menura {

enum class Sync : u8 { Top, Full, None, Incremental, Bitmap };
std::span<const std::string_view> enum_names(Sync);
enum class BitmapMode : u8 { OnSuccess, Never, Always };
std::span<const std::string_view> enum_names(BitmapMode);
enum class CopyMode : u8 { Background, WriteBlocking };
std::span<const std::string_view> enum_names(CopyMode);

// The content of the images below `top`, above `base` (null: of all), moves into it.
struct StreamPlan {
  NodePtr top, base;
  std::optional<std::string> backing_file;  // what the header then says; else base's own name
  std::string backing_format;
  OnError on_error = OnError::Report;
};
std::unique_ptr<JobWork> make_stream(StreamPlan plan);

// The content of `top` and what lies between moves down into `base`. `above` has top as its backing.
struct CommitPlan {
  NodePtr above, top, base;
  std::optional<std::string> backing_file;
  OnError on_error = OnError::Report;
};
std::unique_ptr<JobWork> make_commit(CommitPlan plan);

// A copy that follows its source; completed, it takes the source's place.
struct MirrorPlan {
  NodePtr source, target;
  Sync sync = Sync::Full;  // Full, Top, None
  u64 granularity = 64 * 1024;
  CopyMode copy_mode = CopyMode::Background;
  bool unmap = true;
  OnError on_source_error = OnError::Report, on_target_error = OnError::Report;
  NodePtr replaces = {};      // whose place it takes; null: the source's
  bool into_backing = false;  // the commit of an active image: target lies below the source
};
std::unique_ptr<JobWork> make_mirror(MirrorPlan plan);

// A copy of the content at the time when the job begins.
struct BackupPlan {
  NodePtr source, target;
  Sync sync = Sync::Full;
  std::string bitmap = {};  // of the source: Incremental, Bitmap
  BitmapMode bitmap_mode = BitmapMode::OnSuccess;
  bool compress = false;
  OnError on_source_error = OnError::Report, on_target_error = OnError::Report;
};
std::unique_ptr<JobWork> make_backup(BackupPlan plan);

// --- Graph work that jobs and snapshots share; under Graph::Change.

// The node and the files below it become writable, or read-only again.
Result<void> make_writable(Node& node);
void make_read_only_again(Node& node);
// The node's backing image from here on, in memory and in its header.
Result<void> change_backing(Node& node, Node* backing, const std::string& file,
                            const std::string& format);
// `overlay`, which has no backing image, goes between the node and its users.
Result<void> insert_overlay(Node& node, Node& overlay);
// Bitmaps of a node, of either kind, by name.
Result<BitmapContent> bitmap_content(Node& node, std::string_view name, u64& granularity);

}  // namespace menura
