"""Figures: what `wrk` prints read into samples, and samples of many rounds made into a table.

Nothing here starts a process or opens a file. Rates are requests a second, times seconds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from statistics import median

_UNITS = {'us': 1e-6, 'ms': 1e-3, 's': 1.0, 'm': 60.0, 'h': 3600.0}
_TIME = r'([\d.]+)(us|ms|s|m|h)\b'
_RATE = re.compile(r'^Requests/sec:\s+([\d.]+)', re.MULTILINE)
_REQUESTS = re.compile(r'^\s+(\d+) requests in ', re.MULTILINE)
_MEAN = re.compile(rf'^\s+Latency\s+{_TIME}', re.MULTILINE)
_P50 = re.compile(rf'^\s+50%\s+{_TIME}', re.MULTILINE)
_P99 = re.compile(rf'^\s+99%\s+{_TIME}', re.MULTILINE)
_SOCKET = re.compile(
    r'^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', re.MULTILINE
)
_STATUS = re.compile(r'Non-2xx or 3xx responses: (\d+)')


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk. `problem` is empty, or says in a phrase why the run doesn't count."""

    rate: float
    mean: float
    p50: float
    p99: float
    problem: str = ''


@dataclasses.dataclass(slots=True)
class Series:
    """One contender at one workload: a sample for each round, up to the first problem."""

    samples: list[Sample] = dataclasses.field(default_factory=list)
    problem: str = ''

    def add(self, sample: Sample) -> None:
        if sample.problem:
            self.problem = sample.problem
        else:
            self.samples.append(sample)

    @property
    def rate(self) -> float:
        """The median; 0 for a series that failed."""
        return 0.0 if self.problem or not self.samples else median(sample.rate for sample in self.samples)


def parse_wrk(text: str) -> Sample:
    """The sample in what `wrk --latency` printed.

    wrk counts answers outside 200-399 and failures of sockets; any of them, or no answer at all, is the
    sample's problem. ValueError when the text is not wrk's.
    """
    problems = []
    if int(_find(_REQUESTS, text)[1]) == 0:
        problems.append('no answer')
    if match := _STATUS.search(text):
        problems.append(f'{match[1]} answers with an error status')
    if match := _SOCKET.search(text):
        kinds = zip(('connect', 'read', 'write', 'timeout'), match.groups(), strict=True)
        problems += [f'{count} {kind} errors' for kind, count in kinds if count != '0']
    return Sample(
        rate=float(_find(_RATE, text)[1]),
        mean=_seconds(_find(_MEAN, text)),
        p50=_seconds(_find(_P50, text)),
        p99=_seconds(_find(_P99, text)),
        problem=', '.join(problems),
    )


def _find(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.search(text)
    if match is None:
        raise ValueError(f'not what wrk prints (no {pattern.pattern!r}): {text[-400:]!r}')
    return match


def _seconds(match: re.Match[str]) -> float:
    return float(match[1]) * _UNITS[match[2]]


def ratio(ours: Series, base: Series) -> float | None:
    """How many times the base's rate: the median of the rounds' own ratios, so that a machine that
    slows down for a while (both within one round) doesn't show. None when either series failed."""
    if ours.problem or base.problem or not ours.samples or len(ours.samples) != len(base.samples):
        return None
    pairs = zip(ours.samples, base.samples, strict=True)
    return median(one.rate / other.rate for one, other in pairs)


def table(series: Mapping[str, Series], bases: Sequence[str]) -> str:
    """A Markdown table: the fastest first, failed ones last, a ratio column for each base in `series`."""
    bases = [base for base in bases if base in series]
    titles = ['contender', 'requests/s', 'min to max', *(f'x {base}' for base in bases), 'mean', 'p50', 'p99']
    rows = [
        [name, *_cells(one, [series[base] for base in bases])]
        for name, one in sorted(series.items(), key=lambda item: -item[1].rate)
    ]
    rule = ['---', *('---:' for _ in titles[1:])]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in (titles, rule, *rows))


def _cells(one: Series, bases: Sequence[Series]) -> list[str]:
    """A row's cells after its name. A failed one says why in place of figures."""
    blank = [''] * (len(bases) + 4)
    if one.problem:
        return [f'**failed**: {one.problem.replace("|", "/")}', *blank]
    if not one.samples:
        return ['not measured', *blank]
    rates = [sample.rate for sample in one.samples]
    ratios = (ratio(one, base) for base in bases)
    return [
        f'{one.rate:,.0f}',
        f'{min(rates):,.0f} to {max(rates):,.0f}',
        *('' if value is None else f'{value:.2f}' for value in ratios),
        *(
            _duration(median(getattr(sample, field) for sample in one.samples))
            for field in ('mean', 'p50', 'p99')
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f'{seconds * 1e6:.0f} us'
    if seconds < 1:
        return f'{seconds * 1e3:.3g} ms'
    return f'{seconds:.3g} s'
