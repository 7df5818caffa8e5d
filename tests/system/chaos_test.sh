#!/bin/sh
# Processes whose links are cut, that are stopped and killed, lose nothing and say nothing wrong.
# This is the short version of tests/long/chaos.sh.
. "${top_srcdir:-.}/tests/support/tap.sh"
export top_builddir
exec "$top_srcdir/tests/long/chaos.sh" --cuts 100 --stop 2 --kills 2 --large 128 "$@"
