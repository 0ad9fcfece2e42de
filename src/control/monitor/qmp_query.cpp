#include "control/monitor/qmp_query.h"

#include <unistd.h>

#include "accel/jit/jit_accelerator.h"
#include "base/uuid.h"
#include "block/core/driver.h"
#include "control/monitor/qom_tree.h"
#include "hw/acpi/vm_generation_id.h"
#include "machine/chardevs.h"
#include "machine/drives.h"

namespace menura {

void StatusReply::describe(PropertyVisitor& p) {
  p.field("running", running);
  p.field("status", status);
}
Result<StatusReply> query_status(MonitorTarget& target, const Nothing&) {
  return StatusReply{target.machine.running(), target.machine.run_state()};
}

void KvmReply::describe(PropertyVisitor& p) {
  p.field("enabled", enabled);
  p.field("present", present);
}
Result<KvmReply> query_kvm(MonitorTarget& target, const Nothing&) {
  const bool enabled = target.machine.accelerator().name() == "kvm";
  return KvmReply{enabled, enabled || ::access("/dev/kvm", R_OK | W_OK) == 0};
}

void TextReply::describe(PropertyVisitor& p) { p.field("human-readable-text", text); }
Result<TextReply> query_jit(MonitorTarget& target, const Nothing&) {
  Machine& machine = target.machine;
  if (machine.accelerator().name() != "jit")
    return fail(Errc::Unsupported, "JIT information is only available with accel=jit");
  const RestingCpus resting(machine);
  const auto& jit = static_cast<JitAccelerator&>(machine.accelerator());
  return TextReply{engine::print_jit_info(jit.report(), jit.tsc_khz())};
}

void NameReply::describe(PropertyVisitor& p) { p.field("name", name); }
Result<NameReply> query_name(MonitorTarget& target, const Nothing&) {
  const std::string& name = target.machine.config().name;
  return NameReply{name.empty() ? std::nullopt : std::optional(name)};
}

void UuidReply::describe(PropertyVisitor& p) { p.field("UUID", uuid); }
Result<UuidReply> query_uuid(MonitorTarget& target, const Nothing&) {
  return UuidReply{format_uuid(target.machine.config().uuid)};
}

void GuidReply::describe(PropertyVisitor& p) { p.field("guid", guid); }
Result<GuidReply> query_generation_id(MonitorTarget& target, const Nothing&) {
  const VmGenerationId* id = find_generation_id(target.machine.devices());
  if (!id)
    return fail(Errc::NotFound, "This machine has no generation ID: -device vmgenid gives one");
  return GuidReply{format_uuid(id->uuid())};
}

// CPUs

namespace {

CpuPlace place_of(const Topology& t, u32 index) {
  return {.socket = index / (t.threads * t.cores * t.dies),
          .die = index / (t.threads * t.cores) % t.dies,
          .core = index / t.threads % t.cores,
          .thread = index % t.threads};
}

}  // namespace

void CpuPlace::describe(PropertyVisitor& p) {
  p.field("socket-id", socket);
  p.field("die-id", die);
  p.field("core-id", core);
  p.field("thread-id", thread);
}
void CpuReply::describe(PropertyVisitor& p) {
  p.field("cpu-index", index);
  p.field("qom-path", qom_path);
  p.field("thread-id", thread_id);
  p.field("props", place);
  p.field("target", target);
}
Result<std::vector<CpuReply>> query_cpus_fast(MonitorTarget& target, const Nothing&) {
  std::vector<CpuReply> replies;
  for (const std::unique_ptr<VcpuThread>& cpu : target.machine.cpus())
    replies.push_back({.index = cpu->index(),
                       .qom_path = qom_path_of_cpu(cpu->index()),
                       .thread_id = cpu->thread_id(),
                       .place = place_of(target.machine.topology(), cpu->index())});
  return replies;
}

void CpuSlotReply::describe(PropertyVisitor& p) {
  p.field("type", type);
  p.field("vcpus-count", vcpus);
  p.field("props", place);
  p.field("qom-path", qom_path);
}
// As QEMU lists them: the last place first.
Result<std::vector<CpuSlotReply>> query_hotpluggable_cpus(MonitorTarget& target, const Nothing&) {
  const Topology& t = target.machine.topology();
  const size_t present = target.machine.cpus().size();
  std::vector<CpuSlotReply> replies;
  if (present == 0) return replies;
  const std::string type = cpu_type_of(target.machine.config());
  for (u32 index = t.max_cpus; index-- > 0;) {
    CpuSlotReply slot{.type = type, .place = place_of(t, index)};
    if (index < present) slot.qom_path = qom_path_of_cpu(index);
    replies.push_back(std::move(slot));
  }
  return replies;
}

// Memory

void MemoryReply::describe(PropertyVisitor& p) { p.field("base-memory", base); }
Result<MemoryReply> query_memory_size_summary(MonitorTarget& target, const Nothing&) {
  return MemoryReply{target.machine.type().has_cpus ? target.machine.config().memory.size.bytes
                                                    : 0};
}

void MemdevReply::describe(PropertyVisitor& p) {
  p.field("id", id);
  p.field("size", size);
  p.field("merge", merge);
  p.field("dump", dump);
  p.field("prealloc", prealloc);
  p.field("share", share);
  p.field("host-nodes", host_nodes);
  p.field("policy", policy);
}
Result<std::vector<MemdevReply>> query_memdev(MonitorTarget& target, const Nothing&) {
  const MachineConfig& config = target.machine.config();
  std::vector<MemdevReply> replies;
  if (!target.machine.type().has_cpus) return replies;
  for (const MemoryBackends::Backend& backend : target.machine.memory_backends().all()) {
    const RamConfig& ram = backend.ram->config();
    replies.push_back({.id = backend.id,
                       .size = ram.size,
                       .merge = ram.merge,
                       .dump = ram.dump && config.machine.dump_guest_core,
                       .prealloc = ram.preallocate,
                       .share = ram.share,
                       .host_nodes = ram.host_nodes,
                       .policy = ram.policy});
  }
  if (!config.machine.memory_backend.empty() || !config.numa.nodes.empty()) return replies;
  replies.push_back({.id = "pc.ram",
                     .size = config.memory.size.bytes,
                     .dump = config.machine.dump_guest_core,
                     .prealloc = config.memory.preallocate,
                     .share = config.memory.share});
  return replies;
}

void IothreadReply::describe(PropertyVisitor& p) {
  p.field("id", id);
  p.field("thread-id", thread_id);
}
Result<std::vector<IothreadReply>> query_iothreads(MonitorTarget&, const Nothing&) {
  return std::vector<IothreadReply>();
}

// Drives

void BlockReply::Cache::describe(PropertyVisitor& p) {
  p.field("writeback", writeback);
  p.field("direct", direct);
  p.field("no-flush", no_flush);
}
void BlockReply::Image::describe(PropertyVisitor& p) {
  p.field("filename", filename);
  p.field("format", format);
  p.field("virtual-size", virtual_size);
  p.field("actual-size", actual_size);
  p.field("cluster-size", cluster_size);
  p.field("dirty-flag", dirty);
}
void BlockReply::Inserted::describe(PropertyVisitor& p) {
  u64 unlimited = 0;
  p.field("file", file);
  p.field("node-name", node);
  p.field("ro", readonly);
  p.field("drv", driver);
  p.field("backing_file", backing_file);
  p.field("backing_file_depth", backing_depth);
  p.field("encrypted", encrypted);
  p.field("detect_zeroes", detect_zeroes);
  p.field("bps", limits.bps_total.mean);
  p.field("bps_rd", limits.bps_read.mean);
  p.field("bps_wr", limits.bps_write.mean);
  p.field("iops", limits.iops_total.mean);
  p.field("iops_rd", limits.iops_read.mean);
  p.field("iops_wr", limits.iops_write.mean);
  p.field("image", image);
  p.field("cache", cache);
  p.field("write_threshold", unlimited);
}
void BlockReply::describe(PropertyVisitor& p) {
  p.field("device", device);
  p.field("type", type);
  p.field("removable", removable);
  p.field("locked", locked);
  p.field("inserted", inserted);
}
namespace {

BlockReply::Inserted tell_of(Node& node) {
  const ImageInfo info = node.image().info();
  const CacheOptions& cache = node.options().cache;
  BlockReply::Inserted told{.file = node.filename(),
                            .node = node.name(),
                            .readonly = node.read_only(),
                            .driver = std::string(node.driver().name),
                            .encrypted = info.encrypted,
                            .detect_zeroes = node.options().detect_zeroes,
                            .image = {.filename = node.filename(),
                                      .format = std::string(node.driver().name),
                                      .virtual_size = node.size(),
                                      .actual_size = node.image().allocated_size(),
                                      .dirty = info.dirty.value_or(false)},
                            .cache = {.direct = cache.direct, .no_flush = cache.no_flush}};
  if (info.cluster_size) told.image.cluster_size = info.cluster_size;
  for (Node* below = node.backing(); below; below = below->backing()) told.backing_depth++;
  if (told.backing_depth) told.backing_file = node.backing()->filename();
  return told;
}

}  // namespace

Result<std::vector<BlockReply>> query_block(MonitorTarget& target, const Nothing&) {
  std::vector<BlockReply> replies;
  for (const std::unique_ptr<Drive>& drive : target.machine.drives().all()) {
    BlockReply reply{.device = drive->options.id,
                     .removable = drive->options.media == DriveOptions::Media::Cdrom};
    if (drive->disk) {
      reply.inserted = tell_of(drive->disk->node());
      if (const Throttle* limits = drive->disk->limits()) reply.inserted->limits = limits->limits();
      reply.inserted->cache.writeback = drive->disk->cache() == ImageDisk::Cache::Writeback;
    }
    replies.push_back(std::move(reply));
  }
  return replies;
}

void NodesQuery::describe(PropertyVisitor& p) {
  p.field("flat", flat, "without what is behind each (which each says in its image)");
}
Result<std::vector<BlockReply::Inserted>> query_named_block_nodes(MonitorTarget& target,
                                                                  const NodesQuery&) {
  std::vector<BlockReply::Inserted> nodes;
  for (Node* node : target.machine.drives().graph().nodes()) nodes.push_back(tell_of(*node));
  return nodes;
}

// Character devices

void ChardevReply::describe(PropertyVisitor& p) {
  p.field("label", label);
  p.field("filename", filename);
  p.field("frontend-open", frontend_open);
}
Result<std::vector<ChardevReply>> query_chardev(MonitorTarget& target, const Nothing&) {
  std::vector<ChardevReply> replies;
  for (Chardevs::Info& info : target.machine.chardevs().list())
    replies.push_back({std::move(info.id), std::move(info.where), info.connected});
  return replies;
}

}  // namespace menura
