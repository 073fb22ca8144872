"""The E57 container (ASTM E2807): pages with checksums, an XML tree that describes everything, and compressed vectors.

    file     := pages of 1024 bytes: 1020 of content, then the CRC-32C of these, big-endian
    header   := "ASTM-E57", version, length of the file, offset and length of the XML, page size
    vector   := section header, then packets; a data packet holds a piece of each column's byte stream

An offset that is called physical counts the checksums, a logical one does not. A column is a run of floats, or of
integers, each less its minimum, in the fewest bits that hold its range, low bits first. All is little-endian.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from recon.errors import UserError
from recon.formats.untrusted import failures_named, plain
from recon.limits import require_memory

PAGE, CONTENT = 1024, 1020
HEADER = struct.Struct("<8sIIQQQQ")
VECTOR_HEADER = struct.Struct("<B7xQQQ")  # section id, logical length, physical offsets of data and index
LARGEST_XML = 64 << 20
INT64 = (-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True)
class Column:
    """A field of a compressed vector's records: floats of `size` bytes, or integers of `bits` bits from `minimum` up,
    which stand for integer * scale + offset."""

    name: str
    size: int = 0
    bits: int = 0
    minimum: int = 0
    scale: float = 1.0
    offset: float = 0.0


class E57File:
    """An E57 file in memory: its XML, and the columns of its compressed vectors."""

    def __init__(self, path: Path):
        """Reads the file and checks its pages.

        Raises:
            UserError: it is no E57 file, is cut short, a page is damaged, or its XML cannot be understood.
        """
        self.path = path
        with failures_named(path):
            raw = np.fromfile(path, np.uint8)
        if len(raw) < PAGE or not raw[:8].tobytes() == b"ASTM-E57":
            raise UserError(f"{path}: is no E57 file: it does not begin with an E57 header")
        _, _, _, length, xml_at, xml_length, page = HEADER.unpack(raw[: HEADER.size].tobytes())
        if page != PAGE or length > len(raw) or length % PAGE:
            raise UserError(
                f"{path}: its header promises {length} bytes in pages of {page}, {len(raw)} are there; it is cut short"
            )
        pages = raw[:length].reshape(-1, PAGE)
        wrong = np.flatnonzero(checksums(pages[:, :CONTENT]) != pages[:, CONTENT:].copy().view(">u4")[:, 0])
        if len(wrong):
            raise UserError(f"{path}: page {wrong[0]} of its {len(pages)} does not fit its checksum; it is damaged")
        self.content = pages[:, :CONTENT].tobytes()
        self.root = self._tree(self._logical(xml_at), xml_length)

    def columns(self, vector: ElementTree.Element, wanted: set[str]) -> dict[str, Float64[np.ndarray, "n"]]:
        """The wanted ones of a compressed vector's columns, by name without namespace.

        Raises:
            UserError: the vector's description cannot be understood, or its bytes do not hold what it promises.
        """
        try:
            count = int(vector.get("recordCount", ""))
            if not 0 <= count <= 8 * len(self.content):  # columns of one value take no bytes, but not all can be so
                raise ValueError(f"{count} points are more than it can hold")
            columns = [_column(field) for field in vector.find("{*}prototype") or ()]
            start = self._logical(int(vector.get("fileOffset", "")))
            streams = self._streams(start, len(columns), [column.name in wanted for column in columns])
        except (ValueError, struct.error) as problem:
            raise UserError(f"{self.path}: a table of points cannot be understood ({plain(problem)})") from problem
        require_memory(count * 16 * len(wanted), f"{self.path} holds {count:,} points in one scan")
        return {
            column.name: self._decoded(column, stream, count)
            for column, stream in zip(columns, streams, strict=True)
            if column.name in wanted
        }

    def _logical(self, physical: int) -> int:
        return physical - (PAGE - CONTENT) * (physical // PAGE)

    def _tree(self, start: int, length: int) -> ElementTree.Element:
        xml = self.content[start : start + length]
        if len(xml) < length or length > LARGEST_XML or b"<!DOCTYPE" in xml:  # entities could expand without bound
            self._refuse("its description does not lie within the file, or declares a document type")
        try:
            return ElementTree.fromstring(xml)
        except (ElementTree.ParseError, ValueError, LookupError) as problem:
            raise UserError(f"{self.path}: its description is no sound XML ({plain(problem)})") from problem

    def _streams(self, start: int, count: int, wanted: list[bool]) -> list[bytes]:
        """The byte stream of each column: its pieces in the data packets, one behind the other."""
        if start < 0:
            raise ValueError("it lies before the beginning of the file")
        section, length, data, _ = VECTOR_HEADER.unpack_from(self.content, start)
        at, end = self._logical(data), min(start + length, len(self.content))
        if section != 1:
            raise ValueError("there is no compressed vector where one should begin")
        pieces: list[list[bytes]] = [[] for _ in range(count)]
        while at + 4 <= end:
            kind, _, less_one = struct.unpack_from("<BBH", self.content, at)
            if kind == 1:
                lengths = self._lengths(at, count)
                ends = at + 6 + 2 * count + np.cumsum([0, *lengths])
                if ends[-1] > at + less_one + 1 or at + less_one + 1 > end:
                    raise ValueError("a packet is longer than its place")
                for i in np.flatnonzero(wanted):
                    pieces[i].append(self.content[ends[i] : ends[i + 1]])
            at += less_one + 1
        return [b"".join(parts) for parts in pieces]

    def _lengths(self, packet: int, count: int) -> tuple[int, ...]:
        (streams,) = struct.unpack_from("<H", self.content, packet + 4)
        if streams != count:
            raise ValueError(f"a packet holds {streams} columns instead of {count}")
        return struct.unpack_from(f"<{count}H", self.content, packet + 6)

    def _decoded(self, column: Column, stream: bytes, count: int) -> Float64[np.ndarray, "n"]:
        """The numbers of a column; a column of one possible value takes no bytes."""
        if 8 * len(stream) < count * (8 * column.size or column.bits):
            self._refuse(f"it promises {count} points, of whose {column.name} it holds {len(stream)} bytes")
        if column.size:
            return np.frombuffer(stream, f"<f{column.size}", count).astype(np.float64)
        if not column.bits:
            return np.full(count, column.minimum * column.scale + column.offset)
        values = unpacked_bits(np.frombuffer(stream, np.uint8), column.bits, count, column.minimum)
        return values * column.scale + column.offset

    def _refuse(self, why: str) -> NoReturn:
        raise UserError(f"{self.path}: {why}; the file is damaged")


def checksums(pages: UInt8[np.ndarray, "n m"]) -> np.ndarray:
    """The CRC-32C (Castagnoli) of each row."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    crc = np.full(len(pages), 0xFFFFFFFF, np.uint32)
    for byte in np.ascontiguousarray(pages.T):
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return ~crc


