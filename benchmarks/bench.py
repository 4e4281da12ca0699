"""`make bench`: the same handlers on this engine and on its peers, side by side (see README.md).

In each round every contender in turn is started on a free loopback port, checked, warmed up, measured
with wrk at each of its workloads, checked again and stopped: one server at a time, and whatever the
machine does meanwhile hits all alike. Who runs and at what is in contenders.py, arithmetic in measure.py.

Exit status: 0; 1 when a contender failed (its row says why); 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import IO

import database
from contenders import CONTENDERS, WORKLOADS, Contender, Workload
from measure import Sample, Series, parse_wrk, table

HERE = Path(__file__).resolve().parent
PEERS_VENV = HERE.parent / '.bench-venv'
REQUIREMENTS = HERE / 'peers' / 'requirements.txt'
RESULTS = HERE / 'RESULTS.md'
#: Seconds that a server may take to answer after its start, and to end after SIGTERM.
START_DEADLINE = 20.0
STOP_DEADLINE = 10.0
WARM_UP = 1

NO_WRK = """\
bench: wrk is not on PATH. It makes the load; install it with
  Debian, Ubuntu:  sudo apt-get install wrk
  macOS:           brew install wrk
  elsewhere:       build https://github.com/wg/wrk and put the program on PATH"""

#: workload name -> contender name -> what was measured
Results = dict[str, dict[str, Series]]


class Failure(Exception):
    """This contender can't be measured: its server doesn't start, or answers something else."""


# -- the peers' environment ------------------------------------------------------------------------


