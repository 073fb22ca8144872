"""Which features of different photos are the same point: matched, and held against epipolar geometry.

Few photos are all compared. Of many, each is compared with those whose descriptors are most like its own, and, where
the photos are ordered, with those shot before and after it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from recon.poses.settings import Search

FEW = 60  # photos that are all compared with each other
ALIKE = 20  # photos that each of many is compared with
ALIKE_ORDERED = 8
NEIGHBOURS = 10  # photos after each in the order, and then 16, 32, 64, ... after it
AT_ONCE = 60  # pairs between two signs of life

WORDS = 64
SAMPLED_WORDS = 20_000  # descriptors that the words are sought in
SAMPLED = 1000  # descriptors of a photo that its signature is made of
ROUNDS = 12  # of k-means

Pairs = list[tuple[int, int]]


def choose_pairs(database: Path, count: int, ordered: bool, seed: int) -> Pairs:
    """The pairs (i, j), i < j, of `count` photos that are worth comparing."""
    if count <= FEW:
        return [(i, j) for i in range(count) for j in range(i + 1, count)]
    pairs = _alike(_signatures(database, count, seed), ALIKE_ORDERED if ordered else ALIKE)
    if ordered:
        doublings = [1 << power for power in range(4, count.bit_length())]
        for offset in [*range(1, NEIGHBOURS + 1), *doublings]:
            pairs |= {(i, i + offset) for i in range(count - offset)}
    return sorted(pairs)


def match(pairs: Pairs, database: Path, search: Search, seed: int, threads: int, done: Callable[[int], None]) -> None:
    """Matches and verifies the pairs; those that an earlier call has matched are not matched again."""
    import pycolmap

    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = threads
    matching.sift.max_ratio = search.max_ratio
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = seed
    listing = pycolmap.ImportedPairingOptions()
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        listing.match_list_path = Path(folder) / "pairs.txt"
        for start in range(0, len(pairs), AT_ONCE):
            done(start)
            block = pairs[start : start + AT_ONCE]
            Path(listing.match_list_path).write_text("".join(f"{i + 1} {j + 1}\n" for i, j in block))
            pycolmap.match_image_pairs(database, matching, listing, verification, pycolmap.Device.cpu)
    done(len(pairs))


def _alike(signatures: Float32[np.ndarray, "n d"], most: int) -> set[tuple[int, int]]:
    """Each photo with the `most` whose signatures make the smallest angle with its own."""
    likeness = signatures @ signatures.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argpartition(-likeness, min(most, len(likeness) - 1) - 1, axis=1)[:, :most]
    return {(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row}


def _signatures(database: Path, count: int, seed: int) -> Float32[np.ndarray, "n d"]:
    """One unit vector a photo: VLAD (Jegou et al. 2010) of a sample of its descriptors.

    The words c_k are the centres of the photos' own descriptors. v_k sums x - c_k over the descriptors x nearest to
    c_k; each v_k is made of length 1, and so is the whole.
    """
    import pycolmap

    random = np.random.default_rng(seed)
    with pycolmap.Database.open(database) as content:
        samples = [_sample(content.read_descriptors(i + 1).data, random) for i in range(count)]
    words = _centres(np.concatenate([s[: max(1, SAMPLED_WORDS // count)] for s in samples]), random)
    signatures = np.zeros((count, WORDS, words.shape[1]), np.float32)
    for signature, descriptors in zip(signatures, samples, strict=True):
        word = _nearest(descriptors, words)
        np.add.at(signature, word, descriptors - words[word])
    signatures /= np.maximum(np.linalg.norm(signatures, axis=2, keepdims=True), 1e-9)
    flat = signatures.reshape(count, -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _sample(descriptors: UInt8[np.ndarray, "n d"], random: np.random.Generator) -> Float32[np.ndarray, "m d"]:
    chosen = random.permutation(len(descriptors))[:SAMPLED]
    return descriptors[chosen].astype(np.float32) / 255


def _centres(descriptors: Float32[np.ndarray, "n d"], random: np.random.Generator) -> Float32[np.ndarray, "k d"]:
    """k-means by Lloyd; a centre that nothing is nearest to stays."""
    centres = descriptors[random.choice(len(descriptors), WORDS, replace=len(descriptors) < WORDS)].copy()
    for _ in range(ROUNDS):
        word = _nearest(descriptors, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, word, descriptors)
        sizes = np.bincount(word, minlength=WORDS)[:, None]
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres).astype(np.float32)
    return centres


def _nearest(descriptors: Float32[np.ndarray, "n d"], centres: Float32[np.ndarray, "k d"]) -> np.ndarray:
    """argmin_k |x - c_k|^2 = argmin_k |c_k|^2 - 2 x . c_k"""
    return ((centres * centres).sum(1) - 2 * descriptors @ centres.T).argmin(1)
