#include "control/monitor/elf_core.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "base/fd.h"
#include "base/units.h"

namespace menura {

namespace {

// The kernel's struct elf_prstatus for x86-64: 112 bytes of signals, ids and times, then the
// registers in ptrace's order, then whether the FPU was used.
constexpr size_t kPidOffset = 32, kRegistersOffset = 112, kPrstatusSize = 336;

void put(std::vector<std::byte>& to, const void* from, size_t size) {
  const auto* bytes = static_cast<const std::byte*>(from);
  to.insert(to.end(), bytes, bytes + size);
}

std::vector<std::byte> prstatus(const x86::State& s, u32 pid) {
  const auto& r = s.gpr;
  const u64 registers[] = {r[15],
                           r[14],
                           r[13],
                           r[12],
                           r[5],
                           r[3],
                           r[11],
                           r[10],
                           r[9],
                           r[8],
                           r[0],
                           r[1],
                           r[2],
                           r[6],
                           r[7],
                           ~u64{0},  // orig_rax: in no system call
                           s.rip,
                           s.seg[x86::Cs].selector,
                           s.rflags,
                           r[4],
                           s.seg[x86::Ss].selector,
                           s.seg[x86::Fs].base,
                           s.seg[x86::Gs].base,
                           s.seg[x86::Ds].selector,
                           s.seg[x86::Es].selector,
                           s.seg[x86::Fs].selector,
                           s.seg[x86::Gs].selector};
  std::vector<std::byte> status(kPrstatusSize);
  std::memcpy(status.data() + kPidOffset, &pid, sizeof pid);
  std::memcpy(status.data() + kRegistersOffset, registers, sizeof registers);
  return status;
}

std::vector<std::byte> notes_of(Machine& machine) {
  constexpr char kName[8] = "CORE";  // and its padding to four bytes
  std::vector<std::byte> notes;
  for (const std::unique_ptr<VcpuThread>& cpu : machine.cpus()) {
    x86::State state;
    cpu->run_on([&](Vcpu& vcpu) { vcpu.get(state); });
    const std::vector<std::byte> status = prstatus(state, cpu->index() + 1);
    const Elf64_Nhdr header{
        .n_namesz = 5, .n_descsz = static_cast<Elf64_Word>(status.size()), .n_type = NT_PRSTATUS};
    put(notes, &header, sizeof header);
    put(notes, kName, sizeof kName);
    put(notes, status.data(), status.size());
  }
  return notes;
}

// More segments than the header can count are counted in the first section's sh_info.
constexpr size_t kMaxSegments = 0xfffe;

}  // namespace

Result<void> write_elf_core(Machine& machine, int fd, const std::vector<CorePiece>& pieces) {
  const std::vector<std::byte> notes = notes_of(machine);
  const size_t segments = pieces.size() + 1;
  if (segments > kMaxSegments)
    return fail(Errc::Unsupported, "The guest's memory is in {} pieces, a core can hold {}",
                pieces.size(), kMaxSegments - 1);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(segments);

  std::vector<std::byte> head;
  put(head, &header, sizeof header);
  u64 offset = sizeof header + segments * sizeof(Elf64_Phdr);
  const Elf64_Phdr note{.p_type = PT_NOTE,
                        .p_flags = 0,
                        .p_offset = offset,
                        .p_vaddr = 0,
                        .p_paddr = 0,
                        .p_filesz = notes.size(),
                        .p_memsz = notes.size(),
                        .p_align = 0};
  put(head, &note, sizeof note);
  offset += notes.size();
  for (const CorePiece& piece : pieces) {
    const Elf64_Phdr load{.p_type = PT_LOAD,
                          .p_flags = 0,
                          .p_offset = offset,
                          .p_vaddr = piece.linear,
                          .p_paddr = piece.physical,
                          .p_filesz = piece.size,
                          .p_memsz = piece.size,
                          .p_align = 0};
    put(head, &load, sizeof load);
    offset += piece.size;
  }
  put(head, notes.data(), notes.size());
  TRY(write_all(fd, head), "Writing the core's headers");

  std::vector<std::byte> chunk(MiB);
  for (const CorePiece& piece : pieces)
    for (u64 done = 0; done < piece.size; done += chunk.size()) {
      const Bytes part = Bytes(chunk).first(std::min<u64>(chunk.size(), piece.size - done));
      std::ranges::fill(part, std::byte{0});  // for what is no memory
      (void)machine.memory().dma_read(GuestAddr{piece.physical + done}, part);
      TRY(write_all(fd, part), "Writing the core");
    }
  return {};
}

}  // namespace menura
