"""Templates (SPEC chapter 31; ST-16, RS-15, ER-03, EX-01, EX-02) and the HTML minifier (RC-09).

Acceptance rows A-09, A-52, A-60, A-105, A-106, A-129 to A-133 and A-135 are the project `site`.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape
from projects import Launcher, wait_for, write_files
from serving import DEADLINE

import atila
import skitai
from atila import Atila
from atila.templating import Templates, minifier, strip
from atila.was import OffRequest
from skitai.testing import Client, ServerClient

HTML = {'Accept': 'text/html'}
EVIL = '<script>alert ("1")</script>'

Make = Callable[..., Client]


class Site:
    """`site (files, define, **config)`: a client of an app with these templates.

    `define (app)` makes its services. `write` changes templates later.
    """

    def __init__(self, client_for: Make, directory: Path) -> None:
        self._client_for = client_for
        self.directory = directory

    def write(self, **files: str) -> None:
        write_files(self.directory, files)

    def __call__(
        self, files: dict[str, str], define: Callable[[Atila], Any], config: Any = None, **settings: Any
    ) -> Client:
        write_files(self.directory, files)
        self.app = Atila('app')
        define(self.app)
        pref = skitai.preference(**{'TEMPLATE_DIRS': [str(self.directory)], **(config or {})})
        return self._client_for(self.app, pref, **settings)

    def page(self, source: str, name: str = 'page.j2', before: Any = None, **args: Any) -> str:
        """The text of a page rendered from `source`, asked with `?name=...`."""

        def define(app: Atila) -> None:
            if before is not None:
                before(app)

            @app.route('/')
            def page(was, x='none'):
                return was.render(name, dict(args))

        answer = self({name: source}, define).get('/', params={'x': EVIL})
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def site(client_for: Make, tmp_path: Path) -> Site:
    return Site(client_for, tmp_path / 'views')


# -- the documented examples ---------------------------------------------------------------------

PROJECT = {
    'serve.py': """
        import skitai
        import myapp

        if __name__ == '__main__':
            skitai.mount ('/', myapp)
            skitai.run ()
    """,
    'myapp/__init__.py': """
        from atila import Atila

        def __app__ ():
            app = Atila (__name__)
            app.add_jinja_ext ('jinja2.ext.i18n')
            return app

        def __mount__ (app, mntopt):
            @app.template_global ('form_token')
            def generate_form_token ():
                return 'token'

            @app.template_global ('path')
            def path (was, suffix):
                return was.request.path + suffix

            @app.template_filter ("reverse")
            def reverse_filter (s):
                return s [::-1]

            @app.route ('/')
            def index (was):
                return was.render ('index.j2')

            @app.route ("/hello")
            def hello (was):
                return was.render ("hello.j2", name = 'Hans Roh')

            @app.route ("/profiles/<int:id>", methods = ["GET"])
            def profile (was, id = None, detail = 'yes'):
                assert was.request.args ['id'] == id
                assert was.request.args ['detail'] == detail
                return was.render ("profile.j2", id = id, detail = detail)

            @app.route ('/either')
            def either (was):
                return was.render_or_API ("result.html", result = '<1>')

            @app.route ('/order')
            def order (was, choice = None):
                return was.render ("index.html", choice = 2, product = "Apples")

            @app.route ('/checkout/<int:choice>')
            def checkout (was, choice):
                return ''

            @app.route ('/custom')
            def custom (was):
                return was.render ('custom.j2')

            @app.route ('/fails')
            def fails (was):
                raise was.Error ('418 Teapot', '<detail>')

            @app.default_error_handler
            def default_error_handler (was, error):
                return was.render ("errors/default.j2", error = error)

            @app.error_handler (404)
            def not_found (was, error):
                return was.render ('404.j2', error = error)
    """,
    'myapp/templates/index.j2': """
        <html>
        <head><title>My App</title></head>
        <body>
        <h1>Index Page</h1>
        </body>
        </html>
    """,
    'myapp/templates/hello.j2': '<h1>Hello {{ context.name }}</h1>',
    'myapp/templates/profile.j2': '<li>{{ context.id }} is {{ request.args.id }}</li>',
    'myapp/templates/result.html': '<b>{{ result }}</b>',
    'myapp/templates/index.html': """
        {{ context.product }} item {{ request.args.get ("choice", "N/A") or "N/A" }}.
        <a href="{{ was.urlfor ('checkout', context.choice) }}">Proceed</a>
    """,
    'myapp/templates/custom.j2': """
        {{ form_token () }} {{ "Hello" | reverse }} {{ path ('!') }} {% trans %}translated{% endtrans %}
    """,
    'myapp/templates/errors/default.j2': """
        <h1>{{ error.code }} {{ error.message }}</h1>
        <p>{{ error.detail }}</p>
        <hr>
        <div>URL: {{ error.url }}</div>
        <div>Time: {{ error.time }}</div>
    """,
    'myapp/templates/404.j2': '<h1>No {{ error.url }}</h1>',
}


@pytest.fixture(scope='module')
def project(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(PROJECT)


def test_a_template_of_the_package(project: ServerClient) -> None:
    """A-09, A-129; ST-16, TE-01: templates are in the package's `templates`, and answers are HTML."""
    answer = project.get('/')
    assert '<h1>Index Page</h1>' in answer.text
    assert answer.headers['Content-Type'] == 'text/html; charset=utf-8'


