"""A process of its own that decompresses LAZ: point records to standard output, as a LAS file holds them.

    python laz_process.py PATH START COUNT SIZE LASZIP_RECORD_IN_HEX

On damaged bytes the decompressor may end its process or ask for any amount of memory; here it harms nobody.
"""

import sys
from contextlib import suppress

MEMORY = 1 << 30
RECORDS_A_PIECE = 50_000


def main(path: str, start: str, count: str, size: str, laszip: str) -> None:
    """Writes `count` records of `size` bytes each, from the compressed points at byte `start` of the file on."""
    with suppress(ImportError, ValueError, OSError):  # some systems know no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    import lazrs

    with open(path, "rb") as file:
        file.seek(int(start))
        decompressor = lazrs.LasZipDecompressor(file, bytes.fromhex(laszip))  # pyright: ignore[reportAttributeAccessIssue]
        for first in range(0, int(count), RECORDS_A_PIECE):
            records = bytearray(min(RECORDS_A_PIECE, int(count) - first) * int(size))
            decompressor.decompress_many(records)
            sys.stdout.buffer.write(records)


if __name__ == "__main__":
    main(*sys.argv[1:])
