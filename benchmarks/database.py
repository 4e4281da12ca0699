"""The PostgreSQL server of the workloads with a database: the tables of the TechEmpower suite, made anew.

It comes with the extra `dev` (tests/support/databases.py); it runs only while such a workload does.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests' / 'support'))

import databases

#: What is in the table of fortunes.
FORTUNES = (
    'fortune: No such file or directory',
    "A computer scientist is someone who fixes things that aren't broken.",
    'After enough decimal places, nobody gives a damn.',
    'A bad random number generator: 1, 1, 1, 1, 1, 4.33e+67, 1, 1, 1',
    'A computer program does what you tell it to do, not what you want it to do.',
    'Emacs is a nice operating system, but I prefer UNIX.',
    'Any program that runs right is obsolete.',
    'A list is only as strong as its weakest link.',
    'Feature: A bug with seniority.',
    'Computers make very fast, very accurate mistakes.',
    '<script>alert("This should not be displayed in a browser alert box.");</script>',
    'フレームワークのベンチマーク',
)


@contextlib.contextmanager
def served() -> Iterator[dict[str, str]]:
    """A server for the body of a `with`; gives the environment that tells contenders where it is."""
    with databases.postgres() as server:
        url = f'postgresql://{server.member}'
        asyncio.run(_fill(url))
        yield {'PGMEMBER': server.member, 'PGURL': url}


def number_of(world: int) -> int:
    """The random number of a world."""
    return world * 7919 % 10000 + 1


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        'CREATE TABLE world (id int PRIMARY KEY, randomnumber int NOT NULL);'
        'CREATE TABLE fortune (id int PRIMARY KEY, message text NOT NULL)'
    )
    await connection.copy_records_to_table(
        'world', records=[(number, number_of(number)) for number in range(1, 10001)]
    )
    await connection.copy_records_to_table('fortune', records=list(enumerate(FORTUNES, 1)))
    await connection.execute('VACUUM ANALYZE')
    await connection.close()


# -- what contenders must answer -------------------------------------------------------------------


def is_world(value: object) -> bool:
    return isinstance(value, dict) and value == {'id': value['id'], 'randomNumber': number_of(value['id'])}


def are_worlds(value: object) -> bool:
    return isinstance(value, dict) and len(value['worlds']) == 20 and all(map(is_world, value['worlds']))


def fortunes_page() -> str:
    found = [*enumerate(FORTUNES, 1), (0, 'Additional fortune added at request time.')]
    rows = ''.join(
        f'<tr><td>{number}</td><td>{_escaped(message)}</td></tr>\n'
        for number, message in sorted(found, key=lambda fortune: fortune[1])
    )
    return (
        '<!doctype html>\n<html>\n<head><title>Fortunes</title></head>\n<body>\n<table>\n'
        f'<tr><th>id</th><th>message</th></tr>\n{rows}</table>\n</body>\n</html>'
    )


def _escaped(text: str) -> str:
    """As MarkupSafe writes it."""
    return html.escape(text).replace('&quot;', '&#34;').replace('&#x27;', '&#39;')
