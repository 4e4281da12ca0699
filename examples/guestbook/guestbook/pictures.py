"""Pictures: what counts as one, under which name it is kept, and when it may go.

A visitor's word on name and type of a file is worth nothing: the type is seen in the content, and the name
is made here, so that it neither leads anywhere nor can be guessed. Types that can hold scripts (SVG) are not
taken.
"""

import os
import secrets

#: The largest picture, in bytes.
MAX_SIZE = 2 << 20

#: Extension -> what a file of that type begins with (None: any byte).
SIGNATURES = {
    '.png': b'\x89PNG\r\n\x1a\n',
    '.jpg': b'\xff\xd8\xff',
    '.gif': b'GIF8',
}

#: A picture is on disk a moment before its entry: younger ones are left alone.
ORPHANED_AFTER = 3600


def keep(upload, directory):
    """Save an uploaded picture; its name in the directory, or None if it is no picture."""
    with upload.open() as file:
        extension = _extension(file.read(16))
    if extension is None:
        return None
    name = secrets.token_urlsafe(16) + extension
    upload.save(directory, name)
    return name


def _extension(head):
    if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
        return '.webp'
    for extension, signature in SIGNATURES.items():
        if head.startswith(signature):
            return extension
    return None


def remove_orphans(directory, in_use, now):
    """Remove pictures that no entry shows; how many."""
    removed = 0
    for file in os.scandir(directory):
        if file.name not in in_use and file.stat().st_mtime < now - ORPHANED_AFTER:
            os.unlink(file)
            removed += 1
    return removed
