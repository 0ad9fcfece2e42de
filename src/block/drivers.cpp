#include "block/drivers.h"

#include "block/dmg/dmg_image.h"
#include "block/file/file_image.h"
#include "block/file/memory_image.h"
#include "block/file/null_image.h"
#include "block/filter/filters.h"
#include "block/luks/luks_image.h"
#include "block/nbd/nbd_image.h"
#include "block/parallels/parallels_image.h"
#include "block/qcow/qcow_image.h"
#include "block/qcow2/qcow2_image.h"
#include "block/qed/qed_image.h"
#include "block/raw/raw_image.h"
#include "block/vdi/vdi_image.h"
#include "block/vhdx/vhdx_image.h"
#include "block/vmdk/vmdk_image.h"
#include "block/vpc/vpc_image.h"

namespace menura {

namespace {

const Driver* const kDrivers[] = {
    // Protocols
    &kFileDriver,
    &kHostDeviceDriver,
    &kMemoryDriver,
    &kNbdDriver,
    &kNullAioDriver,
    &kNullCoDriver,
    // Formats
    &kDmgDriver,
    &kLuksDriver,
    &kParallelsDriver,
    &kQcow2Driver,
    &kQcowDriver,
    &kQedDriver,
    &kRawDriver,
    &kVdiDriver,
    &kVhdxDriver,
    &kVmdkDriver,
    &kVpcDriver,
    // Filters
    &kBlkdebugDriver,
    &kBlkverifyDriver,
    &kCopyOnReadDriver,
    &kPreallocateDriver,
    &kThrottleDriver,
};

}  // namespace

std::span<const Driver* const> all_drivers() { return kDrivers; }

}  // namespace menura
