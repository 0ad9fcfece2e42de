// Making qcow2 images: the options of `create -o` and `amend -o`, and how large an image would be.
//
// Owner: block/qcow2. Threads: any. Spec: qemu-img(1), "qcow2".
// Example: `TRY(graph.create("qcow2", "a.qcow2", 10 * GiB, options));`
#pragma once

#include "block/core/driver.h"
#include "block/luks/luks_volume.h"
#include "block/qcow2/format.h"

namespace menura::qcow2 {

struct CreateOptions {
  std::string compat = "1.1";
  std::string backing_file;
  std::string backing_fmt;
  Size cluster_size{64 * KiB};
  Preallocation preallocation = Preallocation::Off;
  bool lazy_refcounts = false;
  u32 refcount_bits = 16;
  CompressionType compression_type = CompressionType::Zlib;
  std::string data_file;
  bool data_file_raw = false;
  bool extended_l2 = false;
  struct Encrypt : luks::LuksOptions {
    std::string format;
    void describe(PropertyVisitor& p);
  } encrypt;
  std::optional<Size> size;
  void describe(PropertyVisitor& p);
};

struct AmendOptions {
  std::optional<std::string> compat;
  std::optional<std::string> backing_file;
  std::optional<std::string> backing_fmt;
  std::optional<std::string> data_file;
  std::optional<bool> data_file_raw;
  std::optional<bool> lazy_refcounts;
  std::optional<u32> refcount_bits;
  std::optional<Size> size;
  void describe(PropertyVisitor& p);
};

Result<void> create(CreateContext& context);
Result<Measure> measure(const MeasureContext& context);

}  // namespace menura::qcow2
