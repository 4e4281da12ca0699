"""Content-Type by extension (SPEC RS-16)."""

from __future__ import annotations

import pytest

from skitai.mounts.mediatypes import media_type_of


@pytest.mark.parametrize(
    ('name', 'media'),
    [
        ('a.html', b'text/html; charset=utf-8'),
        ('A.CSS', b'text/css; charset=utf-8'),
        ('a.min.js', b'text/javascript; charset=utf-8'),
        ('a.mjs', b'text/javascript; charset=utf-8'),
        ('a.json', b'application/json; charset=utf-8'),
        ('a.svg', b'image/svg+xml; charset=utf-8'),
        ('a.webmanifest', b'application/manifest+json; charset=utf-8'),
        ('a.xml', b'application/xml'),
        ('a.txt', b'text/plain; charset=utf-8'),
        ('a.wasm', b'application/wasm'),
        ('a.woff2', b'font/woff2'),
        ('a.avif', b'image/avif'),
        ('a.png', b'image/png'),
        ('a.pdf', b'application/pdf'),
        ('a.tar.gz', b'application/gzip'),
        ('a.unheard-of', b'application/octet-stream'),
        ('README', b'application/octet-stream'),
        ('dir.html/README', b'application/octet-stream'),
        ('', b'application/octet-stream'),
    ],
)
def test_types_do_not_depend_on_the_machine(name: str, media: bytes) -> None:
    assert media_type_of(name) == media
