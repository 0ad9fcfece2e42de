// The 9P server over a folder of its own: messages that the input makes, good in their form or not, for
// each security model. Nothing may crash or hang, and nothing beside the folder may change.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "event/machine_lock.h"
#include "event/tape.h"
#include "share/p9_server.h"

namespace menura {
namespace {

namespace fs = std::filesystem;

// Fids and names that mean something, else anything.
void put_some(P9Writer& out, FuzzedDataProvider& data) {
  static constexpr std::string_view kNames[] = {
      "a", "b", "link", "..", "a/b", "", ".virtfs_metadata"};
  switch (data.ConsumeIntegralInRange(0, 5)) {
    case 0: out.put<u32>(data.ConsumeIntegralInRange<u32>(0, 5)); break;
    case 1: out.text(kNames[data.ConsumeIntegralInRange<size_t>(0, std::size(kNames) - 1)]); break;
    case 2: out.put<u64>(data.ConsumeIntegralInRange<u64>(0, 70000)); break;
    case 3: out.put(data.ConsumeIntegral<u32>()); break;
    case 4: out.put(data.ConsumeIntegralInRange<u16>(0, 4)); break;
    default: out.text(data.ConsumeRandomLengthString(20));
  }
}

std::vector<std::byte> make_message(FuzzedDataProvider& data) {
  static constexpr u8 kTypes[] = {8,  12, 14, 16, 18, 20,  22,  24,  26,  30,  32,  40,  50, 52,
                                  54, 70, 72, 74, 76, 100, 104, 108, 110, 116, 118, 120, 122};
  P9Writer body;
  for (int n = data.ConsumeIntegralInRange(0, 9); n > 0; n--) put_some(body, data);
  P9Writer message;
  message.put(static_cast<u32>(7 + body.size()) + (data.ConsumeIntegralInRange(0, 30) == 0))
      .put(kTypes[data.ConsumeIntegralInRange<size_t>(0, std::size(kTypes) - 1)])
      .put<u16>(1)
      .bytes(body.out());
  return std::move(message.out());
}

void clear(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  fs::create_directories(folder / "a", ignored);
  fs::create_symlink("../..", folder / "link", ignored);
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const menura::u8* bytes, size_t size) {
  using namespace menura;
  FuzzedDataProvider data(bytes, size);
  static MachineLock lock;
  static LiveTape tape;
  static const std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  const MachineLock::Guard guard(lock);
  static WorkerPool workers(*loop, 1);
  static const fs::path top = fs::temp_directory_path() / format("menura_fuzz_p9.{}", ::getpid());
  clear(top / "shared");
  const auto security = static_cast<FolderOptions::Security>(data.ConsumeIntegralInRange(0, 3));
  P9Server server(*loop, workers,
                  Folder::open({.path = top / "shared", .security = security}).value());
  const auto send = [&](std::vector<std::byte> message) {
    server.submit(std::move(message), 65536, [](const std::vector<std::byte>&) {});
    server.drain();
  };
  P9Writer attach;
  attach.put<u32>(23 + 0)
      .put<u8>(104)
      .put<u16>(1)
      .put<u32>(0)
      .put(~u32{0})
      .text("")
      .text("")
      .put<u32>(0);
  send(std::move(attach.out()));
  for (int i = 0; i < 60 && data.remaining_bytes() > 0; i++) send(make_message(data));
  ensure(std::distance(fs::directory_iterator(top), fs::directory_iterator()) == 1,
         "the guest stays in its folder");
  return 0;
}
