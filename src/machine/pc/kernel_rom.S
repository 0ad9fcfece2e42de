# The option ROM that starts a Linux kernel from fw_cfg: a boot connection of the BIOS (BEV). It lets fw_cfg's DMA put the
# parts where the host said, and enters the setup code. Runs in real mode; the DMA engine reaches beyond 1 MiB for it.
# Specifications: BIOS Boot Specification 1.01, 3.3; fw_cfg; "The Linux/x86 Boot Protocol", "Running the Kernel".
        .code16
        .text
        .globl _start
        .set    FW_CFG_SELECT, 0x510
        .set    FW_CFG_DMA, 0x514
        .set    DMA_READ, 0x02
        .set    DMA_SELECT, 0x08
        .set    DMA_ERROR, 0x01
_start:
        .word   0xaa55
        .byte   (end - _start) / 512
        jmp     init
        .org    0x18
        .word   0                       # no PCI data
        .word   pnp
pnp:    .ascii  "$PnP"
        .byte   1                       # revision
        .byte   2                       # length / 16
        .word   0                       # no other header
        .byte   0
        .byte   0                       # checksum, filled in by the host
        .long   0                       # device
        .word   maker
        .word   product
        .byte   2, 0, 0                 # a boot device
        .byte   0
        .word   0                       # no boot connection vector
        .word   0                       # no disconnect vector
        .word   boot                    # bootstrap entry vector
        .word   0
        .word   0

init:   movw    $0x20, %ax              # an initial program load device is there
        lret

boot:   cli
        cld
        pushw   %cs
        popw    %ds
        xorw    %ax, %ax
        movw    %ax, %ss
        movw    $0x7c00, %sp            # free, as for a boot sector
        movw    $parts, %si
1:      lodsw                           # its address, its size, its bytes
        testw   %ax, %ax
        jz      2f
        call    read_item
        movl    %eax, %edi
        lodsw
        call    read_item
        movl    %eax, %ecx
        lodsw
        jecxz   1b
        call    load
        jmp     1b

2:      movw    $0x13, %ax              # the stack ends below the command line, or with its segment
        call    read_item
        movl    %eax, %ebx
        movw    $0x16, %ax
        call    read_item
        subl    %eax, %ebx
        subw    $16, %bx
        shrl    $4, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        movzwl  %bx, %esp
        addw    $0x20, %ax
        pushw   %ax
        pushw   $0
        xorl    %eax, %eax
        xorl    %ebx, %ebx
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        xorl    %esi, %esi
        xorl    %edi, %edi
        xorl    %ebp, %ebp
        lret

# EAX: the item AX, a little-endian dword; CX is lost.
read_item:
        pushw   %dx
        movw    $FW_CFG_SELECT, %dx
        outw    %ax, %dx
        incw    %dx
        movw    $4, %cx
3:      inb     %dx, %al
        rorl    $8, %eax
        loop    3b
        popw    %dx
        ret

# The item AX, ECX bytes of it, to address EDI. Descriptor: control, length, address, big-endian, on the stack.
load:   movl    %edi, %ebx
        bswapl  %ebx
        pushl   %ebx
        pushl   $0
        bswapl  %ecx
        pushl   %ecx
        shll    $16, %eax
        movw    $(DMA_SELECT | DMA_READ), %ax
        bswapl  %eax
        pushl   %eax
        movw    $FW_CFG_DMA, %dx
        xorl    %eax, %eax
        outl    %eax, %dx
        movzwl  %sp, %eax
        bswapl  %eax
        addw    $4, %dx
        outl    %eax, %dx
        movw    %sp, %bp
4:      movl    (%bp), %eax             # zero when done
        bswapl  %eax
        testb   $DMA_ERROR, %al
        jnz     failed
        testl   %eax, %eax
        jnz     4b
        addw    $16, %sp
        ret

failed: movw    $broken, %si
5:      lodsb
        testb   %al, %al
        jz      6f
        movb    $0x0e, %ah              # teletype
        movw    $7, %bx
        int     $0x10
        jmp     5b
6:      hlt
        jmp     6b

parts:  .word   0x16, 0x17, 0x18        # setup code
        .word   0x07, 0x08, 0x11        # protected-mode code
        .word   0x0a, 0x0b, 0x12        # initrd
        .word   0x13, 0x14, 0x15        # command line
        .word   0
maker:  .asciz  "menura"
product: .asciz "Linux kernel (-kernel)"
broken: .asciz  "The kernel does not fit the memory\r\n"
        .org    0x3ff
        .byte   0                       # checksum, filled in by the host
end:
