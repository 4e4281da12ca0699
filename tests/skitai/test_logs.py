"""The access and application logs (SPEC B.8, HE-01, HE-02, 1429)."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import DEADLINE, Launcher, wait_for

from skitai.testing import ServerClient

SERVE = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/')
    def index (was):
        return 'Hello, World'

    @app.route ('/log')
    def log (was, category = 'info'):
        was.log ('a message', category)
        return was.API (gtxid = was.request.gtxid, ltxid = was.request.ltxid)

    @app.route ('/traceback')
    def traceback (was):
        try:
            1 / 0
        except ZeroDivisionError:
            was.traceback ()
        return ''

    @app.route ('/broken')
    def broken (was):
        raise LookupError ('broken on purpose')

    @app.route ('/named/<name>')
    def named (was, name):
        was.log (name)
        raise LookupError (name)

    @app.route ('/body')
    def body (was, **form):
        return ''

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.mount ('/static', 'static')
        SETTINGS
        skitai.run ()
"""

#: One line: the combined log format, then ms, bytes in, gtxid, ltxid, worker.
LINE = re.compile(
    r'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d+) '
    r'(?P<bytes>\d+) "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" (?P<ms>[\d.]+) '
    r'(?P<received>\d+) (?P<gtxid>\S+) (?P<ltxid>\S+) (?P<worker>W\d+)'
)


def files(settings: str = 'pass') -> dict[str, str]:
    return {'serve.py': SERVE.replace('SETTINGS', settings), 'static/site.css': 'body {}'}


@pytest.fixture(scope='module')
def text(launch_module: Callable[[], Launcher]) -> ServerClient:
    """Logs text to standard output."""
    return launch_module()(files())


@pytest.fixture(scope='module')
def lines(launch_module: Callable[[], Launcher]) -> ServerClient:
    """Logs JSON lines to standard output."""
    return launch_module()(files(), log_format='json')


def fields_of(client: ServerClient, request: str) -> dict[str, str]:
    """The text line of the request whose request line is `request`."""
    output = client.wait_for_output(f'"{request} HTTP/')
    (line,) = [line for line in output.splitlines() if f'"{request} HTTP/' in line]
    match = LINE.fullmatch(line)
    assert match, line
    return match.groupdict()


def objects(client: ServerClient, text: str, **expected: Any) -> list[dict[str, Any]]:
    """The JSON lines with these fields, once one of them has `text`."""
    output = client.wait_for_output(text)
    found = [json.loads(line) for line in output.splitlines() if line.startswith('{')]
    return [
        one
        for one in found
        if expected.items() <= one.items() and text in json.dumps(one, ensure_ascii=False)
    ]


# -- the access log ------------------------------------------------------------------------------


def test_a_line_of_text(text: ServerClient) -> None:
    """SPEC B.8, decided: the combined log format, then ms, bytes in, gtxid, ltxid, worker."""
    before = time.time()
    headers = {'Referer': 'http://here/', 'User-Agent': 'tester/1', 'X-Gtxn-Id': 'chain-7'}
    text.post('/body?a=1', b'12345', headers={**headers, 'Content-Type': 'text/plain'})
    found = fields_of(text, 'POST /body?a=1')
    assert found['client'] == '127.0.0.1'
    assert found['user'] == '-'
    assert found['request'] == 'POST /body?a=1 HTTP/1.1'
    assert (found['status'], found['bytes'], found['received']) == ('200', '0', '5')
    assert (found['referer'], found['agent']) == ('http://here/', 'tester/1')
    assert (found['gtxid'], found['worker']) == ('chain-7', 'W0')
    assert int(found['ltxid']) >= 1000
    assert 0 < float(found['ms']) < 10_000
    moment = datetime.datetime.strptime(found['time'], '%d/%b/%Y:%H:%M:%S %z')
    assert before - 2 < moment.timestamp() < time.time() + 2


