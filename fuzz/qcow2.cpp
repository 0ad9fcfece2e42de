// qcow2 images in memory, sound and damaged: opened, read, written, resized, given snapshots and bitmaps,
// checked and mended. Nothing may crash or hang; what a sound image holds is what was written, and an
// image that was wholly mended is found sound.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "block/core/graph.h"
#include "block/core/stores.h"
#include "block/file/memory_image.h"
#include "block/qcow2/qcow2_image.h"

namespace menura {
namespace {

using Blob = std::vector<std::byte>;

constexpr unsigned kOperations = 60;
// Not those that reach the host's files: a damaged header may name some.
constexpr const Driver* kDrivers[] = {&kQcow2Driver, &kMemoryDriver};
constexpr u64 kLongestRequest = 5000;

struct Kind {
  const char* options;
  u64 cluster, size;
};
constexpr Kind kKinds[] = {
    {"cluster_size=512", 512, 64 * KiB},
    {"cluster_size=512,compat=0.10", 512, 64 * KiB},
    {"cluster_size=512,refcount_bits=1,lazy_refcounts=on", 512, 64 * KiB},
    {"cluster_size=16k,extended_l2=on", 16 * KiB, 512 * KiB},
};

// Of what cannot fail here.
template <class T>
T good(Result<T> result) {
  ensure(result.ok(), result ? "" : result.error().text.c_str());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

Child use(NodePtr node) {
  const Permissions all{kConsistentRead | kWrite | kResize, kConsistentRead};
  return good(Child::attach(std::move(node), {"the fuzzer", "root", all}));
}

NodePtr add_file(Graph& graph) {
  Value options = Value::object();
  options.set("driver", "memory");
  options.set("node-name", "file");
  options.set("size", u64{0});
  options.set("read-only", false);
  return good(graph.add(std::move(options)));
}

Result<Child> open_image(Graph& graph, bool read_only) {
  Value options = Value::object();
  options.set("driver", "qcow2");
  options.set("file", "file");
  options.set("backing", Value());
  options.set("discard", "unmap");
  options.set("read-only", read_only);
  NodePtr node = TRY(graph.open(std::move(options)));
  const u8 writes = read_only ? 0 : kWrite | kResize;
  return Child::attach(
      std::move(node),
      {"the fuzzer", "root", {static_cast<u8>(kConsistentRead | writes), kConsistentRead}});
}

// A small image with something of everything, as its file's bytes and as its guest sees it.
struct Original {
  Blob file, guest;
};

Original make_original(const Kind& kind) {
  Graph graph(kDrivers);
  const NodePtr file = add_file(graph);
  CreateContext context{graph, "image", kind.size, good(parse_keyval(kind.options)), file};
  good(kQcow2Driver.create(context));
  Original made{{}, Blob(kind.size)};
  {
    Child image = good(open_image(graph, false));
    Blob data(3 * kind.cluster);
    for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<std::byte>(i / 7);
    const auto put = [&](u64 at) {
      std::ranges::copy(data, made.guest.begin() + static_cast<i64>(at));
    };
    good(image->write(0, data));
    put(0);
    good(image->write(kind.size - data.size(), data));
    put(kind.size - data.size());
    good(image->write_compressed(8 * kind.cluster, data));
    put(8 * kind.cluster);
    if (SnapshotStore* store = image->image().snapshots()) (void)store->create({.name = "first"});
    good(image->zero(kind.cluster, kind.cluster));
    std::fill_n(made.guest.begin() + static_cast<i64>(kind.cluster), kind.cluster, std::byte{0});
    if (BitmapStore* store = image->image().bitmaps())
      (void)store->add({.name = "dirty", .granularity = kind.cluster});
    good(image->close());
  }
  made.file.resize(file->size());
  good(file->read(0, made.file));
  return made;
}

void damage(FuzzedDataProvider& in, Blob& file, u64 cluster) {
  const size_t header = in.ConsumeBool() ? 160 : file.size();
  const size_t at = in.ConsumeIntegralInRange<size_t>(0, header / 8 - 1) * 8;
  switch (in.ConsumeIntegralInRange(0, 4)) {
    case 0:
      file[at + in.ConsumeIntegralInRange<size_t>(0, 7)] ^= std::byte{in.ConsumeIntegral<u8>()};
      break;
    case 1:
      store_be<u32>(file, at + in.ConsumeIntegralInRange<u64>(0, 1) * 4, in.ConsumeIntegral<u8>());
      break;
    case 2: store_be<u64>(file, at, in.ConsumeIntegral<u64>()); break;
    case 3:
      file.resize(std::max<size_t>(160, in.ConsumeIntegralInRange<size_t>(0, file.size())));
      break;
    default:
      store_be<u64>(file, at,
                    in.ConsumeIntegralInRange<u64>(0, file.size() / cluster + 2) * cluster |
                        u64{in.ConsumeIntegralInRange<u8>(0, 3)} << 62);
  }
}

// What the guest of a sound image must find; nothing is expected of a damaged one.
class Model {
 public:
  Model(const Blob& guest, bool sound) : content(guest), sound_(sound) {}
  bool sound() const { return sound_; }
  void must(const Result<void>& result) const {
    ensure(!sound_ || result.ok(), "a sound image can be read and written");
  }
  void read(Node& node, u64 at, u64 length) {
    Blob bytes(length);
    const Result<void> read = node.read(at, bytes);
    must(read);
    ensure(
        !sound_ || std::equal(bytes.begin(), bytes.end(), content.begin() + static_cast<i64>(at)),
        "what is read was written");
  }
  // It may read as before, or as zeroes.
  void discard(Node& node, u64 at, u64 length) {
    must(node.discard(at, length));
    if (!sound_) return;
    Blob bytes(length);
    must(node.read(at, bytes));
    for (u64 i = 0; i < length; i++)
      ensure(bytes[i] == std::byte{0} || bytes[i] == content[at + i],
             "discarded bytes are old or zero");
    std::ranges::copy(bytes, content.begin() + static_cast<i64>(at));
  }

  Blob content;
  std::map<std::string, Blob> snapshots;

 private:
  bool sound_;
};

void use_snapshots(FuzzedDataProvider& in, Node& node, Model& model) {
  SnapshotStore* store = node.image().snapshots();
  if (!store) return;
  const std::string name = in.ConsumeBool() ? "second" : "third";
  (void)store->list();
  switch (in.ConsumeIntegralInRange(0, 2)) {
    case 0:
      if (!model.snapshots.contains(name) && store->create({.name = name}).ok())
        model.snapshots[name] = model.content;
      return;
    case 1:
      if (store->apply(name).ok() && model.sound()) model.content = model.snapshots.at(name);
      return;
    default:
      if (store->remove(name).ok()) model.snapshots.erase(name);
  }
}

void use_bitmaps(FuzzedDataProvider& in, Node& node) {
  BitmapStore* store = node.image().bitmaps();
  if (!store) return;
  const std::string name = in.ConsumeBool() ? "dirty" : "more";
  (void)store->list();
  switch (in.ConsumeIntegralInRange(0, 4)) {
    case 0:
      (void)store->add({.name = name, .granularity = 512u << in.ConsumeIntegralInRange(0, 8)});
      return;
    case 1: (void)store->remove(name); return;
    case 2: (void)store->set_enabled(name, in.ConsumeBool()); return;
    default:
      if (auto content = store->load(name)) (void)store->store(name, *content);
  }
}

void check(Node& node, Repair repair, const Model& model) {
  const Result<CheckReport> report = node.image().check(repair);
  if (!report) return;
  if (model.sound())
    ensure(report->corruptions == 0 && report->check_errors == 0, "the image is sound");
  if (repair != Repair::All || report->corruptions != report->corruptions_fixed ||
      report->leaks != report->leaks_fixed || report->check_errors)
    return;
  const Result<CheckReport> again = node.image().check(Repair::None);
  ensure(!again || (again->corruptions == 0 && again->leaks == 0), "a mended image is sound");
}

void operate(FuzzedDataProvider& in, Node& node, Model& model, const Kind& kind) {
  const u64 size = node.size();
  if (size == 0) return;
  const u64 at = in.ConsumeIntegralInRange<u64>(0, size - 1);
  const u64 length = in.ConsumeIntegralInRange<u64>(1, std::min(size - at, kLongestRequest));
  const auto here = [&] { return model.content.begin() + static_cast<i64>(at); };
  switch (in.ConsumeIntegralInRange(0, 11)) {
    case 0: return model.read(node, at, length);
    case 1:
    case 2: {
      const Blob bytes(length, std::byte{in.ConsumeIntegral<u8>()});
      model.must(node.write(at, bytes));
      if (model.sound()) std::ranges::copy(bytes, here());
      return;
    }
    case 3:
      model.must(node.zero(at, length, {.may_unmap = in.ConsumeBool()}));
      if (model.sound()) std::fill_n(here(), length, std::byte{0});
      return;
    case 4: return model.discard(node, at, length);
    case 5: {
      const u64 start = at / kind.cluster * kind.cluster;
      const Blob bytes(std::min(kind.cluster, size - start), std::byte{in.ConsumeIntegral<u8>()});
      model.must(node.write_compressed(start, bytes));
      if (model.sound()) std::ranges::copy(bytes, model.content.begin() + static_cast<i64>(start));
      return;
    }
    case 6: (void)node.map(at, length); return;
    case 7: return model.must(node.flush());
    case 8: return use_snapshots(in, node, model);
    case 9: return use_bitmaps(in, node);
    case 10:
      return check(node, in.PickValueInArray({Repair::None, Repair::Leaks, Repair::All}), model);
    default: {
      const u64 wanted = in.ConsumeIntegralInRange<u64>(1, 2 * kind.size / 512) * 512;
      if (node.truncate(wanted).ok() && model.sound()) model.content.resize(wanted);
    }
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace menura;
  static const std::vector<Original> kOriginals = [] {
    set_log_sink([](LogLevel, std::string_view) {});
    std::vector<Original> made;
    for (const Kind& kind : kKinds) made.push_back(make_original(kind));
    return made;
  }();
  FuzzedDataProvider in(data, size);
  const size_t number = in.ConsumeIntegralInRange<size_t>(0, std::size(kKinds) - 1);
  Blob bytes = kOriginals[number].file;
  const int damages = in.ConsumeIntegralInRange(0, 4);
  for (int i = 0; i < damages; i++) damage(in, bytes, kKinds[number].cluster);
  Graph graph(kDrivers);
  {
    const NodePtr file = add_file(graph);
    const Child user = use(file);
    good(user->write(0, bytes));
  }
  const bool read_only = in.ConsumeIntegralInRange(0, 7) == 0;
  Model model(kOriginals[number].guest, damages == 0 && !read_only);
  while (Result<Child> image = open_image(graph, read_only)) {
    for (unsigned i = 0; i < kOperations && in.remaining_bytes() > 0; i++) {
      operate(in, **image, model, kKinds[number]);
      if (in.ConsumeIntegralInRange(0, 15) == 0) break;  // close, and open again
    }
    model.must((*image)->close());
    image->reset();
    if (in.remaining_bytes() == 0) break;
  }
  return 0;
}
