"""Acceptance rows A-09, A-52, A-60, A-105, A-106, A-129 to A-133, A-135 (SPEC appendix A): templates."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from projects import Launcher

from skitai.testing import ServerClient

SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Each row is a function that is mounted at its own point; templates are in myapp/templates.
MYAPP = """
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        app.mount ('/', row_9)
        app.mount ('/', row_52)
        app.mount ('/60', row_60)
        app.mount ('/105', row_105)
        app.mount ('/106', row_106)
        app.mount ('/129', row_129)
        app.mount ('/', row_131)
        app.mount ('/132', row_132)
        app.add_jinja_ext ('jinja2.ext.i18n')
        app.mount ('/133', row_133)

    def row_9 (app):
        @app.route ('/')
        def index (was):
            return was.render ('index.j2')

    def row_52 (app):
        @app.route ("/hello")
        def hello_world (was):
            return was.render ("hello.j2")

    def row_60 (app):
        @app.route ("/profiles/<int:id>", methods = ["GET"])
        def profile (was, id = None, detail = 'yes'):
            return was.render ("profile.j2", id = id, detail = detail)

    def row_105 (app):
        @app.route ('')
        def hello (was, name = 'Hans Roh'):
            return was.render ("hello.j2", name = name)

    def row_106 (app):
        @app.route ('')
        def either (was):
            result = [1, 2]
            return was.render_or_API ("result.html", result = result)

    def row_129 (app):
        @app.route ('')
        def order (was, **args):
            return was.render ("index.html", choice = 2, product = "Apples")

        @app.route ('/login')
        def login (was):
            was.cookie ['username'] = 'hansroh'
            return ''

    def row_131 (app):
        @app.template_global ('form_token')
        def generate_form_token ():
            return 'token-1'

        @app.template_global ('agent')
        def agent (was):
            return was.request.get_user_agent ()

        @app.route ('/checkout')
        def checkout (was, choice):
            return choice

        @app.route ('/131')
        def page (was):
            return was.render ('global.j2')

    def row_132 (app):
        @app.template_filter ("reverse")
        def reverse_filter (s):
            return s [::-1]

        @app.route ('')
        def page (was):
            return was.render ('filter.j2')

    def row_133 (app):
        @app.route ('')
        def page (was):
            return was.render ('extension.j2', names = ['a', 'b', 'c'], count = 2)

        @app.route ('/extensions')
        def extensions (was):
            return was.API (names = list (app.jinja_env.extensions))
"""

FILES = {
    'serve.py': SERVE,
    'myapp/__init__.py': MYAPP,
    'myapp/templates/index.j2': """\
        <!-- myapp/templates/index.j2 -->
        <html>
        <head><title>My App</title></head>
        <body>
          <h1>Index Page</h1>
        </body>
        </html>
    """,
    'myapp/templates/profile.j2': '<li>{{ context.id }} is {{ request.args.id }}</li>',
    'myapp/templates/hello.j2': '<h1>Hello {{ context.name }}</h1>',
    'myapp/templates/result.html': '{% for item in result %}<li>{{ item }}</li>{% endfor %}',
    'myapp/templates/index.html': """\
        {{ request.cookie.username }} choices item {{ request.args.get ("choice", "N/A") }}.

        <a href="{{ was.urlfor ('checkout', context.choice) }}">Proceed</a>
    """,
    'myapp/templates/global.j2': '{{ form_token () }} {{ agent () }}',
    'myapp/templates/filter.j2': '{{ "Hello" | reverse }}',
    # `do` and `break` are the extensions that are always there
    'myapp/templates/extension.j2': """\
        {% set seen = [] %}
        {% for name in names %}
        {% if name == 'c' %}{% break %}{% endif %}
        {% do seen.append (name) %}
        {% endfor %}
        {{ seen | join ('') }}: {% trans %}Hello{% endtrans %},
        {%- trans count %} one {% pluralize %} {{ count }} of them{% endtrans %}
    """,
}

#: Lines 1405-1416.
ERRORS = {
    'serve.py': SERVE,
    'myapp/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __mount__ (app, mntopt):
            @app.default_error_handler
            def default_error_handler (was, error):
                return was.render ("errors/default.j2", error = error)

            @app.error_handler (404)
            def not_found (was, error):
                return was.render ('404.j2', error = error)

            @app.route ('/refuses')
            def refuses (was):
                raise was.Error ("400 Bad Request", "<missing> user ID", 40011)

            @app.route ('/absent')
            def absent (was):
                raise was.Error ("404 Not Found", "no such user")

            @app.route ('/fails')
            def fails (was):
                raise ValueError ('a secret')
    """,
    'myapp/templates/errors/default.j2': """\
        <!-- errors/default.j2 -->
        <h1>{{ error.code }} {{ error.message }}</h1>
        <p>{{ error.detail }}</p>
        <hr>
        <div>URL: {{ error.url }}</div>
        <div>Time: {{ error.time }}</div>
    """,
    'myapp/templates/404.j2': '<h1>Nothing here</h1><p>{{ error.detail }}</p>',
}

