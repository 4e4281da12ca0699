"""Acceptance rows A-66 to A-72 (SPEC appendix A): cookies, sessions, messages.

Unlike in the old documentation every cookie is HttpOnly and SameSite=Lax unless the code says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient
from skitai.testing.response import Response

#: Lines 857-859, with the app of the cookies at a mount point of its own.
SERVE = """
    import skitai
    import myapp
    import shop

    if __name__ == '__main__':
        with skitai.preference () as pref:
            pref.securekey = "ds8fdsflksdjf9879dsf;?<>Asda"
            pref.session_timeout = 1200 # sec
            skitai.mount ('/', myapp, pref)
        skitai.mount ('/shop', shop)
        skitai.run (port = 5000)
"""

#: Lines 838-853.
SHOP = """
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __mount__ (app, mntopt):
        @app.route ('/set')
        def set (was):
            if "user_id" not in was.cookie:
                was.request.cookie.set ("user_id", "hansroh")
            return str (was.request.cookie ["user_id"])

        @app.route ('/item')
        def item (was):
            if "user_id" not in was.cookie:
                # or
                was.request.cookie ["user_id"] = "hansroh"
            return str (was.cookie is was.request.cookie)

        @app.route ('/all')
        def all (was):
            return was.API (dict (was.cookie.items ()))

        @app.route ('/signature')
        def signature (was, **args):
            was.cookie.set (
                'key', 'val',
                expires = None,
                path = None, domain = None,
                secure = False, http_only = False
            )
            return ''

        @app.route ('/options', methods = ['POST'])
        def options (was, **options):
            was.cookie.set ('key', 'val', **options)
            return was.API (own = was.cookie.get ('key'))

        @app.route ('/fails')
        def fails (was):
            was.cookie.set ('key', 'val')
            raise was.Error ('409 Conflict')

        @app.route ('/session')
        def session (was):
            was.session.set ('user_id', 'hansroh')
            return 'never'
"""

#: Lines 860-895.
MYAPP = """
    import time
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        app.mount ('/', sessions)
        app.mount ('/named', named)
        app.mount ('/admin', admin)
        app.mount ('/', messages)

    def sessions (app):
        @app.route ("/session")
        def hello_world (was, **form):
            if "login" not in was.session:
                was.session.set ("user_id", form.get ("hansroh"))
                # or
                was.session ["user_id"] = form.get ("hansroh")
            return ''

        @app.route ("/read")
        def read (was):
            assert was.session is was.request.session
            return was.API (user_id = was.session.get ("user_id"), expiry = was.session.get_expiry ())

        @app.route ("/securekey")
        def securekey (was):
            return was.API (securekey = app.securekey, session_timeout = app.session_timeout)

        @app.route ("/do")
        def do (was, what, timeout = None):
            given = () if timeout is None else (int (timeout),)
            result = getattr (was.session, what) (*given)
            return was.API (result = result, now = time.time ())

    def named (app):
        @app.route("/")
        def index (was):
            was.session.mount ("ADMIN", path = '/admin')
            was.session.set ("login", True)
            was.session.mount () # resore to default session
            return was.API (login = was.session.get ("login"))

        @app.route("/all")
        def all (was):
            was.session.mount (
                name = 'ALL', session_timeout = 60, securekey = 'another key', path = '/named', domain = None,
                secure = True, http_only = False, extend = True
            )
            was.session ['a'] = 1
            return ''

        @app.route("/wrong")
        def wrong (was):
            was.session.mount (None, path = '/admin')

    def admin (app):
        @app.route('')
        def read (was):
            default = was.session.get ("login")
            was.session.mount ("ADMIN", path = '/admin')
            return was.API (login = was.session.get ("login"), default = default)

    def messages (app):
        @app.route ("/msg")
        def msg (was):
            was.mbox.send ("This is Flash Message", "flash")
            was.mbox.send ("This is Alert Message Kept by 60 seconds on every request", "alram", valid = 60)
            return was.redirect (was.urlfor (showmsg, "Hans Roh"), status = "302 Object Moved")

        @app.route ("/showmsg")
        def showmsg (was, name):
            return was.render ("msg.htm", name=name)

        @app.route ("/short")
        def short (was):
            was.mbox.send ("kept for two seconds", "alram", valid = 2)
            return ''

        @app.route ("/news")
        def news (was):
            was.mbox.send ("<News> of today", "info", notice = 'news')
            return ''

        @app.route ("/filtered")
        def filtered (was):
            return was.render ("filtered.htm")

        @app.route ("/get")
        def get (was, key = None, val = None):
            return was.API (found = was.mbox.get (key, val))

        @app.route ("/search")
        def search (was, key, val = None):
            return was.API (found = was.mbox.search (key, val))

        @app.route ("/remove")
        def remove (was, id):
            was.mbox.remove (int (id))
            return ''
