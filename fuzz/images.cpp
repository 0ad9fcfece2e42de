// Image files of every format that hold anything: opened, mapped, read, checked, written and checked
// again. No crash, no hang, no memory without end. The first byte chooses the format.
#include <algorithm>
#include <array>

#include "block/core/graph.h"
#include "block/drivers.h"

namespace {

using namespace menura;

constexpr const char* kFormats[] = {"qcow2", "qcow", "qed",       "vdi", "vpc",
                                    "vhdx",  "vmdk", "parallels", "luks"};
constexpr u64 kRoom = 4 << 20;  // the file's bytes; what the input does not fill is zero

void use(Node& node) {
  std::array<std::byte, 8192> buffer{};
  const u64 size = node.size();
  const u64 places[] = {0, size / 3, size - std::min<u64>(size, buffer.size())};
  for (const u64 at : places) {
    const u64 length = std::min<u64>(buffer.size(), size - std::min(size, at));
    if (length == 0) continue;
    (void)node.read(at, Bytes(buffer).first(length)).ok();
    if (const Result<Extent> extent = node.map(at, length); extent && extent->length > length)
      __builtin_trap();
  }
  (void)node.image().check(Repair::None).ok();
  (void)node.image().info();
  if (node.read_only()) return;
  for (const u64 at : places) {
    const u64 length = std::min<u64>(512, size - std::min(size, at));
    (void)node.write(at, ConstBytes(buffer).first(length)).ok();
    (void)node.zero(at, length).ok();
  }
  (void)node.flush().ok();
  (void)node.image().check(Repair::All).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  if (size < 2) return 0;
  Graph graph(all_drivers());
  if (!graph.secrets().add("any", {.data = "password"})) return 0;
  Value memory = Value::object();
  memory.set("driver", "memory");
  memory.set("size", kRoom);
  memory.set("node-name", "bytes");
  Result<NodePtr> file = graph.add(std::move(memory));
  if (!file) return 0;
  const char* format = kFormats[bytes[0] % std::size(kFormats)];
  const bool read_only = bytes[0] & 0x80;
  const size_t length = std::min<size_t>(size - 1, kRoom);
  {
    Result<Child> writer = Child::attach(*file, {"the fuzzer", "file", {kWrite, kAllPermissions}});
    if (!writer || !(*writer)->write(0, std::as_bytes(std::span(bytes + 1, length)))) return 0;
  }
  Value image = Value::object();
  image.set("driver", format);
  image.set("file", "bytes");
  image.set("read-only", read_only);
  if (std::string_view(format) == "luks") image.set("key-secret", "any");
  const Result<NodePtr> node = graph.open(std::move(image));
  if (!node) return 0;
  const u8 writes = read_only ? 0 : kWrite | kResize;
  const Result<Child> user = Child::attach(
      *node, {"the fuzzer", "root", {static_cast<u8>(kConsistentRead | writes), kConsistentRead}});
  if (user) use(**user);
  return 0;
}
