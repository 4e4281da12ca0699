"""URLs of services and files (SPEC UR-01, UR-02, appendix E.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import skitai
from atila import Atila
from skitai.mounting import Mounts
from skitai.testing import Client

Make = Callable[..., Client]


@pytest.fixture
def urls(client_for: Make) -> Callable[..., Any]:
    """`urls (question, ...)`: what `question (was, app)` gives inside a request of E.3's app."""

    def ask(question: Callable[[Any], Any], pref: Any = None, **options: Any) -> Any:
        app = Atila('app')

        @app.route('/profiles/<int:id>')
        def prof(was, id, detail=None):
            return ''

        @app.route('/p2/<int:id>')
        def p2(was, id=None):
            return ''

        @app.route('/owners/<oid>/pets/<int:pid>')
        def pets(was, oid, pid=1):
            return ''

        @app.route('/f/<float:x>')
        def fl(was, x):
            return ''

        @app.route('/dl/<path:path>')
        def dl(was, path=None):
            return ''

        @app.route('/s/<name>')
        def s(was, name='Hans Roh'):
            return ''

        @app.route('/nav')
        def nav(was, limit=20, pageno=1):
            return ''

        @app.route('/any')
        def anything(was, **values):
            return ''

        @app.route('/<int:number>')
        def root(was, number=None):
            return ''

        @app.route('/ask')
        def service(was):
            try:
                return was.API(found=question(was))
            except (NameError, ValueError, AssertionError) as error:
                return was.API(error=type(error).__name__, text=str(error))

        point = options.get('point', '/').rstrip('/')
        return client_for(app, pref, **options).get(point + '/ask').data

    return ask


@pytest.mark.parametrize(
    ('name', 'args', 'values', 'url'),
    [
        ('prof', (1,), {}, '/profiles/1'),
        ('prof', ('me',), {}, '/profiles/me'),
        ('prof', (), {'id': 2, 'detail': 'no'}, '/profiles/2?detail=no'),
        ('p2', (), {}, '/p2'),
        ('p2', (3,), {}, '/p2/3'),
        ('p2', (None,), {}, '/p2'),
        ('pets', (7,), {}, '/owners/7/pets'),
        ('pets', (7, 123), {}, '/owners/7/pets/123'),
        ('nav', (100, 3), {}, '/nav?limit=100&pageno=3'),
        ('nav', (), {'limit': None}, '/nav'),
        ('/index.htm', (), {}, '/index.htm'),
        ('/index.htm', (), {'a': 1}, '/index.htm?a=1'),
        ('fl', (1.5,), {}, '/f/1.5'),
        ('dl', ('a/b c',), {}, '/dl/a/b%20c'),
        ('dl', (), {}, '/dl'),
        ('s', ('Hans Roh',), {}, '/s/Hans%20Roh'),
        ('s', ('a/b?c#d%',), {}, '/s/a%2Fb%3Fc%23d%25'),
        ('s', ('café',), {}, '/s/caf%C3%A9'),
        ('root', (), {}, '/'),
        ('root', (5,), {}, '/5'),
        ('anything', (), {'x': 'a b&c', 'y': [1, 2]}, '/any?x=a+b%26c&y=1&y=2'),
    ],
)
def test_urlfor(urls: Callable[..., Any], name: str, args: tuple[Any, ...], values: Any, url: str) -> None:
    """UR-01, E.3."""
    assert urls(lambda was: was.urlfor(name, *args, **values)) == {'found': url}


@pytest.mark.parametrize(
    ('name', 'args', 'values', 'error', 'text'),
    [
        ('nav', (), {'zz': 1}, 'ValueError', 'zz'),
        ('nav', (1, 2, 3), {}, 'ValueError', '2 parameters'),
        ('nav', (1,), {'limit': 2}, 'ValueError', 'twice'),
        ('zz', (), {}, 'NameError', 'zz'),
        ('prof', (), {}, 'AssertionError', 'id'),
        ('prof', (None,), {}, 'AssertionError', 'id'),
        ('pets', (), {'pid': 1}, 'AssertionError', 'oid'),
        ('/index.htm', (1,), {}, 'ValueError', 'positional'),
    ],
)
def test_urlfor_refuses(
    urls: Callable[..., Any], name: str, args: tuple[Any, ...], values: Any, error: str, text: str
) -> None:
    """UR-01, E.3."""
    found = urls(lambda was: was.urlfor(name, *args, **values))
    assert found['error'] == error
    assert text in found['text']


def test_urlfor_a_function_and_its_alias(urls: Callable[..., Any]) -> None:
    """UR-01, WAS-04: `ab`; a function that is no service is a NameError."""
    assert urls(lambda was: [was.ab('nav'), was.urlfor(was.request.routed)])['found'] == ['/nav', '/ask']
    assert urls(lambda was: was.urlfor(print))['error'] == 'NameError'


@pytest.mark.parametrize('point', ['/app', '/my/app/'])
def test_urlfor_begins_with_the_mount_point(urls: Callable[..., Any], point: str) -> None:
    """UR-01."""
    base = point.rstrip('/')
    found = urls(
        lambda was: [was.urlfor('nav'), was.urlfor('/x.css'), was.urlfor('p2'), was.urlfor('root')],
        point=point,
    )
    assert found == {'found': [f'{base}/nav', f'{base}/x.css', f'{base}/p2', f'{base}/']}


