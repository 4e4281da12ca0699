"""Acceptance rows A-61 to A-64 (SPEC appendix A): inspection of parameters, uploaded files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient


class Example(NamedTuple):
    """A decorator's arguments as the seed writes them, requests that pass and requests that don't.

    `good`: what is sent, and what the service gets. `bad`: what is sent, and words of the reason. A str is a
    query, a dict is JSON.
    """

    spec: str
    good: list[tuple[Any, dict[str, Any]]]
    bad: list[tuple[Any, str]]


TRUE = ('True', 'yes', 'true', 'y', 't')
FALSE = ('False', 'no', 'false', 'n', 'f')

#: Lines 773-786.
KEYWORDS = [
    Example(
        "strings = ['name', 'gender']",
        [({'name': 'Hans', 'gender': ''}, {'name': 'Hans', 'gender': ''}), ('', {})],
        [
            ({'name': 0}, 'parameter name should be string type'),
            ({'gender': {}}, 'parameter gender should be string type'),
        ],
    ),
    Example(
        "notags = ['resume'] # not allow html tags",
        [('resume=plain', {'resume': 'plain'})],
        [('resume=<b>x</b>', 'parameter resume should not contain html tags')],
    ),
    Example(
        "safes = ['resume'] # not allow <script> or javascript things",
        [('resume=<b>x</b>', {'resume': '<b>x</b>'})],
        [
            ('resume=<script>x</script>', 'parameter resume is unsafe'),
            ('resume=<a href="javascript:x">', 'parameter resume is unsafe'),
            ('resume=<img src="x" onerror="x">', 'parameter resume is unsafe'),
        ],
    ),
    Example(
        "nones = ['gender', 'birth_year']",
        [
            ({'gender': '', 'birth_year': 0}, {'gender': None, 'birth_year': None}),
            ({'gender': 'm', 'birth_year': 2000}, {'gender': 'm', 'birth_year': 2000}),
            ('', {}),
        ],
        [],
    ),
    Example(
        "booleans = ['detail']",
        [
            *((f'detail={text}', {'detail': True}) for text in TRUE),
            *((f'detail={text}', {'detail': False}) for text in FALSE),
            ({'detail': True}, {'detail': True}),
        ],
        [('detail=zz', 'parameter detail should be'), ('detail=', 'parameter detail should be')],
    ),
    Example(
        "oneof = ['email', 'mobile']",
        [('email=a@b.cd', {'email': 'a@b.cd'}), ('mobile=1', {'mobile': '1'})],
        [('', 'email, mobile'), ('email=a@b.cd&mobile=1', 'email, mobile')],
    ),
    Example(
        'birth_year = int # type',
        [
            ('birth_year=2000', {'birth_year': 2000}),
            ({'birth_year': 2000}, {'birth_year': 2000}),
            ('', {}),
        ],
        [('birth_year=zz', 'birth_year'), ({'birth_year': '2000'}, 'birth_year')],
    ),
    Example(
        "mobile = re.compile ('[0-9]{3}-[0-9]{3}-[0-9]{4}') # an object has .search () method",
        [('mobile=010-123-4567', {'mobile': '010-123-4567'})],
        [('mobile=010', 'parameter mobile is invalid')],
    ),
    Example(
        'birth_year__between = (1900, dt.now ().year)',
        [('birth_year=1950', {'birth_year': '1950'}), ({'birth_year': 1900}, {'birth_year': 1900})],
        [
            ('birth_year=1899', f'parameter birth_year should be between 1900 ~ {datetime.now().year}'),
            ('birth_year=zz', 'birth_year'),
        ],
    ),
    Example(
        "gender__in = ['male', 'female', 'not-determine']",
        [('gender=male', {'gender': 'male'})],
        [('gender=x', "parameter gender should be one of ['male', 'female', 'not-determine']")],
    ),
    Example(
        'name__len__lte = 64',
        [('name=' + 64 * 'n', {'name': 64 * 'n'})],
        [('name=' + 65 * 'n', 'length of name')],
    ),
    Example('name__len__gt = 3', [('name=Hans', {'name': 'Hans'})], [('name=abc', 'length of name')]),
    Example(
        'name__len__between = (3, 64)',
        [('name=abc', {'name': 'abc'})],
        [('name=ab', 'length of name'), ('name=' + 65 * 'n', 'length of name')],
    ),
]

#: Lines 787-804: operator, condition, a value that fits, one that doesn't, words of the reason (SPEC IN-24).
OPERATORS = [
    ('between', '(1, 5)', '5', '6', 'be between 1 ~ 5'),
    ('in', '[1, 2]', '2', '3', 'be one of [1, 2]'),
    ('notin', '[1, 2]', '3', '2', 'be not one of [1, 2]'),
    ('eq', "'a'", 'a', 'b', 'be a'),
    ('exact', "'a'", 'a', 'b', 'be a'),
    ('neq', "'a'", 'b', 'a', 'not be a'),
    ('lte', '5', '5', '6', 'less or equal than 5'),
    ('lt', '5', '4', '5', 'less than 5'),
    ('gte', '5', '5', '4', 'greater or equal than 5'),
    ('gt', '5', '10', '5', 'greater than 5'),
    ('contains', "'b'", 'abc', 'xyz', 'contain b'),
    ('notcontain', "'b'", 'xyz', 'abc', 'not contain b'),
    ('startswith', "'a'", 'abc', 'xyz', 'start with a'),
    ('notstartwith', "'a'", 'xyz', 'abc', 'not start with a'),
    ('endswith', "'c'", 'abc', 'xyz', 'end with c'),
    ('notendwith', "'c'", 'xyz', 'abc', 'not end with c'),
    ('regex', "'^a[b-c]+$'", 'abc', 'abcd', 'match with regular expression ^a[b-c]+$'),
]

EXAMPLES = [
    *KEYWORDS,
    *(
        Example(
            f'value__{name} = {condition}', [(f'value={good}', {'value': good})], [(f'value={bad}', words)]
        )
        for name, condition, good, bad, words in OPERATORS
    ),
]


def inspected(number: int, example: Example) -> str:
    """The service of an example, for `__mount__`."""
    return f"""
        @app.route ('/63/{number}')
        @app.inspect (
            {example.spec}
        )
        def inspected{number} (was, **args):
            return was.API (args)
    """


SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Lines 758-771; the services of the examples and of the uploads come behind.
PACKAGE = """
    import re
    from datetime import datetime as dt
    import skitai
    from atila import Atila

    def __app__ ():
        return Atila (__name__)

    def __mount__ (app, mntopt):
        @app.route ("/profiles/<int:id>", methods = ["GET"])
        @app.inspect (ints = ['id'], booleans = ['detail'])
        def hello_world (was, id = None, detail = False):
            return was.render ("profile.j2", id = id, detail = detail)

        kargs = {}
        @app.route ('/62')
        # MUST use with keyword argument
        @app.inspect (
            ints = None, floats = None,
            strings = None, booleans = None,
            emails = None, uuids = None, nones = None, lists = None,
            dicts = None, oneof = None, manyof = None,
            notags = None, safes = None,
            **kargs
        )
        def signature (was, **args):
            return was.API (args)

        @app.route ('/62/lists', methods = ['GET', 'POST'])
        @app.inspect (
            ints = ['i'], floats = ['f'], emails = ['e'], uuids = ['u'], lists = ['l'], dicts = ['d'],
            manyof = ['i', 'f', 'e', 'u', 'l', 'd']
        )
        def lists (was, **args):
            return was.API (args)
