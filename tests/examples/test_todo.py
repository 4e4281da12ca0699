"""examples/todo: the list as people and programs use it, on both databases.

It is small, and uses what a newcomer needs of databases (SPEC chapters 20, 22, 23, 27; RS-23, RS-25).
"""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import Launcher

import aquests
from aquests import dbi
from aquests.aliases import DB_PGSQL, DB_SQLITE3, Aliases
from skitai.testing import ServerClient

PROJECT = Path(__file__).parents[2] / 'examples' / 'todo'

HARD_TITLES = [
    "Robert'); DROP TABLE item; --",
    '</span><script>alert (1)</script> & {{ 7 * 7 }} "',
    'Grüße, 안녕, \N{PILE OF POO} %s $1 ? \\',
    'x' * 200,
]


class Todo:
    """The application, launched as its readme says, and the test's own way to its database."""

    def __init__(self, launcher: Launcher, member: str | None, **options: Any) -> None:
        shutil.copytree(PROJECT, launcher.directory, dirs_exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv('TODO_DB', raising=False)
            if member:
                patch.setenv('TODO_DB', member)
            self.client = launcher({}, **options)
        self.client.set_default_header('Accept', 'application/json')
        register = Aliases()
        file = str(launcher.directory / 'todo.db')
        register.add('@own', DB_PGSQL if member else DB_SQLITE3, member or file)
        self.db = dbi.database('@own', register=register)

    def add(self, title: str) -> int:
        answer = self.client.post('/items', json={'title': title})
        assert (answer.status_code, answer.data['item']['title']) == (201, title)
        id: int = answer.data['item']['id']
        return id

    def mark(self, id: int, done: bool) -> None:
        assert self.client.patch(f'/items/{id}', json={'done': done}).status_code == 200

    @property
    def list(self) -> Any:
        return self.client.get('/').data

    @property
    def page(self) -> str:
        answer = self.client.get('/', headers={'Accept': 'text/html'})
        assert answer.status_code == 200
        return answer.text

    def empty(self) -> None:
        for table in ('item', 'archive'):
            self.db.delete(table).all().execute().commit()
        self.client.delete(f'/items/{self.add("last")}')  # and what workers keep is out of date


@pytest.fixture(scope='module')
def member(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str | None]]:
    """`member (kind)`: an empty database of that kind: a member for PostgreSQL, None for SQLite."""

    def make(kind: str) -> str | None:
        if kind == 'sqlite':
            return None
        server = request.getfixturevalue('postgres')
        name = f'todo_{uuid.uuid4().hex[:8]}'
        register = Aliases()
        register.add('@all', DB_PGSQL, server.member)
        dbi.database('@all', register=register).execute(f'CREATE DATABASE {name}').commit()
        return f'postgres@{server.host}:{server.port}/{name}'

    yield make
    aquests.shutdown(2)


@pytest.fixture(scope='module', params=['sqlite', 'postgresql'])
def launched(
    request: pytest.FixtureRequest, member: Callable[[str], str | None], launch_module: Callable[[], Launcher]
) -> Todo:
    return Todo(launch_module(), member(request.param))


@pytest.fixture
def todo(launched: Todo) -> Todo:
    launched.empty()
    return launched


def test_programs(todo: Todo) -> None:
    milk, bread = todo.add('milk'), todo.add('bread')
    todo.mark(milk, True)
    assert todo.list == {
        'items': [
            {'id': bread, 'title': 'bread', 'done': False},
            {'id': milk, 'title': 'milk', 'done': True},
        ],
        'left': 1,
    }
    todo.mark(milk, False)
    assert [item['id'] for item in todo.list['items']] == [milk, bread]
    answer = todo.client.delete(f'/items/{milk}')
    assert answer.data == {'item': {'id': milk, 'title': 'milk', 'done': False}}
    assert todo.list['left'] == 1


