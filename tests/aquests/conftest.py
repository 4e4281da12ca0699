"""Each test of aquests begins and ends without threads, processes or commands of another one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import aquests
from aquests import pools

#: What processes can import: functions of a test's own module they could not.
_JOBS = '''
import os, subprocess, sys, time

class Odd (Exception):
    """Can be pickled, but not loaded."""
    def __init__ (self, first, second):
        super ().__init__ (first)

class Strange (Exception):
    """Becomes something else on its way."""
    def __reduce__ (self):
        return str, ('no exception',)

def strange ():
    raise Strange

def double (x):
    return x * 2

def boom (text = 'boom'):
    raise ValueError (text)

def odd ():
    raise Odd (1, 2)

def unpicklable ():
    return lambda: 1

def leave (code):
    os._exit (code)

def exit ():
    sys.exit (3)

def spawn_and_hang (path):
    """Writes this process's and a grandchild's number to a file, and hangs."""
    child = subprocess.Popen (['sleep', '60'])
    with open (path + '~', 'w') as file:
        file.write (f'{os.getpid ()} {child.pid}')
    os.rename (path + '~', path)
    time.sleep (60)

def start_and_die (path, how):
    """Writes a grandchild's number to a file, and dies; a forked one has all that is open here."""
    if how == 'fork':
        child = os.fork ()
        if not child:
            time.sleep (60)
            os._exit (0)
    else:
        child = subprocess.Popen (['sleep', '60']).pid
    with open (path, 'w') as file:
        file.write (str (child))
    os._exit (3)
'''


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    aquests.shutdown(1)
    pools.sizes = pools.Sizes()


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `_JOBS`."""
    (tmp_path / 'aquests_jobs.py').write_text(_JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import aquests_jobs  # type: ignore[import-not-found]

    yield aquests_jobs
    del sys.modules['aquests_jobs']


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging functions wait for; opened at the test's end."""
    event = threading.Event()
    yield event
    event.set()