"""

#: Lines 891-895.
FILTERED = """\
    <ul>
    {% for mid, category, created, valid, msg, extra in was.mbox.get ("notice", "news") %}
      <li class="{{category}}"> {{ msg }}</li>
    {% endfor %}
    </ul>
"""

FILES = {
    'serve.py': SERVE,
    'shop/__init__.py': SHOP,
    'myapp/__init__.py': MYAPP,
    'myapp/templates/filtered.htm': FILTERED,
    # the messages of the service above are in neither of the filter's words: all of them are shown here
    'myapp/templates/msg.htm': '<p>{{ context.name }}</p>\n' + FILTERED.replace('"notice", "news"', ''),
}


@pytest.fixture(scope='module')
def server(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


@pytest.fixture
def client(server: ServerClient) -> ServerClient:
    """A visitor without cookies."""
    return server.clone()


def sent(answer: Response) -> dict[str, tuple[str, dict[str, str]]]:
    """The Set-Cookie fields: name -> value as sent, attributes in lower case."""
    found = {}
    for field in answer.raw.headers.getlist('Set-Cookie'):
        pair, *rest = field.split('; ')
        name, _, value = pair.partition('=')
        assert name not in found
        attributes = (item.partition('=') for item in rest)
        found[name] = (value, {key.lower(): text for key, _, text in attributes})
    return found


def seconds_left(attributes: dict[str, str]) -> float:
    return parsedate_to_datetime(attributes['expires']).timestamp() - time.time()


#: What a cookie of the app at /shop has when nothing else is said.
USUAL = {'path': '/shop', 'httponly': '', 'samesite': 'Lax'}


# -- cookies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(('path', 'text'), [('/shop/set', 'hansroh'), ('/shop/item', 'True')])
def test_A_66_cookie(client: ServerClient, path: str, text: str) -> None:
    """Seed 838-841, SPEC CK-01 to CK-03: set once, at the app's mount point, read by the next request."""
    first = client.get(path)
    assert first.text == text
    assert sent(first) == {'user_id': ('hansroh', USUAL)}
    assert sent(client.get(path)) == {}
    assert client.get('/shop/all').data == {'user_id': 'hansroh'}


def test_A_66_no_cookie_with_an_error(client: ServerClient) -> None:
    """SPEC RC-07, CK-03."""
    answer = client.get('/shop/fails')
    assert answer.status_code == 409
    assert sent(answer) == {}


def test_A_67_options_as_documented(client: ServerClient) -> None:
    """Seed 842-847, SPEC CK-02: every option may be given; who says `http_only = False` gets that."""
    assert sent(client.get('/shop/signature')) == {'key': ('val', {'path': '/shop', 'samesite': 'Lax'})}


def test_A_67_attributes(client: ServerClient) -> None:
    """Seed 851-853."""

    def attributes(**options: object) -> dict[str, str]:
        return sent(client.post('/shop/options', json=options))['key'][1]

    assert attributes(secure=True, http_only=True) == {**USUAL, 'secure': ''}
    assert attributes(path='/elsewhere') == {**USUAL, 'path': '/elsewhere'}
    assert attributes(domain='example.com') == {**USUAL, 'domain': 'example.com'}
    assert attributes(same_site='None') == {**USUAL, 'samesite': 'None', 'secure': ''}


@pytest.mark.parametrize(
    ('expires', 'value', 'least', 'most'),
    [
        (60, 'val', 50, 61),
        ('never', 'val', 99 * 365 * 86400, 101 * 366 * 86400),
        (0, '', -5, 1),
        ('now', '', -5, 1),
    ],
)
def test_A_67_expires(client: ServerClient, expires: object, value: str, least: float, most: float) -> None:
    """Seed 848-850: seconds; 0 and 'now' delete; 'never' is a hundred years."""
    answer = client.post('/shop/options', json={'expires': expires})
    found, attributes = sent(answer)['key']
    assert found == value
    assert least <= seconds_left(attributes) <= most
    assert answer.data == {'own': value or None}
    assert 'expires' not in sent(client.post('/shop/options', json={'expires': None}))['key'][1]


