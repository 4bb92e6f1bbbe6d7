"""What must stay on one side: pictures that are tied together by their bytes, by their looks, or by their group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def unite(groups: Sequence[str], hashes: Sequence[str], copies: Sequence[str]) -> list[str]:
    """Name what must stay together: the smallest of the groups that copies tie together, else the smallest content.

    Groups go before contents, so that a group keeps its name, and its side, when pictures are added to it. A picture
    without near-duplicates has its own content as name, whether near-duplicates were looked for or not.

    Args:
        groups: Of each picture; "" for none.
        hashes: Content of each picture.
        copies: What all near-duplicates of a picture share, the smallest content among them; "" for none.
    """
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            root[key] = root[root[key]]
            key = root[key]
        return key

    nodes = [f"group:{group}" if group else f"hash:{digest}" for group, digest in zip(groups, hashes, strict=True)]
    for node, digest, copy in zip(nodes, hashes, copies, strict=True):
        # "group:" sorts before "hash:", so the smaller root is a group where there is one.
        for tie in (digest, copy):
            if tie:
                low, high = sorted((find(node), find(f"hash:{tie}")))
                root[high] = low
    return [find(node) for node in nodes]


def even_number(salt: str, key: str) -> float:
    """Turn a key into an even number in 0..1: the first 8 bytes of SHA-256."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
