# A bzImage of our own: its 64-bit entry checks what the boot protocol promises and says so.
        .code32
        .text
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
        .byte   1                       # relocatable
        .org    0x236
        .word   1                       # XLF_KERNEL_64
        .long   2047                    # cmdline_size
        .org    0x258
        .quad   0x1000000               # pref_address
        .long   0x100000                # init_size
version: .asciz "1.0-menura-test"
        .org    0x400                   # protected-mode code
        .code64
        .org    0x600                   # its 64-bit entry at 200h
        movw    $0x3f8, %dx
        cmpl    $0x53726448, 0x202(%rsi)
        jne     failed
        movl    0x228(%rsi), %ebx       # the command line, over the serial port
1:      movb    (%rbx), %al
        testb   %al, %al
        jz      2f
        outb    %al, %dx
        incq    %rbx
        jmp     1b
2:      movl    0x218(%rsi), %ebx       # then the initrd
        movl    0x21c(%rsi), %ecx
3:      movb    (%rbx), %al
        outb    %al, %dx
        incq    %rbx
        decl    %ecx
        jnz     3b
        movl    0x70(%rsi), %ebx        # then the RSDP's signature
        movl    $8, %ecx
4:      movb    (%rbx), %al
        outb    %al, %dx
        incq    %rbx
        decl    %ecx
        jnz     4b
        pushq   %rax                    # the stack is there
        popq    %rax
        movw    $0x604, %dx
        movw    $0x2000, %ax
        outw    %ax, %dx
5:      hlt
        jmp     5b
failed: movb    $'!', %al
        outb    %al, %dx
        jmp     5b
