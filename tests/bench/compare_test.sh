#!/bin/sh
# What bench/compare makes of its figures: statistics, placement, verdicts, tables.  Nothing is
# measured here.
. "${top_srcdir:-.}/tests/support/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not there"
exec python3 -B "$top_srcdir/tests/bench/compare_cases.py" "$top_srcdir"
