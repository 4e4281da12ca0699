"""Extending and overriding packages (SPEC chapter 4, ST-07, LC-09)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from projects import Launcher, write_files
from serving import build

import skitai
from atila import Atila
from skitai.mounting import Mounts
from skitai.testing import Client

ClientFor = Callable[..., Client]

BASE = {
    'base/__init__.py': """
        from . import services

        def __config__ (pref):
            pref.set_static ('/static')
            pref.config.FROM_BASE = 'base'
            pref.config.TITLE = 'base'
            pref.realm = 'base'

        def __setup__ (app):
            app.mount ('/', services)

            @app.before_request
            def before (was):
                was.request.g.before = 'base'

        def __umount__ (app):
            app.g.umounted = 'base'
        """,
    'base/services/__init__.py': """
        def __setup__ (app):
            from . import pages
            app.mount ('/pages', pages)

        def __mount__ (app):
            @app.route ('/')
            def index (was):
                return was.render ('index.html', title = 'from the base')

            @app.route ('/examples', methods = ['GET'])
            def examples (was):
                return 'base GET'

            @app.route ('/only-base')
            def only_base (was):
                return 'base ' + was.urlfor ('pages.page', 1) + ' ' + was.urlfor ('shared')

            @app.route ('/shared')
            def shared (was):
                return 'base'
        """,
    'base/services/pages.py': """
        def __mount__ (app):
            @app.route ('/<int:number>')
            def page (was, number):
                return was.render ('page.html', number = number)
        """,
    'base/templates/index.html': '<h1>base index {{ title }}</h1>',
    'base/templates/page.html': "{% extends 'layout.html' %}{% block body %}page {{ number }}{% endblock %}",
    'base/templates/layout.html': 'base layout: {% block body %}{% endblock %}',
    'base/static/base.css': 'base css',
    'base/static/both.css': 'base both',
}

APP = {
    'app/__init__.py': """
        from atila import Atila

        def __config__ (pref):
            pref.config.TITLE = 'app'

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app):
            from . import services
            app.mount ('/', services)

        def __mount__ (app):
            @app.route ('/shared')
            def shared (was):
                return 'app'
        """,
    'app/services/__init__.py': """
        def __mount__ (app):
            @app.route ('/examples', methods = ['PUT'])
            def put_examples (was):
                return 'app PUT'

            @app.route ('/title')
            def title (was):
                config = was.app.config
                before = was.request.g.get ('before', '-')
                return ' '.join ([config.TITLE, config.FROM_BASE, was.app.realm, before])
        """,
    'app/templates/layout.html': 'app layout: {% block body %}{% endblock %}',
    'app/static/app.css': 'app css',
    'app/static/both.css': 'app both',
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], Any]]:
    """Writes packages and imports them by name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(files: dict[str, str]) -> Callable[[str], ModuleType]:
        write_files(tmp_path, files)
        importlib.invalidate_caches()
        return importlib.import_module

    yield make
    for name in set(sys.modules) - before:
        if name.partition('.')[0] in ('base', 'app', 'other'):
            del sys.modules[name]


def mounted(target: ModuleType, pref: Any = None, point: str = '/') -> Mounts:
    mounts = Mounts()
    mounts.add(point, target, pref)
    return mounts


def extending(load: Callable[[str], ModuleType], *names: str) -> Mounts:
    pref = skitai.preference()
    for name in names or ('base',):
        pref.extends(load(name))
    return mounted(load('app'), pref)


def test_base_gives_what_the_app_lacks(client_for: ClientFor, packages: Any) -> None:
    """SPEC EX-01, A-24."""
    client = client_for(extending(packages(BASE | APP)))
    assert client.get('/').text == '<h1>base index from the base</h1>'
    assert client.get('/only-base').text == 'base /pages/1 /shared'
    assert client.get('/static/base.css').text == 'base css'


def test_the_app_wins(client_for: ClientFor, packages: Any) -> None:
    """SPEC EX-01: routes, names, templates, static files, configuration."""
    client = client_for(extending(packages(BASE | APP)))
    assert client.get('/shared').text == 'app'
    assert client.get('/pages/3').text == 'app layout: page 3'
    assert client.get('/static/both.css').text == 'app both'
    assert client.get('/static/app.css').text == 'app css'
    assert client.get('/title').text == 'app base base base'


def test_methods_are_replaced_one_by_one(client_for: ClientFor, packages: Any) -> None:
    """SPEC EX-03."""
    client = client_for(extending(packages(BASE | APP)))
    assert client.get('/examples').text == 'base GET'
    assert client.put('/examples', {}).text == 'app PUT'


def test_the_launch_script_wins_over_a_base(packages: Any) -> None:
    load = packages(BASE | APP)
    pref = skitai.preference()
    pref.config.FROM_BASE = 'script'
    pref.realm = 'script'
    pref.extends(load('base'))
    mounts = mounted(load('app'), pref)
    build(mounts)
    app = mounts.apps['app']
    assert (app.config.FROM_BASE, app.config.TITLE, app.realm) == ('script', 'app', 'script')


