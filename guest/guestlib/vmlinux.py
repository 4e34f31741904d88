# SPDX-License-Identifier: Apache-2.0
"""Gets the uncompressed ELF kernel out of a bzImage.

VMMs boot the ELF image at its PVH entry point in a third of the time the compressed one
takes under software emulation. Layout of a bzImage: Documentation/arch/x86/boot.rst of the
kernel ("HdrS" at 0x202, setup_sects at 0x1f1, payload_offset at 0x248, payload_length at
0x24c).
"""

import bz2
import lzma
import struct
import subprocess
import zlib

from guestlib.common import Problem, find_program, need

ELF_MAGIC = b"\x7fELF"
PVH_NOTE = 18  # XEN_ELFNOTE_PHYS32_ENTRY
MAX_IMAGE = 256 << 20
MAX_KERNEL = 1 << 30
TOOL_DEADLINE_S = 120


def bounded(decompressor, data, limit_arg):
    """Decompresses one stream, ignoring what follows it, up to MAX_KERNEL bytes."""
    out = decompressor.decompress(data, **{limit_arg: MAX_KERNEL})
    if not decompressor.eof:
        raise EOFError("the compressed kernel ends too early")
    return out


def gunzip(data):
    decompressor = zlib.decompressobj(31)
    out = decompressor.decompress(data, MAX_KERNEL)
    if not decompressor.eof:
        raise EOFError("the compressed kernel ends too early")
    return out


def unxz(data):
    return bounded(lzma.LZMADecompressor(), data, "max_length")


def bunzip2(data):
    return bounded(bz2.BZ2Decompressor(), data, "max_length")


def by_tool(name, arguments):
    """A decompressor outside Python's library. The kernel's build appends the size as 4 bytes,
    which these tools take for rubbish after a complete stream: it is cut off first."""
    def decompress(data):
        program = find_program(name)
        if not program:
            raise Problem(f"the kernel is compressed with {name}, which is not here", need(name))
        done = subprocess.run([program, *arguments], input=data[:-4], capture_output=True,
                              timeout=TOOL_DEADLINE_S, check=False)
        if done.returncode:
            raise EOFError(f"{name}: " + done.stderr.decode(errors="replace").strip()[-200:])
        return done.stdout
    return decompress


# Magic number at the start of the payload -> name, decompressor.
FORMATS = (
    (b"\x1f\x8b\x08", "gzip", gunzip),
    (b"\xfd7zXZ\x00", "xz", unxz),
    (b"\x5d\x00\x00", "lzma", unxz),
    (b"BZh", "bzip2", bunzip2),
    (b"\x28\xb5\x2f\xfd", "zstd", by_tool("zstd", ["-q", "-d", "-c"])),
    (b"\x02\x21\x4c\x18", "lz4", by_tool("lz4", ["-q", "-d", "-c"])),
    (b"\x89LZO", "lzop", by_tool("lzop", ["-q", "-d", "-c"])),
)


def payload(image, name):
    """The compressed kernel inside a bzImage."""
    if len(image) < 0x260 or image[0x202:0x206] != b"HdrS" or image[0x1fe:0x200] != b"\x55\xaa":
        raise Problem(f"{name} is neither a bzImage nor an ELF image of Linux")
    if struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        raise Problem(f"{name} has a boot protocol older than 2.08")
    start = ((image[0x1f1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    if not length or start + offset + length > len(image):
        raise Problem(f"{name} is truncated: {len(image)} bytes of at least "
                      f"{start + offset + length}", "remove it and fetch it again")
    return image[start + offset:start + offset + length]


def extract(image, name):
    """The ELF kernel in a bzImage, or the image itself if it is one already."""
    if image[:4] == ELF_MAGIC:
        check_elf(image, name)
        return image
    if len(image) > MAX_IMAGE:
        raise Problem(f"{name} is larger than {MAX_IMAGE >> 20} MiB: not a kernel")
    data = payload(image, name)
    if data[:4] == ELF_MAGIC:
        check_elf(data, name)
        return data
    for magic, kind, decompress in FORMATS:
        if data.startswith(magic):
            break
    else:
        raise Problem(f"{name}: unknown compression, it starts with {data[:6].hex()}")
    try:
        out = decompress(data)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise Problem(f"{name}: the {kind} stream inside is damaged: {error}",
                      "remove it and fetch it again") from error
    check_elf(out, name)
    return out


def check_elf(elf, name):
    """Demands a 64-bit x86 executable whose segments are all there."""
    if len(elf) < 64 or elf[:6] != b"\x7fELF\x02\x01":
        raise Problem(f"{name} does not hold a 64-bit little-endian ELF image")
    machine = struct.unpack_from("<H", elf, 18)[0]
    if machine != 62:
        raise Problem(f"{name} is for ELF machine {machine}, not for x86-64")
    for _, offset, size in segments(elf, name):
        if offset + size > len(elf):
            raise Problem(f"{name} is truncated: a segment ends at byte {offset + size} "
                          f"of {len(elf)}", "remove it and fetch it again")


def segments(elf, name):
    """(type, file offset, file size) of each program header."""
    table, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    if size < 56 or not count or table + size * count > len(elf):
        raise Problem(f"{name} has no complete table of segments")
    result = []
    for index in range(count):
        at = table + size * index
        kind, = struct.unpack_from("<I", elf, at)
        offset, = struct.unpack_from("<Q", elf, at + 8)
        length, = struct.unpack_from("<Q", elf, at + 32)
        result.append((kind, offset, length))
    return result


def has_pvh(elf, name):
    """Whether the image has the note with the PVH entry point."""
    for kind, offset, length in segments(elf, name):
        at, end = offset, offset + length
        while kind == 4 and at + 12 <= end:
            name_size, data_size, note = struct.unpack_from("<III", elf, at)
            if note == PVH_NOTE and elf[at + 12:at + 16] == b"Xen\0":
                return True
            at += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return False


def trimmed(elf, name):
    """The image without section headers and without the zeros at its segments' ends.

    A VMM keeps the file's part of each segment in memory and fills the rest with zeros itself.
    Debian's kernel has a section behind .bss, so that 20 MB of zeros are stored in the file.
    """
    out = bytearray(elf)
    end = 0
    table, = struct.unpack_from("<Q", elf, 32)
    entry_size = struct.unpack_from("<H", elf, 54)[0]
    for index, (kind, offset, length) in enumerate(segments(elf, name)):
        if kind == 1:
            length = len(elf[offset:offset + length].rstrip(b"\0"))
            struct.pack_into("<Q", out, table + index * entry_size + 32, length)
        end = max(end, offset + length)
    end = max(end, table + entry_size * struct.unpack_from("<H", elf, 56)[0], 64)
    struct.pack_into("<Q", out, 40, 0)
    struct.pack_into("<HHH", out, 58, 64, 0, 0)
    return bytes(out[:end])
