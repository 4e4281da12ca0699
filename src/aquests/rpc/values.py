"""What others sent, in messages."""

from __future__ import annotations


def shortened(text: object) -> str:
    """For error messages: what a peer has sent may be long."""
    short = str(text)
    return short if len(short) <= 200 else f'{short[:200]}...'
