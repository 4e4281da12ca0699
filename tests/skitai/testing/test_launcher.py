"""Launching and stopping a script (SPEC TC-01)."""

import gc
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skitai
from skitai.testing import Server, free_port, launcher
from skitai.testing import test_client as launch

SCRIPT = Path(__file__).with_name('serve_echo.py')
EXAMPLE = Path(__file__).parents[3] / 'examples/hello/serve.py'


def exists(pid: int) -> bool:
    """Whether the process runs (a zombie doesn't)."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while exists(pid):
        assert time.monotonic() < deadline, f'process {pid} is still there'
        time.sleep(0.01)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)


def child_of(output: str) -> int:
    match = re.search(r'child=(\d+);', output)
    assert match, output
    return int(match[1])


def test_a_script_serves_inside_with_and_is_stopped_after_it():
    """SPEC TC-01."""
    with launch(SCRIPT, port=0) as client:
        assert client.pid
        assert client.base_url == f'http://127.0.0.1:{client.port}'
        assert client.get('/text').status_code == 200
    assert not exists(client.pid)
    assert not accepts(client.port)


def test_without_with_stop_stops_it_and_may_be_called_again():
    """SPEC TC-01, seed 1619-1623."""
    client = launch(str(SCRIPT), port=None)
    pid = client.pid
    assert pid
    assert client.get('/text').status_code == 200
    client.stop()
    assert not exists(pid)
    client.stop()


def test_the_script_is_asked_for_the_given_port():
    """SPEC TC-01."""
    port = free_port()
    with launch(SCRIPT, port=port) as client:
        assert client.port == port
        assert client.get('/argv').data == ['--port', str(port)]


def test_devel_and_options_become_command_line_options():
    """SPEC TC-01: `devel = True` adds --devel, other keyword arguments become --key value."""
    with launch(SCRIPT, 0, devel=True, some_name='a b', bare_flag=True, child=False, exit=None) as client:
        arguments = client.get('/argv').data
        assert arguments == ['--port', str(client.port), '--devel', '--some-name', 'a b', '--bare-flag']


def test_the_output_can_be_read_and_waited_for_and_outlives_the_server():
    with launch(SCRIPT, 0) as client:
        assert 'starting' in client.output()
        client.get('/text?first')
        assert 'asked /text?first' in client.wait_for_output('asked /text?first')
        with pytest.raises(TimeoutError, match="did not write 'nothing' within"):
            client.wait_for_output('nothing', timeout=0.1)
    assert 'asked /text?first' in client.output()
    assert 'terminated' in client.output()
    with pytest.raises(RuntimeError, match='ended without writing'):
        client.wait_for_output('nothing')


def test_the_output_is_kept_in_temp_dir_only_while_the_server_runs(tmp_path):
    with launch(SCRIPT, 0, temp_dir=tmp_path) as client:
        assert 'starting' in client.output()
    assert list(tmp_path.iterdir()) == []


def test_not_silent_writes_where_this_process_writes(capfd):
    """SPEC TC-01: `silent = False`."""
    with launch(SCRIPT, 0, silent=False) as client:
        assert client.output() == ''
        with pytest.raises(RuntimeError, match='not captured'):
            client.wait_for_output('starting')
    assert 'starting' in capfd.readouterr().out


def test_a_script_that_ends_raises_with_the_end_of_its_output():
    """SPEC TC-01, decided."""
    with pytest.raises(RuntimeError, match=r'ended with status 3 before it accepted(.|\n)*starting'):
        launch(SCRIPT, 0, exit=3)


def test_a_script_that_never_accepts_raises_and_is_killed(tmp_path):
    """SPEC TC-01, decided (30 s there, 2 s here)."""
    with pytest.raises(
        RuntimeError, match=r'did not accept connections on .* within 2 s(.|\n)*starting'
    ) as raised:
        Server(SCRIPT, free_port(), options={'never': True, 'child': True}, ready_timeout=2)
    wait_until_gone(child_of(str(raised.value)))


def test_an_interrupted_start_leaves_no_process(monkeypatch):
    def interrupt(port):
        raise KeyboardInterrupt

    started = []
    popen = subprocess.Popen

    def spy(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[0]

    monkeypatch.setattr(launcher, '_accepts', interrupt)
    monkeypatch.setattr(subprocess, 'Popen', spy)
    with pytest.raises(KeyboardInterrupt):
        launch(SCRIPT, 0)
    assert started[0].returncode is not None


def test_a_taken_port_is_refused_before_anything_is_launched():
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=f'{port}: in use by another process'):
            launch(SCRIPT, port)


def test_a_port_can_be_used_again_at_once():
    port = free_port()
    for _ in range(2):
        with launch(SCRIPT, port) as client:
            assert client.get('/text').status_code == 200


def test_a_missing_script_is_not_found():
    with pytest.raises(FileNotFoundError, match='nowhere'):
        launch('nowhere.py', 0)


def test_without_a_script_it_talks_to_a_running_server():
    """SPEC TC-01, seed 1621."""
    with launch(SCRIPT, 0) as server:
        for client in (launch(port=server.port), launch('any.py', port=server.port, dry=True)):
            assert client.get('/text').status_code == 200
            assert client.pid is None
            assert client.output() == ''
            with pytest.raises(RuntimeError, match='launched no server'):
                client.wait_for_output('x')
            client.stop()
        assert server.get('/text').status_code == 200


def test_a_running_server_needs_a_port():
    with pytest.raises(ValueError, match='port of a running one'):
        launch(port=0)


def test_a_clone_outlived_by_its_server_does_not_stop_it():
    """SPEC TC-02: `clone ()`."""
    with launch(SCRIPT, 0) as client:
        with client.clone() as other:
            assert other.pid == client.pid
            assert other.get('/text').status_code == 200
        assert client.get('/text').status_code == 200


def test_garbage_collection_stops_the_server():
    """SPEC TC-01."""
    client = launch(SCRIPT, 0)
    pid = client.pid
    del client
    gc.collect()
    wait_until_gone(pid)


def test_the_end_of_the_interpreter_stops_the_server():
    """SPEC TC-01."""
    program = f"""