def unpacked_bits(stream: UInt8[np.ndarray, "m"], bits: int, count: int, minimum: int) -> Int64[np.ndarray, "n"]:
    """`count` integers of `bits` bits each, low bits first, `minimum` added."""
    padded = np.concatenate([stream, np.zeros(9, np.uint8)])
    words = np.ndarray(len(padded) - 8, "<u8", padded, strides=(1,))  # the eight bytes from each byte on
    first = np.arange(count, dtype=np.int64) * bits
    byte, shift = first >> 3, (first & 7).astype(np.uint64)
    values = words[byte] >> shift
    if bits > 57:  # a number may reach into a ninth byte
        ninth = padded[byte + 8].astype(np.uint64)
        values |= np.where(shift > 0, ninth << (np.uint64(64) - shift & np.uint64(63)), np.uint64(0))
    if bits < 64:
        values &= np.uint64((1 << bits) - 1)
    return (values + np.uint64(minimum % (1 << 64))).view(np.int64)


def number(node: ElementTree.Element | None, default: float = 0.0) -> float:
    """The number in an element; an element without text means 0.

    Raises:
        ValueError: its text is no number.
    """
    if node is None:
        return default
    value = float(node.text or 0)
    if node.get("type") == "ScaledInteger":
        return value * float(node.get("scale", 1)) + float(node.get("offset", 0))
    return value


def _column(field: ElementTree.Element) -> Column:
    name = re.sub(r"^\{.*\}", "", field.tag)
    match field.get("type"):
        case "Float":
            return Column(name, size=4 if field.get("precision") == "single" else 8)
        case "Integer" | "ScaledInteger" as kind:
            low, high = int(field.get("minimum", INT64[0])), int(field.get("maximum", INT64[1]))
            if not INT64[0] <= low <= high <= INT64[1]:
                raise ValueError(f"{name} runs from {low} to {high}")
            bits = (high - low).bit_length()
            if kind == "Integer":
                return Column(name, bits=bits, minimum=low)
            return Column(name, 0, bits, low, float(field.get("scale", 1)), float(field.get("offset", 0)))
    raise ValueError(f"{name} is of type {field.get('type')}")
