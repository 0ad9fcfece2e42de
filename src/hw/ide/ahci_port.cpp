#include "hw/ide/ahci_port.h"

#include <algorithm>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/trace.h"

namespace menura {

namespace {

using R = AhciPortReg;

TRACE_EVENT(kIssue, "ahci.issue", "{} slot {} command {:#x} atapi {}");
TRACE_EVENT(kInterrupt, "ahci.interrupt", "{} status {:#x}");
TRACE_EVENT(kLinkReset, "ahci.link_reset", "{}");

// PxIS and PxIE.
enum InterruptBit : u32 {
  kRegisterFis = 1 << 0,
  kPioSetupFis = 1 << 1,
  kSetDeviceBitsFis = 1 << 3,
  kDescriptorProcessed = 1 << 5,
  kConnectChange = 1 << 6,  // follows PxSERR.DIAG.X
  kPhyChange = 1 << 22,     // follows PxSERR.DIAG.N
  kOverflow = 1 << 24,
  kHostDataError = 1 << 28,
  kHostFatalError = 1 << 29,
  kTaskFileError = 1 << 30,
};
constexpr u32 kInterruptBits = 0x7dc0'00ff;
constexpr u32 kFollowsErrors = kConnectChange | kPhyChange;

// PxCMD.
enum Command : u32 {
  kStart = 1 << 0,
  kSpinUp = 1 << 1,
  kPowerOn = 1 << 2,
  kOverride = 1 << 3,  // CLO: reads zero
  kReceive = 1 << 4,
  kSlotShift = 8,
  kReceiveRunning = 1 << 14,
  kListRunning = 1 << 15,
  kAtapiDevice = 1 << 24,
  kIccShift = 28,
};
constexpr u32 kCommandWritable = kStart | kReceive | kAtapiDevice | 1u << 25;

constexpr u32 kPhyReady = 0x123;  // PxSSTS: active, generation 2, a device is there
constexpr u32 kPhyOffline = 0x004;
constexpr u32 kExchanged = 1 << 26, kReadyChange = 1 << 16;  // PxSERR.DIAG.X and N
constexpr u32 kNobody = 0x7f;                                // PxTFD without a device
constexpr u32 kNoSignature = 0xffff'ffff;

// The received FIS structure.
enum : u64 { kPioSetupAt = 0x20, kRegisterAt = 0x40, kSetDeviceBitsAt = 0x58 };
enum : u8 { kHostToDevice = 0x27, kRegisterD2h = 0x34, kPioSetup = 0x5f, kSetDeviceBits = 0xa1 };
constexpr u8 kFisInterrupt = 1 << 6;
constexpr u8 kFisToHost = 1 << 5;
constexpr u8 kFisCommand = 1 << 7;
constexpr u8 kControlReset = 1 << 2;

enum : u8 { kReadQueued = 0x60, kWriteQueued = 0x61, kPacketCommand = 0xa0 };
constexpr u64 kQueuedPiece = 2048;  // sectors in host memory at a time: 1 MiB

constexpr u8 kBusy = ata::kBsy | ata::kDrq;

constexpr size_t kRegisters = static_cast<size_t>(R::kCount);
// §3.3. PxSSTS, PxSIG and PxTFD are the device's to change.
constexpr RegisterTable<AhciPortReg, kRegisters> kTable{{{
    {R::Clb, 0x00, 4, "clb", 0, 0xffff'fc00},
    {R::Clbu, 0x04, 4, "clbu", 0, 0xffff'ffff},
    {R::Fb, 0x08, 4, "fb", 0, 0xffff'ff00},
    {R::Fbu, 0x0c, 4, "fbu", 0, 0xffff'ffff},
    {R::Is, 0x10, 4, "is"},
    {R::Ie, 0x14, 4, "ie", 0, kInterruptBits},
    {R::Cmd, 0x18, 4, "cmd", kSpinUp | kPowerOn, kCommandWritable},
    {R::Tfd, 0x20, 4, "tfd", kNobody},
    {R::Sig, 0x24, 4, "sig", kNoSignature},
    {R::Ssts, 0x28, 4, "ssts"},
    {R::Sctl, 0x2c, 4, "sctl", 0, 0x0fff},
    {R::Serr, 0x30, 4, "serr"},
    {R::Sact, 0x34, 4, "sact"},
    {R::Ci, 0x38, 4, "ci"},
}}};

}  // namespace

AhciPort::AhciPort(std::string name, AhciDma dma, std::function<void(Interrupt)> interrupt)
    : name_(std::move(name)),
      dma_(std::move(dma)),
      interrupt_(std::move(interrupt)),
      regs_(kTable) {}

void AhciPort::plug(unsigned, IdeDrive& drive) {
  ensure(!drive_, "an AHCI port takes one drive");
  drive_ = &drive;
  drive.attach(*this);
  show_signature();
}

void AhciPort::reset() {
  regs_.reset();
  active_.reset();
  forget_queued();
  packet_sent_ = soft_reset_ = data_came_ = halted_ = false;
  show_signature();
}

void AhciPort::reset_by_controller() {
  constexpr R kKept[] = {R::Clb, R::Clbu, R::Fb, R::Fbu};
  std::array<u64, std::size(kKept)> kept;
  for (size_t i = 0; i < kept.size(); i++) kept[i] = get(kKept[i]);
  reset();
  for (size_t i = 0; i < kept.size(); i++) regs_.set(kKept[i], kept[i]);
  if (drive_) drive_->soft_reset();
}

// After a reset the device says what it is; the FIS waits until the host receives.
void AhciPort::show_signature() {
  owes_signature_ = drive_ != nullptr;
  if (!drive_) return;
  using F = IdeDrive::Register;
  regs_.set(R::Ssts, kPhyReady);
  regs_.set(R::Tfd, drive_->status() | u64{drive_->read(F::ErrorFeature, false)} << 8);
  regs_.set(R::Sig, drive_->read(F::Count, false) | u64{drive_->read(F::LbaLow, false)} << 8 |
                        u64{drive_->read(F::LbaMid, false)} << 16 |
                        u64{drive_->read(F::LbaHigh, false)} << 24);
}

bool AhciPort::started() const { return (get(R::Cmd) & kStart) != 0; }

u64 AhciPort::read(Access access) const {
  return regs_.read(access, [this](R reg) { return regs_.get(reg); });
}

void AhciPort::write(Access access, u64 value) {
  regs_.write(access, value, [this](R reg, u64 merged, u64 mask) { written(reg, merged, mask); });
}

void AhciPort::written(R reg, u64 value, u64 mask) {
  const u64 ones = value & mask;
  switch (reg) {
    case R::Clb:
    case R::Clbu:
    case R::Fb:
    case R::Fbu: regs_.set_writable(reg, value, mask); return;
    case R::Is:
      regs_.set(reg, get(reg) & ~(ones & ~u64{kFollowsErrors}));
      return interrupt_(Interrupt::Gone);
    case R::Ie:
      regs_.set_writable(reg, value, mask);
      return interrupt_(pending() ? Interrupt::Came : Interrupt::Gone);
    case R::Cmd: return write_command(value, mask);
    case R::Sctl: return write_control(value, mask);
    case R::Serr:
      regs_.set(reg, get(reg) & ~ones);
      if (!(get(reg) & kExchanged)) regs_.set(R::Is, get(R::Is) & ~u64{kConnectChange});
      if (!(get(reg) & kReadyChange)) regs_.set(R::Is, get(R::Is) & ~u64{kPhyChange});
      return interrupt_(Interrupt::Gone);
    case R::Sact:
      if (started()) regs_.set(reg, get(reg) | ones);
      return;
    case R::Ci:
      if (started()) regs_.set(reg, get(reg) | ones);
      return process();
    case R::Tfd:
    case R::Sig:
    case R::Ssts: return;
    case R::kCount: unreachable();
  }
}

void AhciPort::write_command(u64 value, u64 mask) {
  const bool was_started = started();
  regs_.set_writable(R::Cmd, value, mask);
  if (value & mask & kOverride) regs_.set(R::Tfd, get(R::Tfd) & ~u64{kBusy});
  u64 command = get(R::Cmd) & ~u64{kReceiveRunning | kListRunning};
  if (command & kReceive) command |= kReceiveRunning;
  if (command & kStart) command |= kListRunning;
  regs_.set(R::Cmd, command);
  if (was_started && !started()) stop();
  if ((command & kReceive) && owes_signature_) {
    owes_signature_ = false;
    send_register_fis();
  }
  process();
}

// PxCMD.ST was cleared: what is under way is nobody's any more.
void AhciPort::stop() {
  regs_.set(R::Ci, 0);
  regs_.set(R::Sact, 0);
  regs_.set(R::Cmd, get(R::Cmd) & ~(u64{0x1f} << kSlotShift));
  active_.reset();
  halted_ = false;
  forget_queued();
}

// PxSCTL.DET: 1 holds the link in reset, 4 switches it off; back to 0 the device starts anew.
void AhciPort::write_control(u64 value, u64 mask) {
  const u64 before = get(R::Sctl) & 0xf;
  regs_.set_writable(R::Sctl, value, mask);
  const u64 now = get(R::Sctl) & 0xf;
  if (before == now || !drive_) return;
  if (now == 1) regs_.set(R::Ssts, 1);
  if (now == 4) regs_.set(R::Ssts, kPhyOffline);
  if (now == 0) link_reset();
}

void AhciPort::link_reset() {
  trace(kLinkReset, name_);
  active_.reset();
  forget_queued();
  soft_reset_ = halted_ = false;
  drive_->soft_reset();
  regs_.set(R::Serr, get(R::Serr) | kExchanged | kReadyChange);
  if (get(R::Cmd) & kReceive) {
    owes_signature_ = false;
    send_register_fis();
  }
  raise(kConnectChange | kPhyChange);
}

void AhciPort::raise(u32 bits) {
  regs_.set(R::Is, get(R::Is) | bits);
  trace(kInterrupt, name_, get(R::Is));
  if (pending()) interrupt_(Interrupt::Came);
}

// An error that ends all work until the guest starts the port anew.
void AhciPort::halt(u32 bits) {
  halted_ = true;
  raise(bits);
}

// One command after the other, lowest slot first; queued ones leave their slot at once. Each turn
// clears a bit of PxCI or leaves the loop.
void AhciPort::process() {
  while (started() && !active_ && drive_ && get(R::Ci) != 0 && !(taskfile_status() & kBusy) &&
         !halted_) {
    const unsigned slot = static_cast<unsigned>(std::countr_zero(get(R::Ci)));
    regs_.set(R::Cmd, with_bits(get(R::Cmd), kSlotShift + 4, kSlotShift, slot));
    const u64 before = get(R::Ci);
    issue(slot);
    if (get(R::Ci) == before) return;
  }
}

void AhciPort::issue(unsigned slot) {
  std::optional<AhciCommand> command = fetch_command(dma_, list(), slot);
  if (!command) return halt(kHostFatalError);
  trace(kIssue, name_, slot, command->fis[2], command->atapi);
  active_ = static_cast<u8>(slot);
  command_ = std::move(*command);
  packet_sent_ = data_came_ = false;
  if (command_.fis[0] != kHostToDevice) return finish_slot(true);
  const bool is_command = (command_.fis[1] & kFisCommand) != 0;
  if (!is_command) return control_fis(command_.fis[15]);
  const u8 code = command_.fis[2];
  if (code == kReadQueued || code == kWriteQueued) {
    active_.reset();
    return issue_queued(slot, command_);
  }
  issue_register_fis(command_);
}

void AhciPort::finish_slot(bool good) {
  if (active_ && good) regs_.set(R::Ci, get(R::Ci) & ~bit(*active_));
  active_.reset();
}

// SRST: the reset happens when it is let go.
void AhciPort::control_fis(u8 control) {
  const bool held = (control & kControlReset) != 0;
  const bool released = soft_reset_ && !held;
  soft_reset_ = held;
  finish_slot(true);
  if (!released) return;
  forget_queued();
  drive_->soft_reset();
  owes_signature_ = false;
  send_register_fis();
}

// The older bytes first: the registers are two deep.
void AhciPort::issue_register_fis(const AhciCommand& command) {
  using F = IdeDrive::Register;
  const auto& fis = command.fis;
  servicing_ = true;
  const auto put = [&](F reg, u8 older, u8 newer) {
    drive_->write(reg, older);
    drive_->write(reg, newer);
  };
  put(F::ErrorFeature, fis[11], fis[3]);
  put(F::LbaLow, fis[8], fis[4]);
  put(F::LbaMid, fis[9], fis[5]);
  put(F::LbaHigh, fis[10], fis[6]);
  put(F::Count, fis[13], fis[12]);
  drive_->write(F::Device, fis[7]);
  regs_.set(R::Tfd, (get(R::Tfd) & ~u64{0xff}) | ata::kBsy);
  drive_->command(fis[2]);
  servicing_ = false;
  service();
}

// The drive changed: it wants data moved, or is done.
void AhciPort::service() {
  if (servicing_ || !active_) return;
  servicing_ = true;
  while (active_ && (drive_->status() & ata::kDrq))
    if (!move_pio()) break;
  if (active_ && !(drive_->status() & kBusy)) complete();
  servicing_ = false;
  process();
}

// A block of PIO data through the drive's data port. False: the memory for it failed.
bool AhciPort::move_pio() {
  const size_t size = drive_->data_left();
  const bool to_host = !drive_->wants_data();
  const bool interrupts = drive_->interrupt();
  std::vector<std::byte> data(size);
  if (interrupts) drive_->acknowledge_interrupt();
  if (to_host) {
    for (size_t at = 0; at + 2 <= size; at += 2)
      store_le(Bytes(data), at, static_cast<u16>(drive_->read_data(2)));
    data_came_ = true;
    if (!dma_to_host(data)) return false;
    send_pio_setup(true, ata::kDrdy | ata::kDsc | ata::kDrq, size, true);
    return true;
  }
  if (command_.atapi && command_.fis[2] == kPacketCommand && !std::exchange(packet_sent_, true))
    std::ranges::copy(
        std::as_bytes(std::span(command_.packet)).first(std::min(size, AhciCommand::kPacket)),
        data.begin());
  else if (!dma_from_host(data))
    return false;
  send_pio_setup(false, ata::kDrdy | ata::kDsc | ata::kDrq, size, interrupts);
  for (size_t at = 0; at + 2 <= size; at += 2) drive_->write_data(2, load_le<u16>(data, at));
  return true;
}

// A PIO read ends with its last block; everything else with a FIS from the device.
void AhciPort::complete() {
  const bool good = !(drive_->status() & (ata::kErr | ata::kDf));
  const bool says_so = drive_->interrupt();
  count_bytes(command_.header, command_.regions.moved());
  regs_.set(R::Tfd,
            drive_->status() | u64{drive_->read(IdeDrive::Register::ErrorFeature, false)} << 8);
  if (says_so) drive_->acknowledge_interrupt();
  finish_slot(good);
  if (command_.regions.take_interrupt()) raise(kDescriptorProcessed);
  u32 interrupts = data_came_ ? u32{kPioSetupFis} : 0;
  if (!data_came_ || says_so) send_register_fis();
  if (says_so) interrupts |= kRegisterFis;
  if (!good) return halt(interrupts | kTaskFileError);
  raise(interrupts);
}

bool AhciPort::dma_to_host(ConstBytes data) {
  if (!active_) return false;
  switch (command_.regions.scatter(dma_, data)) {
    case AhciRegions::Outcome::Moved: return true;
    case AhciRegions::Outcome::TableEnded: raise(kOverflow); return true;  // the rest is dropped
    case AhciRegions::Outcome::Failed: halt(kHostDataError); return false;
  }
  unreachable();
}

bool AhciPort::dma_from_host(Bytes data) {
  if (!active_) return false;
  const auto outcome = command_.regions.gather(dma_, data);
  if (outcome == AhciRegions::Outcome::Failed) halt(kHostDataError);
  return outcome == AhciRegions::Outcome::Moved;
}

// READ and WRITE FPDMA QUEUED: the count stands in the features, the tag in the count.
void AhciPort::issue_queued(unsigned slot, const AhciCommand& command) {
  const auto& fis = command.fis;
  u64 lba = 0;
  for (const unsigned at : {10u, 9u, 8u, 6u, 5u, 4u}) lba = lba << 8 | fis[at];
  const u64 sectors = fis[3] | u64{fis[11]} << 8;
  const QueuedCommand queued{.tag = static_cast<u8>(fis[12] >> 3),
                             .write = fis[2] == kWriteQueued,
                             .fua = (fis[7] & 0x80) != 0,
                             .lba = lba,
                             .sectors = sectors ? sectors : 65536};
  regs_.set(R::Ci, get(R::Ci) & ~bit(slot));
  regs_.set(R::Sact, get(R::Sact) | bit(queued.tag));
  const bool accepted = !queued_.contains(queued.tag) && drive_->accepts(queued);
  queued_[queued.tag] = {.command = queued, .regions = command.regions, .header = command.header};
  if (!accepted) return finish_queued(queued.tag, false);
  run_queued(queued.tag);
}

// Moves the command's next piece.
void AhciPort::run_queued(u8 tag) {
  Queued& queued = queued_.at(tag);
  const u64 sectors = std::min(queued.command.sectors - queued.done, kQueuedPiece);
  auto buffer = std::make_shared<std::vector<std::byte>>(sectors * ata::kSector);
  if (queued.command.write && queued.regions.gather(dma_, *buffer) != AhciRegions::Outcome::Moved)
    return halt(kHostDataError);
  drive_->move_queued(queued.command, queued.done, *buffer,
                      [this, tag, buffer, epoch = epoch_, mine = *epoch_](Result<void> result) {
                        if (*epoch != mine) return;
                        if (!result) return finish_queued(tag, false);
                        queued_moved(tag, *buffer);
                      });
}

void AhciPort::queued_moved(u8 tag, ConstBytes data) {
  Queued& queued = queued_.at(tag);
  if (!queued.command.write) {
    const auto outcome = queued.regions.scatter(dma_, data);
    if (outcome == AhciRegions::Outcome::Failed) return halt(kHostDataError);
    if (outcome == AhciRegions::Outcome::TableEnded) raise(kOverflow);
  }
  queued.done += data.size() / ata::kSector;
  if (queued.done < queued.command.sectors) return run_queued(tag);
  finish_queued(tag, true);
}

// An error ends all queued commands; the host reads the log of queued errors and starts anew.
void AhciPort::finish_queued(u8 tag, bool good) {
  const auto node = queued_.extract(tag);
  Queued queued = node.mapped();
  count_bytes(queued.header, queued.regions.moved());
  if (!good) {
    drive_->queued_failed(queued.command);
    forget_queued();
    const u8 status = ata::kDrdy | ata::kDsc | ata::kErr, error = ata::kAbort;
    regs_.set(R::Tfd, status | u64{error} << 8);
    send_set_device_bits(0, status, error);
    return halt(kSetDeviceBitsFis | kTaskFileError);
  }
  regs_.set(R::Sact, get(R::Sact) & ~bit(tag));
  if (queued.regions.take_interrupt()) raise(kDescriptorProcessed);
  send_set_device_bits(static_cast<u32>(bit(tag)), taskfile_status(), 0);
  raise(kSetDeviceBitsFis);
}

void AhciPort::forget_queued() {
  ++*epoch_;
  queued_.clear();
}

void AhciPort::put_taskfile(Bytes fis, u8 status) const {
  using F = IdeDrive::Register;
  const auto byte = [&](size_t at, u8 value) { fis[at] = static_cast<std::byte>(value); };
  byte(2, status);
  byte(3, drive_->read(F::ErrorFeature, false));
  byte(4, drive_->read(F::LbaLow, false));
  byte(5, drive_->read(F::LbaMid, false));
  byte(6, drive_->read(F::LbaHigh, false));
  byte(7, drive_->read(F::Device, false));
  byte(8, drive_->read(F::LbaLow, true));
  byte(9, drive_->read(F::LbaMid, true));
  byte(10, drive_->read(F::LbaHigh, true));
  byte(12, drive_->read(F::Count, false));
  byte(13, drive_->read(F::Count, true));
}

void AhciPort::send_register_fis() {
  std::array<std::byte, 20> fis{std::byte{kRegisterD2h}, std::byte{kFisInterrupt}};
  put_taskfile(fis, drive_->status());
  deliver(kRegisterAt, fis);
}

void AhciPort::send_pio_setup(bool to_host, u8 status, size_t size, bool interrupt) {
  std::array<std::byte, 20> fis{std::byte{kPioSetup}};
  fis[1] = static_cast<std::byte>((to_host ? kFisToHost : 0) | (interrupt ? kFisInterrupt : 0));
  put_taskfile(fis, status);
  fis[15] = static_cast<std::byte>(drive_->status());
  store_le(Bytes(fis), 16, static_cast<u16>(size));
  deliver(kPioSetupAt, fis);
}

void AhciPort::send_set_device_bits(u32 finished, u8 status, u8 error) {
  std::array<std::byte, 8> fis{std::byte{kSetDeviceBits}, std::byte{kFisInterrupt}};
  fis[2] = static_cast<std::byte>(status & 0x77);
  fis[3] = static_cast<std::byte>(error);
  store_le(Bytes(fis), 4, finished);
  deliver(kSetDeviceBitsAt, fis);
}

void AhciPort::deliver(u64 offset, ConstBytes fis) {
  if (!(get(R::Cmd) & kReceive)) return;
  if (dma_.write({received() + offset}, fis) != AccessStatus::Ok) halt(kHostFatalError);
}

// PRDBC, in the command's header.
void AhciPort::count_bytes(u64 header, u64 bytes) {
  std::array<std::byte, 4> count;
  store_le(Bytes(count), 0, static_cast<u32>(bytes));
  if (dma_.write({header + 4}, count) != AccessStatus::Ok) halt(kHostFatalError);
}

void AhciPort::describe(StateVisitor& v) {
  v.field("registers", regs_);
  u8 active = active_.value_or(kSlots);
  v.field("active", active);
  if (v.loading()) active_ = active < kSlots ? std::optional(active) : std::nullopt;
  v.field("command", command_);
  v.field("packet_sent", packet_sent_);
  v.field("soft_reset", soft_reset_);
  v.field("data_came", data_came_);
  v.field("halted", halted_);
  v.field("owes_signature", owes_signature_);
}

Result<void> AhciPort::restored() {
  forget_queued();
  if ((active_ || owes_signature_) && !drive_)
    return fail(Errc::Corrupt, "AHCI port '{}' has a command but no drive", name_);
  return {};
}

}  // namespace menura
