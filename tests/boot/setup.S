# A kernel of boot protocol 2.03, too old to be started without a BIOS. Its real-mode setup code says its command line, asks
# the BIOS for the beginning of the initrd beyond 1 MiB, and ends the machine.
        .code16
        .text
        .globl _start
_start:
        .org    0x1f1
        .byte   1                       # setup_sects
        .org    0x1fe
        .word   0xaa55
        jmp     setup
        .ascii  "HdrS"
        .word   0x0203
        .org    0x20e
        .word   0
        .org    0x211
        .byte   1                       # LOADED_HIGH
        .org    0x218
initrd: .long   0, 0
        .org    0x228
line:   .long   0
        .long   0x37ffffff              # initrd_addr_max
        .org    0x268
setup:  movw    %cs, %ax                # CS is 20h beyond the others
        movw    %ds, %bx
        subw    %bx, %ax
        cmpw    $0x20, %ax
        jne     failed
        movw    %ss, %ax
        cmpw    %bx, %ax
        jne     failed
        movl    line, %esi
        shrl    $4, %esi
        movw    %si, %fs
        movl    line, %esi
        andl    $15, %esi
        call    print
        movl    initrd, %eax            # the BIOS's block move: source and destination in its descriptors
        movw    %ax, from
        shrl    $16, %eax
        movb    %al, from + 2
        movb    %ah, from + 5
        movw    $gdt, %si
        movb    $0x87, %ah
        movw    $8, %cx                 # words
        int     $0x15
        jc      failed
        movw    $0x3000, %ax
        movw    %ax, %fs
        xorl    %esi, %esi
        call    print
        movw    $0x604, %dx
        movw    $0x2000, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b
failed: movw    $0x3f8, %dx
        movb    $'!', %al
        outb    %al, %dx
        jmp     1b
# FS:SI, up to a zero. With interrupts off: the BIOS's console also writes to this port.
print:  cli
        movw    $0x3f8, %dx
2:      movb    %fs:(%si), %al
        incw    %si
        testb   %al, %al
        jz      3f
        outb    %al, %dx
        jmp     2b
3:      movb    $'|', %al
        outb    %al, %dx
        sti
        ret
        .balign 8
gdt:    .quad   0, 0
        .word   0xffff
from:   .word   0
        .byte   0, 0x93, 0, 0
        .word   0xffff, 0               # to 30000h
        .byte   3, 0x93, 0, 0
        .quad   0, 0
        .org    1024
        hlt                             # protected-mode code, never entered
        .org    2048
