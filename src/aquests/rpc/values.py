"""Values of kinds that no protocol knows, as those that each does."""

from __future__ import annotations


def basic(value: str | int | float) -> str | int | float:
    """The plain str, int or float in one of a class derived from it, whatever that class prints it as."""
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def shortened(text: object) -> str:
    """For error messages: what a peer has sent may be long."""
    short = str(text)
    return short if len(short) <= 200 else f'{short[:200]}...'
