"""The response that the test clients return: one of `requests`, with the decoded content added."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import requests


def is_json(content_type: str) -> bool:
    """Whether a Content-Type field names JSON, or a type with the suffix `+json` (RFC 6839)."""
    media = content_type.partition(';')[0].strip().lower()
    return media == 'application/json' or media.endswith('+json')


class Response(requests.Response):
    """SPEC TC-02: `status_code, reason, text, content, headers, json ()` as in `requests`, and `data`."""

    @classmethod
    def of(cls, response: requests.Response) -> Response:
        """`response` as one of ours. They share the connection: use only the result."""
        ours = cls()
        ours.__dict__.update(response.__dict__)
        return ours

    @cached_property
    def data(self) -> Any:
        """The decoded content of a JSON response, the text of any other; always the same object.

        '' for an empty body (the answer to HEAD). Raises `requests.JSONDecodeError` (a ValueError) where
        the response calls itself JSON and isn't: a test should see that.
        """
        if self.content and is_json(self.headers.get('Content-Type', '')):
            return self.json()
        return self.text
