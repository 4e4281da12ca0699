"""The media type of a file by its name's extension: the same on every machine.

The standard library's built-in table (not the machine's `/etc/mime.types`), and on top of it what it
lacks or what has changed. Text is declared as UTF-8; XML names its encoding itself.
"""

from __future__ import annotations

import mimetypes
import os.path
from functools import lru_cache

UNKNOWN = b'application/octet-stream'

_TYPES = {
    '.7z': 'application/x-7z-compressed',
    '.aac': 'audio/aac',
    '.apk': 'application/vnd.android.package-archive',
    '.avif': 'image/avif',
    '.br': 'application/octet-stream',
    '.bz2': 'application/x-bzip2',
    '.cjs': 'text/javascript',
    '.css': 'text/css',
    '.csv': 'text/csv',
    '.docx': 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    '.epub': 'application/epub+zip',
    '.flac': 'audio/flac',
    '.geojson': 'application/geo+json',
    '.glb': 'model/gltf-binary',
    '.gltf': 'model/gltf+json',
    '.gz': 'application/gzip',
    '.heic': 'image/heic',
    '.htm': 'text/html',
    '.html': 'text/html',
    '.ico': 'image/x-icon',
    '.ics': 'text/calendar',
    '.jpeg': 'image/jpeg',
    '.jpg': 'image/jpeg',
    '.js': 'text/javascript',
    '.json': 'application/json',
    '.jsonld': 'application/ld+json',
    '.jxl': 'image/jxl',
    '.m3u8': 'application/vnd.apple.mpegurl',
    '.m4a': 'audio/mp4',
    '.m4v': 'video/mp4',
    '.map': 'application/json',
    '.md': 'text/markdown',
    '.mjs': 'text/javascript',
    '.mkv': 'video/x-matroska',
    '.mp3': 'audio/mpeg',
    '.mp4': 'video/mp4',
    '.mpd': 'application/dash+xml',
    '.oga': 'audio/ogg',
    '.ogg': 'audio/ogg',
    '.ogv': 'video/ogg',
    '.opus': 'audio/ogg',
    '.otf': 'font/otf',
    '.parquet': 'application/vnd.apache.parquet',
    '.pptx': 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
    '.rar': 'application/vnd.rar',
    '.rss': 'application/rss+xml',
    '.atom': 'application/atom+xml',
    '.svg': 'image/svg+xml',
    '.svgz': 'application/octet-stream',
    '.tgz': 'application/gzip',
    '.toml': 'application/toml',
    '.ttc': 'font/collection',
    '.ttf': 'font/ttf',
    '.vtt': 'text/vtt',
    '.wasm': 'application/wasm',
    '.wav': 'audio/wav',
    '.weba': 'audio/webm',
    '.webm': 'video/webm',
    '.webmanifest': 'application/manifest+json',
    '.webp': 'image/webp',
    '.woff': 'font/woff',
    '.woff2': 'font/woff2',
    '.xhtml': 'application/xhtml+xml',
    '.xlsx': 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
    '.xml': 'application/xml',
    '.xz': 'application/x-xz',
    '.yaml': 'application/yaml',
    '.yml': 'application/yaml',
    '.zip': 'application/zip',
    '.zst': 'application/zstd',
}
_BUILT_IN = mimetypes.MimeTypes()  # without file names: reads none of the machine's


def media_type_of(name: str) -> bytes:
    """The Content-Type of a file of this name (a path will do); UNKNOWN where its extension says nothing."""
    return _of_extension(os.path.splitext(name)[1].lower())


@lru_cache(maxsize=1024)
def _of_extension(extension: str) -> bytes:
    media = _TYPES.get(extension) or _BUILT_IN.types_map[True].get(extension)
    return UNKNOWN if media is None else with_charset(media).encode('ascii')


def with_charset(media: str) -> str:
    """`media` with '; charset=utf-8' where it is a kind of text that has none."""
    is_text = media.startswith('text/') or media.endswith(('/json', '+json', 'svg+xml'))
    return f'{media}; charset=utf-8' if is_text and ';' not in media else media
