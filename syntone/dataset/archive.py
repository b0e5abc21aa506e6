"""The zip archives behind .npz and .pt: opened only when whole, and never unpacked.

A zip describes each member twice, before its bytes and in the directory at the end, and keeps a checksum of the bytes.
Neither a memory map nor `torch.load` looks at all of this (torch is built without the checksums), so a bit that flipped
on a disk would pass as data. Here everything is compared, in blocks, so that memory stays small.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from syntone.errors import InputError, one_line

BLOCK_BYTES = 4 * 2**20
MAX_MEMBERS = 20_000  # a checkpoint has one a tensor; to look at millions of empty members would take minutes
LOCAL_HEADER_BYTES = 30
# What reading a damaged zip raises beside BadZipFile; the OSError is that of a seek to before the file's start.
DAMAGE = (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, OverflowError, ValueError, OSError)


@dataclass(frozen=True)
class Member:
    """Where the bytes of a stored member lie in the file, and their CRC-32."""

    name: str
    start: int
    n_bytes: int
    crc: int


@dataclass(frozen=True)
class Archive:
    """A zip file whose directory is in order, and its members by name; `remedy` ends every message about it."""

    path: Path
    remedy: str
    members: dict[str, Member]

    def damaged(self, why: object) -> InputError:
        return InputError(
            f"{self.path}: not a whole {self.path.suffix or 'zip'} file ({one_line(why)[:200]}); {self.remedy}"
        )

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, block by block.

        Raises
        ------
        InputError
            After the last block, if the checksum is another than when the member was written.
        """
        member, crc = self.members[name], 0
        with open(self.path, "rb") as handle:
            handle.seek(member.start)
            for start in range(0, member.n_bytes, BLOCK_BYTES):
                block = handle.read(min(BLOCK_BYTES, member.n_bytes - start))
                crc = zlib.crc32(block, crc)
                yield block
        if crc != member.crc:
            raise self.damaged(f"the checksum of '{name[:40]}' is wrong")

    def check_all(self) -> None:
        """Read every member once, for its checksum."""
        for name in self.members:
            for _ in self.blocks(name):
                pass

    def rewritten(self) -> BytesIO:
        """The same members, checked, in a new archive in memory, for a reader that takes from a zip what is not looked
        at here. One flipped bit in a member's attributes makes it a folder to torch, which then returns memory as it
        was."""
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in self.members:
                archive.writestr(zipfile.ZipInfo(name), b"".join(self.blocks(name)))
        buffer.seek(0)
        return buffer


def open_archive(path: Path, *, remedy: str) -> Archive:
    """The directory of a zip file, compared with what stands before each member.

    Raises
    ------
    InputError
        If the file is no zip, is cut off, says two things about a member, or holds a compressed one.
    """
    with open(path, "rb") as handle:  # its OSError says why a file cannot be opened; that is no damage
        try:
            with zipfile.ZipFile(handle) as archive:
                entries = archive.infolist()
            if len(entries) > MAX_MEMBERS:
                raise zipfile.BadZipFile(f"{len(entries):,} members")
            size = os.fstat(handle.fileno()).st_size
            packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            members = {entry.filename: _locate(handle, entry, size) for entry in entries if not packed}
            if not packed and len(members) < len(entries):
                raise zipfile.BadZipFile("two members have one name")
            if sum(member.n_bytes for member in members.values()) > size:  # each is read once, so that takes no longer
                raise zipfile.BadZipFile("its members overlap")
        except DAMAGE as damage:
            raise Archive(path, remedy, {}).damaged(damage) from damage
    if packed:
        raise InputError(
            f"{path}: '{one_line(packed[0])[:40]}' is compressed, so it could unpack to any size; {remedy}"
        )
    return Archive(path, remedy, members)


def _locate(handle: BinaryIO, entry: zipfile.ZipInfo, size: int) -> Member:
    """Where a member's bytes are, from what stands before them; a ValueError or BadZipFile where the directory differs."""
    name, shown = entry.orig_filename, entry.orig_filename[:40]
    handle.seek(entry.header_offset)
    local = handle.read(LOCAL_HEADER_BYTES)
    if len(local) < LOCAL_HEADER_BYTES or local[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"'{shown}' is not where the directory says")
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    if handle.read(name_length) != name.encode("utf-8" if entry.flag_bits & 0x800 else "cp437"):
        raise zipfile.BadZipFile(f"'{shown}' has another name in the directory")
    start = entry.header_offset + LOCAL_HEADER_BYTES + name_length + extra_length
    if entry.compress_size != entry.file_size or start + entry.file_size > size:
        raise zipfile.BadZipFile(f"'{shown}' should hold {entry.file_size} bytes and does not")
    return Member(entry.filename, start, entry.file_size, entry.CRC)
