// Bitmaps: the persistent dirty bitmaps of an image. Those that are enabled record every write while
// the image is open, and are stored when it closes; meanwhile the file marks them as in use.
//
// Owner: Qcow2Image. Threads: note_write() on any; the rest while nothing else is in flight.
// Spec: "Bitmaps". Example: `TRY(bitmaps.add({.name = "b0", .granularity = 65536}));`
#pragma once

#include <mutex>

#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

class Bitmaps final : public BitmapStore {
 public:
  explicit Bitmaps(Qcow2Image& image) : image_(image) {}
  // Of a writable image: its enabled bitmaps record from now on.
  static Result<std::unique_ptr<Bitmaps>> load_recording(Qcow2Image& image);
  // For query-block's format-specific information.
  static Value describe(Qcow2Image& image);

  bool records() const { return !recording_.empty(); }
  Result<void> note_write(u64 offset, u64 length);
  Result<void> store_all();

  std::vector<BitmapInfo> list() const override;
  Result<void> add(BitmapInfo bitmap) override;
  Result<void> remove(std::string_view name) override;
  Result<void> set_enabled(std::string_view name, bool enabled) override;
  Result<BitmapContent> load(std::string_view name) override;
  Result<void> store(std::string_view name, const BitmapContent& content) override;
  Result<void> continue_from(std::string_view name, const BitmapContent& content) override;

  struct Record {
    BitmapInfo info;
    u64 table_offset = 0;
    u32 table_size = 0;  // entries
    u32 flags = 0;
    std::vector<std::byte> extra;
    u64 flags_at = 0;  // in the file
  };
  static Result<std::vector<Record>> read_directory(const Qcow2Image& image);
  static Result<std::vector<u64>> read_table(const Qcow2Image& image, const Record& record);

 private:
  struct Recording {
    std::string name;
    u64 granularity;
    BitmapContent content;
  };
  Result<void> write_directory(std::vector<Record> records);
  Result<Record*> find(std::string_view name);
  Result<void> mark_in_use();
  Result<void> store_content(Record& record, const BitmapContent& content);
  Result<void> release_content(const Record& record);
  u64 words_for(u64 granularity) const;

  Qcow2Image& image_;
  std::vector<Record> records_;
  std::mutex mutex_;  // of what follows
  std::vector<Recording> recording_;
  bool in_use_marked_ = false;
};

}  // namespace menura::qcow2