def test_arguments_in_a_template(project: ServerClient) -> None:
    """A-52, A-60, A-105; TE-02, PR-10."""
    assert project.get('/hello').text == '<h1>Hello Hans Roh</h1>'
    assert project.get('/profiles/123').text == '<li>123 is 123</li>'


@pytest.mark.parametrize(
    ('accept', 'is_json'),
    [
        ('application/json, text/html', True),
        ('application/json', True),
        ('text/html', False),
        ('text/plain', False),
        ('*/*', False),
        (None, False),
    ],
)
def test_render_or_api(project: ServerClient, accept: str | None, is_json: bool) -> None:
    """A-106; RS-15."""
    answer = project.get('/either', headers={'Accept': accept})
    assert answer.data == ({'result': '<1>'} if is_json else '<b>&lt;1&gt;</b>')


def test_expressions(project: ServerClient) -> None:
    """A-130; TE-02. (The example's cookie is in the cookies' tests.)"""
    assert 'Apples item N/A.' in project.get('/order').text
    answer = project.get('/order?choice=%3C7')
    assert 'Apples item &lt;7.' in answer.text
    assert '<a href="/checkout/2">Proceed</a>' in answer.text


def test_functions_filters_and_extensions(project: ServerClient) -> None:
    """A-131, A-132, A-133; TE-06, TE-07, TE-08: registered in `__mount__` or before."""
    assert project.get('/custom').text.split() == ['token', 'olleH', '/custom!', 'translated']


def test_error_pages_from_templates(project: ServerClient) -> None:
    """A-135; ER-03, TE-12: where the client asks for HTML."""
    missing = project.get('/no%3Cwhere', headers=HTML)
    assert (missing.status_code, missing.text) == (404, '<h1>No /no%3Cwhere</h1>')
    failed = project.get('/fails', headers=HTML)
    assert failed.status_code == 418
    assert '<h1>418 Teapot</h1>' in failed.text
    assert '<p>&lt;detail&gt;</p>' in failed.text
    assert '<div>URL: /fails</div>' in failed.text
    assert re.search(r'<div>Time: \d{4}-\d\d-\d\d ', failed.text)
    assert project.post('/', headers=HTML).status_code == 200
    assert project.request('DELETE', '/', headers=HTML).text.strip().startswith('<h1>405')
    assert project.get('/nowhere', headers={'Accept': 'application/json'}).data['code'] == 40400


# -- names in templates (TE-02, TE-03) -----------------------------------------------------------


def test_names_of_ours(site: Site) -> None:
    source = """
        {{ was.request.method }} {{ request.path }} {{ app.name }} {{ response.status_code }}
        {{ context.one }} {{ one }} {{ context ['one'] }} {{ 'one' in context }} {{ context | length }}
    """
    assert site.page(source, one='1').split() == ['GET', '/', 'app', '200', '1', '1', '1', 'True', '1']


def test_an_undefined_argument_is_empty(site: Site) -> None:
    """TE-03."""
    assert site.page("({{ context.x }}{{ context ['x'] }}{{ x }}{{ context.get ('x', 2) }})") == '(2)'


def test_arguments_may_have_the_names_of_a_dicts_methods(site: Site) -> None:
    source = '{{ context.items }} {{ context.get }} {{ context.update }} {{ context.pop }}|'
    assert site.page(source, items=[1, 2], get='g') == '[1, 2] g  |'


@pytest.mark.parametrize('name', ['was', 'context', 'app', 'request', 'response'])
def test_reserved_names(client_for: Make, site: Site, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """TE-02: a TypeError that names it."""

    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.j2', {name: 1}))

    assert site({'page.j2': ''}, define).get('/').status_code == 500
    assert f'templates have {name} already' in caplog.text


def test_a_template_may_set_the_response(site: Site) -> None:
    """TE-02: `response` is `was.response`."""

    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.j2'))

    source = "{% do response.set_header ('X-One', '1') %}{% do response.set_status ('202 Accepted') %}ok"
    answer = site({'page.j2': source}, define).get('/')
    assert (answer.status_code, answer.headers['X-One'], answer.text) == (202, '1', 'ok')


def test_names_reach_included_and_inherited_templates(site: Site) -> None:
    files = {
        'base.j2': '[{% block body %}{% endblock %}|{{ request.path }}]',
        'part.j2': '{{ context.one }}{{ one }}{{ request.method }}{{ was.app.name }}{{ app.name }}',
        'macros.j2': '{% macro told (x) %}{{ x }} {{ was.request.path }} {{ request.path }}{% endmacro %}',
        'page.j2': """\
            {% extends 'base.j2' %}{% import 'macros.j2' as macros %}
            {% block body %}{{ request.method }}/{% include 'part.j2' %}/{{ macros.told (one) }}{% endblock %}
        """,
    }

    def define(app: Atila) -> None:
        app.route('/at')(lambda was: was.render('page.j2', one='<1>'))

    expected = '[GET/&lt;1&gt;&lt;1&gt;GETappapp/&lt;1&gt; /at /at|/at]'
    client = site(files, define)
    assert client.get('/at').text == expected
    assert client.get('/at').text == expected


def test_an_imported_template_keeps_nothing_of_a_request(site: Site) -> None:
    """PITFALLS: one client sees another's data. Jinja keeps what it imports."""
    files = {
        'a.j2': '{% set user = was.request.args.user %}{% macro greet () %}{{ user }}{% endmacro %}',
        'b.j2': '{% set user = request.args.user %}',
        'c.j2': '{% set user = who () %}',
        'd.j2': '{% set user = 1 %}',
        'page.j2': """
            {%- import 'a.j2' as a %}{% from 'b.j2' import user %}{% import 'c.j2' as c %}
            {%- import 'd.j2' as d %}
            {{- a.user }}{{ a.greet () }}{{ user }}{{ c.user }}{{ d.user }}
            {%- include 'e.j2' without context %}{% include 'f.j2' without context %}""",
        'e.j2': '{{ request.args.user }}',
        'f.j2': '{% if was %}{{ was.request.args.user }}{% endif %}',
    }

    def define(app: Atila) -> None:
        app.template_global('who')(lambda was: was.request.args['user'])
        app.route('/')(lambda was, user: was.render('page.j2'))

    client = site(files, define)
    for user in 'xyz':
        assert client.get(f'/?user={user}').text == f'{user * 4}1{user * 2}'


# -- escaping (TE-04) ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name', ['a.j2', 'a.html', 'a.htm', 'a.xml', 'a.xhtml', 'a.jinja', 'a.HTML', 'a', 'a.tpl']
)
def test_what_a_client_sent_is_escaped(site: Site, name: str) -> None:
    text = site.page('{{ request.args.x }}{{ context.y }}{{ y }}', name, y=EVIL)
    assert '<' not in text
    assert text.count('&lt;script&gt;') == 3


