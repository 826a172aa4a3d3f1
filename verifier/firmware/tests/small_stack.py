#!/usr/bin/env python3
"""Leaves a board in QEMU so many bytes of stack, as if those above were in use.

    small_stack.py PROGRAM SOCKET BYTES

QEMU waits at the start (`-S`) with its debugger's port at SOCKET (`-gdb unix:SOCKET,server=on,wait=off`). Where the program
PROGRAM enters `main`, which never returns, the stack pointer is set to BYTES above the end of the stack; then it goes on.
"""

import socket
import struct
import sys

# Numbers of machines in ELF, and what the debugger calls their stack pointers.
STACK_POINTERS = {40: 13, 243: 2}


def symbols(elf):
    """The machine, and the addresses of symbols by name (ELF, 32 bits, little-endian)."""
    sections, = struct.unpack_from("<I", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 46)
    headers = [struct.unpack_from("<10I", elf, sections + size * index) for index in range(count)]
    found = {}
    for _, kind, _, _, at, length, link, *_ in headers:
        if kind == 2:
            names = headers[link][4]
            for symbol in range(at, at + length, 16):
                name, address = struct.unpack_from("<II", elf, symbol)
                found[elf[names + name : elf.index(0, names + name)].decode()] = address
    return struct.unpack_from("<H", elf, 18)[0], found


def ask(port, packet):
    """Sends a packet of the debugger's protocol and returns the answer."""
    port.write(b"$%s#%02x" % (packet, sum(packet) % 256))
    port.flush()
    while port.read(1) != b"$":
        pass
    answer = b""
    while not answer.endswith(b"#"):
        answer += port.read(1) or sys.exit("small_stack: QEMU has ended")
    port.read(2)
    port.write(b"+")
    port.flush()
    return answer[:-1]


def main():
    program, place, left = sys.argv[1:]
    machine, at = symbols(open(program, "rb").read())
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(place)
        port = line.makefile("rwb")
        # Bit 0 of an address says that the code is Thumb.
        start = at["main"] & ~1
        pointer = struct.pack("<I", at["_stack_end"] + int(left)).hex().encode()
        # QEMU sets registers only for debuggers that have read what they are.
        ask(port, b"qXfer:features:read:target.xml:0,ffb")
        stop = ask(port, b"Z1,%x,2" % start), ask(port, b"c")
        done = ask(port, b"P%x=%s" % (STACK_POINTERS[machine], pointer)), ask(port, b"z1,%x,2" % start), ask(port, b"D")
        if stop[0] != b"OK" or not stop[1].startswith(b"T05") or set(done) != {b"OK"}:
            sys.exit(f"small_stack: QEMU says {stop}, {done}")


main()