def test_what_a_client_does_not_send_is_a_dash(text: ServerClient) -> None:
    """SPEC B.8."""
    with socket.create_connection(('127.0.0.1', text.port), timeout=DEADLINE) as connection:
        connection.sendall(b'GET /?bare HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        assert b'400' in connection.recv(65536)
    found = fields_of(text, 'GET /?bare')
    assert (found['referer'], found['agent'], found['bytes']) != ('', '', '')
    assert (found['referer'], found['agent']) == ('-', '-')


def test_every_answer_has_its_line(text: ServerClient) -> None:
    """SPEC B.8: refused ones, files and redirects too."""
    for method, path, status in (
        ('GET', '/nowhere', '404'),
        ('DELETE', '/log', '405'),
        ('GET', '/static/site.css', '200'),
    ):
        text.request(method, path + '?every')
        assert fields_of(text, f'{method} {path}?every')['status'] == status


def test_a_json_line(lines: ServerClient) -> None:
    """SPEC B.8: `--log-format=json` gives the same."""
    headers = {'Referer': 'http://here/', 'User-Agent': 'tester/ü'.encode(), 'X-Gtxn-Id': 'chain-8'}
    lines.post('/body?a=2', b'12345', headers={**headers, 'Content-Type': 'text/plain'})
    (found,) = objects(lines, '/body?a=2')
    assert (
        found.items()
        >= {
            'client': '127.0.0.1',
            'user': None,
            'method': 'POST',
            'target': '/body?a=2',
            'version': '1.1',
            'status': 200,
            'bytes': 0,
            'bytes_in': 5,
            'referer': 'http://here/',
            'agent': 'tester/ü',
            'gtxid': 'chain-8',
            'worker': 'W0',
        }.items()
    )
    assert isinstance(found['ms'], float)
    assert found['ltxid'].isdigit()
    assert abs(datetime.datetime.fromisoformat(found['time']).timestamp() - time.time()) < 60


HOSTILE = [
    b'"quoted" \\backslash\\',
    b'x" 200 1 "-" "-" 0.1 0 a b W0',
    'ü \u2028 \u0085 \u202e'.encode(),
    b'\xff\xfe not UTF-8',
    b'a\ttab',
    b'{"time": 1}',
]


@pytest.mark.parametrize('value', HOSTILE)
def test_hostile_header_text_forges_no_line(text: ServerClient, lines: ServerClient, value: bytes) -> None:
    """SPEC B.8: whatever the client sends, its request has one line that can be taken apart."""
    number = HOSTILE.index(value)
    for client in (text, lines):
        with socket.create_connection(('127.0.0.1', client.port), timeout=DEADLINE) as connection:
            request = f'GET /?hostile={number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'.encode()
            for name in (b'User-Agent', b'Referer', b'X-Gtxn-Id'):
                request += name + b': ' + value + b'\r\n'
            connection.sendall(request + b'\r\n')
            while connection.recv(65536):
                pass
    found = fields_of(text, f'GET /?hostile={number}')
    assert found['gtxid'] not in value.decode('latin-1')
    (line,) = [one for one in text.output().splitlines() if f'hostile={number} ' in one]
    assert line.isprintable()
    (found_json,) = objects(lines, f'hostile={number}')
    assert found_json['status'] == 400


def test_a_hostile_target_forges_no_line(text: ServerClient) -> None:
    """SPEC B.8."""
    with socket.create_connection(('127.0.0.1', text.port), timeout=DEADLINE) as connection:
        connection.sendall(b'GET /target"x%0a\\ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        while connection.recv(65536):
            pass
    text.get('/?after-target')
    output = text.wait_for_output('after-target')
    for line in output.splitlines():
        if '/target' in line and 'Serving' not in line:
            assert LINE.fullmatch(line)


def test_silenced_requests(launch: Launcher) -> None:
    """SPEC B.8: `skitai.log_off ('*.css', '/static/')`."""
    settings = "skitai.log_off ('*.css', '/quiet/'); skitai.log_off ('/log')"
    client = launch(files(settings))
    for path in ('/static/site.css', '/quiet/a', '/log', '/loud/quiet/'):
        client.get(path)
    output = client.wait_for_output('/loud/quiet/')
    assert [word for word in ('site.css', ' /quiet/a', ' /log') if word in output] == []


def test_no_access_log(launch: Launcher) -> None:
    """SPEC B.8: the application log stays."""
    client = launch(
        {'serve.py': files()['serve.py'].replace('run ()', 'run (access_log = False)'), 'static/a': ''}
    )
    client.get('/log')
    client.wait_for_output('a message')
    client.stop()
    assert 'GET' not in client.output()


# -- the application log -------------------------------------------------------------------------


@pytest.mark.parametrize(('category', 'level'), [('info', 'INFO'), ('error', 'ERROR'), ('own', 'INFO')])
def test_messages_of_services(text: ServerClient, lines: ServerClient, category: str, level: str) -> None:
    """SPEC HE-01, 1429: with category and transaction ids."""
    ids = text.get(f'/log?category={category}', headers={'X-Gtxn-Id': f'text-{category}'}).data
    assert ids['gtxid'] == f'text-{category}'
    message = f'{ids["gtxid"]}/{ids["ltxid"]} [{category}] a message'
    assert f'{level} [atila.app] {message}' in text.wait_for_output(message)
    lines.get(f'/log?category={category}', headers={'X-Gtxn-Id': f'json-{category}'})
    (found,) = objects(lines, 'a message', category=category)
    assert (found['gtxid'], found['level'], found['logger']) == (
        f'json-{category}',
        level.lower(),
        'atila.app',
    )


def test_tracebacks(text: ServerClient, lines: ServerClient) -> None:
    """SPEC HE-02, ER-05: those of a service, and of what it did not catch."""
    for path, error in (('/traceback', 'ZeroDivisionError'), ('/broken', 'LookupError: broken on purpose')):
        text.get(path)
        lines.get(path)
        output = text.wait_for_output(error)
        assert 'Traceback (most recent call last)' in output
        (found,) = objects(lines, error)
        assert 'serve.py' in found['traceback']
        assert found['level'] == 'error'


def test_what_a_message_quotes_forges_no_record(launch: Launcher) -> None:
    """SPEC B.8: neither by a line's end nor by a terminal's controls."""
    client = launch(files())
    client.get('/named/a%0A2026-01-01 00:00:00,000 ERROR [forged] b%1B[31m%E2%80%A8c%0D')
    client.get('/?last')
    output = client.wait_for_output('/?last')
    assert 'ERROR [forged] b' in output
    for line in output.splitlines():
        assert not line.startswith('2026-01-01')
        assert line.replace('\t', '').isprintable()


def test_a_message_of_several_lines_is_one_json_line(lines: ServerClient) -> None:
    """SPEC B.8."""
    lines.get('/broken')
    output = lines.wait_for_output('broken on purpose')
    for line in output.splitlines():
        assert line.startswith(('{', 'Serving'))


# -- log files -----------------------------------------------------------------------------------


def logged(launch: Launcher, name: str) -> str:
    path = launch.directory / 'logs' / name
    return path.read_text() if path.exists() else ''


def put_aside(launch: Launcher, name: str) -> list[Path]:
    return sorted((launch.directory / 'logs').glob(name + '.*'))


def test_log_files(launch: Launcher) -> None:
    """SPEC B.8: request.log, app.log, server.log; nothing of it on standard output."""
    client = launch(files("skitai.enable_file_logging ('logs')"), workers=2)
    (worker, *_) = wait_for(lambda: children(client.pid), 'a worker')
    client.get('/log')
    client.get('/broken')
    wait_for(lambda: '/broken' in logged(launch, 'request.log'), 'the log of requests')
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: 'replaced' in logged(launch, 'server.log'), 'the log of the server')
    client.stop()
    assert 'a message' in logged(launch, 'app.log')
    assert 'broken on purpose' in logged(launch, 'app.log')
    for line in logged(launch, 'request.log').splitlines():
        assert LINE.fullmatch(line)
    for word in ('GET', 'a message', 'replaced'):
        assert word not in client.output()
    assert sorted(path.name for path in (launch.directory / 'logs').iterdir()) == [
        'app.log',
        'request.log',
        'server.log',
    ]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def test_json_log_files(launch: Launcher) -> None:
    """SPEC B.8."""
    client = launch(files("skitai.enable_file_logging ('logs')"), log_format='json')
    client.get('/log')
    client.stop()
    assert json.loads(logged(launch, 'request.log'))['target'] == '/log'
    assert json.loads(logged(launch, 'app.log'))['category'] == 'info'


@pytest.mark.parametrize(
    ('name', 'form'), [('request.log', '%Y-%m-%d'), ('app.log', '%Y-%m-%d'), ('server.log', '%Y-%m')]
)
def test_files_are_put_aside_when_their_time_is_over(launch: Launcher, name: str, form: str) -> None:
    """SPEC B.8: daily, the server's monthly. Several processes write one file: no line is lost."""
    old = time.time() - 40 * 86400
    path = launch.directory / 'logs' / name
    launch.write({f'logs/{name}': 'an old line\n'})
    os.utime(path, (old, old))
    client = launch(files("skitai.enable_file_logging ('logs')"), workers=2)
    pids = children(client.pid)
    client.set_default_header('Connection', 'close')
    for number in range(60):
        client.get(f'/log?category=n{number}')
    if name == 'server.log':
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: logged(launch, name).count('replaced') == 2, 'two lines')
    client.stop()
    (aside,) = put_aside(launch, name)
    assert aside.name == time.strftime(f'{name}.{form}', time.localtime(old))
    assert aside.read_text() == 'an old line\n'
    if name != 'server.log':
        lines = logged(launch, name).splitlines()
        assert len(lines) == 60
        assert {re.search(r'\bn\d+\b', line).group() for line in lines} == {f'n{n}' for n in range(60)}


