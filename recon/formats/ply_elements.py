"""The PLY container: named elements, each a table of named scalar or list properties, in text or binary.

A PLY header lists elements with their counts and properties; the body holds the rows, element after element. A list
property is a count followed by so many numbers. Tables of equal rows are read in one piece, others row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int, Num

from recon.errors import UserError

LONGEST_HEADER = 1 << 16
SCALARS = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class Property:
    """A column: `kind` is a numpy type code; a list property has the type of its count too."""

    name: str
    kind: str
    count_kind: str | None = None


@dataclass
class Element:
    """A table: how many rows, which columns."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    def row(self, order: str, lengths: dict[str, int]) -> np.dtype:
        """The type of a row whose lists have these lengths; list `a` stands behind its count, "a count"."""
        fields: list[tuple] = []
        for column in self.properties:
            if column.count_kind is None:
                fields.append((column.name, order + column.kind))
            else:
                fields.append((f"{column.name} count", order + column.count_kind))
                fields.append((column.name, order + column.kind, (lengths[column.name],)))
        return np.dtype(fields)


@dataclass
class Lists:
    """The rows of a list property: row i is `values[starts[i] : starts[i + 1]]`."""

    values: Num[np.ndarray, "m"]
    starts: Int[np.ndarray, "n+1"]


Table = dict[str, "np.ndarray | Lists"]


@dataclass
class PlyFile:
    """A PLY file's comments and tables."""

    comments: list[str]
    tables: dict[str, Table]


def read_ply(path: Path, last: str | None = None) -> PlyFile:
    """Reads a PLY file, all of it or up to the element `last`.

    Raises:
        UserError: it is no PLY file, its header cannot be understood, or its body is shorter than the header says.
    """
    data = path.read_bytes()
    order, elements, comments, start = _header(path, data)
    least = sum(element.count * _least_row(element, order) for element in elements)
    if least > len(data) - start:
        raise UserError(f"{path}: its header promises at least {least} bytes, {len(data) - start} follow it")
    names = [element.name for element in elements]
    elements = elements[: names.index(last) + 1] if last in names else elements
    try:
        rows = _TextRows(data[start:], elements) if order == "" else _BinaryRows(data, start, order)
        return PlyFile(comments, {element.name: rows.take(element) for element in elements})
    except (ValueError, IndexError, OverflowError) as problem:
        raise UserError(f"{path}: its body is shorter than its header says, or damaged") from problem


def elements_of(path: Path) -> list[Element]:
    """The elements that a PLY file's header names.

    Raises:
        UserError: it is no PLY file, or its header cannot be understood.
    """
    with path.open("rb") as file:
        return _header(path, file.read(LONGEST_HEADER + len("end_header\r\n")))[1]


def _header(path: Path, data: bytes) -> tuple[str, list[Element], list[str], int]:
    """Byte order ("" for text), elements, comments, and where the body starts."""
    head, mark, _ = data[:LONGEST_HEADER].partition(b"end_header")
    end = data.find(b"\n", len(head))
    if not head.startswith(b"ply") or not mark or end < 0:
        raise UserError(f"{path}: is no PLY file: it does not begin with a PLY header")
    order, elements, comments = None, [], []
    for number, line in enumerate(head.decode("latin-1").splitlines()[1:], 2):
        match line.split():
            case ["format", kind, _] if kind in FORMATS:
                order = FORMATS[kind]
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count)))
            case ["property", "list", counts, kind, name] if elements and {counts, kind} <= SCALARS.keys():
                elements[-1].properties.append(Property(name, SCALARS[kind], SCALARS[counts]))
            case ["property", kind, name] if elements and kind in SCALARS:
                elements[-1].properties.append(Property(name, SCALARS[kind]))
            case ["comment", *_]:
                comments.append(line.partition("comment")[2].strip())
            case ["obj_info", *_] | []:
                pass
            case _:
                raise UserError(f"{path}, line {number}: the header line {line[:60]!r} is not PLY")
    if order is None:
        raise UserError(f"{path}: its header does not say which format it has")
    return order, elements, comments, end + 1


def _least_row(element: Element, order: str) -> int:
    """The fewest bytes that a row takes: empty lists; in text a digit and a blank for each number."""
    if order == "":
        return 2 * len(element.properties)
    return element.row(order, {column.name: 0 for column in element.properties}).itemsize