def test_static_and_media(urls: Callable[..., Any]) -> None:
    """UR-02: with the defaults of ST-08; an absolute path is returned unchanged."""
    question = lambda was: [  # noqa: E731
        was.static('css/a.css'),
        was.static('/robots.txt'),
        was.media('a.png'),
        was.media('/b.png'),
    ]
    assert urls(question) == {'found': ['/static/css/a.css', '/robots.txt', '/media/a.png', '/b.png']}
    pref = skitai.preference()
    pref.config.STATIC_URL = '/s'
    pref.config.MEDIA_URL = '/m/'
    assert urls(question, pref) == {'found': ['/s/css/a.css', '/robots.txt', '/m/a.png', '/b.png']}


def test_urlpatch(client_for: Make) -> None:
    """UR-03: this request's URL parameters, the given ones above; less what the service doesn't take."""
    app = Atila('app')

    @app.route('/list/<kind>')
    def listing(was: Any, kind: str, page: int = 1, size: int = 10, **more: Any) -> Any:
        return was.API(
            next=was.urlpatch('listing', page=int(page) + 1),
            kind=was.partial(listing, kind='b c', size=None),
            other=was.urlpatch('other', page=None),
        )

    @app.route('/other')
    def other(was: Any, size: int = 1, page: int = 1) -> str:
        return ''

    assert client_for(app).get('/list/a?page=2&size=5&x=%26').json() == {
        'next': '/list/a?page=3&size=5&x=%26',
        'kind': '/list/b%20c?page=2&x=%26',
        'other': '/other?size=5',
    }


def test_baseurl_and_urlspec(urls: Callable[..., Any]) -> None:
    """UR-04: also as `basepath`."""
    found = urls(
        lambda was: [was.baseurl('pets'), was.basepath('nav'), was.urlspec('pets'), was.urlspec('nav')],
        point='/app',
    )['found']
    assert found == [
        '/app/owners',
        '/app/nav',
        {
            'methods': ['GET', 'POST'],
            'path': '/app/owners/:oid/pets/:pid',
            'params': ['oid', 'pid'],
            'query': [],
        },
        {'methods': ['GET', 'POST'], 'path': '/app/nav', 'params': [], 'query': ['limit', 'pageno']},
    ]


def test_pipe(client_for: Make) -> None:
    """PP-01, A-73: a function or a name; the undecorated function, with the arguments as they are."""
    app = Atila('app')

    @app.route('/1')
    @app.inspect(offset=int)
    def index(was: Any, offset: Any = 1) -> Any:
        return was.API(result=offset)

    app.route('/2')(lambda was: was.pipe(index))
    app.route('/3')(lambda was: was.pipe(index, offset=4))
    app.route('/4')(lambda was: was.pipe('index', offset='t'))
    app.route('/5')(lambda was: was.pipe('nothing'))

    @app.route('/6')
    async def awaits(was: Any) -> Any:
        return await was.pipe('later', 6)

    @app.route('/7')
    @app.testpass_required(lambda was: False)
    async def later(was: Any, number: int) -> Any:
        return was.pipe(index, number)

    client = client_for(app)
    assert [client.get(f'/{n}').json() for n in (1, 2, 3, 4, 6)] == [
        {'result': value} for value in (1, 1, 4, 't', 6)
    ]
    assert client.get('/1?offset=x').status_code == 400
    assert client.get('/5').status_code == 500
    assert client.get('/7?number=1').status_code == 403


def test_names_across_apps(client_for: Make) -> None:
    """MA-02, MA-03: 'app:name'."""
    shop, site = Atila('shop'), Atila('site')

    @shop.route('/items/<int:number>')
    def item(was: Any, number: int) -> Any:
        return f'{was.app.name} {number} {was.urlfor("item", 2)}'

    shop.config.STATIC_URL = '/shop/static'

    @site.route('/')
    def index(was: Any) -> Any:
        return was.API(
            url=was.urlfor('shop:item', 7),
            path=was.urlfor('shop:/cart'),
            static=was.static('shop:a.css'),
            own=was.static('a.css'),
            piped=was.pipe('shop:item', 3),
            app=was.apps['shop'].name,
            nobody=was.apps.get('nobody'),
        )

    mounts = Mounts()
    mounts.add('/shop', shop, name='shop')
    mounts.add('/', site, name='site')
    assert client_for(mounts).get('/').json() == {
        'url': '/shop/items/7',
        'path': '/shop/cart',
        'static': '/shop/static/a.css',
        'own': '/static/a.css',
        'piped': 'shop 3 /shop/items/2',
        'app': 'shop',
        'nobody': None,
    }


def test_names_may_leave_out_the_own_module(client_for: Make) -> None:
    app = Atila('app')

    def service(app: Atila) -> None:
        app.route('/a')(lambda was: was.urlfor('target') + ' ' + was.urlfor('sub.target'))

        @app.route('/b')
        def target(was: Any) -> str:
            return ''

    app.mount('/sub', service, ns='sub')
    assert client_for(app).get('/sub/a').text == '/sub/b /sub/b'
