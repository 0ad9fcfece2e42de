#include "control/monitor/qmp_memory.h"

#include <fcntl.h>

#include <algorithm>

#include "base/fd.h"
#include "base/units.h"
#include "control/monitor/elf_core.h"
#include "control/monitor/hmp.h"
#include "control/monitor/memory_dump.h"

namespace menura {

void Memsave::describe(PropertyVisitor& p) {
  p.required("val", val, "the first linear address");
  p.required("size", size, "bytes");
  p.required("filename", filename, "the file, which is replaced");
  p.field("cpu-index", cpu, "whose page tables");
}
void Pmemsave::describe(PropertyVisitor& p) {
  p.required("val", val, "the first physical address");
  p.required("size", size, "bytes");
  p.required("filename", filename, "the file, which is replaced");
}

namespace {

Result<UniqueFd> create_file(const std::string& path) {
  return open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

Result<void> save(const GuestMemory& memory, u64 address, u64 size, const std::string& path) {
  const UniqueFd file = TRY(create_file(path));
  std::vector<std::byte> chunk(MiB);
  for (u64 done = 0; done < size; done += chunk.size()) {
    const Bytes part = Bytes(chunk).first(std::min<u64>(chunk.size(), size - done));
    TRY(memory.read(address + done, part));
    TRY(write_all(file.get(), part), "Writing '{}'", path);
  }
  return {};
}

}  // namespace

Result<Nothing> memsave(MonitorTarget& target, const Memsave& arguments) {
  HmpContext context{.target = target};
  TRY(context.select_cpu(arguments.cpu.value_or(0)));
  const x86::State state = TRY(context.registers());
  TRY(save(GuestMemory(target.machine.memory(), &state), arguments.val, arguments.size,
           arguments.filename));
  return Nothing{};
}

Result<Nothing> pmemsave(MonitorTarget& target, const Pmemsave& arguments) {
  TRY(save(GuestMemory(target.machine.memory()), arguments.val, arguments.size,
           arguments.filename));
  return Nothing{};
}

std::span<const std::string_view> enum_names(DumpFormatName) {
  static constexpr std::string_view kNames[] = {"elf"};
  return kNames;
}
std::span<const std::string_view> enum_names(DumpStatus) {
  static constexpr std::string_view kNames[] = {"none", "active", "completed", "failed"};
  return kNames;
}

void DumpGuestMemory::describe(PropertyVisitor& p) {
  p.required("paging", paging, "by linear addresses of the first CPU, not physical ones");
  p.required("protocol", protocol, "file:PATH");
  p.field("detach", detach, "nobody waits for the end (it comes with the answer all the same)");
  p.field("begin", begin, "only from this physical address");
  p.field("length", length, "only so many bytes");
  p.field("format", format, "of the file");
}
void DumpReply::describe(PropertyVisitor& p) {
  p.field("status", status);
  p.field("completed", completed);
  p.field("total", total);
}
void DumpCapability::describe(PropertyVisitor& p) { p.field("formats", formats); }

namespace {

std::vector<CorePiece> physical_pieces(Machine& machine) {
  std::vector<CorePiece> pieces;
  const auto view = machine.memory().view();
  for (const FlatRange& range : view->ranges()) {
    if (!range.writable_ram()) continue;
    const u64 start = range.start.value, size = range.last.value - start + 1;
    if (!pieces.empty() && pieces.back().physical + pieces.back().size == start)
      pieces.back().size += size;
    else
      pieces.push_back({.linear = start, .physical = start, .size = size});
  }
  return pieces;
}

Result<std::vector<CorePiece>> linear_pieces(MonitorTarget& target) {
  const HmpContext context{.target = target};
  const x86::State state = TRY(context.registers());
  if (!(state.cr0 & x86::kCr0Pg)) return physical_pieces(target.machine);
  const std::vector<CorePiece> ram = physical_pieces(target.machine);
  std::vector<CorePiece> pieces;
  walk_all(GuestMemory(target.machine.memory(), &state), state, [&](const Mapping& m) {
    const bool is_ram = std::ranges::any_of(ram, [&](const CorePiece& r) {
      return m.physical >= r.physical && m.physical + m.size <= r.physical + r.size;
    });
    if (!is_ram) return true;
    CorePiece* last = pieces.empty() ? nullptr : &pieces.back();
    if (last && last->linear + last->size == m.linear && last->physical + last->size == m.physical)
      last->size += m.size;
    else
      pieces.push_back({.linear = m.linear, .physical = m.physical, .size = m.size});
    return true;
  });
  return pieces;
}

void limit_pieces(std::vector<CorePiece>& pieces, u64 begin, u64 length) {
  const u64 end = begin + length;
  for (CorePiece& piece : pieces) {
    const u64 from = std::max(piece.physical, begin);
    const u64 to = std::min(piece.physical + piece.size, end);
    piece.linear += from - piece.physical;
    piece.size = to > from ? to - from : 0;
    piece.physical = from;
  }
  std::erase_if(pieces, [](const CorePiece& piece) { return piece.size == 0; });
}

}  // namespace

Result<Nothing> dump_guest_memory(MonitorTarget& target, const DumpGuestMemory& arguments) {
  constexpr std::string_view kFile = "file:";
  if (!arguments.protocol.starts_with(kFile))
    return fail(Errc::InvalidArgument, "expected a protocol of the form file:PATH, not '{}'",
                arguments.protocol);
  if (arguments.begin.has_value() != arguments.length.has_value())
    return fail(Errc::InvalidArgument, "'begin' and 'length' belong together");
  const bool was_running = target.machine.running();
  target.machine.stop();
  std::vector<CorePiece> pieces =
      arguments.paging ? TRY(linear_pieces(target)) : physical_pieces(target.machine);
  if (arguments.begin) limit_pieces(pieces, *arguments.begin, *arguments.length);
  DumpReply& dump = target.dump;
  dump = {.status = DumpStatus::Completed};
  for (const CorePiece& piece : pieces) dump.total += piece.size;
  const std::string path = arguments.protocol.substr(kFile.size());
  const Result<UniqueFd> file = create_file(path);
  Result<void> written;
  if (file)
    written = write_elf_core(target.machine, file->get(), pieces);
  else
    written = Error(file.error());
  if (written)
    dump.completed = dump.total;
  else
    dump.status = DumpStatus::Failed;
  if (was_running) target.machine.cont();
  Value data = Value::object();
  data.set("result", write_properties(dump));
  if (!written) data.set("error", written.error().text);
  target.machine.emit("DUMP_COMPLETED", std::move(data));
  if (!written) return std::move(written.error());
  return Nothing{};
}

Result<DumpReply> query_dump(MonitorTarget& target, const Nothing&) { return target.dump; }
Result<DumpCapability> query_dump_capability(MonitorTarget&, const Nothing&) {
  return DumpCapability{};
}

}  // namespace menura
