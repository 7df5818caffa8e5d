#!/bin/sh
# The inputs that fuzzing begins with do no harm.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_mktemp

fuzz=$top_builddir/tests/fuzz

replay() { # name
    mkdir "$tap_tmp/$1" && "$fuzz/fuzz_seeds" "$1" "$tap_tmp/$1" &&
        "$fuzz/$1_fuzz" "$tap_tmp/$1"/* /dev/null
}

for name in frame session; do
    if [ -x "$fuzz/${name}_fuzz" ]; then
        check "$name: the seeds" replay "$name"
    else
        not_ok "$name: tests/fuzz/${name}_fuzz is missing"
    fi
done
tap_done
