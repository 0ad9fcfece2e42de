// <linux/kvm.h> with the kernel's own structure sizes.
//
// Owner: accel/kvm; nothing here includes <linux/kvm.h> otherwise. Threads: constants. Headers of
// Linux 6.1 wrap flexible arrays in a structure with an empty member, which has size 1 in C++ (0 in
// C): kvm_cpuid2 would be 12 bytes instead of 8, and with it the ioctl numbers be wrong.
// Example: `#include "accel/kvm/kvm_abi.h"`
#pragma once

#include <linux/stddef.h>

#ifdef __DECLARE_FLEX_ARRAY
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(type, name) type name[0]
#endif
#include <linux/kvm.h>
#undef __DECLARE_FLEX_ARRAY

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_msr_list) == 4 &&
              sizeof(kvm_irq_routing) == 8 && sizeof(kvm_signal_mask) == 4);
