"""What a stub wants to be asked."""

from __future__ import annotations

from typing import NamedTuple

from .request import Body


class Order(NamedTuple):
    """A request, checked. `redirects`: whether those of a GET or HEAD without a body are followed."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: Body = None
    redirects: bool = True

    @property
    def follows(self) -> bool:
        return self.redirects and self.method in ('GET', 'HEAD') and self.body is None