from skitai.testing import test_client
client = test_client ({str(SCRIPT)!r}, 0)
print (client.pid)
    """
    done = run(program)
    assert done.returncode == 0, done.stderr
    wait_until_gone(int(done.stdout))


def test_the_end_of_a_forked_child_does_not_stop_the_server():
    program = f"""
import os, sys
from skitai.testing import test_client
with test_client ({str(SCRIPT)!r}, 0) as client:
    if (pid := os.fork ()) == 0:
        sys.exit ()
    os.waitpid (pid, 0)
    print (client.get ('/text').status_code)
    """
    done = run(program)
    assert done.stdout == '200\n', done.stderr


def test_what_is_left_of_the_process_group_is_killed():
    with launch(SCRIPT, 0, child=True) as client:
        child = child_of(client.output())
        assert exists(child)
        assert os.getpgid(child) == client.pid
    wait_until_gone(child)


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(launcher, 'STOP_TIMEOUT', 0.3)
    with launch(SCRIPT, 0, stubborn=True) as client:
        pid = client.pid
    assert not exists(pid)


def test_a_server_that_has_died_can_be_stopped_and_what_is_left_of_it_is_killed():
    with launch(SCRIPT, 0, child=True) as client:
        child = child_of(client.output())
        os.kill(client.pid, 9)
        with pytest.raises(RuntimeError, match='ended without writing'):
            client.wait_for_output('nothing')
        assert exists(child)
    wait_until_gone(child)


@pytest.mark.parametrize('devel', [False, True])
def test_it_launches_the_example(devel):
    """SPEC TC-01, seed 1626-1632: a launch script of ours, by the public name."""
    with skitai.test_client(EXAMPLE, port=0, devel=devel) as client:
        response = client.get('/api/greetings/you', {'punctuation': '?'})
        assert (response.status_code, response.data['message']) == (200, 'Hello, you?')
        pid = client.pid
    assert pid
    wait_until_gone(pid)
    assert not accepts(client.port)
