# A 32-bit kernel of our own that checks what its boot protocol promises and says so over the first serial port: PVH, or
# multiboot 1 when assembled with MULTIBOOT=1.
        .text
        .globl _start
.ifdef MULTIBOOT
        .balign 4
        .long   0x1badb002, 7, -(0x1badb002 + 7), 0, 0, 0, 0, 0, 0, 80, 25, 0
        .set    MODULES, 24             # in the info structure
        .set    COMMAND_LINE, 16
        .set    MODULE_TEXT, 8
.else
        .set    MODULES, 16
        .set    COMMAND_LINE, 24
        .set    MODULE_TEXT, 16
.endif
_start:
        movl    %eax, %ebp
        movw    %ss, %ax                # flat segments, a stack of our own
        movw    %ax, %ds
        movl    $stack, %esp
        pushfl
        popl    %eax
        testl   $0x20300, %eax          # no VM, IF, TF
        jnz     failed
        movl    %cr0, %eax
        andl    $0x80000001, %eax       # protection without paging
        cmpl    $1, %eax
        jne     failed
        cmpl    $0, zeros               # .bss is zero
        jne     failed
        movl    $1, zeros               # and must be again after a reset
.ifdef MULTIBOOT
        cmpl    $0x2badb002, %ebp
.else
        cmpl    $0x336ec578, (%ebx)
.endif
        jne     failed
        movl    COMMAND_LINE(%ebx), %esi
        call    print
        movl    MODULES(%ebx), %edi     # both modules: content, then their own command lines
        movl    (%edi), %esi
        call    print
        movl    MODULE_TEXT(%edi), %esi
        call    print
.ifdef MULTIBOOT
        addl    $16, %edi
        testl   $0xfff, (%edi)          # bit 0 of our flags: on pages
        jnz     failed
.else
        addl    $32, %edi
.endif
        movl    (%edi), %esi
        call    print
        movl    MODULE_TEXT(%edi), %esi
        call    print
.ifdef MULTIBOOT
        movl    48(%ebx), %edi          # the memory map: its first entry begins at 0
        cmpl    $0, 4(%edi)
        jne     failed
        movl    64(%ebx), %esi          # who loads
.else
        movl    32(%ebx), %esi          # the RSDP
        movb    $0, 8(%esi)
.endif
        call    print
        movw    $0x604, %dx             # PM1_CNT: SLP_EN, SLP_TYP = S5
        movw    $0x2000, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

failed: movl    $broken, %esi
        call    print
        jmp     1b

print:  movw    $0x3f8, %dx
2:      lodsb
        testb   %al, %al
        jz      3f
        outb    %al, %dx
        jmp     2b
3:      movb    $'|', %al
        outb    %al, %dx
        ret

broken: .asciz  "FAILED"
        .bss
zeros:  .long   0
        .skip   4096
stack:
.ifndef MULTIBOOT
        .section .note.Xen, "a", @note
        .long   4, 4, 18                # XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start
.endif