# -- sessions --------------------------------------------------------------------------------------


def test_A_68_securekey(client: ServerClient) -> None:
    """Seed 854-859, SPEC SS-01: of the preference; an app without one has no sessions."""
    assert client.get('/securekey').data == {
        'securekey': 'ds8fdsflksdjf9879dsf;?<>Asda',
        'session_timeout': 1200,
    }
    assert client.get('/shop/session').status_code == 500
    client.wait_for_output('ecret key is not configured')


def test_A_69_session(client: ServerClient, server: ServerClient) -> None:
    """Seed 860-865, SPEC SS-01 to SS-04: sealed, for 20 minutes; reading alone sets nothing."""
    value, attributes = sent(client.get('/session?hansroh=Hans+Roh'))['ATLSES_']
    assert 'Hans' not in value
    assert 1190 <= seconds_left(attributes) <= 1201
    del attributes['expires']
    assert attributes == {'path': '/', 'httponly': '', 'samesite': 'Lax'}
    again = client.get('/read')
    assert again.data['user_id'] == 'Hans Roh'
    assert sent(again) == {}
    assert server.clone().get('/read').data == {'user_id': None, 'expiry': None}


def test_A_69_as_written_nobody_is_remembered(client: ServerClient) -> None:
    """Seed 863: a form without that field gives None, and None it stays."""
    assert 'ATLSES_' in sent(client.get('/session'))
    assert client.get('/read').data['user_id'] is None


def test_A_69_tampered(client: ServerClient) -> None:
    """SPEC SS-09: an empty session, no error."""
    value, _ = sent(client.get('/session?hansroh=Hans+Roh'))['ATLSES_']
    middle = len(value) // 2
    changed = value[:middle] + ('A' if value[middle] != 'A' else 'B') + value[middle + 1 :]
    for text in (changed, value[:-1], '', 'x?y'):
        answer = client.clone().get('/read', headers={'Cookie': f'ATLSES_={text}'})
        assert (answer.status_code, answer.data['user_id']) == (200, None)


def test_A_69_extension(client: ServerClient) -> None:
    """Seed 866-867, 875-879, SPEC SS-04 to SS-08."""
    client.get('/session?hansroh=Hans')

    def do(what: str, **params: object) -> tuple[dict[str, float], Response]:
        answer = client.get('/do', params={'what': what, **params})
        assert answer.status_code == 200
        return answer.data, answer

    _, answer = do('set_expiry', timeout=5000)
    assert 4990 <= seconds_left(sent(answer)['ATLSES_'][1]) <= 5001
    answer = client.get('/session?hansroh=Hans')  # no automatic extension before that end is near
    assert 4990 <= seconds_left(sent(answer)['ATLSES_'][1]) <= 5001
    _, answer = do('touch')
    assert 'ATLSES_' in sent(answer)
    assert 0 <= do('use_time')[0]['result'] <= 10
    assert do('impending')[0]['result'] is False
    assert client.get('/read').data['user_id'] == 'Hans'

    _, answer = do('set_expiry', timeout=9)  # less than the ten seconds that always count as near
    assert seconds_left(sent(answer)['ATLSES_'][1]) <= 10
    found, answer = do('impending')
    assert found['result'] is True
    assert 1190 <= seconds_left(sent(answer)['ATLSES_'][1]) <= 1201  # and so it is extended

    _, answer = do('expire')
    value, attributes = sent(answer)['ATLSES_']
    assert value == ''
    assert seconds_left(attributes) <= 1
    assert client.get('/read').data == {'user_id': None, 'expiry': None}


def test_A_70_named_session(client: ServerClient) -> None:
    """Seed 868-873, SPEC SS-11: a cookie of its own at /admin; the default session knows nothing of it."""
    answer = client.get('/named/')
    assert answer.data == {'login': None}
    cookies = sent(answer)
    assert set(cookies) == {'ATLSES_ADMIN'}
    assert cookies['ATLSES_ADMIN'][1]['path'] == '/admin'
    assert client.get('/admin').data == {'login': True, 'default': None}
    assert client.clone().get('/admin').data == {'login': None, 'default': None}


