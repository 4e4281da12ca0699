"""Package hooks and cascaded mounting (SPEC chapter 2, mount points of E.3).

Most tests mount modules made here and ask them in process; those that are about processes launch a server.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from projects import Launcher

import skitai
from atila import Atila
from skitai.engine.asgi import AsgiEngine
from skitai.mounting import Mounts
from skitai.testing import InProcessClient


def module(source: str, name: str = 'shop', **names: Any) -> ModuleType:
    """A module with the given source; `names` are in it."""
    made = ModuleType(name)
    made.__dict__.update(names, Atila=Atila)
    exec(textwrap.dedent(source), made.__dict__)
    return made


class Mounted:
    """A mounted target: `client` asks it, `app` is it."""

    def __init__(self, target: Any, point: str = '/', devel: bool = False, **options: Any) -> None:
        self.mounts = Mounts()
        self.mounts.add(point, target, **options)
        settings = skitai.Settings(devel=devel)
        self.mounts.configure()
        table = self.mounts.build(settings)
        self.app: Atila = next(iter(self.mounts.apps.values()))
        self.client = InProcessClient(AsgiEngine(table, settings))

    def get(self, path: str) -> tuple[int, str]:
        answer = self.client.get(path)
        return answer.status_code, answer.text

    def stop(self) -> None:
        self.client.stop()
        self.mounts.umount()


@pytest.fixture
def mounted() -> Iterator[Callable[..., Mounted]]:
    made: list[Mounted] = []

    def mount(target: Any, point: str = '/', **options: Any) -> Mounted:
        made.append(Mounted(target, point, **options))
        return made[-1]

    yield mount
    for one in made:
        one.stop()


def package(setup: str = '', mount: str = '', **names: Any) -> ModuleType:
    """An app package whose hooks have these bodies."""
    source = 'def __app__ ():\n    return Atila (__name__)\n'
    for hook, body in (('__setup__', setup), ('__mount__', mount)):
        if body:
            source += f'def {hook} (app, mntopt):\n' + textwrap.indent(textwrap.dedent(body), '    ')
    return module(source, **names)


def routes(*rules: str, name: str = 'services', hooks: str = '') -> ModuleType:
    """A module that serves each rule with the rule's text."""
    body = ''.join(
        f'    @app.route ({rule!r})\n    def service{number} (was):\n        return {f"at {rule}"!r}\n'
        for number, rule in enumerate(rules)
    )
    return module(f'def __mount__ (app):\n{body or "    pass"}\n' + textwrap.dedent(hooks), name)


# -- the app's own hooks -------------------------------------------------------------------------

PROCESSES = {
    'serve.py': """
        import skitai
        import shop

        if __name__ == '__main__':
            with skitai.preference () as pref:
                pref.color = 'red'
                skitai.mount ('/', shop, pref)
            skitai.run ()
    """,
    'shop/__init__.py': """
        import os
        from atila import Atila

        def __config__ (pref):
            assert pref.color == 'red'
            pref.color = 'blue'
            pref.config.SIZE = 7
            print (f'config in {os.getpid ()};')

        def __app__ ():
            print (f'app in {os.getpid ()};')
            return Atila (__name__)

        def __mount__ (app):
            @app.route ('/')
            def index (was):
                return was.API (color = app.color, size = app.config.SIZE)

        def __umount__ (app):
            print (f'umount in {os.getpid ()};')
    """,
}


def test_config_runs_once_in_the_master_and_the_others_in_each_worker(launch: Launcher) -> None:
    """SPEC LC-01, LC-02, LC-05."""
    client = launch(PROCESSES, workers=2)
    client.wait_for_output('Serving')
    assert client.get('/').data == {'color': 'blue', 'size': 7}
    client.stop()
    output = client.output()
    assert output.count('config in') == 1
    assert f'config in {client.pid};' in output
    assert output.count('app in') == output.count('umount in') == 2
    assert f'app in {client.pid};' not in output