def test_sigusr1_puts_the_files_aside(launch: Launcher) -> None:
    """SPEC B.7: all processes go on in new ones; a second time on the same day overwrites nothing."""
    client = launch(files("skitai.enable_file_logging ('logs')"), workers=2)
    client.set_default_header('Connection', 'close')
    for turn in range(3):
        for number in range(10):
            client.get(f'/log?category=t{turn}n{number}')
        wait_for(
            lambda turn=turn: logged(launch, 'request.log').count(f'=t{turn}n') == 10, 'the log of requests'
        )
        os.kill(client.pid, signal.SIGUSR1)
        wait_for(lambda turn=turn: len(put_aside(launch, 'request.log')) == turn + 1, 'a file put aside')
    client.get('/?last')
    client.stop()
    for turn, path in enumerate(put_aside(launch, 'request.log')):
        assert path.read_text().count(f'=t{turn}n') == len(path.read_text().splitlines()) == 10
    assert '/?last' in logged(launch, 'request.log')
    assert len(put_aside(launch, 'app.log')) == 3


def test_a_file_that_somebody_moves_is_made_again(launch: Launcher) -> None:
    """SPEC B.8: logrotate and its like."""
    client = launch(files("skitai.enable_file_logging ('logs')"))
    client.get('/?first')
    wait_for(lambda: 'first' in logged(launch, 'request.log'), 'a line')
    (launch.directory / 'logs' / 'request.log').rename(launch.directory / 'moved.log')
    client.get('/?second')
    wait_for(lambda: 'second' in logged(launch, 'request.log'), 'a line in a new file')
    assert 'second' not in (launch.directory / 'moved.log').read_text()


def test_the_oldest_files_are_removed(launch: Launcher) -> None:
    """Bounded: 30 files put aside are kept of each log."""
    launch.write({f'logs/request.log.2020-01-{day:02}': 'old' for day in range(1, 32)})
    launch.write({'logs/request.log': 'older\n', 'logs/request.log-of-mine': 'kept'})
    os.utime(launch.directory / 'logs' / 'request.log', (0, 86400))
    client = launch(files("skitai.enable_file_logging ('logs')"))
    client.get('/')
    client.stop()
    names = [path.name for path in put_aside(launch, 'request.log')]
    assert len(names) == 30
    assert 'request.log.2020-01-31' in names
    assert (launch.directory / 'logs' / 'request.log-of-mine').exists()


def test_default_directory_has_the_servers_name(launch: Launcher) -> None:
    """SPEC B.8: /var/log/skitai/<name> (asked of the settings: the test leaves that place alone)."""
    program = """
import dataclasses, sys
import skitai
from skitai import runner
runner.run = lambda mounts, settings, supervise: print (settings.log_dir) or 0
sys.argv [1:] = []
skitai.enable_file_logging ()
skitai.run (name = 'shop')
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == '/var/log/skitai/shop', done.stderr
