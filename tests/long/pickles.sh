#!/bin/sh
# 100,000 random values to Python and back: tests/interop/pickle_test.sh for longer, with a new
# seed each time, which it prints.
here=$(cd "$(dirname "$0")" && pwd)
: "${top_srcdir:=$here/../..}" "${top_builddir:=$top_srcdir/build}"
: "${NQ_PICKLE_VALUES:=100000}" "${NQ_PICKLE_SEED:=$(date +%s)}"
export top_srcdir top_builddir NQ_PICKLE_VALUES NQ_PICKLE_SEED
exec sh "$here/../interop/pickle_test.sh"