@pytest.mark.parametrize('name', ['a.txt', 'a.csv', 'a.TXT'])
def test_plain_text_is_not_escaped(site: Site, name: str) -> None:
    assert site.page('{{ request.args.x }}', name) == EVIL


def test_strings_are_escaped_and_markup_is_not(site: Site) -> None:
    def before(app: Atila) -> None:
        app.template_global('row')(
            lambda was: app.jinja_env.from_string('<i>{{ x }}{{ y }}</i>').render(x=EVIL, y=Markup('<b>'))
        )

    text = site.page('{{ row () }}|{{ row () | safe }}|{{ y }}', before=before, y=Markup('<br>'))
    row = '<i>' + str(escape(EVIL)) + '<b></i>'
    assert text == f'{escape(row)}|{row}|<br>'


def test_unicode(site: Site) -> None:
    """Templates are UTF-8, whatever the locale; names and values of any script."""
    assert site.page('é€한국😀 {{ 값 }}', 'seiten/über.j2', 값='ж') == 'é€한국😀 ж'


def test_blocks_leave_no_blank_lines(site: Site) -> None:
    """TE-04: trim_blocks, lstrip_blocks; no line statements."""
    assert site.page('  {% if 1 %}\n% a ## b\n  {% endif %}\n') == '% a ## b\n'


def test_do_and_loop_controls_are_on(site: Site) -> None:
    """TE-08."""
    source = '{% for x in (1, 2, 3) %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}'
    assert site.page('{% set l = [] %}{% do l.append (7) %}{{ l }}' + source) == '[7]1'


# -- which template (TE-01, EX-01, EX-02) --------------------------------------------------------


def test_a_leading_slash_is_ignored(site: Site) -> None:
    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('/sub/page.j2'))

    client = site({'sub/page.j2': '{% include "/sub/part.j2" %}', 'sub/part.j2': 'part'}, define)
    assert client.get('/').text == 'part'


@pytest.mark.parametrize(
    'name',
    [
        '../secret.j2',
        '/../secret.j2',
        'sub/../../secret.j2',
        '..',
        '',
        '/',
        'sub',
        'sub/..',
        'a\0.j2',
        '../secret.pt',
        '/../secret.pt',
    ],
)
def test_no_name_leads_out_of_the_directories(site: Site, name: str) -> None:
    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render(name))
        app.route('/included')(lambda was: was.render('include.j2', name=name))

    client = site({'sub/page.j2': '', 'include.j2': '{% include name %}'}, define)
    write_files(site.directory.parent, {'secret.j2': 'secret', 'secret.pt': '<p>secret</p>'})
    for path in ('/', '/included'):
        answer = client.get(path)
        assert answer.status_code == 500
        assert 'secret' not in answer.text


def test_no_absolute_name_leads_out_of_the_directories(site: Site) -> None:
    for name in ('secret.j2', 'secret.pt'):
        write_files(site.directory.parent, {name: '<p>secret</p>'})
        path = str(site.directory.parent / name)

        def define(app: Atila, path: str = path) -> None:
            app.route('/')(lambda was: was.render(path))

        assert site({'a.j2': ''}, define).get('/').status_code == 500


def test_the_first_directory_wins(client_for: Make, tmp_path: Path) -> None:
    """EX-01, EX-02, ST-07: by file, and for what a template extends or includes as well."""
    write_files(
        tmp_path,
        {
            'front/base.j2': 'front({% block body %}{% endblock %})',
            'own/base.j2': 'own({% block body %}{% endblock %})',
            'own/page.j2': "{% extends 'base.j2' %}{% block body %}{% include 'part.j2' %}{% endblock %}",
            'back/page.j2': 'not this one',
            'back/part.j2': 'back',
        },
    )
    app = Atila('app')
    app.route('/')(lambda was: was.render('page.j2'))
    pref = skitai.preference(TEMPLATE_DIRS=[str(tmp_path / 'back')])
    pref.add_template_dir(str(tmp_path / 'own'))
    pref.add_template_dir(str(tmp_path / 'front'), front=True)
    assert client_for(app, pref).get('/').text == 'front(back)'


