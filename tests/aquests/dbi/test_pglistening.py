"""LISTEN and NOTIFY of PostgreSQL as a channel (issue of databases; `channels`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from projects import wait_for

import aquests
from aquests import errors
from aquests.aliases import DB_PGSQL, aliases
from aquests.dbi import database


@pytest.fixture
def db(postgres: Any) -> Iterator[Any]:
    aliases.add('@listening', DB_PGSQL, postgres.member, max_conns=2)
    yield database('@listening')
    aquests.shutdown(1)
    aliases.clear()


def listening(db: Any) -> int:
    """Connections of the server that listen to something."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    return int(db.execute(sql).one().count)


def test_what_is_notified_arrives_in_order(db: Any) -> None:
    with db.listen('news', 'other') as channel:
        db.execute("SELECT pg_notify ('news', 'one')").commit()
        db.execute("NOTIFY other, 'zwei ü'").commit()
        db.execute('NOTIFY news').commit()
        heard = [channel.next(10).fetch() for _ in range(3)]
    assert [(message.channel, message.data) for message in heard] == [
        ('news', 'one'),
        ('other', 'zwei ü'),
        ('news', ''),
    ]
    assert heard[0].pid > 0
    wait_for(lambda: listening(db) == 0, 'the end of the connection')
    with pytest.raises(errors.TaskCancelled):
        channel.next(1).fetch()


def test_who_asks_too_late_loses_the_oldest(db: Any) -> None:
    with db.listen('many', limit=3) as channel:
        for number in range(5):
            db.execute(f"NOTIFY many, '{number}'").commit()
        wait_for(lambda: channel.dropped == 2, 'the messages')
        assert [channel.next(10).fetch().data for _ in range(3)] == ['2', '3', '4']
        with pytest.raises(errors.TaskTimeout):
            channel.next(0.05).fetch()


def test_on_the_event_loop(db: Any) -> None:
    async def hear() -> list[str]:
        heard = []
        async with db.listen('loop') as channel:
            await db.execute("NOTIFY loop, 'a'")
            await db.execute("NOTIFY loop, 'b'")
            async for message in channel:
                heard.append(message.data)
                if len(heard) == 2:
                    break
        return heard

    assert aquests.Async(hear).fetch() == ['a', 'b']


def test_names_are_needed(db: Any) -> None:
    with pytest.raises(TypeError, match='names of channels'):
        db.listen()


def test_it_listens_again_when_the_server_is_back(tmp_path: Path) -> None:
    with databases.postgres() as server:
        aliases.add('@restarted', DB_PGSQL, server.member)
        db = database('@restarted')
        with db.listen('news') as channel:
            server.kill()
            server.start()

            def heard() -> bool:
                try:
                    db.execute("NOTIFY news, 'back'").commit()
                    return bool(channel.next(0.2).fetch().data == 'back')
                except (errors.NetworkError, errors.TaskTimeout):
                    return False

            wait_for(heard, 'a message after the restart')
            assert channel.gaps >= 1
        aquests.shutdown(1)
        aliases.clear()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    aliases.add('@nowhere', DB_PGSQL, '127.0.0.1:1/postgres')
    try:
        with pytest.raises(errors.NetworkError, match=r'127\.0\.0\.1:1'):
            database('@nowhere').listen('news')
    finally:
        aquests.shutdown(1)
        aliases.clear()


def test_nobody_keeps_it_up(db: Any) -> None:
    """A channel that is let go of ends, also while the loop waits."""
    channel = db.listen('left')
    assert listening(db) == 1
    del channel
    wait_for(lambda: listening(db) == 0, 'the end of the connection')