def prepare_peers() -> None:
    """Make `.bench-venv`, unless it was made from this requirements.txt by this Python."""
    stamp = PEERS_VENV / '.installed'
    wanted = f'{sys.version}\n{REQUIREMENTS.read_text()}'
    if stamp.exists() and stamp.read_text() == wanted:
        return
    tell(f'installing the peers into {PEERS_VENV} ...')
    subprocess.run([sys.executable, '-m', 'venv', '--clear', str(PEERS_VENV)], check=True)
    pip = [str(PEERS_VENV / 'bin' / 'pip'), '--quiet', '--disable-pip-version-check', 'install']
    subprocess.run([*pip, '--requirement', str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)


def environment_bin(contender: Contender) -> Path:
    return PEERS_VENV / 'bin' if contender.room == 'peers' else Path(sys.executable).parent


# -- one server ------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(contender: Contender) -> Iterator[int]:
    """Run the contender's server for the body of a `with`, from its first answer on; gives the port."""
    port = free_port()
    program, *arguments = (part.format(port=port) for part in contender.command)
    environ = {**os.environ, 'PORT': str(port), **dict(contender.environ)}
    with tempfile.TemporaryFile() as output:
        try:
            server = subprocess.Popen(
                [str(environment_bin(contender) / program), *arguments],
                cwd=HERE / contender.room,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if contender.discard_output else output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(f'cannot be started: {error}')
        try:
            wait_until_it_answers(server, port, output)
            yield port
        finally:
            stop(server)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int, output: IO[bytes]) -> None:
    """Return at the first answer of any status; Failure, with the server's last words, if none comes."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Failure(f'the server ended with status {server.returncode}{last_words(output)}')
        try:
            get(port, '/')
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return
    raise Failure(f'no answer within {START_DEADLINE:g} s{last_words(output)}')


def last_words(output: IO[bytes]) -> str:
    """The last line the server wrote, as the end of a sentence; all of it goes to standard error."""
    output.seek(0)
    text = output.read()[-4000:].decode('utf-8', 'replace').strip()
    if not text:
        return ''
    print(text, file=sys.stderr)
    return f': {text.splitlines()[-1]}'


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it started (it leads a process group of its own)."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(STOP_DEADLINE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(STOP_DEADLINE)


def get(port: int, path: str, cookies: str = '') -> tuple[int, Message, bytes]:
    """Status, header fields and body of one request."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    try:
        connection.request('GET', path, headers={'Cookie': cookies} if cookies else {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def sign_in(workload: Workload, port: int) -> str:
    """The Cookie field that the workload's requests carry."""
    if workload.sign_in is None:
        return ''
    _, headers, _ = get(port, workload.sign_in)
    return '; '.join(field.partition(';')[0] for field in headers.get_all('Set-Cookie', []))


# -- one measurement -------------------------------------------------------------------------------


def check(workload: Workload, port: int, cookies: str) -> None:
    """Failure unless the server answers what the workload expects (JSON may be spaced as it likes)."""
    try:
        status, headers, body = get(port, workload.path, cookies)
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f'no answer to {workload.path}: {error!r}')
    content_type = headers.get('Content-Type', '')
    if isinstance(workload.expected, str):
        media, same = 'text/html', body == workload.expected.encode()
    else:
        media, same = 'application/json', same_json(body, workload.expected)
    if status != 200 or not same or not content_type.startswith(media):
        raise Failure(f'{workload.path} answers {status}, {content_type or "no type"}, {body[:80]!r}')


def same_json(body: bytes, expected: object) -> bool:
    try:
        value = json.loads(body)
        return bool(expected(value) if callable(expected) else value == expected)
    except (ValueError, LookupError, TypeError):
        return False


def run_wrk(port: int, path: str, cookies: str, connections: int, seconds: int) -> Sample:
    """Load one server for so many seconds; Failure when wrk itself gives up."""
    command = [
        'wrk',
        '-t1',
        f'-c{connections}',
        f'-d{seconds}s',
        *('--timeout', '10s'),  # by default 2 s, which some requests take where servers and load share cores
        '--latency',
        *(('-H', f'Cookie: {cookies}') if cookies else ()),
        f'http://127.0.0.1:{port}{path}',
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Failure(f'wrk did not end within {seconds + 30} s')
    if run.returncode:
        raise Failure(f'wrk: {run.stderr.strip() or run.returncode}')
    return parse_wrk(run.stdout)


def measure(workload: Workload, port: int, connections: int, seconds: int) -> Sample:
    """A sample that counts, or Failure."""
    cookies = sign_in(workload, port)
    check(workload, port, cookies)
    run_wrk(port, workload.path, cookies, connections, WARM_UP)
    sample = run_wrk(port, workload.path, cookies, connections, seconds)
    if not sample.problem:
        check(workload, port, cookies)
    return sample


# -- the rounds ------------------------------------------------------------------------------------


def compare(options: argparse.Namespace) -> Results:
    """Run all rounds. A contender with a problem at a workload is not measured at that one again."""
    workloads = [one for one in WORKLOADS if not options.workload or one.name in options.workload]
    contenders = [one for one in CONTENDERS if not options.only or one.name in options.only]
    results: Results = {
        workload.name: {one.name: Series() for one in contenders if one.name in workload.contenders}
        for workload in workloads
    }
    with contextlib.ExitStack() as servers:
        if any(workload.database for workload in workloads):
            os.environ.update(servers.enter_context(database.served()))
        run_rounds(contenders, workloads, results, options)
    return results


def run_rounds(
    contenders: Sequence[Contender],
    workloads: Sequence[Workload],
    results: Results,
    options: argparse.Namespace,
) -> None:
    for number in range(1, options.rounds + 1):
        for contender in contenders:
            todo = [
                one
                for one in workloads
                if contender.name in one.contenders and not results[one.name][contender.name].problem
            ]
            if todo:
                tell(f'round {number} of {options.rounds}: {contender.name}')
                run_contender(contender, todo, results, options)


def run_contender(
    contender: Contender, workloads: Sequence[Workload], results: Results, options: argparse.Namespace
) -> None:
    """One contender's turn in a round."""
    try:
        with served(contender) as port:
            for workload in workloads:
                series = results[workload.name][contender.name]
                try:
                    sample = measure(workload, port, connections_of(workload, options), options.seconds)
                except Failure as failure:
                    series.problem = str(failure)
                else:
                    series.add(sample)
                tell(f'  {workload.name}: {series.problem or f"{sample.rate:,.0f} requests/s"}')
    except Failure as failure:  # it did not start
        tell(f'  {failure}')
        for workload in workloads:
            results[workload.name][contender.name].problem = str(failure)


def connections_of(workload: Workload, options: argparse.Namespace) -> int:
    return int(workload.connections or options.connections)


# -- the report ------------------------------------------------------------------------------------


def report(results: Results, options: argparse.Namespace, facts: dict[str, str]) -> str:
    """The whole RESULTS.md."""
    parts = [
        '# Results of `make bench`',
        'One worker process each, one at a time, round by round. Medians over the rounds; "x NAME" is the '
        "median of the rounds' own ratios to NAME. README.md says what runs.",
    ]
    for workload in WORKLOADS:
        if series := results.get(workload.name):
            connections = connections_of(workload, options)
            plural = '' if connections == 1 else 's'
            parts.append(f'## {workload.title} (`{workload.name}`, {connections} connection{plural})')
            parts.append(table(series, [*workload.bases, *(options.base or ())]))
    parts.append('## Machine')
    parts.append('\n'.join(f'- {name}: {value}' for name, value in facts.items()))
    return '\n\n'.join(parts) + '\n'


def machine() -> dict[str, str]:
    """What the figures depend on, taken before the first round."""
    load = ' '.join(f'{value:.2f}' for value in os.getloadavg())
    return {
        'date': datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC'),
        'commit': output_of('git', '-C', str(HERE), 'describe', '--always', '--dirty'),
        'processor': f'{processor()}, {usable_cores()} cores',
        'memory': f'{os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30:.1f} GiB',
        'system': f'{platform.system()} {platform.release()}, load before the first round {load}',
        'Python': f'{platform.python_implementation()} {platform.python_version()}',
        'ours': versions(),
        'peers': versions(str(PEERS_VENV / 'lib' / f'python{sys.version_info[0]}.{sys.version_info[1]}')),
        'load generator': output_of('wrk', '-v').split(' Copyright')[0],
    }


def processor() -> str:
    with contextlib.suppress(OSError):
        match = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions(library: str | None = None) -> str:
    """The installed packages that the tables rest on: of this environment, or of the peers'."""
    if library is None:
        names = ['atila', 'granian', 'uvloop', 'msgspec']
        found = {name: importlib.metadata.version(name) for name in names}
    else:
        names = re.findall(r'^[\w-]+', REQUIREMENTS.read_text(), re.MULTILINE)
        installed = importlib.metadata.distributions(path=[f'{library}/site-packages'])
        found = {one.metadata['Name'].lower(): one.version for one in installed}
    return ', '.join(f'{name} {found[name]}' for name in names if name in found)


def output_of(*command: str) -> str:
    """The first line that a command prints; '-' when there is none."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return '-'
    return run.stdout.partition('\n')[0].strip() or '-'


# -- the command line ------------------------------------------------------------------------------


def tell(line: str) -> None:
    """Progress; the table alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(
        prog='bench.py',
        description='Compare this engine with its peers.',
        epilog=f'Contenders: {", ".join(names)}.',
    )
    parser.add_argument('--rounds', type=positive, default=5, help='default 5')
    parser.add_argument('--seconds', type=positive, default=5, help='of each measurement; default 5')
    parser.add_argument('--connections', type=positive, default=64, help='default 64')
    parser.add_argument('--only', nargs='+', metavar='NAME', choices=names, help='these contenders only')
    parser.add_argument(
        '--workload',
        nargs='+',
        metavar='NAME',
        choices=[one.name for one in WORKLOADS],
        help=f'these workloads only: {", ".join(one.name for one in WORKLOADS)}',
    )
    parser.add_argument('--base', nargs='+', metavar='NAME', choices=names, help='show ratios to these, too')
    parser.add_argument(
        '--output', type=Path, help='file for the tables; default benchmarks/RESULTS.md for a complete run'
    )
    options = parser.parse_args(arguments)
    if options.output is None and not (options.only or options.workload):
        options.output = RESULTS
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse_options(arguments)
    if shutil.which('wrk') is None:
        tell(NO_WRK)
        return 2
    # Without this a SIGTERM would leave the server under test running.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        prepare_peers()
    except subprocess.CalledProcessError as error:
        tell(f'bench: the peers could not be installed: {error}')
        return 2
    facts = machine()
    facts['rounds'] = f'{options.rounds}, {options.seconds} s each after {WARM_UP} s of warm-up'
    results = compare(options)
    text = report(results, options, facts)
    print(text)
    if options.output is not None:
        options.output.write_text(text)
        tell(f'written to {options.output}')
    return int(any(one.problem for series in results.values() for one in series.values()))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