def test_templates_of_extended_and_overriding_packages(launch: Launcher) -> None:
    """EX-01, EX-02, A-24: a template extends one of an extended package; an overriding package goes first."""
    files = {
        'serve.py': """
            import skitai
            import shop, base, over

            if __name__ == '__main__':
                with skitai.preference () as pref:
                    pref.extends (base)
                    pref.overrides (over)
                    skitai.mount ('/', shop, pref)
                skitai.run ()
        """,
        'shop/__init__.py': """
            from atila import Atila

            def __app__ ():
                return Atila (__name__)

            def __mount__ (app):
                @app.route ('/')
                def index (was):
                    return was.render ('page.j2')
        """,
        'shop/templates/page.j2': """\
            {% extends 'layout.j2' %}{% block body %}{% include 'part.j2' %}{% endblock %}
        """,
        'shop/templates/part.j2': 'part of the shop',
        'base/__init__.py': """
            def __mount__ (app):
                @app.route ('/base')
                def base (was):
                    return was.render ('page.j2')
        """,
        'base/templates/layout.j2': 'layout of the base: {% block body %}{% endblock %}',
        'base/templates/page.j2': 'page of the base',
        'over/__init__.py': 'def __mount__ (app):\n    pass\n',
        'over/templates/part.j2': 'part of over',
    }
    client = launch(files)
    assert client.get('/').text == client.get('/base').text == 'layout of the base: part of over'


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        (None, "there is no template 'page.j2' in /"),
        ('{% if %}', 'TemplateSyntaxError'),
        ('{{ context.x.y }}', "has no attribute 'x'"),
        ('{{ nothing () }}', "'nothing' is undefined"),
        ("{% include 'other.j2' %}", "there is no template 'other.j2'"),
        ('{{ 1 / 0 }}', 'division by zero'),
    ],
)
@pytest.mark.parametrize('devel', [False, True])
def test_a_template_that_fails(
    site: Site, caplog: pytest.LogCaptureFixture, source: str | None, message: str, devel: bool
) -> None:
    """TE-01, ER-05: 500 and a log; the detail is for debug mode only."""

    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.j2'))

    client = site({} if source is None else {'page.j2': source}, define, devel=devel)
    for _ in range(2):
        answer = client.get('/', headers={'Accept': 'application/json'})
        assert answer.status_code == 500
        assert (message in answer.text.replace('\\"', '"')) == devel
        assert ('Traceback' in answer.text) == devel
    assert message in caplog.text


def test_an_error_raised_in_a_template_is_an_answer(site: Site) -> None:
    """ER-01."""

    def define(app: Atila) -> None:
        @app.template_global('refuse')
        def refuse(was):
            raise was.Error('403 Forbidden', 'not you')

        app.route('/')(lambda was: was.render('page.j2'))

    answer = site({'page.j2': 'a {{ refuse () }}'}, define).get('/')
    assert (answer.status_code, answer.data['more_info']) == (403, 'not you')


