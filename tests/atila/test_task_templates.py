"""Tasks that are fetched by a template (SPEC TE-09): in each form of service the same page, the same errors.

A plain service and a coroutine's first step render where they may block. What renders on the event loop does
not: there `was.render` gives a content that is made when the Tasks have ended, on a service thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aquests
from atila import Atila
from skitai.testing import Client

ClientFor = Callable[..., Client]

PAGE = '{{ context.task1.fetch () }}|{{ task2.one () }}|{{ title }}'


def slow(value: Any) -> Any:
    time.sleep(0.05)
    return value


def fails() -> Any:
    time.sleep(0.05)
    raise aquests.errors.QueueFull('on purpose')


#: What `task2` is, and the status that its `one ()` in the template gives.
FAULTS: dict[str, tuple[Callable[[Any], Any], int]] = {
    'none': (lambda was: was.Thread(slow, []), 410),
    'many': (lambda was: was.Thread(slow, [1, 2]), 409),
    'fails': (lambda was: was.Thread(fails), 503),
    'raises': (lambda was: was.Thread(lambda: 1 / 0), 500),
    'late': (lambda was: was.Thread(time.sleep, args=(0.5,), timeout=0.05), 504),
    'command': (lambda was: was.Subprocess('exit 3'), 500),
    'masked': (lambda was: was.Mask([]), 410),
}
FORMS = ['/plain', '/generator', '/first', '/async', '/pass', '/then']


class Site:
    def __init__(self, directory: Path) -> None:
        (directory / 'page.html').write_text(PAGE)
        (directory / 'list.html').write_text('{{ tasks [0].fetch () }}')
        self.app = app = Atila('app')
        app.config.TEMPLATE_DIRS = [str(directory)]
        self.seen: list[str] = []

        @app.finish_request
        def finish(was: Any, content: Any) -> None:
            self.seen.append(content)

        def tasks(was: Any, fault: str) -> dict[str, Any]:
            second = FAULTS[fault][0](was) if fault else was.Thread(slow, ['<2>'])
            return {'task1': was.Thread(slow, 1), 'task2': second}

        def render(was: Any, fault: str) -> Any:
            return was.render('page.html', **tasks(was, fault), title='x')

        @app.route('/plain')
        def plain(was: Any, fault: str = '') -> Any:
            return render(was, fault)

        @app.route('/generator', coroutine=True)
        def generator(was: Any, fault: str = '') -> Any:
            yield was.Thread(slow, 1)
            return render(was, fault)

        @app.route('/first', coroutine=True)
        def first_step(was: Any, fault: str = '') -> Any:
            content = render(was, fault)
            yield was.Mask(1)
            return content

        @app.route('/async')
        async def awaits(was: Any, fault: str = '') -> Any:
            await asyncio.sleep(0)
            return render(was, fault)

        @app.route('/pass')
        def thread_pass(was: Any, fault: str = '') -> Any:
            return was.ThreadPass(render, fault)

        @app.route('/then')
        def then(was: Any, fault: str = '') -> Any:
            return was.Thread(slow, 1).then(lambda was, task: render(was, fault))

        @app.route('/done')
        async def done(was: Any) -> Any:
            values = tasks(was, '')
            await was.Tasks(*values.values())
            page = was.render('page.html', values | {'title': 'x'})
            return page.upper()

        @app.route('/api')
        async def api(was: Any) -> Any:
            return was.render_or_API('page.html', **tasks(was, ''), title='x')

        @app.route('/nested')
        async def nested(was: Any) -> Any:
            return was.render('list.html', tasks=[was.Thread(slow, 1)])

        @app.route('/as-text')
        async def as_text(was: Any) -> Any:
            return f'{render(was, "")}'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize('form', FORMS)
def test_the_same_page_in_every_form(client_for: ClientFor, site: Site, form: str) -> None:
    answer = client_for(site.app).get(form)
    assert (answer.status_code, answer.text) == (200, '1|&lt;2&gt;|x')
    assert answer.headers['Content-Type'].startswith('text/html')
    assert site.seen == [answer.text]


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('form', FORMS)
def test_the_same_errors_in_every_form(client_for: ClientFor, site: Site, form: str, fault: str) -> None:
    """SPEC ER-05, TK-05: the Task's error is the page's."""
    assert client_for(site.app).get(f'{form}?fault={fault}').status_code == FAULTS[fault][1]


def test_tasks_that_have_ended_are_rendered_at_once(client_for: ClientFor, site: Site) -> None:
    """On the event loop, too: a str, as ever."""
    assert client_for(site.app).get('/done').text == '1|&LT;2&GT;|X'


def test_render_or_api(client_for: ClientFor, site: Site) -> None:
    answer = client_for(site.app).get('/api', headers={'Accept': 'text/html'})
    assert answer.text == '1|&lt;2&gt;|x'
    assert answer.headers['Vary'] == 'Accept'


def test_the_loop_goes_on_while_a_page_waits(client_for: ClientFor, site: Site) -> None:
    """With one service thread: neither it nor the loop waits for the Tasks."""
    app = site.app
    release, begun = threading.Event(), threading.Event()

    @app.route('/waits')
    async def waits(was: Any) -> Any:
        begun.set()
        return was.render('page.html', task1=was.Thread(release.wait, 10), task2=was.Mask([2]))

    @app.route('/release')
    async def let_go(was: Any) -> Any:
        release.set()
        return was.render('page.html', task1=was.Mask(1), task2=was.Mask([2]))

    client = client_for(app, threads=1)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(client.get('/waits').text))
    asking.start()
    assert begun.wait(10)
    assert client.get('/release').text == '1|2|'
    asking.join(10)
    assert answers == ['True|2|']


@pytest.mark.parametrize('path', ['/nested', '/as-text'])
def test_what_would_block_the_loop_is_an_error_in_words(
    client_for: ClientFor, site: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert client_for(site.app).get(path).status_code == 500
    assert 'event loop' in caplog.text