class _BinaryRows:
    """A binary body, taken element after element."""

    def __init__(self, data: bytes, start: int, order: str):
        self.data, self.at, self.order = data, start, order

    def take(self, element: Element) -> Table:
        """The next element's table."""
        lists = [column for column in element.properties if column.count_kind is not None]
        lengths = self._first_lengths(element) if element.count else {column.name: 0 for column in lists}
        kind = element.row(self.order, lengths)
        if lists and len(self.data) - self.at < element.count * kind.itemsize:
            return self._row_by_row(element)
        rows = np.frombuffer(self.data, kind, element.count, self.at)
        if any((rows[f"{column.name} count"] != lengths[column.name]).any() for column in lists):
            return self._row_by_row(element)
        self.at += rows.nbytes
        table: Table = {}
        for column in element.properties:
            values = np.ascontiguousarray(rows[column.name]).astype(column.kind)
            length = lengths.get(column.name, 1)
            starts = np.arange(element.count + 1) * length
            table[column.name] = values if column.count_kind is None else Lists(values.ravel(), starts)
        return table

    def _first_lengths(self, element: Element) -> dict[str, int]:
        """The lengths of the first row's lists."""
        at, lengths = self.at, {}
        for column in element.properties:
            if column.count_kind is not None:
                count = np.frombuffer(self.data, self.order + column.count_kind, 1, at)
                lengths[column.name] = int(count[0])
                at += count.nbytes
            at += np.dtype(column.kind).itemsize * lengths.get(column.name, 1)
        return lengths

    def _row_by_row(self, element: Element) -> Table:
        """A table whose lists differ in length."""
        found: list[list[float]] = [[] for _ in element.properties]
        lengths: list[list[int]] = [[] for _ in element.properties]
        for _ in range(element.count):
            for column, values, length in zip(element.properties, found, lengths, strict=True):
                count = 1 if column.count_kind is None else int(self._numbers(column.count_kind, 1)[0])
                values.extend(self._numbers(column.kind, count).tolist())
                length.append(count)
        return _table(element, found, lengths)

    def _numbers(self, kind: str, count: int) -> np.ndarray:
        if count == 0:
            return np.zeros(0, kind)
        values = np.frombuffer(self.data, self.order + kind, count, self.at)
        self.at += values.nbytes
        return values


class _TextRows:
    """A text body, taken element after element: numbers with blanks between, on whatever lines."""

    def __init__(self, body: bytes, elements: list[Element]):
        scalars = all(column.count_kind is None for element in elements for column in element.properties)
        needed = sum(element.count * len(element.properties) for element in elements)
        text = body.decode("latin-1").strip()
        self.numbers = np.fromstring(text, sep=" ", count=needed if scalars else -1) if text else np.zeros(0)
        self.at = 0

    def take(self, element: Element) -> Table:
        """The next element's table."""
        width = len(element.properties)
        if all(column.count_kind is None for column in element.properties):
            rows = self._numbers(element.count * width).reshape(element.count, width)
            return {column.name: _cast(rows[:, i], column.kind) for i, column in enumerate(element.properties)}
        found: list[list[float]] = [[] for _ in element.properties]
        lengths: list[list[int]] = [[] for _ in element.properties]
        for _ in range(element.count):
            for column, values, length in zip(element.properties, found, lengths, strict=True):
                count = 1 if column.count_kind is None else int(self._numbers(1)[0])
                values.extend(self._numbers(count).tolist())
                length.append(count)
        return _table(element, found, lengths)

    def _numbers(self, count: int) -> np.ndarray:
        if not 0 <= count <= len(self.numbers) - self.at:
            raise ValueError(f"{count} numbers where {len(self.numbers) - self.at} are left")
        self.at += count
        return self.numbers[self.at - count : self.at]


def _cast(values: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of a text in the type of their column; what does not fit is not worth a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(kind)


def _table(element: Element, found: list[list[float]], lengths: list[list[int]]) -> Table:
    """The columns of rows that were read one by one."""
    table: Table = {}
    for column, flat, length in zip(element.properties, found, lengths, strict=True):
        values = _cast(np.array(flat, np.float64), column.kind)
        table[column.name] = values if column.count_kind is None else Lists(values, np.cumsum([0, *length]))
    return table
