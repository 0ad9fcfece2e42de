# A boot sector that proves its machine: it prints over the first serial port, reads the next sector
# through the BIOS and prints that, waits for three timer ticks, and powers off by ACPI.
        .code16
        .text
        .globl _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        ljmp    $0, $1f
1:      sti
        movb    %dl, drive
        movw    $hello, %si
        call    print
        cmpb    $0xe0, drive            # CDs have their own sectors
        jae     ticks
        movb    $0x42, %ah
        movb    drive, %dl
        movw    $packet, %si
        int     $0x13
        jc      failed
        movw    $0x8000, %si
        call    print

ticks:  xorb    %ah, %ah                # three ticks of the BIOS's clock, halted meanwhile
        int     $0x1a
        movw    %dx, %bx
        addw    $3, %bx
2:      hlt
        xorb    %ah, %ah
        int     $0x1a
        cmpw    %bx, %dx
        js      2b
        movw    $ticked, %si
        call    print

        movw    $0x604, %dx             # PM1_CNT: SLP_EN, SLP_TYP = S5
        movw    $0x2000, %ax
        outw    %ax, %dx
3:      hlt
        jmp     3b

failed: movw    $broken, %si
        call    print
4:      hlt
        jmp     4b

# With interrupts off: the BIOS's own console also writes to this port, from the timer.
print:  cli
7:      lodsb
        testb   %al, %al
        jz      6f
        movb    %al, %ah
        movw    $0x3fd, %dx
5:      inb     %dx, %al
        testb   $0x20, %al
        jz      5b
        movb    %ah, %al
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     7b
6:      sti
        ret

drive:  .byte   0
packet: .byte   16, 0
        .word   1                       # sectors
        .word   0x8000, 0               # to
        .quad   1                       # from
hello:  .asciz  "menura: boot sector runs\r\n"
ticked: .asciz  "menura: timer ticks\r\n"
broken: .asciz  "menura: disk read failed\r\n"
        .org    510
        .word   0xaa55
        .asciz  "menura: second sector read\r\n"
        .org    1024
