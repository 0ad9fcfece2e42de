// GDB's q and Q packets.
#include <algorithm>

#include "control/gdbstub/gdb_registers.h"
#include "control/gdbstub/gdb_stub.h"
#include "control/monitor/hmp.h"

namespace menura {

std::string GdbStub::query(std::string_view packet) {
  std::string_view rest = packet;
  if (take(rest, "qSupported")) return supported(rest);
  if (take(rest, "qXfer:features:read:")) return transfer_features(rest);
  if (take(rest, "qRcmd,")) return run_monitor_command(rest);
  if (packet == "qC") return "QC" + thread_id(*cpus()[general_]);
  if (packet == "qfThreadInfo") return thread_list();
  if (packet == "qsThreadInfo") return "l";
  if (packet.starts_with("qAttached")) return "1";
  if (take(rest, "qThreadExtraInfo,")) {
    const VcpuThread* cpu = cpu_of_thread(rest);
    if (!cpu) return "E22";
    return to_hex(format("CPU#{} [{}]", cpu->index(), cpu->halted() ? "halted " : "running"));
  }
  if (packet == "qqemu.PhyMemMode") return physical_memory_ ? "1" : "0";
  return {};
}

std::string GdbStub::set(std::string_view packet) {
  std::string_view rest = packet;
  if (packet == "QStartNoAckMode") return "OK";
  if (take(rest, "Qqemu.PhyMemMode:")) {
    if (rest != "0" && rest != "1") return "E22";
    physical_memory_ = rest == "1";
    return "OK";
  }
  return {};
}

std::string GdbStub::supported(std::string_view rest) {
  multiprocess_ = rest.find("multiprocess+") != std::string_view::npos;
  return format(
      "PacketSize={:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+{}",
      GdbPackets::kMaxPacket, multiprocess_ ? ";multiprocess+" : "");
}

// "target.xml:OFFSET,LENGTH"
std::string GdbStub::transfer_features(std::string_view rest) {
  if (!take(rest, "target.xml:")) return "E00";
  const std::optional<u64> offset = take_hex(rest);
  const std::optional<u64> length = offset && take(rest, ",") ? take_hex(rest) : std::nullopt;
  if (!length) return "E22";
  const std::string xml = gdb_target_description();
  if (*offset > xml.size()) return "E00";
  const u64 size = std::min<u64>(*length, GdbPackets::kMaxPacket / 2);
  const std::string part = xml.substr(*offset, size);
  return (*offset + part.size() < xml.size() ? "m" : "l") + part;
}

std::string GdbStub::thread_list() {
  std::string list = "m";
  for (const std::unique_ptr<VcpuThread>& cpu : cpus())
    list += (list == "m" ? "" : ",") + thread_id(*cpu);
  return list;
}

// The monitor's answer goes to GDB's console before the packet's own reply.
std::string GdbStub::run_monitor_command(std::string_view hex) {
  const auto bytes = from_hex(hex);
  if (!bytes) return "E22";
  HmpContext context{.target = target_, .cpu = general_};
  const std::string line(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  // It would end the server that asks.
  const Result<std::string> answer =
      line.starts_with("gdbserver")
          ? Result<std::string>(fail(Errc::InvalidArgument, "gdbserver: not from GDB itself"))
          : run_hmp(context, line);
  const std::string text = answer ? *answer : "Error: " + answer.error().text + "\n";
  constexpr size_t kPiece = GdbPackets::kMaxPacket / 4;
  for (size_t at = 0; at < text.size(); at += kPiece)
    packets_.send("O" + to_hex(std::string_view(text).substr(at, kPiece)));
  return "OK";
}

}  // namespace menura