"""

#: Lines 806-818; a directory of the test's in place of /var/tmp/upload.
UPLOADS = """
        import os
        UPLOADED = skitai.abspath ('upload')

        @app.route ("/upload", methods = ['POST'])
        def upload (was, file):
            file.save (UPLOADED, dup = "o")
            return ''

        @app.route ("/verbatim", methods = ['POST'])
        def verbatim (was, file):
            file.save (UPLOADED, dup = "o")

        @app.route ("/members", methods = ['POST'])
        def members (was, file):
            assert open (file.path, 'rb').read () == file.read ()
            return was.API (
                path = file.path, name = file.name, size = file.size, mimetype = file.mimetype,
                ext = file.ext, content = file.read ().decode ()
            )

        @app.route ("/move", methods = ['POST'])
        def move (was, file):
            before = file.path
            to = file.move (os.path.join (UPLOADED, 'moved.txt'))
            return was.API (to = to, path = file.path, before = os.path.exists (before))

        @app.route ("/flash", methods = ['POST'])
        def flash (was, file):
            with file.as_flashfile () as path:
                content = open (path).read ()
            return was.API (content = content, left = os.path.exists (path))

        @app.route ("/save", methods = ['POST'])
        def save (was, file, into = 'upload', **options):
            if 'mkdir' in options:
                options ['mkdir'] = options ['mkdir'] == 'yes'
            return was.API (saved = file.save (skitai.abspath (into), **options))

        @app.route ("/remove", methods = ['POST'])
        def remove (was, file):
            path = file.path
            file.remove ()
            return was.API (left = os.path.exists (path))

        @app.route ("/many", methods = ['POST'])
        def many (was, file):
            return was.API (names = [one.name for one in file])