def test_config_of_services_is_not_run(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-01: in the module of the app only."""
    services = routes('/', hooks="def __config__ (pref):\n    raise AssertionError ('not mine')")
    shop = package("app.mount ('/', services)", services=services)
    assert mounted(shop).get('/') == (200, 'at /')


@pytest.mark.parametrize('signature', ['app', 'app, mntopt', 'app, *rest', 'app, mntopt = None'])
def test_hooks_take_one_argument_or_two(mounted: Callable[..., Mounted], signature: str) -> None:
    """SPEC LC-03, LC-04, CL-12."""
    source = f"""
        def __app__ ():
            return Atila (__name__)

        def __setup__ ({signature}):
            app.was_set_up = True

        def __mount__ ({signature}):
            assert app.was_set_up
            @app.route ('/')
            def index (was):
                return 'mounted'
    """
    assert mounted(module(source)).get('/') == (200, 'mounted')


def test_all_setups_come_before_any_mount(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-03, LC-04, LC-05, LC-09."""
    order: list[str] = []

    def tracing(name: str, *below: ModuleType) -> ModuleType:
        source = """
            def __config__ (pref):
                order.append ('config ' + __name__)

            def __app__ ():
                order.append ('app ' + __name__)
                return Atila (__name__)

            def __setup__ (app):
                order.append ('setup ' + __name__)
                for one in below:
                    app.mount ('/' + one.__name__, one)

            def __mount__ (app):
                order.append ('mount ' + __name__)

            def __umount__ (app):
                order.append ('umount ' + __name__)
        """
        return module(source, name, order=order, below=below)

    one = mounted(tracing('shop', tracing('a', tracing('b')), tracing('c')))
    expected = ['config shop', 'app shop', 'setup shop', 'setup a', 'setup b', 'setup c']
    expected += ['mount shop', 'mount a', 'mount b', 'mount c']
    assert order == expected
    order.clear()
    one.stop()
    assert order == ['umount c', 'umount b', 'umount a', 'umount shop']


def test_a_failing_umount_keeps_no_other_from_running(
    mounted: Callable[..., Mounted], caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC LC-05."""
    called: list[str] = []
    failing = routes('/a', hooks="def __umount__ (app):\n    raise ValueError ('broken')")
    source = """
        def __app__ ():
            return Atila (__name__)

        def __setup__ (app):
            app.mount ('/', failing)

        def __umount__ (app):
            called.append (app.name)
    """
    mounted(module(source, failing=failing, called=called)).stop()
    assert called == ['shop']
    assert 'broken' in caplog.text


def test_mounting_inside_mount_is_an_error(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-04: the message says where it belongs."""
    with pytest.raises(RuntimeError, match='__setup__'):
        mounted(package(mount="app.mount ('/a', services)", services=routes('/')))


# -- app.mount -----------------------------------------------------------------------------------


def test_what_app_mount_takes(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """SPEC LC-06: modules, several at once, functions of one or two parameters, a directory."""
    (tmp_path / 'a.txt').write_text('a file')

    def one(app: Atila) -> None:
        app.route('/one')(lambda was: 'one')

    def two(app: Atila, mntopt: dict[str, Any]) -> None:
        app.route('/two')(lambda was: mntopt['color'])

    shop = package(
        """
        app.mount ('/modules', first, second)
        app.mount ('/functions', one, two, color = 'blue')
        app.mount ('/files', directory)
        app.mount_with ('/with', one)
        app.decorate_with ('/decorated', one)
        """,
        first=routes('/a', name='first'),
        second=routes('/b', name='second'),
        one=one,
        two=two,
        directory=str(tmp_path),
    )
    served = mounted(shop)
    for path, text in {
        '/modules/a': 'at /a',
        '/modules/b': 'at /b',
        '/functions/one': 'one',
        '/functions/two': 'blue',
        '/files/a.txt': 'a file',
        '/with/one': 'one',
        '/decorated/one': 'one',
    }.items():
        assert served.get(path) == (200, text)


def test_app_mount_before_the_app_runs() -> None:
    """SPEC LC-06: an app object has no `__setup__`."""
    app = Atila('shop')
    app.mount('/a', routes('/b'))
    served = Mounted(app)
    assert served.get('/a/b') == (200, 'at /b')
    served.stop()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        ("app.mount ('a', services)", 'must be "" or start with "/"'),
        ("app.mount ('/a', empty)", 'neither __mount__ nor __setup__'),
        ("app.mount ('/a', 42)", 'cannot mount 42'),
        ("app.mount ('/a', 'nowhere')", "cannot mount the directory 'nowhere'"),
    ],
)
def test_what_app_mount_refuses(mounted: Callable[..., Mounted], call: str, message: str) -> None:
    """SPEC LC-06."""
    with pytest.raises(AssertionError, match=message):
        mounted(package(call, services=routes('/'), empty=ModuleType('empty')))


def test_options_are_inherited_and_kept_on_the_module(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-06, LC-10: an inner option wins; `__mntopt__`."""
    seen: dict[str, dict[str, Any]] = {}
    source = 'def __setup__ (app, mntopt):\n    seen [__name__] = mntopt\n'
    inner = module(source, 'shop.services.inner', seen=seen)
    outer = module(
        source + "    app.mount ('/inner', inner, size = 2)\n", 'shop.services', seen=seen, inner=inner
    )
    mounted(package("app.mount ('/outer', outer, color = 'blue', size = 1)", outer=outer))
    assert seen['shop.services'].items() >= {'point': '/outer', 'color': 'blue', 'size': 1}.items()
    assert seen['shop.services']['module_name'] == 'shop.services'
    assert (
        seen['shop.services.inner'].items() >= {'point': '/outer/inner', 'color': 'blue', 'size': 2}.items()
    )
    assert seen['shop.services.inner']['module_name'] == 'shop.services.inner'
    assert inner.__mntopt__ == seen['shop.services.inner']


def test_options_of_the_app_module(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """SPEC LC-10: and the keywords of `skitai.mount`."""
    seen: dict[str, Any] = {}
    shop = package(mount='seen.update (mntopt)', seen=seen)
    shop.__file__ = str(tmp_path / 'shop' / '__init__.py')
    mounted(shop, '/shop', color='blue')
    assert seen == {
        'point': '/shop',
        'base_dir': str(tmp_path / 'shop'),
        'use_reloader': False,
        'debug': False,
        'color': 'blue',
    }


def test_debug_only_modules(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-06."""
    for devel, status in ((True, 200), (False, 404)):
        shop = package("app.mount ('/debug', services, debug_only = True)", services=routes('/a'))
        assert mounted(shop, devel=devel).get('/debug/a')[0] == status


# -- points --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('outer', 'inner', 'rule', 'path'),
    [
        ('/', '/sub2', '/a', '/sub2/a'),
        ('', '/sub2', '/a', '/sub2/a'),
        ('/sub2', '/pages', '', '/sub2/pages'),
        ('/sub2', '/pages', '/1', '/sub2/pages/1'),
        ('/sub2', '/sub2/pages', '/1', '/sub2/pages/1'),
        ('/sub2', '/sub2', '/1', '/sub2/1'),
        ('/sub2', '/sub22', '/1', '/sub2/sub22/1'),
        ('/sub2', '', '/1', '/sub2/1'),
        ('/sub2', '/', '/1', '/sub2/1'),
        ('/sub2/', '/pages/', '/1', '/sub2/pages/1'),
        ('/', '//pages', '/1', '/pages/1'),
    ],
)
def test_points_are_composed(
    mounted: Callable[..., Mounted], outer: str, inner: str, rule: str, path: str
) -> None:
    """SPEC LC-07: relative, or absolute where the point begins with the inherited one as whole segments."""
    middle = module(
        f'def __setup__ (app):\n    app.mount ({inner!r}, services)', 'middle', services=routes(rule)
    )
    for point in ('/', '/deep/er'):
        served = mounted(package(f'app.mount ({outer!r}, middle)', middle=middle), point)
        assert served.get(point.rstrip('/') + path) == (200, f'at {rule}')


POINTS = [
    # rules at the point '/beta', then what is asked for: status and body or Location (SPEC E.3)
    (['/'], '/beta', 301, '/beta/'),
    (['/'], '/beta/', 200, 'at /'),
    (['/'], '/beta/1', 404, None),
    (['/', ''], '/beta', 200, 'at '),
    (['/', ''], '/beta/', 200, 'at /'),
    ([''], '/beta', 200, 'at '),
    ([''], '/beta/', 404, None),
]


@pytest.mark.parametrize(('rules', 'path', 'status', 'expected'), POINTS)
def test_blank_and_slash_routes_of_a_module(
    mounted: Callable[..., Mounted], rules: list[str], path: str, status: int, expected: str | None
) -> None:
    """SPEC LC-08, E.3."""
    client = mounted(package("app.mount ('/beta', services)", services=routes(*rules))).client
    answer = client.get(path)
    assert answer.status_code == status
    if expected is not None:
        assert (answer.headers['Location'] if status == 301 else answer.text) == expected


@pytest.mark.parametrize(
    ('rules', 'path', 'status', 'expected'),
    [
        (['/'], '/beta', 308, '/beta/'),
        (['/'], '/beta/', 200, 'at /'),
        ([''], '/beta', 200, 'at '),
        (['', '/'], '/beta', 200, 'at '),
        (['', '/'], '/beta/', 200, 'at /'),
    ],
)
def test_blank_and_slash_routes_of_an_app_below_the_root(
    mounted: Callable[..., Mounted], rules: list[str], path: str, status: int, expected: str
) -> None:
    """SPEC ST-18, RT-03."""
    app = Atila('shop')
    app.mount('', routes(*rules))
    answer = mounted(app, '/beta').client.get(path)
    assert answer.status_code == status
    assert (answer.headers['Location'] if status == 308 else answer.text) == expected


def test_unroute_at_a_mount_point(mounted: Callable[..., Mounted]) -> None:
    """SPEC EX-04, E.3: `unroute ('/be*', 310)`: /beta."""
    shop = package("app.mount ('/beta', services)\napp.unroute ('/be*', 310)", services=routes('/'))
    assert mounted(shop).client.get('/beta').status_code == 310


# -- names ---------------------------------------------------------------------------------------


def test_only_what_is_mounted_is_served(launch: Launcher) -> None:
    """SPEC LC-11: importing a module, or having it in `services`, mounts nothing."""
    files = {
        'serve.py': """
            import skitai
            import shop

            if __name__ == '__main__':
                skitai.mount ('/', shop)
                skitai.run ()
        """,
        'shop/__init__.py': """
            from atila import Atila
            from .services import extra

            def __app__ ():
                return Atila (__name__)

            def __mount__ (app):
                @app.route ('/')
                def index (was):
                    return 'index'
        """,
        'shop/services/__init__.py': '',
        'shop/services/extra.py': """
            def __mount__ (app):
                @app.route ('/extra')
                def extra (was):
                    return 'extra'
        """,
    }
    client = launch(files)
    assert client.get('/').text == 'index'
    assert client.get('/extra').status_code == 404


def named(module_name: str, function: str, service: str) -> ModuleType:
    """A module with one function, which tells the URL of the service of a given name."""
    source = f"""
        def __mount__ (app):
            @app.route ('/{function}')
            def {function} (was):
                return was.urlfor ({service!r})
    """
    return module(source, module_name)


@pytest.mark.parametrize(('enabled', 'name'), [(True, 'sub.pages.toc'), (False, 'toc')])
def test_names_of_services(mounted: Callable[..., Mounted], enabled: bool, name: str) -> None:
    """SPEC LC-11, RT-15: by the module's path below the services' root, unless namespaces are off."""
    pages = named('shop.services.sub.pages', 'toc', name)
    shop = package("app.mount ('/sub', pages)", pages=pages)
    pref = skitai.preference()
    pref.enable_namespace = enabled
    assert mounted(shop, pref=pref).get('/sub/toc') == (200, '/sub/toc')


def test_a_namespace_of_its_own(mounted: Callable[..., Mounted]) -> None:
    """SPEC LC-06, RT-15: `ns`."""
    api = named('shop.services.api', 'owners', 'v1.owners')
    shop = package("app.mount ('/v1', api, ns = 'v1')", api=api)
    assert mounted(shop).get('/v1/owners') == (200, '/v1/owners')
