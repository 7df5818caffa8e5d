#!/bin/sh
# The peer in Python that tests of the net-queue wire use is a good one: its own servers and clients
# understand each other.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/interop/net_queue/python.sh"
[ -n "${python:=}" ] || skip_all "python3 is not there"
command -v openssl >/dev/null || skip_all "openssl is not installed"
exec "$python" -B "$top_srcdir/tests/interop/net_queue/self_test.py" "$@"