def test_A_70_options_as_documented(client: ServerClient) -> None:
    """Seed 880: every option may be given. The default session is at '/' and nowhere else."""
    _, attributes = sent(client.get('/named/all'))['ATLSES_ALL']
    assert 50 <= seconds_left(attributes) <= 61
    del attributes['expires']
    assert attributes == {'path': '/named', 'secure': '', 'samesite': 'Lax'}
    assert client.get('/named/wrong').status_code == 500
    client.wait_for_output('AssertionError')


# -- messages --------------------------------------------------------------------------------------

FLASH = '<li class="flash"> This is Flash Message</li>'
ALARM = '<li class="alram"> This is Alert Message Kept by 60 seconds on every request</li>'


def test_A_71_messages_and_redirect(client: ServerClient) -> None:
    """Seed 883-890, SPEC MB-01, MB-02: they are the client's alone, and sealed."""
    answer = client.get('/msg')
    assert answer.status_code == 302
    assert answer.headers['Location'] == '/showmsg?name=Hans+Roh'
    value, attributes = sent(answer)['ATLMBX_']
    assert 'Flash' not in value
    assert attributes == {'path': '/', 'httponly': '', 'samesite': 'Lax'}


def test_A_72_flash_once_alarm_for_a_while(client: ServerClient) -> None:
    """Seed 891-899, SPEC MB-02, MB-03 (without the template's filter, which neither message passes)."""
    first = client.get('/msg', allow_redirects=True)
    assert (first.status_code, first.url.rpartition('/')[2]) == (200, 'showmsg?name=Hans+Roh')
    assert '<p>Hans Roh</p>' in first.text
    assert (first.text.count(FLASH), first.text.count(ALARM)) == (1, 1)
    for _ in range(2):
        again = client.get('/showmsg?name=Hans+Roh').text
        assert (again.count(FLASH), again.count(ALARM)) == (0, 1)
    assert '<li' not in client.clone().get('/showmsg?name=x').text


def test_A_72_alarm_ends(client: ServerClient) -> None:
    """Seed 886, with two seconds in place of sixty."""
    began = time.time()
    client.get('/short')

    def shown() -> bool:
        return 'kept for two seconds' in client.get('/showmsg?name=x').text

    assert shown() or time.time() - began > 1  # on a very busy machine
    wait_for(lambda: not shown(), 'the end of the message', 5)
    assert time.time() - began > 1  # its age counts in whole seconds


def test_A_72_template_as_written(client: ServerClient) -> None:
    """Seed 891-895, SPEC MB-03, MB-07: an extra and its value; what doesn't match stays."""
    client.get('/msg')
    assert '<li' not in client.get('/filtered').text
    client.get('/news')
    shown = client.get('/filtered').text
    assert '<li class="info"> &lt;News&gt; of today</li>' in shown
    assert FLASH not in shown
    assert '<li' not in client.get('/filtered').text
    left = client.get('/showmsg?name=x').text
    assert FLASH in left
    assert ALARM in left


def test_A_72_methods_of_the_box(client: ServerClient) -> None:
    """Seed 896-901, SPEC MB-03 to MB-05."""
    began = int(time.time())
    client.get('/msg')
    client.get('/news')
    flash = client.get('/search?key=flash').data['found']
    alarm = client.get('/search?key=alram').data['found']
    news = client.get('/search?key=notice&val=news').data['found']
    assert [len(ids) for ids in (flash, alarm, news)] == [1, 1, 1]
    assert flash < alarm < news
    [[mid, category, created, valid, msg, extra]] = client.get('/get?key=alram').data['found']
    assert ([mid], category, valid, extra) == (alarm, 'alram', 60, {})
    assert msg.startswith('This is Alert Message')
    assert began <= created <= time.time()
    assert client.get('/get?key=notice&val=olds').data['found'] == []
    [[*_, extra]] = client.get('/get?key=notice&val=news').data['found']
    assert extra == {'notice': 'news'}
    client.get(f'/remove?id={alarm[0]}')
    assert [item[0] for item in client.get('/get').data['found']] == flash
    assert client.get('/get').data['found'] == []
