// Nvme: an NVM Express controller, 1b36:0010 as virtual machines have it, with up to 256 namespaces,
// each an io/disk.h Disk.
//
// Owner: the catalogue. Threads: under the machine lock; requests complete through the loop. Source: NVM
// Express Base 1.4. Example:
//   Nvme nvme("nvme0", {.serial = "S1"});   nvme.add_namespace(1, *drive->disk, {}).value();
//   bus.add(nvme, PciBus::devfn(4, 0)).value();
// Deviations: one LBA format for each namespace; no metadata, namespace management, firmware update,
// self-test, controller memory buffer, reservations or interrupt coalescing (its feature is kept, and
// does nothing, as §7.8 lets it). Abort finds nothing but waiting event requests. At most kMostInFlight
// commands are in the disks' hands; the rest wait in their queues.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hw/core/window.h"
#include "hw/nvme/nvme_regions.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msix.h"
#include "hw/pci/pci_power.h"
#include "io/disk.h"
#include "state/properties.h"

namespace menura {

struct NvmeConfig {
  std::string serial = {};
  u16 max_ioqpairs = 64;
  u16 msix_qsize = 65;
  u8 mdts = 7;  // longest transfer: 4096 << mdts bytes
  u8 aerl = 3;  // requests for events, less one
  void describe(PropertyVisitor& p);
  Result<void> check() const;
};

struct NvmeNamespaceConfig {
  u32 logical_block_size = 512;
  u32 physical_block_size = 512;
  void describe(PropertyVisitor& p);
  Result<void> check() const;
};

class Nvme final : public PciFunction {
 public:
  static constexpr u32 kMostNamespaces = 256;
  static constexpr u32 kMostEntries = 2048;  // of an I/O queue
  static constexpr unsigned kMostInFlight = 256;

  // config.check() has been made.
  Nvme(std::string id, NvmeConfig config, Device* parent = nullptr);
  ~Nvme() override;
  std::string_view type() const override { return "nvme"; }

  // nsid 1 to kMostNamespaces, 0: the first free one; returns which. Before the guest starts.
  Result<u32> add_namespace(u32 nsid, Disk& disk, const NvmeNamespaceConfig& config);

  void pause() override;

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  struct Namespace {
    Disk* disk;
    NvmeNamespaceConfig config;
    unsigned shift;  // log2 of a block
    u64 blocks() const { return disk->size() >> shift; }
  };
  struct Completion {
    u32 result = 0;
    u16 status = 0;
    u16 sq = 0;
    u16 id = 0;
    void describe(StateVisitor& v);
  };
  struct SubmissionQueue {
    u64 base = 0;
    u32 size = 0;
    u32 head = 0;
    u32 tail = 0;
    u16 cq = 0;
    void describe(StateVisitor& v);
  };
  struct CompletionQueue {
    u64 base = 0;
    u32 size = 0;
    u32 head = 0;  // the driver's
    u32 tail = 0;
    u16 vector = 0;
    bool phase = true;
    bool interrupts = false;
    std::vector<Completion> waiting = {};  // while there is no room
    bool full() const { return (tail + 1) % size == head; }
    void describe(StateVisitor& v);
  };
  struct Request;
  using RequestPtr = std::shared_ptr<Request>;

  // Registers and queues: nvme.cpp.
  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  void write_half(u64 offset, u32 value);
  void write_control(u32 value);
  bool enable();
  void stop_queues();
  void write_doorbell(u64 offset, u32 value);
  void ring_submission(u16 queue, u32 tail);
  void ring_completion(u16 queue, u32 head);
  void run_queues();
  bool fetch(u16 queue);
  void finish(const RequestPtr& request, u16 status, u32 result = 0);
  void post(u16 cq, const Completion& completion);
  void flush_waiting(CompletionQueue& queue);
  void raise(const CompletionQueue& queue);
  void update_intx();
  u64 page_size() const { return u64{4096} << (cc_ >> 7 & 0xf); }
  bool running() const { return (csts_ & nvme::kCstsReady) != 0; }
  Result<void> check_queues() const;

  // Admin commands: nvme_admin.cpp.
  void admin(const RequestPtr& request);
  u16 create_completion_queue(const NvmeCommand& command);
  u16 create_submission_queue(const NvmeCommand& command);
  u16 delete_completion_queue(u16 queue);
  u16 delete_submission_queue(u16 queue);
  void identify(const RequestPtr& request);
  std::vector<std::byte> identify_controller() const;
  std::vector<std::byte> identify_namespace(u32 nsid) const;
  std::vector<std::byte> identify_descriptors(u32 nsid) const;
  void log_page(const RequestPtr& request);
  std::vector<std::byte> health_log() const;
  void abort_command(const RequestPtr& request);
  void set_feature(const RequestPtr& request);
  void get_feature(const RequestPtr& request);
  void async_request(const RequestPtr& request);
  void event(u8 type, u8 information, u8 page);
  void send_events();
  void format_namespace(const RequestPtr& request);
  // The answer's bytes to the guest, and the command's end.
  void reply(const RequestPtr& request, ConstBytes answer);

  // I/O commands: nvme_io.cpp.
  void io(const RequestPtr& request);
  void flush(const RequestPtr& request);
  void transfer(const RequestPtr& request, const Namespace& space);
  void transferred(const RequestPtr& request, const Result<void>& outcome);
  void write_zeroes(const RequestPtr& request, const Namespace& space);
  void manage_dataset(const RequestPtr& request, const Namespace& space);
  void next_range(const RequestPtr& request, const Namespace& space);
  nvme::Status map_data(Request& request, u64 length);
  bool gather(Request& request);
  bool scatter(Request& request, ConstBytes data);
  // A disk's request whose end comes only while the command is still wanted.
  void submit(Disk& disk, DiskRequest wanted, std::function<void(const Result<void>&)> done);
  Namespace* find_namespace(u32 nsid);

  // Configuration
  const NvmeConfig config_;
  std::map<u32, Namespace> namespaces_;

  // Wiring
  Window<Nvme> window_{*this, &Nvme::read_registers, &Nvme::write_registers};
  Region bar_;
  Region registers_;
  PciPower power_{*this};
  PciMsiX msix_;
  const NvmeDmaRead read_;

  // State
  u32 cc_ = 0, csts_ = 0, aqa_ = 0, intms_ = 0;
  u64 asq_ = 0, acq_ = 0;
  std::map<u16, SubmissionQueue> submissions_;
  std::map<u16, CompletionQueue> completions_;
  std::vector<u16> event_requests_;  // commands that wait for an event
  std::vector<u32> events_;          // that wait for a command
  u8 events_told_ = 0;               // types that were told and not yet read
  std::map<u8, u32> features_;
  u64 units_read_ = 0, units_written_ = 0, reads_ = 0, writes_ = 0;  // since the last power-on

  // Not state: none is in flight when the machine is saved
  unsigned in_flight_ = 0;
  bool fetching_ = false, again_ = false;
  std::shared_ptr<int> life_ = std::make_shared<int>();
};

struct Nvme::Request {
  NvmeCommand command;
  u16 queue = 0;
  NvmeRegions regions = {};
  std::vector<std::byte> data = {};
  size_t range = 0;   // of dataset management
  unsigned open = 0;  // flushes of several namespaces
  bool failed = false;
};

}  // namespace menura