def send(browser: ServerClient, path: str, **form: str) -> str:
    """The page that follows."""
    answer = browser.post(path, data=form, allow_redirects=True)
    assert (answer.status_code, answer.url) == (200, browser.url('/'))
    return answer.text


def test_people(todo: Todo) -> None:
    """By the forms of the page alone."""
    browser = todo.client.clone()
    browser.set_default_header('Accept', 'text/html')
    page = send(browser, '/items', title=' milk ')
    assert 'To do: 1' in page
    assert '<span class="open">milk</span>' in page
    for value, shown in (('yes', 'done'), ('no', 'open')):
        (action,) = re.findall(r'action="(/items/\d+)"', page)
        assert f'name="done" value="{value}"' in page
        page = send(browser, action, done=value)
        assert f'<span class="{shown}">milk</span>' in page
    send(browser, action, done='yes')
    page = send(browser, '/archive')
    assert 'milk' not in page
    assert [item['title'] for item in todo.client.get('/archive').data['items']] == ['milk']


@pytest.mark.parametrize('title', HARD_TITLES)
def test_a_title_is_text(todo: Todo, title: str) -> None:
    todo.add(title)
    assert [item['title'] for item in todo.list['items']] == [title]
    assert '<script>' not in todo.page


@pytest.mark.parametrize(
    ('method', 'path', 'body', 'status'),
    [
        ('POST', '/items', {}, 400),
        ('POST', '/items', {'title': '  '}, 400),
        ('POST', '/items', {'title': 'x' * 201}, 400),
        ('POST', '/items', {'title': 1}, 400),
        ('PATCH', '/items/1', {}, 400),
        ('PATCH', '/items/1', {'done': 'perhaps'}, 400),
        ('PATCH', '/items/2147483647', {'done': True}, 410),
        ('PATCH', '/items/99999999999', {'done': True}, 400),
        ('DELETE', '/items/2147483647', None, 410),
        ('DELETE', '/items/me', None, 400),
    ],
)
def test_what_is_refused(todo: Todo, method: str, path: str, body: Any, status: int) -> None:
    assert todo.client.request(method, path, json=body).status_code == status
    assert todo.list == {'items': [], 'left': 0}


def test_the_list_is_kept_until_it_is_changed(todo: Todo) -> None:
    """SPEC CA-02, CA-03: the transaction's end counts too."""
    id = todo.add('milk')
    assert todo.list['left'] == 1
    todo.db.update('item').set(title='bread', done=True).filter(id=id).execute().commit()
    assert todo.list['items'] == [{'id': id, 'title': 'milk', 'done': False}]
    assert todo.client.post('/archive').data == {'archived': 1}
    assert todo.list == {'items': [], 'left': 0}
    assert todo.client.get('/archive').data == {'items': [{'id': id, 'title': 'bread'}]}


def test_all_or_nothing(todo: Todo) -> None:
    """SPEC DB-04: what cannot go to the archive keeps the others on the list."""
    ids = [todo.add(title) for title in ('milk', 'bread', 'butter')]
    for id in ids:
        todo.mark(id, True)
    todo.db.insert('archive').set(id=ids[1], title='in the way').execute().commit()
    assert todo.client.post('/archive').status_code == 409
    assert [item['id'] for item in todo.list['items']] == ids
    assert len(todo.client.get('/archive').data['items']) == 1


def test_two_workers_one_list(
    launch: Launcher, member: Callable[[str], str | None], postgres: object
) -> None:
    """Both make the tables at the same time, and what one changes the other shows."""
    todo = Todo(launch, member('postgresql'), workers=2)
    todo.client.set_default_header('Connection', 'close')
    threads = [threading.Thread(target=todo.add, args=(f'item {number}',)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [todo.list['left'] for _ in range(6)] == [8] * 6
    id = todo.list['items'][0]['id']
    for left in (7, 8, 7):
        todo.mark(id, left == 7)
        assert [todo.list['left'] for _ in range(4)] == [left] * 4
    assert 'Traceback' not in todo.client.output()
