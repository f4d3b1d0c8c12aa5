"""What the journal has acknowledged: sequence number and digest of its last record, in two slots by turns.

A slot that a loss of power tore leaves the other one, which is one record older.
"""

from typing import NamedTuple

from engine.rollout.journal import sha256

SLOT_BYTES = 4096
HEAD_BYTES = 2 * SLOT_BYTES

_TEXT_BYTES = 20 + 1 + 64
_CHECK_BYTES = 16


class Head(NamedTuple):
    """The last acknowledged record."""

    seq: int
    digest: str

    @property
    def offset(self) -> int:
        """Where its slot begins."""
        return self.seq % 2 * SLOT_BYTES

    def to_bytes(self) -> bytes:
        """The slot: the number, the digest, and a checksum of both."""
        text = f"{self.seq:020d} {self.digest}".encode()
        return text + b" " + sha256(text)[:_CHECK_BYTES].encode() + b"\n"


def read_heads(raw: bytes) -> list[Head]:
    """The slots that are whole, newest first."""
    found = (_read_slot(raw[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES))
    return sorted((head for head in found if head is not None), reverse=True)


def _read_slot(slot: bytes) -> Head | None:
    text = slot[:_TEXT_BYTES]
    if (
        not text[:20].isdigit()
        or slot[_TEXT_BYTES : _TEXT_BYTES + 1 + _CHECK_BYTES] != b" " + sha256(text)[:_CHECK_BYTES].encode()
    ):
        return None
    return Head(int(text[:20]), text[21:].decode("ascii", "replace"))