"""

FILES = {
    'serve.py': SERVE,
    'myapp/__init__.py': PACKAGE + ''.join(map(inspected, range(len(EXAMPLES)), EXAMPLES)) + UPLOADS,
    'myapp/templates/profile.j2': '{{ {"id": context.id, "detail": context.detail} | tojson }}',
    'upload/.keep': '',
}


@pytest.fixture(scope='module')
def project(launch_module: Callable[[], Launcher]) -> tuple[ServerClient, Path]:
    launcher = launch_module()
    return launcher(FILES), launcher.directory


@pytest.fixture
def client(project: tuple[ServerClient, Path]) -> ServerClient:
    return project[0]


@pytest.fixture
def uploads(project: tuple[ServerClient, Path]) -> Path:
    """The empty directory that services save into."""
    directory = project[1] / 'upload'
    for path in directory.iterdir():
        path.unlink()
    return directory


def test_A_61_ints_and_booleans(client: ServerClient) -> None:
    """Seed 758-763, SPEC IN-01, IN-05, IN-08: converted; 'me' and its like of a typed URL parameter pass."""
    for uri, expected in (
        ('/profiles/123?detail=yes', {'id': 123, 'detail': True}),
        ('/profiles/123?detail=no', {'id': 123, 'detail': False}),
        ('/profiles/123', {'id': 123, 'detail': False}),
        ('/profiles', {'id': None, 'detail': False}),
        ('/profiles/me?detail=t', {'id': 'me', 'detail': True}),
    ):
        answer = client.get(uri)
        assert (answer.status_code, answer.json()) == (200, expected)
    refused = client.get('/profiles/123?detail=zz')
    assert refused.status_code == 400
    assert refused.data['code'] == 40050
    assert refused.data['message'] == 'missing or bad parameter in ARGS'
    assert 'detail' in refused.data['more_info']
    page = client.get('/profiles/123?detail=zz', headers={'Accept': 'text/html'})
    assert page.headers['Content-Type'].startswith('text/html')
    assert f'missing or bad parameter in ARGS (code: 40050): {refused.data["more_info"]}' in page.text


def test_A_62_signature(client: ServerClient) -> None:
    """Seed 764-771: every keyword is known, None inspects nothing."""
    assert client.get('/62?anything=1').data == {'anything': '1'}


def test_A_62_list_keywords_without_an_example(client: ServerClient) -> None:
    """SPEC IN-05, IN-06, IN-09 to IN-12, IN-15."""
    uuid = '123e4567-e89b-12d3-a456-426614174000'
    good = {'i': '5', 'f': '1.5', 'e': 'a@gmail.com', 'u': uuid, 'l': 'a|b'}
    assert client.get('/62/lists', params=good).data == {**good, 'i': 5, 'f': 1.5, 'l': ['a', 'b']}
    assert client.post('/62/lists', json={'d': {'a': 1}, 'l': [1]}).data == {'d': {'a': 1}, 'l': [1]}
    for name, bad in {'i': 'x', 'f': 'x', 'e': 'a@gmail', 'u': uuid[:-1]}.items():
        refused = client.get('/62/lists', params={name: bad})
        assert refused.status_code == 400
        assert f'parameter {name} ' in refused.data['more_info']
    for name in 'dl':
        assert client.post('/62/lists', json={name: 5}).status_code == 400
    assert client.get('/62/lists').status_code == 400


@pytest.mark.parametrize('number', range(len(EXAMPLES)), ids=[e.spec.split(' #')[0] for e in EXAMPLES])
def test_A_63_keyword_examples(client: ServerClient, number: int) -> None:
    """Seed 773-804, SPEC IN-07 to IN-24."""

    def ask(given: Any) -> Any:
        if isinstance(given, dict):
            return client.post(f'/63/{number}', json=given)
        return client.get(
            f'/63/{number}', params=dict(item.split('=', 1) for item in given.split('&') if item)
        )

    for given, expected in EXAMPLES[number].good:
        answer = ask(given)
        assert (answer.status_code, answer.data) == (200, expected)
    for given, words in EXAMPLES[number].bad:
        refused = ask(given)
        assert (refused.status_code, refused.data['code']) == (400, 40050)
        assert words in refused.data['more_info']


TEXT = ('a note.txt', b'my note', 'text/plain')


def test_A_64_upload(client: ServerClient, uploads: Path) -> None:
    """Seed 806-808, SPEC FU-01, FU-05: stored under its name, an older one overwritten."""
    for content in (b'first', b'second'):
        answer = client.upload('/upload', {'file': ('note.txt', content)})
        assert (answer.status_code, answer.content) == (200, b'')
        assert {path.name: path.read_bytes() for path in uploads.iterdir()} == {'note.txt': content}
    large = bytes(range(256)) * 16384
    assert client.upload('/upload', {'file': ('large.bin', large)}).status_code == 200
    assert (uploads / 'large.bin').read_bytes() == large
    assert client.post('/upload', {'other': '1'}).status_code == 400


def test_A_64_verbatim_has_no_answer(client: ServerClient, uploads: Path) -> None:
    """Seed 808, SPEC ER-07: the file is stored, but None is no content."""
    assert client.upload('/verbatim', {'file': TEXT}).status_code == 500
    assert (uploads / 'a_note.txt').read_bytes() == b'my note'


def test_A_64_members(client: ServerClient) -> None:
    """Seed 809-814, SPEC FU-02, FU-03, FU-07: a real file while the request lasts."""
    found = client.upload('/members', {'file': TEXT}).data
    path = found.pop('path')
    assert found == {
        'name': 'a_note.txt',
        'size': 7,
        'mimetype': 'text/plain',
        'ext': '.txt',
        'content': 'my note',
    }
    assert Path(path).is_absolute()
    wait_for(lambda: not Path(path).exists(), 'the end of the file')  # the answer goes first
    odd = client.upload('/members', {'file': ('/../home/.very|:;&good', b'x', 'image/x-odd')}).data
    assert (odd['name'], odd['ext'], odd['mimetype']) == ('very_good', None, 'image/x-odd')


def test_A_64_move(client: ServerClient, uploads: Path) -> None:
    """Seed 815, SPEC FU-03."""
    to = str(uploads / 'moved.txt')
    assert client.upload('/move', {'file': TEXT}).data == {'to': to, 'path': to, 'before': False}
    assert Path(to).read_bytes() == b'my note'


def test_A_64_flash_file(client: ServerClient) -> None:
    """Seed 816, SPEC FU-04."""
    assert client.upload('/flash', {'file': TEXT}).data == {'content': 'my note', 'left': False}


def test_A_64_save(client: ServerClient, uploads: Path) -> None:
    """Seed 817, SPEC FU-05: unique names by default; a name of its own; the directory made if asked for."""

    def save(**options: str) -> str:
        answer = client.upload('/save', {**options, 'file': TEXT})
        assert answer.status_code == 200
        return Path(answer.data['saved']).name

    assert [save() for _ in range(3)] == ['a_note.txt', 'a_note.1.txt', 'a_note.2.txt']
    assert save(name='own.txt') == 'own.txt'
    assert save(name='own.txt', dup='u') == 'own.1.txt'
    assert save(name='own.txt', dup='o') == 'own.txt'
    assert client.upload('/save', {'into': 'absent', 'file': TEXT}).status_code == 500
    assert save(into='made/below', mkdir='yes') == 'a_note.txt'
    assert (uploads.parent / 'made/below/a_note.txt').read_bytes() == b'my note'
    assert client.upload('/save', {'name': '../out.txt', 'file': TEXT}).status_code == 400
    assert not (uploads.parent / 'out.txt').exists()


def test_A_64_remove(client: ServerClient) -> None:
    """Seed 818, SPEC FU-03."""
    assert client.upload('/remove', {'file': TEXT}).data == {'left': False}


def test_A_64_several_files_of_one_name(client: ServerClient) -> None:
    """SPEC FU-01."""
    answer = client.upload('/many', {'file': [('a.txt', b'a'), ('b.txt', b'b')]})
    assert answer.data == {'names': ['a.txt', 'b.txt']}
