# Entry of the 32-bit program: multiboot 1, flat segments without paging; the way into a program under test, and out of it by
# whatever exception ends it (cpu.h: run()).
        .code32
        .text
        .globl _start
        .balign 4
        .long   0x1badb002, 0, -0x1badb002
_start: cli
        movl    $boot_stack_end, %esp
        movl    %cr4, %eax
        orl     $0x600, %eax                    # OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    %cr0, %eax
        andl    $~6, %eax
        orl     $0x10032, %eax                  # WP, NE, ET, MP
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $0x08, $1f
1:      movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    %ax, %fs
        movw    %ax, %gs
        movl    $tss, %eax
        movw    %ax, gdt + 0x42
        shrl    $16, %eax
        movb    %al, gdt + 0x44
        movb    %ah, gdt + 0x47
        movw    $0x40, %ax
        ltr     %ax
        fninit
        call    fill_idt
        call    test
off:    movw    $0x604, %dx                     # by ACPI
        movw    $0x2000, %ax
        outw    %ax, %dx
3:      hlt
        jmp     3b

        .globl  stubs
        .balign 16
stubs:
        .set    v, 0
        .rept   256
        .balign 16
        .if (v == 8) || (v >= 10 && v <= 14) || (v == 17) || (v == 21)
        .else
        pushl   $0
        .endif
        pushl   $v
        jmp     trapped
        .set    v, v + 1
        .endr

# Into struct cpu, the registers in the order of their numbers: gpr[16], eip, eflags, cs, ss, vector, error, cr2, es, ds, fs, gs.
trapped:
        pushl   %eax
        pushl   %ds
        movw    $0x10, %ax
        movw    %ax, %ds
        movl    running, %eax
        popl    92(%eax)                        # ds
        movl    %ecx, 4(%eax)
        movl    %edx, 8(%eax)
        movl    %ebx, 12(%eax)
        movl    %ebp, 20(%eax)
        movl    %esi, 24(%eax)
        movl    %edi, 28(%eax)
        movw    %es, 88(%eax)
        movw    %fs, 96(%eax)
        movw    %gs, 100(%eax)
        popl    0(%eax)
        popl    80(%eax)                        # vector
        popl    84(%eax)                        # error code
        popl    64(%eax)                        # eip
        popl    72(%eax)                        # cs
        popl    68(%eax)                        # eflags
        andl    $0xffff, 72(%eax)
        movl    %esp, 16(%eax)
        movw    %ss, 76(%eax)
        testl   $0x20000, 68(%eax)
        jnz     4f
        testl   $3, 72(%eax)
        jz      5f
        popl    16(%eax)                        # from outside: esp and ss
        popl    76(%eax)
        jmp     5f
4:      popl    16(%eax)                        # from virtual-8086 mode: the segments, too
        popl    76(%eax)
        popl    88(%eax)
        popl    92(%eax)
        popl    96(%eax)
        popl    100(%eax)
5:      movl    %cr2, %ecx
        movl    %ecx, saved_cr2(%eax)
        movw    $0x10, %cx
        movw    %cx, %es
        movw    %cx, %ss
        movw    %cx, %fs
        movw    %cx, %gs
        cld
        cmpl    $0, home
        jnz     6f
        movl    $boot_stack_end, %esp
        pushl   %eax
        call    surprise
        jmp     off
6:      movl    home, %esp
        movl    $0, home
        popfl
        popl    %edi
        popl    %esi
        popl    %ebp
        popl    %ebx
        ret
        .set    saved_cr2, 104

        .globl  run
run:    movl    4(%esp), %eax
        pushl   %ebx
        pushl   %ebp
        pushl   %esi
        pushl   %edi
        pushfl
        movl    %esp, home
        movl    %eax, running
        movl    $-1, 80(%eax)
        testl   $0x20000, 68(%eax)
        jz      1f
        pushl   100(%eax)                       # gs, fs, ds, es
        pushl   96(%eax)
        pushl   92(%eax)
        pushl   88(%eax)
        jmp     2f
1:      testl   $3, 72(%eax)
        jnz     2f
        movl    16(%eax), %esp                  # inside: its own stack all the way
        jmp     3f
2:      pushl   76(%eax)
        pushl   16(%eax)
3:      pushl   68(%eax)
        pushl   72(%eax)
        pushl   64(%eax)
        movl    4(%eax), %ecx
        movl    8(%eax), %edx
        movl    12(%eax), %ebx
        movl    20(%eax), %ebp
        movl    24(%eax), %esi
        movl    28(%eax), %edi
        pushl   0(%eax)
        testl   $0x20000, 68(%eax)
        jnz     4f
        pushl   92(%eax)
        pushl   88(%eax)
        popl    %es
        popl    %ds
4:      popl    %eax
        iret

# What other tasks do: they say that they have been there and return by IRET, or fall into INT3. edx counts.
        .globl  task_returns, task_stays, tss_fault
task_returns:
        incl    task_runs
        pushfl
        popl    task_flags
        movl    %cr0, %eax
        movl    %eax, task_cr0
        iret
        incl    task_runs                       # entered again: behind its IRET
        addl    $100, task_runs
        iret
task_stays:
        incl    task_runs
        int3

        .data
        .balign 16
        .globl  gdt, tss, task_runs, task_flags, task_cr0
gdt:    .quad   0
        .quad   0x00cf9b000000ffff              # 08: code
        .quad   0x00cf93000000ffff              # 10: data
        .quad   0x00009b000000ffff              # 18: 16-bit code
        .quad   0x000093000000ffff              # 20: 16-bit data
        .quad   0x00cffb000000ffff              # 28: user's code
        .quad   0x00cff3000000ffff              # 30: user's data
        .quad   0x00cf1b000000ffff              # 38: code that is not present
        .quad   0x0000890000000067              # 40: TSS
        .quad   0, 0, 0, 0, 0, 0, 0             # 48 to 78: the checks' own
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
        .balign 128
tss:    .long   0, trap_stack_end, 0x10
        .skip   88
        .word   0, 0x68
tss_map:
        .skip   0x2000 + 1 + 32, 0xff           # redirection bitmap (32 bytes), I/O bitmap: 88h on
task_runs:      .long 0
task_flags:     .long 0
task_cr0:       .long 0
running:        .long 0
home:           .long 0
        .bss
        .balign 4096
boot_stack:
        .skip   16384
boot_stack_end:
        .skip   8192
trap_stack_end:
