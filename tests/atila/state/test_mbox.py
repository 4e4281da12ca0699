"""`was.mbox` (SPEC chapter 18, E.4, A-71, A-72)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jinja2
import pytest

from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]
Step = Callable[[Any], Any]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    ahead = [0.0]
    now = time.time
    monkeypatch.setattr(time, 'time', lambda: now() + ahead[0])

    def pass_by(seconds: float) -> None:
        ahead[0] += seconds

    return pass_by


def app_of(**steps: Step) -> Atila:
    """An app with a key; it answers '/name' with what the step of that name gives, as JSON."""
    app = Atila('app')
    app.securekey = 'a key'

    @app.route('/<name>')
    def service(was, name):
        return was.API(answer=steps[name](was))

    return app


def ask(client: Client, name: str, **headers: str) -> Any:
    response = client.get('/' + name, headers=headers)
    assert response.status_code == 200, response.text
    return response.data['answer']


def set_cookies(client: Client, name: str) -> list[str]:
    response = client.get('/' + name)
    assert response.status_code == 200, response.text
    found: list[str] = response.raw.headers.getlist('Set-Cookie')
    return found


def send(was: Any) -> Any:
    """The documented messages, and one with an extra."""
    return [
        was.mbox.send('This is Flash Message', 'flash'),
        was.mbox.send('This is Alert Message Kept by 60 seconds on every request', 'alram', valid=60),
        was.mbox.push('Hans', who='x', n=1),
    ]


def texts(*filter: Any) -> Step:
    """What `get` gives: the first words of the messages."""
    return lambda was: [message[4].split()[-1] for message in was.mbox.get(*filter)]


FLASH, ALERT, HANS = 'Message', 'request', 'Hans'


def test_the_documented_use(client_for: Make, clock: Callable[[float], None]) -> None:
    """A-71, A-72: sent, redirected, shown: the flash once, the alert for 60 seconds."""
    template = jinja2.Environment(autoescape=True).from_string(
        '{% for mid, category, created, valid, msg, extra in was.mbox.get () %}'
        '<li class="{{category}}"> {{ msg }}</li>{% endfor %}'
    )
    app = app_of()

    @app.route('/msg')
    def msg(was):
        was.mbox.send('This is Flash Message', 'flash')
        was.mbox.send('Alert <60>', 'alram', valid=60)
        return was.redirect(was.urlfor(showmsg, 'Hans Roh'), status='302 Object Moved')

    @app.route('/showmsg')
    def showmsg(was, name):
        return template.render(was=was, name=name)

    client = client_for(app)
    response = client.get('/msg')
    assert (response.status_code, response.headers['Location']) == (302, '/showmsg?name=Hans+Roh')
    alert = '<li class="alram"> Alert &lt;60&gt;</li>'
    assert client.get('/showmsg?name=x').text == '<li class="flash"> This is Flash Message</li>' + alert
    assert client.get('/showmsg?name=x').text == alert
    clock(61)
    assert client.get('/showmsg?name=x').text == ''


def test_the_cookie(client_for: Make) -> None:
    """MB-01: sealed, at '/', for the browser's session."""
    client = client_for(app_of(send=send))
    [field] = set_cookies(client, 'send')
    assert field.startswith('ATLMBX_=')
    assert field.endswith('; path=/; HttpOnly; SameSite=Lax')
    assert 'Flash' not in field