def test_hooks_of_the_app_win_over_those_of_a_base(client_for: ClientFor, packages: Any) -> None:
    app = dict(APP)
    app['app/__init__.py'] += """
            @app.before_request
            def mine (was):
                was.request.g.before = 'app'
        """
    client = client_for(extending(packages(BASE | app)))
    assert client.get('/title').text.endswith(' app')


def test_a_base_may_extend_another(client_for: ClientFor, packages: Any) -> None:
    other = {
        'other/__init__.py': """
            def __mount__ (app):
                @app.route ('/other')
                def other (was):
                    return was.render ('other.html')

                @app.route ('/shared')
                def shared (was):
                    return 'other'
            """,
        'other/templates/other.html': 'other template',
    }
    base = dict(BASE)
    base['base/__init__.py'] = base['base/__init__.py'].replace(
        "pref.realm = 'base'",
        "pref.realm = 'base'\n            import other\n            pref.extends (other)",
    )
    client = client_for(extending(packages(base | APP | other)))
    assert client.get('/other').text == 'other template'
    assert client.get('/shared').text == 'app'


def test_overriding(client_for: ClientFor, packages: Any) -> None:
    """SPEC EX-02, A-25: services, templates and static files of `app` replace those of `base`."""
    base = dict(BASE)
    base['base/__init__.py'] = (
        'from atila import Atila\n'
        + base['base/__init__.py']
        .replace(
            '        def __setup__',
            '        def __app__ ():\n            return Atila (__name__)\n\n        def __setup__',
        )
        .replace('\n        ', '\n')
        .lstrip()
    )
    load = packages(base | APP)
    pref = skitai.preference()
    pref.overrides(load('app'))
    client = client_for(mounted(load('base'), pref))
    assert client.get('/shared').text == 'app'
    assert client.get('/only-base').text == 'base /pages/1 /shared'
    assert client.get('/pages/3').text == 'app layout: page 3'
    assert client.get('/static/both.css').text == 'app both'
    assert client.get('/static/base.css').text == 'base css'
    assert client.get('/examples').text == 'base GET'
    assert client.put('/examples', {}).text == 'app PUT'
    assert client.get('/title').text.startswith('app base')


def test_overriding_with_a_function_below_a_mount_point(client_for: ClientFor) -> None:
    """SPEC EX-02: the argument may be `(app, mntopt)`; also `app.overrides`, `app.extends` (CL-04)."""
    app = Atila('app')
    app.route('/a')(lambda was: 'own')
    app.route('/b')(lambda was: 'own')

    def override(app: Atila, mntopt: dict[str, Any]) -> None:
        assert mntopt['point'] == '/sub'
        app.route('/a')(lambda was: 'overriding ' + was.urlfor('/x'))

    def base(app: Atila) -> None:
        app.route('/b')(lambda was: 'base')
        app.route('/c')(lambda was: 'base')

    app.overrides(override)
    app.extends(base)  # type: ignore[arg-type]
    client = client_for(app, point='/sub')
    assert [client.get(f'/sub/{name}').text for name in 'abc'] == ['overriding /sub/x', 'own', 'base']


def test_order_of_mounts(packages: Any) -> None:
    """SPEC LC-09: own setup, own mount, what it extends, what is mounted, what overrides."""
    hooks = """
        def __setup__ (app):
            app.g.setdefault ('order', []).append ('setup {0}')

        def __mount__ (app):
            app.g.order.append ('mount {0}')
        """
    load = packages(
        {f'{name}/__init__.py': hooks.format(name) for name in ('base', 'other')}
        | {
            'app/__init__.py': """
                from atila import Atila
                from . import services

                def __app__ ():
                    return Atila (__name__)

                def __setup__ (app):
                    app.g.setdefault ('order', []).append ('setup app')
                    app.mount ('/', services)

                def __mount__ (app):
                    app.g.order.append ('mount app')
                """,
            'app/services/__init__.py': hooks.format('services'),
        }
    )
    pref = skitai.preference()
    pref.overrides(load('other'))
    pref.extends(load('base'))
    mounts = mounted(load('app'), pref)
    build(mounts)
    assert mounts.apps['app'].g.order == [
        'setup app',
        'setup services',
        'setup base',
        'setup other',
        'mount app',
        'mount base',
        'mount services',
        'mount other',
    ]


def test_bad_extension_is_told_at_once() -> None:
    with pytest.raises(AssertionError, match='package'):
        Atila('app').extends('base')  # type: ignore[arg-type]


def test_a_launched_server_extends(launch: Launcher) -> None:
    """SPEC EX-01, ST-07 as a user writes it; the base's `__umount__` runs."""
    serve = """
        import skitai
        import base, app

        if __name__ == '__main__':
            with skitai.preference () as pref:
                pref.extends (base)
                skitai.mount ('/', app, pref)
            skitai.run ()
        """
    client = launch(BASE | APP | {'serve.py': serve})
    assert client.get('/').text == '<h1>base index from the base</h1>'
    assert client.get('/static/both.css').text == 'app both'
    assert client.get('/shared').text == 'app'
