# The begin of a bzImage whose 64-bit entry goes on in virtio.c, and the way in and out of its interrupt.
        .text
        .code32
        .globl _start
_start:
        .org    0x1f1
        .byte   1                       # setup_sects
        .org    0x1fe
        .word   0xaa55
        .byte   0xeb, 0x66
        .ascii  "HdrS"
        .word   0x020f                  # boot protocol 2.15
        .org    0x20e
        .word   version - _start - 0x200
        .org    0x211
        .byte   1                       # LOADED_HIGH
        .org    0x22c
        .long   0x7fffffff              # initrd_addr_max
        .org    0x234
        .byte   0                       # not relocatable
        .org    0x236
        .word   1                       # XLF_KERNEL_64
        .long   2047                    # cmdline_size
        .org    0x258
        .quad   0x1000000               # pref_address
        .long   0x100000                # init_size
version: .asciz "1.0-menura-virtio"
        .org    0x400                   # protected-mode code, loaded at 1000000h
        .code64
        .org    0x600                   # its 64-bit entry at 200h
        leaq    stack_end(%rip), %rsp
        movl    0x228(%rsi), %edi       # the command line
        call    payload
1:      hlt
        jmp     1b

        .globl  interrupt_entry
interrupt_entry:
        pushq   %rax
        incl    interrupts(%rip)
        movl    $0xfee000b0, %eax       # EOI
        movl    $0, (%rax)
        popq    %rax
        iretq

        .bss
        .balign 16
        .skip   0x4000
stack_end:
