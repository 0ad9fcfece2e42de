# Entry of the 64-bit programs: multiboot 1, then long mode over an identity map of 4 GiB; the way into a program under test, and
# out of it by whatever exception ends it (cpu.h: run()).
        .code32
        .text
        .globl _start
        .balign 4
        .long   0x1badb002, 0, -0x1badb002
_start: cli
        movl    $boot_stack_end, %esp
        movl    $tables + 0x2000, %edi          # four page directories of 2 MiB pages
        movl    $0x83, %eax
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b
        movl    $tables + 0x2003, %eax
        movl    $tables + 0x1000, %edi
        movl    $4, %ecx
2:      movl    %eax, (%edi)
        addl    $0x1000, %eax
        addl    $8, %edi
        loop    2b
        movl    $tables + 0x1003, tables
        movl    $tables, %eax
        movl    %eax, %cr3
        movl    $0x6a0, %eax                    # PAE, PGE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x901, %eax                    # SCE, LME, NXE
        wrmsr
        movl    $0x80050033, %eax               # PG, AM, WP, NE, ET, MP, PE
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $0x08, $long_mode
        .code64
long_mode:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    %ax, %fs
        movw    %ax, %gs
        movl    $tss, %eax                      # the TSS' descriptor
        movw    %ax, gdt + 0x42
        shrl    $16, %eax
        movb    %al, gdt + 0x44
        movb    %ah, gdt + 0x47
        movw    $0x40, %ax
        ltr     %ax
        fninit
        call    fill_idt
        call    test
        jmp     off

# Stubs of 16 bytes, one a vector.
        .globl  stubs
        .balign 16
stubs:
        .set    v, 0
        .rept   256
        .balign 16
        .if (v == 8) || (v >= 10 && v <= 14) || (v == 17) || (v == 21)
        .else
        pushq   $0
        .endif
        pushq   $v
        jmp     trapped
        .set    v, v + 1
        .endr

# Into struct cpu: gpr[16], rip, rflags, cs, ss, vector, error, cr2. The registers are in the order of their numbers.
trapped:
        pushq   %rax
        movq    running, %rax
        movq    %rcx, 8(%rax)
        movq    %rdx, 16(%rax)
        movq    %rbx, 24(%rax)
        movq    %rbp, 40(%rax)
        movq    %rsi, 48(%rax)
        movq    %rdi, 56(%rax)
        movq    %r8, 64(%rax)
        movq    %r9, 72(%rax)
        movq    %r10, 80(%rax)
        movq    %r11, 88(%rax)
        movq    %r12, 96(%rax)
        movq    %r13, 104(%rax)
        movq    %r14, 112(%rax)
        movq    %r15, 120(%rax)
        popq    0(%rax)
        popq    160(%rax)                       # vector
        popq    168(%rax)                       # error code
        popq    128(%rax)                       # rip
        popq    144(%rax)                       # cs
        popq    136(%rax)                       # rflags
        popq    32(%rax)                        # rsp
        popq    152(%rax)                       # ss
        movq    %cr2, %rcx
        movq    %rcx, 176(%rax)
        movw    $0x10, %cx
        movw    %cx, %ds
        movw    %cx, %es
        movw    %cx, %ss
        cld
        cmpq    $0, home
        jz      surprised
        movq    home, %rsp
        movq    $0, home
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

surprised:                                      # outside of run()
        movq    %rax, %rdi
        call    surprise
off:    movw    $0x604, %dx                     # by ACPI
        movw    $0x2000, %ax
        outw    %ax, %dx
3:      hlt
        jmp     3b

        .globl  run
run:    pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, home
        movq    %rdi, running
        movq    %rdi, %rax
        movq    $-1, 160(%rax)
        pushq   152(%rax)                       # ss, rsp, rflags, cs, rip
        pushq   32(%rax)
        pushq   136(%rax)
        pushq   144(%rax)
        pushq   128(%rax)
        movq    8(%rax), %rcx
        movq    16(%rax), %rdx
        movq    24(%rax), %rbx
        movq    40(%rax), %rbp
        movq    48(%rax), %rsi
        movq    56(%rax), %rdi
        movq    64(%rax), %r8
        movq    72(%rax), %r9
        movq    80(%rax), %r10
        movq    88(%rax), %r11
        movq    96(%rax), %r12
        movq    104(%rax), %r13
        movq    112(%rax), %r14
        movq    120(%rax), %r15
        movq    0(%rax), %rax
        iretq

# An interrupt that counts, spoils every register and flag on the way, asks for the next one and returns.
        .globl  tick
tick:   pushq   %rax
        pushq   %rcx
        pushq   %rdx
        lock incl ticks
        movl    tick_period, %ecx
        imull   $1103515245, tick_random, %eax
        addl    $12345, %eax
        movl    %eax, tick_random
        shrl    $20, %eax
        addl    %ecx, %eax
        movl    $0xfee00000, %edx
        movl    $0, 0xb0(%rdx)                  # EOI
        movl    %eax, 0x380(%rdx)               # initial count
        xorl    %eax, %eax
        sahf
        popq    %rdx
        popq    %rcx
        popq    %rax
        iretq

# Two NMIs: the handler counts, and sends another to its own CPU while it runs the first time. The second must not come before
# the IRET: r8 would see it.
        .globl  nmi
nmi:    incl    nmis
        cmpl    $1, nmis
        jne     1f
        movl    $0xfee00000, %r9d
        movl    $0x0400, 0x300(%r9)             # to physical destination, NMI
        movl    $100000, %r10d
2:      decl    %r10d
        jnz     2b
        movl    nmis, %r8d
1:      iretq

        .data
        .balign 16
        .globl  gdt, tss
gdt:    .quad   0
        .quad   0x00af9b000000ffff              # 08: 64-bit code
        .quad   0x00cf93000000ffff              # 10: data
        .quad   0x00cf9b000000ffff              # 18: 32-bit code
        .quad   0x00cffb000000ffff              # 20: user's 32-bit code, for SYSRET
        .quad   0x00cff3000000ffff              # 28: user's data
        .quad   0x00affb000000ffff              # 30: user's 64-bit code
        .quad   0x00af1b000000ffff              # 38: code that is not present
        .quad   0x0000890000000067, 0           # 40: TSS
        .quad   0, 0                            # 50: an LDT
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt
        .balign 16
tss:    .long   0
        .quad   trap_stack_end, 0, 0            # RSP0-2
        .quad   0
        .quad   trap_stack_end                  # IST1
        .quad   0, 0, 0, 0, 0, 0, 0
        .word   0, 0x68
        .globl  ticks, tick_period, tick_random, nmis
ticks:          .long 0
tick_period:    .long 2000
tick_random:    .long 1
nmis:           .long 0
        .balign 8
running:        .quad 0
home:           .quad 0
        .bss
        .balign 4096
        .globl  tables
tables: .skip   6 * 4096
boot_stack:
        .skip   16384
boot_stack_end:
        .skip   8192
trap_stack_end:
