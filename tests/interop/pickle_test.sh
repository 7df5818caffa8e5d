#!/bin/sh
# Python's own pickle reads what we write, and we read what it writes: random values in all
# protocols, in both directions, with numpy's where it is installed.
#
# NQ_PICKLE_VALUES says how many; NQ_PICKLE_SEED which.
. "${top_srcdir:-.}/tests/support/tap.sh"
python=${PYTHON3:-/usr/bin/python3}
[ -x "$python" ] || skip_all "no $python"

exchange() {
    "$python" "$top_srcdir/tests/interop/pickle_peer.py" \
        "$top_builddir/tests/interop/pickle_pipe" "${NQ_PICKLE_VALUES:-2000}" "${NQ_PICKLE_SEED:-1}"
}
check "random values come back from Python as they went, and to it" exchange
tap_done