HTML = {'Accept': 'text/html'}


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(FILES)


@pytest.fixture(scope='module')
def failing(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()(ERRORS)


def page(client: ServerClient, path: str, **options: object) -> str:
    answer = client.get(path, **options)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.headers['Content-Type'].startswith('text/html')
    return answer.text


def test_A_09_template_of_a_package(client: ServerClient) -> None:
    """Seed 228-238, SPEC ST-16, TE-01."""
    text = page(client, '/')
    assert '<h1>Index Page</h1>' in text
    assert '<title>My App</title>' in text


def test_A_52_render_without_arguments(client: ServerClient) -> None:
    """Seed 720-722, SPEC TE-03: what is not given renders empty."""
    assert page(client, '/hello') == '<h1>Hello </h1>'


def test_A_60_context_and_request(client: ServerClient) -> None:
    """Seed 755-756, SPEC TE-02."""
    assert page(client, '/60/profiles/123') == '<li>123 is 123</li>'


def test_A_105_render(client: ServerClient) -> None:
    """Seed 1177-1179, SPEC TE-04: values are escaped."""
    assert page(client, '/105') == '<h1>Hello Hans Roh</h1>'
    assert page(client, '/105', params={'name': '<b>'}) == '<h1>Hello &lt;b&gt;</h1>'


def test_A_106_render_or_api(client: ServerClient) -> None:
    """Seed 1180-1183, SPEC RS-15."""
    for accept in ('text/html', 'text/plain', '*/*', None):
        assert page(client, '/106', headers={'Accept': accept}) == '<li>1</li><li>2</li>'
    for accept in ('application/json', 'application/json, text/html'):
        answer = client.get('/106', headers={'Accept': accept})
        assert answer.headers['Content-Type'] == 'application/json'
        assert answer.data == {'result': [1, 2]}


def test_A_129_render_index(client: ServerClient) -> None:
    """Seed 1355-1357."""
    assert 'choices item' in page(client, '/129')


def test_A_130_template_expressions(client: ServerClient) -> None:
    """Seed 1368-1369, SPEC TE-03: the cookie by its name, a parameter or its default, a link."""
    link = '<a href="/checkout?choice=2">Proceed</a>'
    visitor = client.clone()
    first = page(visitor, '/129')
    assert 'choices item N/A.' in first
    assert 'hansroh' not in first
    assert link in first
    visitor.get('/129/login')
    assert 'hansroh choices item 3.' in page(visitor, '/129?choice=3')
    assert page(client, '/checkout?choice=2') == '2'


def test_A_131_global_function(client: ServerClient) -> None:
    """Seed 1374-1377, SPEC TE-06: `was` is given to those that take it."""
    assert page(client, '/131', headers={'User-Agent': 'tester/1'}) == 'token-1 tester/1'


def test_A_132_filter(client: ServerClient) -> None:
    """Seed 1379-1382."""
    assert page(client, '/132') == 'olleH'


def test_A_133_extensions(client: ServerClient) -> None:
    """Seed 1383-1387, SPEC TE-08: i18n is active, `do` and `loopcontrols` are always."""
    assert ' '.join(page(client, '/133').split()) == 'ab: Hello, 2 of them'
    names = client.get('/133/extensions').data['names']
    assert any('InternationalizationExtension' in name for name in names)


def test_A_135_error_templates(failing: ServerClient) -> None:
    """Seed 1405-1416, SPEC ER-03, TE-12: 404 has its own, the others share one."""
    answer = failing.get('/refuses', headers=HTML)
    assert answer.status_code == 400
    assert answer.headers['Content-Type'].startswith('text/html')
    assert '<h1>400 Bad Request</h1>' in answer.text
    assert '<p>&lt;missing&gt; user ID</p>' in answer.text
    assert re.search(r'<div>URL: \S*/refuses</div>', answer.text)
    assert re.search(r'<div>Time: [^<]*\d{2}:\d{2}:\d{2}[^<]*</div>', answer.text)

    fails = failing.get('/fails', headers=HTML)
    assert fails.status_code == 500
    assert '<h1>500 ' in fails.text
    assert 'secret' not in fails.text

    put = failing.put('/refuses', headers=HTML)
    assert put.status_code == 405
    assert '<h1>405 Method Not Allowed</h1>' in put.text

    for path in ('/nowhere', '/absent'):
        answer = failing.get(path, headers=HTML)
        assert answer.status_code == 404
        assert answer.headers['Content-Type'].startswith('text/html')
        assert '<h1>Nothing here</h1>' in answer.text
    assert '<p>no such user</p>' in answer.text


def test_A_135_only_for_clients_that_accept_html(failing: ServerClient) -> None:
    """Seed 1404: 'only if client's Accept header contains text/html'."""
    for accept in ('application/json', '*/*', None):
        answer = failing.get('/refuses', headers={'Accept': accept})
        assert answer.status_code == 400
        assert answer.data == {'code': 40011, 'message': 'bad request', 'more_info': '<missing> user ID'}
        assert 'Nothing here' not in failing.get('/nowhere', headers={'Accept': accept}).text
