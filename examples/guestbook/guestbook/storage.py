"""What is kept: a directory with the database, the pictures and the secret key.

guestbook.db    the entries
pictures/       their pictures, and nothing else: this directory is public
secret          seals the cookies, so that visitors stay signed in over a restart
"""

import os
import secrets
import sqlite3
from datetime import UTC, datetime

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    picture TEXT,
    written TEXT NOT NULL
)
"""


def prepare(data):
    """Make the directory and what belongs into it, unless it is there; returns the directory."""
    os.makedirs(pictures(data), exist_ok=True)
    db = connect(data)
    db.execute('PRAGMA journal_mode = WAL')  # readers don't wait for writers
    db.execute(SCHEMA)
    db.close()
    return data


def pictures(data):
    return os.path.join(data, 'pictures')


def secret(data):
    path = os.path.join(data, 'secret')
    if not os.path.exists(path):
        with open(path, 'w', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_urlsafe(32))
    with open(path) as file:
        return file.read()


def connect(data):
    # A request may end on another thread than the one on which it began, though never on two at once.
    db = sqlite3.connect(os.path.join(data, 'guestbook.db'), check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


# -- entries ---------------------------------------------------------------------------------------


def add(db, name, message, picture):
    """Keep an entry; its id."""
    written = datetime.now(UTC).isoformat(timespec='seconds')
    with db:
        return db.execute(
            'INSERT INTO entry (name, message, picture, written) VALUES (?, ?, ?, ?)',
            (name, message, picture, written),
        ).lastrowid


def find(db, id):
    """An entry, or None."""
    try:
        row = db.execute('SELECT * FROM entry WHERE id = ?', (id,)).fetchone()
    except OverflowError:  # visitors may ask for any number, SQLite has 64 bits
        return None
    return row and _entry(row)


def count(db, q):
    return db.execute(f'SELECT count(*) FROM entry WHERE {_MATCHES}', _matching(q)).fetchone()[0]


def newest(db, q, limit, offset):
    """Entries with the text `q` in name or message, the newest first."""
    rows = db.execute(
        f'SELECT * FROM entry WHERE {_MATCHES} ORDER BY id DESC LIMIT :limit OFFSET :offset',
        {**_matching(q), 'limit': limit, 'offset': offset},
    )
    return [_entry(row) for row in rows]


def pictures_in_use(db):
    return {row['picture'] for row in db.execute('SELECT picture FROM entry WHERE picture IS NOT NULL')}


_MATCHES = r"(name LIKE :pattern ESCAPE '\' OR message LIKE :pattern ESCAPE '\')"


def _matching(q):
    for special in ('\\', '%', '_'):
        q = q.replace(special, '\\' + special)
    return {'pattern': f'%{q}%'}


def _entry(row):
    return {**row, 'written': datetime.fromisoformat(row['written'])}
