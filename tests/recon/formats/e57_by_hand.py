"""E57 files put together from the standard, byte by byte."""

from __future__ import annotations

import struct

import numpy as np

from recon.formats.e57_container import checksums


def make_e57(points: np.ndarray, colors: np.ndarray, *changes: tuple[bytes, bytes]) -> bytes:
    """An E57 file put together from the standard: a scan of x as floats, y and z as scaled integers, colours."""
    raw = [points[:, 0].astype("<f8").tobytes()]
    raw += [np.rint(points[:, i] * 1000 + 8000).astype("<u2").tobytes() for i in (1, 2)]  # 16 bits from -8000 up
    raw += [colors[:, i].tobytes() for i in range(3)]
    packet = b"".join(raw)
    packet = struct.pack("<BBHH6H", 1, 0, 0, 6, *map(len, raw)) + packet
    packet += bytes(-len(packet) % 4)
    packet = packet[:2] + struct.pack("<H", len(packet) - 1) + packet[4:]
    section = struct.pack("<B7xQQQ", 1, 32 + len(packet), 48 + 32, 0) + packet
    field = '<{0} type="ScaledInteger" minimum="-8000" maximum="57535" scale="0.001"/>'
    color = '<color{0} type="Integer" minimum="0" maximum="255"/>'
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><e57Root type="Structure" '
        'xmlns="http://www.astm.org/COMMIT/E57/2010-e57-v1.0"><data3D type="Vector"><vectorChild type="Structure">'
        '<points type="CompressedVector" fileOffset="48" recordCount="300"><prototype type="Structure">'
        '<cartesianX type="Float"/>' + field.format("cartesianY") + field.format("cartesianZ")
    )
    text += "".join(map(color.format, ("Red", "Green", "Blue")))
    xml = (text + "</prototype></points></vectorChild></data3D></e57Root>").encode()
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new)
    content = section + xml
    pages = -(-(48 + len(content)) // 1020)
    start = 48 + len(section)
    header = struct.pack("<8sIIQQQQ", b"ASTM-E57", 1, 0, pages * 1024, start + 4 * (start // 1020), len(xml), 1024)
    return sealed((header + content).ljust(pages * 1020, b"\0"))


def sealed(content: bytes) -> bytes:
    """Pages of 1020 bytes with their checksums, so that damage within them is not seen by these."""
    pages = np.frombuffer(content, np.uint8).reshape(-1, 1020)
    return np.concatenate([pages, checksums(pages).astype(">u4").view(np.uint8).reshape(-1, 4)], axis=1).tobytes()


def unsealed(content: bytes) -> bytes:
    return np.frombuffer(content, np.uint8).reshape(-1, 1024)[:, :1020].tobytes()