def test_arguments_are_a_dict_or_keywords(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """TE-01: not both."""

    def define(app: Atila) -> None:
        app.route('/dict')(lambda was: was.render('page.j2', {'one': 1}))
        app.route('/keywords')(lambda was: was.render('page.j2', one=1))
        app.route('/both')(lambda was: was.render('page.j2', {'one': 1}, two=2))

    client = site({'page.j2': '{{ context.one }}'}, define)
    assert client.get('/dict').text == client.get('/keywords').text == '1'
    assert client.get('/both').status_code == 500
    assert 'AssertionError' in caplog.text


# -- error pages (ER-03, ER-04) ------------------------------------------------------------------


def test_error_templates_wherever_an_error_comes_from(site: Site) -> None:
    """ER-03: in `def`, `async def` and generator services, for bad parameters and unknown paths."""

    def define(app: Atila) -> None:
        @app.default_error_handler
        def handler(was, error):
            return was.render('error.j2', error=error)

        @app.route('/def')
        def fails(was, n: int):
            raise ValueError('secret')

        @app.route('/async')
        async def fails_async(was, n: int):
            raise was.Error('409 Conflict')

        @app.route('/generator')
        def generator(was):
            raise was.Error('410 Gone')
            yield ''

    source = (
        "{% import 'macros.j2' as m %}{{ error.code }} {{ m.path () }} {{ request.path }} {{ error.mode }}"
    )
    files = {'error.j2': source, 'macros.j2': '{% macro path () %}{{ was.request.path }}{% endmacro %}'}
    client = site(files, define)
    for path, status in {
        '/def?n=1': 500,
        '/def': 400,
        '/async?n=1': 409,
        '/async': 400,
        '/generator': 410,
        '/none': 404,
    }.items():
        answer = client.get(path, headers=HTML)
        bare = path.partition('?')[0]
        assert (answer.status_code, answer.text) == (status, f'{status} {bare} {bare} normal')


def test_an_error_template_that_fails(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """ER-04: the built-in page, and a log."""

    def define(app: Atila) -> None:
        app.default_error_handler(lambda was, error: was.render('missing.j2', error=error))

    answer = site({}, define).get('/x', headers=HTML)
    assert answer.status_code == 404
    assert '404 Not Found' in answer.text
    assert 'missing.j2' in caplog.text


# -- kinds of services, threads ------------------------------------------------------------------


def test_rendering_in_every_kind_of_service(site: Site) -> None:
    def define(app: Atila) -> None:
        @app.route('/async')
        async def asynchronous(was):
            return was.render('page.j2')

        @app.route('/generator')
        def generator(was):
            yield was.render('page.j2')
            yield was.render('page.j2')

        @app.route('/async-generator')
        async def asynchronous_generator(was) -> AsyncIterator[str]:
            async def parts() -> AsyncIterator[str]:
                yield was.render('page.j2')
                yield was.render('page.j2')

            return parts()

        @app.route('/thread')
        def thread(was):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(was.render, 'plain.j2').result(DEADLINE)

    files = {
        'plain.j2': '{{ request.path }}',
        'page.j2': "{% import 'macros.j2' as m %}{{ request.path }}{{ m.path () }}",
        'macros.j2': '{% macro path () %}{{ was.request.path }}{% endmacro %}',
    }
    client = site(files, define)
    assert client.get('/async').text == '/async' * 2
    assert client.get('/generator').text == '/generator' * 4
    assert client.get('/async-generator').text == '/async-generator' * 4
    assert client.get('/thread').text == '/thread'


def test_each_request_sees_its_own_was(site: Site) -> None:
    """Threads meet inside a template before it reads the request, also for its first (compiling) render."""
    together = 4
    barrier = threading.Barrier(together)

    def define(app: Atila) -> None:
        @app.template_global('meet')
        def meet():
            barrier.wait(DEADLINE)
            return ''

        app.route('/')(lambda was, n: was.render('page.j2', n=n))

    files = {
        'page.j2': """
            {%- import 'macros.j2' as m %}{{ meet () }}
            {{- context.n }},{{ n }},{{ request.args.n }},{{ was.request.args.n }},{{ m.n () }},
            {%- include 'part.j2' %}""",
        'macros.j2': '{% macro n () %}{{ was.request.args.n }},{{ request.args.n }}{% endmacro %}',
        'part.j2': '{{ request.args.n }}',
    }
    client = site(files, define, threads=together)

    def ask(n: int) -> str:
        return client.clone().get(f'/?n={n}').text

    with ThreadPoolExecutor(together) as pool:
        for first in range(0, 40, together):
            numbers = range(first, first + together)
            texts = list(pool.map(ask, numbers))
            assert texts == [','.join([str(n)] * 7) for n in numbers]


# -- the environment (TE-05 to TE-08) ------------------------------------------------------------


def test_the_environment_can_be_changed(site: Site) -> None:
    """TE-05: before mounting and after it; it is always the same."""

    def before(app: Atila) -> None:
        assert isinstance(app.jinja_env, jinja2.Environment)
        assert app.jinja_env is app.jinja_env
        app.jinja_env.globals['one'] = 1

    assert site.page('{{ one }}', before=before) == '1'


def test_an_overlay(site: Site) -> None:
    """TE-05."""

    def before(app: Atila) -> None:
        app.jinja_overlay(variable_start_string='{$', variable_end_string='$}', line_statement_prefix='%')
        app.jinja_overlay(extensions=['jinja2.ext.debug'])

    source = '{$ x $}{{ x }}\n% if 1\n{% do 1 %}yes\n% endif\n'
    assert site.page(source, before=before, x='<') == '&lt;{{ x }}\nyes\n'


def test_what_an_overlay_refuses() -> None:
    """TE-05."""
    app = Atila('app')
    with pytest.raises(TypeError, match='no option variable_start'):
        app.jinja_overlay(variable_start='<<')
    with pytest.raises(ValueError, match='enable_async'):
        app.jinja_overlay(enable_async=True)
    assert app.jinja_env
    with pytest.raises(RuntimeError, match='call it before'):
        app.jinja_overlay(trim_blocks=False)


def test_functions_with_and_without_was(site: Site) -> None:
    """TE-06, TE-07: `was` comes first if the first parameter has that name."""

    def before(app: Atila) -> None:
        app.template_global('a')(lambda was, x, y=0: f'{was.request.path}{x}{y}')
        app.template_global('b')(lambda x, was=0: f'{x}{was}')
        app.template_global('c')(max)
        app.template_filter('d')(lambda was, x, y: f'{was.request.path}{x}{y}')
        app.template_filter('e')(len)

    assert site.page(
        '{{ a (1, y = 2) }} {{ b (3) }} {{ c (4, 5) }} {{ 6 | d (7) }} {{ "ab" | e }}', before=before
    ) == ('/12 30 5 /67 2')


def test_registered_when_the_environment_is_there(site: Site) -> None:
    """TE-06, TE-07, TE-08: even after templates were rendered."""

    def define(app: Atila) -> None:
        app.template_global('early')(lambda: 'early')
        app.route('/<name>')(lambda was, name: was.render(name))

    files = {
        'page.j2': '{{ late () if late else "-" }}{{ request.path | late if late else "-" }}',
        'page.pt': '<p>${early ()} ${late ()}</p>',
    }
    client = site(files, define)
    assert client.get('/page.j2').text == '--'
    assert client.get('/page.pt').status_code == 500
    site.app.template_global('late')(lambda was: was.request.method)
    site.app.template_filter('late')(lambda was, path: path + was.request.method)
    assert client.get('/page.j2').text == 'GET/page.j2GET'
    assert client.get('/page.pt').text == '<p>early GET</p>'
    site.app.add_jinja_ext('jinja2.ext.i18n')
    assert site.app.jinja_env.from_string('{% trans %}a{% endtrans %}').render() == 'a'


def test_what_cannot_be_registered() -> None:
    """TE-06, TE-07, TE-08: reported where it is written."""
    app = Atila('app')

    async def asynchronous() -> None: ...

    with pytest.raises(TypeError, match='cannot await'):
        app.template_global('x')(asynchronous)
    with pytest.raises(TypeError, match='cannot await'):
        app.template_filter('x')(asynchronous)
    with pytest.raises(ValueError, match='have that name already'):
        app.template_global('request')(len)
    with pytest.raises(TypeError, match='no function'):
        app.template_filter('x')(1)  # type: ignore[type-var]
    with pytest.raises(ImportError):
        app.add_jinja_ext('jinja2.ext.nothing')
    with pytest.raises(TypeError, match='no extension'):
        app.add_jinja_ext('jinja2.Environment')


def test_a_loader_of_the_users_own(site: Site) -> None:
    """TE-05."""

    def before(app: Atila) -> None:
        app.jinja_overlay(loader=jinja2.DictLoader({'page.j2': '{{ context.x }}{{ request.path }}'}))

    assert site.page('not this', before=before, x='<') == '&lt;/'


def test_an_app_outside_a_server(tmp_path: Path) -> None:
    """ST-17: without a request its templates can be rendered, as long as they don't ask for one."""
    write_files(tmp_path, {'a.j2': '{{ app.name }}', 'b.j2': '{{ request.path }}'})
    app = atila.load(Atila('shop'), skitai.preference(TEMPLATE_DIRS=[str(tmp_path)]))
    assert app.jinja_env.get_template('a.j2').render() == 'shop'
    assert app.jinja_env.list_templates() == ['a.j2', 'b.j2']
    with pytest.raises(RuntimeError, match='only there while a request is served'):
        app.jinja_env.get_template('b.j2').render()


def test_rendering_where_no_request_is_served(tmp_path: Path) -> None:
    """A job's mail, say: `request` is an error only for a template that uses it."""
    files = {'a.j2': '{{ x }}{{ app.name }}', 'b.j2': '{{ request.path }}', 'a.pt': '<p>${x}</p>'}
    write_files(tmp_path, {**files, 'b.pt': '<p>${request.path}</p>'})
    was = OffRequest(atila.load(Atila('shop'), skitai.preference(TEMPLATE_DIRS=[str(tmp_path)])))
    assert was.render('a.j2', x='<') == '&lt;shop'
    assert was.render('a.pt', x='<') == '<p>&lt;</p>'
    for name in ('b.j2', 'b.pt'):
        with pytest.raises(RuntimeError, match='no request here'):
            was.render(name)


# -- reloading (TE-11) ---------------------------------------------------------------------------


def test_a_changed_template_shows_at_the_next_request(launch: Launcher) -> None:
    """TE-11: with --devel; what it extends and imports, too, and one that is broken for a while."""
    files = {
        'serve.py': """
            import skitai
            from atila import Atila

            app = Atila (__name__)
            app.jinja_env # made before the app is mounted

            @app.route ('/')
            def index (was, name = 'page.j2'):
                return was.render (name)

            if __name__ == '__main__':
                skitai.mount ('/', app)
                skitai.run ()
        """,
        'templates/base.j2': 'base 1 {% block body %}{% endblock %}',
        'templates/macros.j2': '{% macro m () %}macro 1{% endmacro %}',
        'templates/page.j2': """\
            {% extends 'base.j2' %}{% import 'macros.j2' as m %}
            {% block body %}page 1 {{ m.m () }}{% endblock %}
        """,
        'templates/page.pt': '<p>page 1</p>',
    }
    client = launch(files, devel=True)

    def shows(text: str, name: str = 'page.j2') -> None:
        answer = client.get(f'/?name={name}')
        assert (answer.status_code, answer.text) == (200, text)

    shows('base 1 page 1 macro 1')
    launch.write({'templates/base.j2': 'base 2 {% block body %}{% endblock %}'})
    shows('base 2 page 1 macro 1')
    launch.write({'templates/macros.j2': '{% macro m () %}macro 2{% endmacro %}'})
    shows('base 2 page 1 macro 2')
    launch.write({'templates/page.j2': "{% extends 'ba"})
    assert client.get('/').status_code == 500
    launch.write({'templates/page.j2': 'page 3'})
    shows('page 3')
    (launch.directory / 'templates/page.j2').unlink()
    assert client.get('/').status_code == 500
    launch.write({'templates/page.j2': 'page 4'})
    shows('page 4')
    shows('<p>page 1</p>', 'page.pt')
    launch.write({'templates/page.pt': '<p>page <b>2</b></p>'})
    wait_for(lambda: '<b>' in client.get('/?name=page.pt').text, 'the changed Chameleon template')


def test_a_template_written_while_it_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """TE-11: the next request reads the rest."""

    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.j2'))

    client = site({'page.j2': '<p>ha'}, define, devel=True)
    path = site.directory / 'page.j2'
    compile_template = site.app.jinja_env.compile

    def compile_slowly(*args: Any, **options: Any) -> Any:
        path.write_text('<p>half and the rest</p>')  # after it was read, before it is compiled and kept
        monkeypatch.undo()
        return compile_template(*args, **options)

    monkeypatch.setattr(site.app.jinja_env, 'compile', compile_slowly)
    assert client.get('/').text == '<p>ha'
    assert client.get('/').text == '<p>half and the rest</p>'


def test_a_template_that_appears_in_a_directory_before(client_for: Make, tmp_path: Path) -> None:
    """TE-11."""
    write_files(tmp_path, {'b/page.j2': 'b', 'a/other.j2': ''})
    app = Atila('app')
    app.route('/')(lambda was: was.render('page.j2'))
    pref = skitai.preference(TEMPLATE_DIRS=[str(tmp_path / 'a'), str(tmp_path / 'b')])
    client = client_for(app, pref, devel=True)
    assert client.get('/').text == 'b'
    write_files(tmp_path, {'a/page.j2': 'a'})
    assert client.get('/').text == 'a'


def test_without_devel_templates_are_read_once(site: Site) -> None:
    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.j2'))

    client = site({'page.j2': '1'}, define)
    assert client.get('/').text == '1'
    site.write(**{'page.j2': '2'})
    assert client.get('/').text == '1'


# -- Chameleon (TE-10) ---------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['page.pt', 'sub/page.ptal', '/page.pt'])
def test_chameleon(client_for: Make, site: Site, name: str) -> None:
    """TE-10: .pt and .ptal; the names of TE-02 and TE-06; values are escaped."""

    def define(app: Atila) -> None:
        app.template_global('greet')(lambda was, x: f'{was.request.path}{x}')
        app.route('/')(lambda was: was.render(name, rows=['<1>', '2'], items='i', html='<br>'))

    source = """\
        <ul><li tal:repeat="row rows">${row}</li></ul>${request.path} ${was.request.method}
        ${context.items} ${app.name} ${response.status_code} ${greet ('!')} ${structure: html}
    """
    text = site({name.lstrip('/'): source}, define).get('/').text
    assert text.split() == [
        '<ul><li>&lt;1&gt;</li>',
        '<li>2</li></ul>/',
        'GET',
        'i',
        'app',
        '200',
        '/!',
        '<br>',
    ]


def test_chameleon_loads_within_the_directories(site: Site) -> None:
    def define(app: Atila) -> None:
        app.route('/')(lambda was, name: was.render('sub/page.pt', name=name))

    files = {
        'layout.pt': '<p>layout</p>',
        'sub/part.pt': '<p>part</p>',
        'sub/page.pt': '<div tal:define="x load: ${name}">${structure: x ()}</div>',
    }
    client = site(files, define)
    write_files(site.directory.parent, {'secret.pt': '<p>secret</p>'})
    for name, text in {'layout.pt': 'layout', 'part.pt': 'part', '../layout.pt': 'layout'}.items():
        assert client.get('/', params={'name': name}).text == f'<div><p>{text}</p></div>'
    for name in ('../../secret.pt', f'{site.directory.parent}/secret.pt', 'atila:secret.pt'):
        assert client.get('/', params={'name': name}).status_code == 500


def test_chameleon_that_is_not_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """GEN-04: the message names the extra."""
    monkeypatch.setitem(sys.modules, 'chameleon', None)

    def define(app: Atila) -> None:
        app.route('/')(lambda was: was.render('page.pt'))

    assert site({'page.pt': '<p/>'}, define).get('/').status_code == 500
    assert 'atila[chameleon]' in caplog.text


def test_an_error_raised_in_chameleon(site: Site) -> None:
    def define(app: Atila) -> None:
        @app.template_global('refuse')
        def refuse(was):
            raise was.Error('403 Forbidden', 'not you')

        app.route('/')(lambda was: was.render('page.pt'))

    answer = site({'page.pt': '<p>${refuse ()}</p>'}, define).get('/')
    assert (answer.status_code, answer.data['more_info']) == (403, 'not you')


# -- MINIFY_HTML (RC-09) -------------------------------------------------------------------------

INDENTED = """\
   <div>
     <p>a  b
     c</p>
     <pre>
        kept</pre> <b>x</b>
     <textarea>
        kept too</textarea>
   </div>
"""
STRIPPED = """\
<div>
<p>a  b
c</p>
<pre>
        kept</pre> <b>x</b>
<textarea>
        kept too</textarea>
</div>
"""


def kinds_of_answers(app: Atila) -> None:
    def typed(content_type: str) -> Callable[[Any], str]:
        def service(was: Any) -> str:
            was.response.set_header('Content-Type', content_type)
            return INDENTED

        return service

    app.route('/str')(lambda was: INDENTED)
    app.route('/status')(lambda was: was.response('201 Created', INDENTED))
    app.route('/rendered')(lambda was: was.render('page.j2'))
    app.route('/html')(typed('text/html; charset=utf-8'))
    app.route('/plain')(typed('text/plain'))
    app.route('/xhtml')(typed('application/xhtml+xml'))
    app.route('/bytes')(lambda was: INDENTED.encode())
    app.route('/API')(lambda was: was.API(text=INDENTED))
    app.route('/stream')(lambda was: iter([INDENTED]))

    async def asynchronous(was: Any) -> str:
        return INDENTED

    app.route('/async')(asynchronous)


@pytest.fixture
def minified(site: Site) -> Callable[[Any], Client]:
    def make(kind: Any) -> Client:
        client = site({}, kinds_of_answers, {'MINIFY_HTML': kind})
        site.directory.mkdir(exist_ok=True)
        (site.directory / 'page.j2').write_text(INDENTED)
        return client

    return make


def test_stripping(minified: Callable[[Any], Client]) -> None:
    """RC-09: str answers in HTML, and nothing else."""
    client = minified('strip')
    for path in ('/str', '/status', '/html', '/async'):
        assert client.get(path).text == STRIPPED, path
    assert client.get('/rendered').text == STRIPPED.rstrip('\n')
    for path in ('/plain', '/bytes', '/xhtml', '/stream'):
        assert client.get(path).text == INDENTED, path
    assert client.get('/API').data == {'text': INDENTED}
    assert client.get('/status').status_code == 201
    assert int(client.get('/str').headers['Content-Length']) == len(STRIPPED)


def test_minifying(minified: Callable[[Any], Client]) -> None:
    """RC-09."""
    client = minified('minify')
    for path in ('/str', '/status', '/html', '/async', '/rendered'):
        text = client.get(path).text
        assert text.startswith('<div><p>a b c</p><pre>'), path
        assert '        kept' in text
    for path in ('/plain', '/bytes', '/xhtml', '/stream'):
        assert client.get(path).text == INDENTED, path


@pytest.mark.parametrize('kind', [None, False])
def test_not_minifying(minified: Callable[[Any], Client], kind: Any) -> None:
    assert minified(kind).get('/str').text == INDENTED


@pytest.mark.parametrize('kind', ['compress', True, '', 0, 'STRIP'])
def test_what_minify_html_may_not_be(kind: Any) -> None:
    """RC-09: a ValueError when the app is mounted."""
    with pytest.raises(ValueError, match="use None, 'strip' or 'minify'"):
        atila.load(Atila('app'), skitai.preference(MINIFY_HTML=kind))


def test_a_minifier_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """RC-09, GEN-04."""
    monkeypatch.setitem(sys.modules, 'minify_html', None)
    with pytest.raises(ImportError, match=r'atila\[html\]'):
        atila.load(Atila('app'), skitai.preference(MINIFY_HTML='minify'))


def test_minifying_keeps_what_scripts_rely_on() -> None:
    minify = minifier('minify')
    assert minify is not None
    assert minify('<li>  a </li>') == '<li>a</li>'
    assert minify('<html><head></head><body><p>a</p></body></html>').startswith('<html><head>')
    assert 'function greet(' in minify('<script>function greet (who) { alert (who) }</script>')
    assert '`a\n   b`' in minify('<script>const x = `a\n   b`; x.y ()</script>')


@pytest.mark.parametrize(
    ('html', 'stripped'),
    [
        ('', ''),
        ('  a', 'a'),
        ('\n\t \n  a\r\n  b\n', '\n\na\r\nb\n'),
        ('a  b \n c', 'a  b \nc'),
        ('<pre>\n  a</pre> b\n  c', '<pre>\n  a</pre> b\nc'),
        ('  <PRE id="x">\n  a</Pre >\n  c', '<PRE id="x">\n  a</Pre >\nc'),
        ('<pre>\n <pre>\n a</pre>\n b</pre>\n c', '<pre>\n <pre>\n a</pre>\n b</pre>\nc'),
        ('<script>\n "<pre>"</script>\n c', '<script>\n "<pre>"</script>\nc'),
        ('<textarea>\n a<script>\n</textarea>\n c', '<textarea>\n a<script>\n</textarea>\nc'),
        ('<style>\n a {}\n</style>\n <p>', '<style>\n a {}\n</style>\n<p>'),
        ('<prelude>\n a', '<prelude>\na'),
        ('<pre-x>\n a', '<pre-x>\na'),
        ('<pre>\n a\n b', '<pre>\n a\n b'),
        ('<pre', '<pre'),
    ],
)
def test_what_stripping_leaves_alone(html: str, stripped: str) -> None:
    """RC-09: blanks in <pre>, <textarea>, <script>, <style> are content, also in one that is not closed."""
    assert strip(html) == stripped


_PIECES = [
    '<pre>',
    '</pre>',
    '<textarea>',
    '</textarea>',
    '<script>',
    '</script>',
    '<p>',
    ' ',
    '\n',
    '\t',
    'a',
    '<',
]


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map(''.join))
def test_stripping_removes_nothing_but_blanks(html: str) -> None:
    """RC-09; and doing it twice is doing it once."""
    stripped = strip(html)
    assert re.sub(r'[ \t]', '', stripped) == re.sub(r'[ \t]', '', html)
    assert strip(stripped) == stripped
    if not re.search('<(pre|textarea|script)', html):
        assert stripped == re.sub(r'(?m)^[ \t]+', '', html)


@given(st.one_of(st.text(), st.text('&<>"\' a'), st.integers(), st.floats(), st.booleans(), st.none()))
def test_values_are_escaped_as_markupsafe_does(value: Any) -> None:
    """TE-04: our shorter way, and Markup that is safe already."""
    templates = _templates()
    template = templates.environment.from_string('{{ value }}|{{ safe }}')
    assert template.render(value=value, safe=Markup('<b>')) == f'{escape(value)}|<b>'


@functools.cache
def _templates() -> Templates:
    return Atila('app').templates


def test_items_of_dicts_by_attribute() -> None:
    """`x.name` is the attribute, else the item: also where the item has the name of a dict's method."""
    render = _templates().environment.from_string('{{ x.a }}|{{ x.b }}|{{ x.items is callable }}|{{ y.a }}')
    assert render.render(x={'a': 1, 'items': 2}, y=Row(a=3)) == '1||True|3'


class Row(dict[str, Any]):
    """A dict of a kind of its own."""
