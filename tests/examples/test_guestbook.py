"""examples/guestbook: the application as its visitors, programs and a browser see it.

It uses most of what an app has (SPEC chapters 2, 3, 11, 12, 14 to 18, 28 to 31): those go together.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from projects import Launcher, wait_for

import skitai
from skitai.testing import ServerClient

PROJECT = Path(__file__).parents[2] / 'examples' / 'guestbook'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')

#: What begins like a picture is one; the rest is there to be compared.
PNG = b'\x89PNG\r\n\x1a\n' + bytes(range(256)) * 400

MALICIOUS = '</p><script>document.title = "owned"</script><img src=x onerror=alert(1)> & {{ 7 * 7 }} \' "'
HARD_TEXTS = [
    MALICIOUS,
    'Grüße, 안녕하세요, \N{PILE OF POO}, \N{RIGHT-TO-LEFT OVERRIDE}txt, e\N{COMBINING ACUTE ACCENT}',
    'first\r\n\r\n  second',
    'x' * 10_000,
    '한' * 10_000,
]

_unique = count(1)


def marker() -> str:
    """A word that no other entry of this server has."""
    return f'marker{next(_unique)}z'


class Page(HTMLParser):
    """HTML as a list of (tag, attributes, the text in it)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        texts: list[str] = []
        self.elements.append((tag, dict(attrs), texts))
        if tag not in ('meta', 'link', 'img', 'input'):
            self._open.append((tag, texts))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, texts in self._open:
            texts.append(data)

    def find(self, tag: str, **wanted: str) -> list[tuple[dict[str, str | None], str]]:
        """(attributes, text) of the elements with these attributes; `class_` is one of its classes."""
        css = wanted.pop('class_', None)
        return [
            (attributes, ''.join(texts))
            for name, attributes, texts in self.elements
            if name == tag
            and (css is None or css in (attributes.get('class') or '').split())
            and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return [text for _, text in self.find(tag, **wanted)]

    @property
    def messages(self) -> list[str]:
        return self.texts('p', class_='message')

    @property
    def flashes(self) -> list[str]:
        return self.texts('p', class_='flash')

    @property
    def refusal(self) -> str:
        return '|'.join(self.texts('p', class_='error'))


class Site:
    """The application, launched as its readme says, with a data directory of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('GUESTBOOK_DATA', str(data))
            self.client = skitai.test_client(PROJECT / 'serve.py', port=0)

    def visitor(self, name: str | None = None) -> Visitor:
        return Visitor(self.client.clone(), name)

    @property
    def pictures(self) -> list[str]:
        return sorted(os.listdir(self.data / 'pictures'))


class Visitor:
    """Somebody with a browser: accepts HTML, keeps cookies, follows redirects."""

    def __init__(self, client: ServerClient, name: str | None) -> None:
        self.client = client
        client.set_default_header('Accept', 'text/html,application/xhtml+xml,*/*;q=0.8')
        if name is not None:
            self.sign_in(name)

    def get(self, path: str, status: int = 200) -> Page:
        return self._page(self.client.get(path), status)

    def post(self, path: str, data: dict[str, Any], status: int = 200) -> Page:
        return self._page(self.client.post(path, data=data, allow_redirects=True), status)

    def sign_in(self, name: str, status: int = 200) -> Page:
        return self.post('/sign-in', {'name': name}, status)

    def write(self, status: int = 200, **form: Any) -> Page:
        """As a browser does it: a multipart form."""
        return self._page(self.client.upload('/entries', form, allow_redirects=True), status)

    def _page(self, response: Any, status: int) -> Page:
        assert response.status_code == status, response.text
        assert response.headers['Content-Type'].startswith('text/html')
        return Page(response.text)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp('guestbook') / 'data')
    yield site
    site.client.stop()
    assert 'Traceback' not in site.client.output()


@pytest.fixture
def program(site: Site) -> ServerClient:
    client = site.client.clone()
    client.set_default_header('Accept', 'application/json')
    return client


# -- visitors ----------------------------------------------------------------------------------------


def test_an_entry_is_written_and_seen_and_the_flash_comes_once(site: Site) -> None:
    word = marker()
    ann = site.visitor('Ann')
    page = ann.write(message=f'Hello {word}')
    assert page.flashes == ['Thank you for your entry.']
    assert page.messages[0] == f'Hello {word}'
    again = ann.get('/')
    assert again.flashes == []
    assert again.messages[0] == f'Hello {word}'

    stranger = site.visitor().get('/')
    assert stranger.messages[0] == f'Hello {word}'
    assert stranger.texts('strong')[0] == 'Ann'
    assert stranger.texts('span', id='visitor') == []


def test_an_entry_has_a_page_of_its_own(site: Site) -> None:
    word = marker()
    article = site.visitor('Ann').write(message=word).find('article')[0][0]
    number = (article['id'] or '').removeprefix('entry-')
    assert site.visitor().get(f'/entries/{number}').messages == [word]


def test_without_a_file_chosen_and_as_a_plain_form(site: Site) -> None:
    word = marker()
    ann = site.visitor('Ann')
    assert ann.write(message=word, picture=('', b'')).messages[0] == word
    assert ann.post('/entries', {'message': word + '2'}).messages[0] == word + '2'
    assert 'img' not in {tag for tag, _, _ in ann.get(f'/?q={word}').elements}


@pytest.mark.parametrize('text', HARD_TEXTS, ids=['markup', 'unicode', 'lines', 'long', 'long-unicode'])
def test_text_is_shown_as_text(site: Site, text: str) -> None:
    page = site.visitor('Ann').write(message=text)
    assert page.messages[0] == text
    assert page.find('script') == []
    assert page.find('img', src='x') == []


def test_a_name_is_text_too(site: Site) -> None:
    name = '"><script>x</script>'
    page = site.visitor(name).write(message=marker())
    assert page.texts('span', id='visitor') == [name]
    assert page.texts('strong')[0] == name
    assert page.find('script') == []


def test_signing_in_and_out(site: Site) -> None:
    ann = site.visitor()
    page = ann.sign_in('  Ann  ')
    assert page.texts('span', id='visitor') == ['Ann']
    assert page.flashes == ['Welcome, Ann!']
    page = ann.post('/sign-out', {})
    assert page.texts('span', id='visitor') == []
    assert page.flashes == ['Good bye!']
    word = marker()
    page = ann.write(message=word)
    assert page.flashes == ['Please sign in first.']
    assert page.find('input', name='name')
    assert ann.get(f'/?q={word}').messages == []


def test_cookies_are_not_for_scripts_nor_for_other_sites(site: Site) -> None:
    response = site.client.clone().post('/sign-in', data={'name': 'Ann'})
    assert response.status_code == 303
    cookies = response.headers['Set-Cookie'].lower()
    assert cookies.count('httponly') == cookies.count('samesite=lax') == 2  # the session and the message box


# -- forms that are refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('', 'Name required.'),
        ('   ', 'Please tell us your name.'),
        ('<b>' + 'n' * 38, 'Length of name .* 40.'),
    ],
)
def test_a_bad_name_is_shown_again(site: Site, name: str, reason: str) -> None:
    visitor = site.visitor()
    page = visitor.sign_in(name, 400)
    assert re.fullmatch(reason, page.refusal)
    assert page.find('input', name='name')[0][0]['value'] == name
    assert visitor.get('/').texts('span', id='visitor') == []


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        ('', 'Message required.'),
        (' \r\n ', 'Please write something.'),
        ('x' * 10_001, 'Length of message .* 10000.'),
    ],
)
def test_a_bad_message_is_shown_again(site: Site, message: str, reason: str) -> None:
    page = site.visitor('Ann').write(400, message=message)
    assert re.fullmatch(reason, page.refusal)
    # The first line end in a textarea is the browser's.
    assert page.texts('textarea', name='message') == ['\n' + message]


def test_what_was_typed_survives_a_bad_picture(site: Site) -> None:
    before = site.pictures
    word = marker() + MALICIOUS
    ann = site.visitor('Ann')
    for picture in (
        ('x.png', b'<script>alert (1)</script>', 'image/png'),
        ('x.svg', b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml'),
        ('empty.png', b'', 'image/png'),
    ):
        page = ann.write(400, message=word, picture=picture)
        assert page.refusal == 'A picture is a PNG, JPEG, GIF or WebP file.'
        assert page.texts('textarea', name='message') == ['\n' + word]
        assert page.find('script') == []
    assert ann.get('/', 200).messages.count(word) == 0
    assert site.pictures == before


@pytest.mark.parametrize(
    'form',
    [
        {'message': ['one', 'two']},
        {'message': 'x', 'picture': 'not a file'},
        {'message': 'x', 'picture': [('a.png', PNG), ('b.png', PNG)]},
        {'message': 'x', 'unknown': 'y'},
        {'message': ('file.txt', b'x')},
    ],
    ids=['twice', 'text-as-picture', 'pictures', 'unknown', 'file-as-message'],
)
def test_forms_that_no_page_of_ours_sends(site: Site, form: dict[str, Any]) -> None:
    page = site.visitor('Ann').write(400, **form)
    assert next(name for name in form if name != 'message' or len(form) == 1) in page.refusal.lower()


def test_a_body_that_is_no_form(site: Site) -> None:
    ann = site.visitor('Ann').client
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    assert ann.post('/entries', data=b'nothing of that kind', headers=headers).status_code == 400
    assert ann.post('/entries', json={'message': 'x'}).status_code == 406


def test_too_large_an_upload(site: Site) -> None:
    before = site.pictures
    word = marker()
    ann = site.visitor('Ann')
    page = ann.write(413, message=word, picture=('large.png', PNG + bytes(2 << 20)))
    assert page.refusal == 'A picture may have 2 MB at most.'
    assert page.texts('textarea', name='message') == ['\n' + word]
    ann.write(413, message=word, picture=('huge.png', PNG + bytes(12 << 20)))  # refused before it is read
    assert ann.get(f'/?q={word}').messages == []
    assert site.pictures == before


@pytest.mark.parametrize(
    'query', ['page=x', 'page=0', 'page=-1', 'page=1&page=2', 'q=a&q=b', 'q=' + 'x' * 101]
)
def test_bad_addresses(site: Site, query: str) -> None:
    assert query[: query.index('=')] in site.visitor().get('/?' + query, 400).refusal.lower()


@pytest.mark.parametrize(
    'path',
    ['/nowhere', '/entries/99999', '/entries/' + '9' * 30, '/entries/me', '/?page=99', '/?page=' + '9' * 30],
)
def test_what_is_not_there(site: Site, program: ServerClient, path: str) -> None:
    page = site.visitor().get(path, 404)
    assert page.texts('h1') == ['This page is blank']
    refused = program.get(path)
    assert refused.status_code == 404
    assert refused.data['code'] == 40400


# -- pages, programs, pictures -----------------------------------------------------------------------


def test_paging_keeps_the_search(site: Site) -> None:
    word = marker() + '%_\\'
    ann = site.visitor('Ann')
    for number in range(25):
        ann.write(message=f'{word}&{number}')
    page = Page(ann.client.get('/', params={'q': word}).text)
    assert page.find('a', rel='prev') == []
    found = list(page.messages)
    while following := page.find('a', rel='next'):
        page = ann.get(following[0][0]['href'] or '')
        assert page.find('input', name='q')[0][0]['value'] == word
        found += page.messages
    assert found == [f'{word}&{number}' for number in reversed(range(25))]
    assert 'Page 3 of 3' in page.texts('span')
    previous = page.find('a', rel='prev')[0][0]['href'] or ''
    assert ann.get(previous).messages == found[10:20]


def test_the_wildcards_of_a_search_mean_nothing(site: Site) -> None:
    word = marker()
    ann = site.visitor('Ann')
    ann.write(message=f'{word}abc')
    assert Page(ann.client.get('/', params={'q': word + '%'}).text).messages == []
    assert Page(ann.client.get('/', params={'q': word + 'a_c'}).text).messages == []
    assert Page(ann.client.get('/', params={'q': word.upper() + 'abc'}).text).messages == [f'{word}abc']


def test_programs_get_the_same_as_json(site: Site, program: ServerClient) -> None:
    word = marker()
    text = word + MALICIOUS
    site.visitor('Ann').write(message=text, picture=('x.gif', b'GIF89a'))
    response = program.get('/', params={'q': word})
    assert response.headers['Content-Type'].startswith('application/json')
    listing = response.data
    assert {key: listing[key] for key in ('page', 'pages', 'total', 'q')} == {
        'page': 1,
        'pages': 1,
        'total': 1,
        'q': word,
    }
    (entry,) = listing['entries']
    assert (entry['name'], entry['message']) == ('Ann', text)
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00', entry['written'])
    assert program.get(entry['picture']).content == b'GIF89a'
    assert program.get(entry['url']).data['entry'] == entry
    refused = program.get('/?page=x')
    assert (refused.status_code, refused.data['code']) == (400, 40050)


@pytest.mark.parametrize(
    ('content', 'extension', 'media'),
    [
        (PNG, '.png', 'image/png'),
        (b'\xff\xd8\xff\xe0' + bytes(1 << 20), '.jpg', 'image/jpeg'),
        (b'GIF89a' + bytes(10), '.gif', 'image/gif'),
        (b'RIFF\x00\x00\x00\x00WEBP' + bytes(10), '.webp', 'image/webp'),
    ],
    ids=['png', 'jpeg', 'gif', 'webp'],
)
def test_a_picture_is_shown_byte_for_byte(site: Site, content: bytes, extension: str, media: str) -> None:
    """Under a name that is not the visitor's and of the type that it has, whatever the visitor says."""
    ann = site.visitor('Ann')
    page = ann.write(message=marker(), picture=('../../me.html', content, 'text/html'))
    source = page.find('img')[0][0]['src'] or ''
    assert re.fullmatch(r'/media/[\w-]{22}' + re.escape(extension), source)
    response = site.client.clone().get(source)
    assert response.content == content
    assert response.headers['Content-Type'] == media
    assert Path(source).name in site.pictures


def test_only_pictures_are_public(site: Site) -> None:
    client = site.client.clone()
    for path in ('/media/', '/media/../secret', '/media/%2e%2e/secret', '/secret', '/media/guestbook.db'):
        assert client.get(path).status_code in (400, 403, 404), path
    assert (site.data / 'secret').stat().st_mode & 0o777 == 0o600


def test_the_stylesheet(site: Site) -> None:
    (link,) = site.visitor().get('/').find('link', rel='stylesheet')
    response = site.client.clone().get(link[0]['href'] or '')
    assert response.status_code == 200
    assert response.headers['Content-Type'].startswith('text/css')


# -- what lasts --------------------------------------------------------------------------------------


def test_visitors_and_entries_outlive_a_restart(tmp_path: Path) -> None:
    first = Site(tmp_path)
    ann = first.visitor('Ann')
    ann.write(message='kept')
    first.client.stop()
    second = Site(tmp_path)
    try:
        again = second.visitor()
        again.client.session.cookies.update(ann.client.session.cookies)
        page = again.get('/')
        assert page.messages == ['kept']
        assert page.texts('span', id='visitor') == ['Ann']
    finally:
        second.client.stop()


def test_orphaned_pictures_are_removed(launch: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC MT-01: by the application's job, here with a shorter interval and two workers."""
    monkeypatch.setenv('GUESTBOOK_DATA', str(launch.directory / 'data'))
    client = launch(
        {
            'serve.py': f"""
                import skitai

                with skitai.preference (path = {str(PROJECT)!r}) as pref:
                    pref.config.MAINTAIN_INTERVAL = 0.01
                import guestbook

                skitai.mount ('/', guestbook, pref)
                skitai.run (workers = 2)
            """
        }
    )
    ann = Visitor(client.clone(), 'Ann')
    source = ann.write(message='x', picture=('x.png', PNG)).find('img')[0][0]['src'] or ''
    pictures = launch.directory / 'data' / 'pictures'
    shown, orphan, young = pictures / Path(source).name, pictures / 'orphan.png', pictures / 'young.png'
    young.write_bytes(PNG)
    orphan.write_bytes(PNG)
    long_ago = time.time() - 24 * 3600
    os.utime(shown, (long_ago, long_ago))
    os.utime(orphan, (long_ago, long_ago))
    wait_for(lambda: not orphan.exists(), 'the removal of the orphan')
    assert shown.exists()
    assert young.exists()


# -- in a browser ------------------------------------------------------------------------------------


def dom(url: str, profile: Path, seconds: float = 60.0) -> str | None:
    """What a headless browser makes of the page; None where none is installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
    process = subprocess.Popen(
        [browser, *options, f'--user-data-dir={profile}', '--dump-dom', url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:  # its helpers, too
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()
    assert process.returncode == 0
    return output.decode()


def test_in_a_browser(site: Site, tmp_path: Path) -> None:
    """No script of a visitor runs. Where no browser is installed, what one would get is looked at."""
    word = marker()
    site.visitor(f'{word}<b>Ann</b>').write(message=MALICIOUS, picture=('x.png', PNG))
    path = f'/?q={word}'
    text = dom(site.client.url(path), tmp_path)
    page = Page(site.client.clone().get(path).text if text is None else text)
    assert page.texts('title') == ['Guestbook']
    assert page.messages == [MALICIOUS]
    assert page.texts('strong') == [f'{word}<b>Ann</b>']
    assert page.find('script') == []
    assert len(page.find('img')) == 1
    assert page.find('input', name='q')[0][0]['value'] == word
