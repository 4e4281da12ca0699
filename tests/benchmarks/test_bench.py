"""What `make bench` makes of wrk's output, and its tables (nothing is measured here)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))

import bench  # noqa: E402
from contenders import CONTENDERS, WORKLOADS  # noqa: E402
from measure import Sample, Series, parse_wrk, ratio, table  # noqa: E402

CLEAN = """\
Running 5s test @ http://127.0.0.1:35433/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.45ms  389.20us  12.03ms   91.95%
    Req/Sec    44.12k     1.50k   47.00k    63.64%
  Latency Distribution
     50%  980.00us
     75%    1.60ms
     90%    1.80ms
     99%    1.20s
  219500 requests in 5.01s, 27.21MB read
Requests/sec:  43812.37
Transfer/sec:      5.43MB
"""
ERRORS = CLEAN.replace(
    'Requests/sec',
    '  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 12\nRequests/sec',
)
NOTHING = """\
Running 1s test @ http://127.0.0.1:35433/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  Latency Distribution
     50%    0.00us
     75%    0.00us
     90%    0.00us
     99%    0.00us
  0 requests in 1.00s, 0.00B read
Requests/sec:      0.00
Transfer/sec:       0.00B
"""


def series(*rates: float) -> Series:
    return Series([Sample(rate, 0.0005, 0.002, 1.5) for rate in rates])


def test_output_of_wrk_is_read_with_its_units() -> None:
    sample = parse_wrk(CLEAN)
    assert sample.rate == 43812.37
    assert (sample.mean, sample.p50, sample.p99) == pytest.approx((0.00145, 0.00098, 1.2))
    assert sample.problem == ''


def test_error_statuses_and_socket_errors_are_a_problem() -> None:
    problem = parse_wrk(ERRORS).problem
    assert problem == '12 answers with an error status, 3 read errors, 1 timeout errors'


def test_no_answer_at_all_is_a_problem() -> None:
    assert parse_wrk(NOTHING).problem == 'no answer'


def test_other_output_is_refused() -> None:
    with pytest.raises(ValueError, match='not what wrk prints'):
        parse_wrk('unable to connect to 127.0.0.1:1 Connection refused\n')


def test_rate_is_the_median_and_ratio_the_median_of_the_rounds_ratios() -> None:
    ours, base = series(100, 40, 90), series(50, 10, 100)
    assert ours.rate == 90
    assert ratio(ours, base) == 2.0  # of 2.0, 4.0 and 0.9; the medians' own ratio would be 1.8


def test_failed_series_has_no_rate_and_no_ratio() -> None:
    failed = series(100)
    failed.add(Sample(100, 1, 1, 1, problem='3 read errors'))
    assert failed.rate == 0.0
    assert ratio(failed, series(100)) is None
    assert ratio(series(100), failed) is None


def test_table_is_sorted_shows_ratios_and_says_why_a_row_failed() -> None:
    failed = Series(problem='no answer')
    text = table({'base': series(1000, 1000), 'bad': failed, 'ours': series(1500, 2500)}, ['base', 'absent'])
    assert text.splitlines() == [
        '| contender | requests/s | min to max | x base | mean | p50 | p99 |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
        '| ours | 2,000 | 1,500 to 2,500 | 2.00 | 500 us | 2 ms | 1.5 s |',
        '| base | 1,000 | 1,000 to 1,000 | 1.00 | 500 us | 2 ms | 1.5 s |',
        '| bad | **failed**: no answer |  |  |  |  |  |',
    ]


def test_report_has_the_tables_of_what_ran_and_the_machine() -> None:
    options = bench.parse_options(['--workload', 'hello', '--connections', '7'])
    text = bench.report({'hello': {'atila': series(10)}}, options, {'processor': 'abacus'})
    assert '(`hello`, 7 connections)' in text
    assert '| atila | 10 |' in text
    assert '- processor: abacus' in text
    assert '`json`' not in text


def test_part_of_a_run_does_not_replace_the_results() -> None:
    assert bench.parse_options([]).output == BENCHMARKS / 'RESULTS.md'
    assert bench.parse_options(['--only', 'atila']).output is None
    assert bench.parse_options(['--workload', 'json']).output is None


def test_missing_wrk_is_told_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PATH', '')
    assert bench.main([]) == 2
    assert 'apt-get install wrk' in capsys.readouterr().err


def test_entries_of_the_tables_fit_together() -> None:
    names = [contender.name for contender in CONTENDERS]
    assert len(set(names)) == len(names)
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    for workload in WORKLOADS:
        assert {*workload.contenders, *workload.bases} <= set(names)
