// An NVMe controller with a disk: random registers and doorbells, queues and entries in RAM with fields
// that may be anything, slow and broken disks, resets and pauses in between, loads of damaged states.
#include <fuzzer/FuzzedDataProvider.h>

#include "damaged_state.h"
#include "hw/nvme/test_driver.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 300;

u64 some_address(FuzzedDataProvider& in) {
  return in.ConsumeBool() ? in.ConsumeIntegralInRange<u64>(0, 0xff) << 12
                          : in.ConsumeIntegral<u64>();
}

void give_command(FuzzedDataProvider& in, NvmeRig& rig) {
  constexpr u8 kAdmin[] = {0, 1, 2, 4, 5, 6, 8, 9, 0xa, 0xc, 0x80};
  constexpr u8 kIo[] = {0, 1, 2, 5, 8, 9};
  const unsigned queue = in.ConsumeIntegralInRange(0u, 1u);
  NvmeEntry entry;
  entry.opcode = in.ConsumeIntegralInRange(0, 15) == 0 ? in.ConsumeIntegral<u8>()
                 : queue                               ? in.PickValueInArray(kIo)
                                                       : in.PickValueInArray(kAdmin);
  entry.flags = in.ConsumeIntegralInRange(0, 3) ? 0 : in.ConsumeIntegral<u8>();
  entry.nsid = in.ConsumeIntegralInRange(0, 7) ? 1 : in.ConsumeIntegral<u32>();
  entry.prp1 = some_address(in);
  entry.prp2 = some_address(in);
  entry.cdw10 = in.ConsumeBool() ? in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u32>();
  entry.cdw11 = in.ConsumeBool() ? in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u32>();
  entry.cdw12 = in.ConsumeBool() ? in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u32>();
  rig.submit(queue, entry);
}

void operate(FuzzedDataProvider& in, NvmeRig& rig) {
  switch (in.ConsumeIntegralInRange(0, 11)) {
    case 0:
      return rig.m.write_mem(NvmeRig::kBar + in.ConsumeIntegralInRange<u64>(0, 0x3fff),
                             in.PickValueInArray<unsigned>({1, 2, 4, 8}),
                             in.ConsumeIntegral<u64>());
    case 1:
      (void)rig.m.read_mem(NvmeRig::kBar + in.ConsumeIntegralInRange<u64>(0, 0x3fff), 8);
      return;
    case 2: return rig.disk.pump();
    case 3: rig.disk.broken = !rig.disk.broken; return;
    case 4: return load_damaged(in, rig.nvme);
    case 5: return rig.nvme.pause();
    case 6:
      rig.set_reg(0x14, 0);
      rig.queues[0] = rig.queues[1] = {};
      rig.enable();
      return rig.make_io_queues();
    case 7: rig.m.ram->store<u64>(in.ConsumeIntegral<u16>() << 4, some_address(in)); return;
    case 8: (void)rig.poll(in.ConsumeIntegralInRange(0u, 1u)); return;
    default: return give_command(in, rig);
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace menura;
  FuzzedDataProvider in(data, size);
  NvmeRig rig;
  rig.disk.immediate = false;
  rig.enable();
  rig.make_io_queues();
  for (unsigned i = 0; i < kOperations && in.remaining_bytes() > 0; i++) operate(in, rig);
  return 0;
}