def test_needs_a_key(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """MB-01."""
    app = app_of(send=send)
    app.securekey = None
    assert client_for(app).get('/send').status_code == 500
    assert 'Secret key is not configured' in caplog.text


def test_messages_are_tuples_of_six(client_for: Make) -> None:
    """MB-02, MB-03, MB-06: also in the request that sends them; ids increase."""
    before = int(time.time())

    def sent(was: Any) -> Any:
        assert was.mbox is was.request.mbox
        assert send(was) == [1, 2, 3]
        assert all(type(message) is tuple for message in was.mbox.get())
        was.mbox.send('next', 'info', 5)
        return was.mbox.get()

    client = client_for(app_of(sent=sent, get=lambda was: was.mbox.get()))
    assert [message[0] for message in ask(client, 'sent')] == [2, 4]
    first, second = ask(client, 'get')
    assert first[:2] == [2, 'alram']
    assert before <= first[2] <= time.time()
    assert type(first[2]) is int
    assert first[3:] == [60, 'This is Alert Message Kept by 60 seconds on every request', {}]
    assert (second[0], second[1], second[3:]) == (4, 'info', [5, 'next', {}])


def test_ids_increase_over_requests(client_for: Make) -> None:
    """MB-06."""
    client = client_for(app_of(send=send, get=texts('flash')))
    assert ask(client, 'send') == [1, 2, 3]
    ask(client, 'get')
    assert ask(client, 'send') == [4, 5, 6]


def test_once_or_until_it_is_old(client_for: Make, clock: Callable[[float], None]) -> None:
    """MB-02."""
    client = client_for(app_of(send=send, get=texts()))
    ask(client, 'send')
    assert ask(client, 'get') == [FLASH, ALERT, HANS]
    assert ask(client, 'get') == [ALERT]
    clock(50)
    assert ask(client, 'get') == [ALERT]
    clock(10)
    assert ask(client, 'get') == []


def test_a_message_for_once_waits(client_for: Make, clock: Callable[[float], None]) -> None:
    client = client_for(app_of(send=send, get=texts()))
    ask(client, 'send')
    clock(86400)
    assert ask(client, 'get') == [FLASH, HANS]


def test_filters(client_for: Make) -> None:
    """MB-03, E.4: by category, by an extra; the others stay."""
    client = client_for(app_of(send=send, flash=texts('flash'), hans=texts('who', 'x'), rest=texts()))
    ask(client, 'send')
    assert ask(client, 'flash') == [FLASH]
    assert ask(client, 'flash') == []
    assert ask(client, 'hans') == [HANS]
    assert ask(client, 'hans') == []
    assert ask(client, 'rest') == [ALERT]


@pytest.mark.parametrize(
    'filter', [('none',), ('who', 'y'), ('notice', 'news'), ('flash', 'x'), ('who',), ('',)]
)
def test_a_filter_that_matches_nothing(client_for: Make, filter: Any) -> None:
    """MB-07: [] and nothing is lost, nothing written."""
    client = client_for(
        app_of(
            send=send,
            get=lambda was: was.mbox.get(*filter),
            search=lambda was: was.mbox.search(*filter),
            rest=texts(),
        )
    )
    ask(client, 'send')
    assert ask(client, 'get') == []
    assert ask(client, 'search') == []
    assert set_cookies(client, 'get') == []
    assert ask(client, 'rest') == [FLASH, ALERT, HANS]


def test_search(client_for: Make, clock: Callable[[float], None]) -> None:
    """MB-04, E.4: ids, and the messages stay."""

    def search(was: Any) -> Any:
        box = was.mbox
        return [box.search('alram'), box.search('who', 'x'), box.search('n', 1), box.search('info')]

    client = client_for(app_of(send=send, search=search, rest=texts()))
    ask(client, 'send')
    assert ask(client, 'search') == [[2], [3], [3], [3]]
    assert set_cookies(client, 'search') == []
    clock(60)
    assert ask(client, 'search')[0] == []
    assert ask(client, 'rest') == [FLASH, HANS]


def test_remove(client_for: Make) -> None:
    """MB-05."""

    def remove(was: Any) -> None:
        was.mbox.remove(2)
        was.mbox.remove(99)

    client = client_for(app_of(send=send, remove=remove, rest=texts()))
    ask(client, 'send')
    ask(client, 'remove')
    assert ask(client, 'rest') == [FLASH, HANS]


def test_sent_and_read_at_once_needs_no_cookie(client_for: Make) -> None:
    """MB-06."""

    def step(was: Any) -> Any:
        was.mbox.send('x')
        return [message[4] for message in was.mbox.get()]

    client = client_for(app_of(step=step, nothing=lambda was: was.mbox.get()))
    assert set_cookies(client, 'step') == []
    assert set_cookies(client, 'nothing') == []
    assert ask(client, 'step') == ['x']


def test_an_empty_box_is_deleted(client_for: Make) -> None:
    def step(was: Any) -> None:
        was.mbox.send('x')

    client = client_for(app_of(send=step, get=texts()))
    ask(client, 'send')
    [field] = set_cookies(client, 'get')
    assert field.startswith('ATLMBX_=; path=/; expires=')
    assert not client.session.cookies


@pytest.mark.parametrize(
    ('arguments', 'extra', 'error'),
    [
        ((object(),), {}, TypeError),
        (('x',), {'file': object()}, TypeError),
        (('x', None), {}, TypeError),
        (('x', 'info', -1), {}, ValueError),
    ],
)
def test_what_cannot_be_sent(client_for: Make, arguments: Any, extra: Any, error: type[Exception]) -> None:
    def step(was: Any) -> None:
        with pytest.raises(error, match='message'):
            was.mbox.send(*arguments, **extra)

    assert set_cookies(client_for(app_of(step=step)), 'step') == []


def test_a_cookie_that_is_not_ours_is_an_empty_box(client_for: Make) -> None:
    """SS-09: as for sessions; nor does a session pass for a box."""

    def login(was: Any) -> None:
        was.session['user'] = 'hans'

    client = client_for(app_of(send=send, login=login, get=texts()))
    box = set_cookies(client, 'send')[0].partition(';')[0].partition('=')[2]
    session = set_cookies(client, 'login')[0].partition(';')[0].partition('=')[2]
    for bad in ('', 'garbage', box[:-1], session):
        assert ask(client.clone(), 'get', Cookie='ATLMBX_=' + bad) == []
    assert ask(client.clone(), 'get', Cookie='ATLMBX_=' + box) == [FLASH, ALERT, HANS]


def test_messages_of_an_error_are_not_kept(client_for: Make) -> None:
    """RC-07: what was read is not lost, what was sent is not seen."""

    def fail(was: Any) -> None:
        assert len(was.mbox.get()) == 3
        was.mbox.send('secret')
        raise was.Error('418 I am a teapot')

    client = client_for(app_of(send=send, fail=fail, get=texts()), threads=1)
    ask(client, 'send')
    assert client.get('/fail').status_code == 418
    assert ask(client.clone(), 'get') == []
    assert ask(client, 'get') == [FLASH, ALERT, HANS]


def test_full_box_drops_the_oldest(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A client that never reads its messages goes on being served."""
    app = app_of(send=lambda was: was.mbox.send('x' * 500), get=lambda was: was.mbox.get())
    client = client_for(app)
    for _ in range(20):
        last = ask(client, 'send')
    ids = [message[0] for message in ask(client, 'get')]
    assert ids == list(range(ids[0], last + 1))
    assert 3 < len(ids) < 10
    assert 'the message box is full' in caplog.text


def test_any_name_of_an_extra(client_for: Make) -> None:
    """MB-02: also that of Python's own first argument, where a client chooses the names."""
    client = client_for(app_of(send=lambda was: was.mbox.send('hello', self=1) and was.mbox.get()[0][5]))
    assert ask(client, 'send') == {'self': 1}
