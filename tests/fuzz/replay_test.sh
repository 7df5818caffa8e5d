#!/bin/sh
# The inputs that fuzzing begins with do no harm, and those that did once do none any more.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_mktemp
: "${NQ_FUZZ:?}"

replay() { # program, name
    "$top_builddir/$1" --seeds "$tap_tmp/$2" &&
        find "$tap_tmp/$2" "$top_srcdir/tests/fuzz/corpus" -path "*/$2/*" -type f -print0 |
        xargs -0 "$top_builddir/$1" /dev/null
}

for program in $NQ_FUZZ; do
    name=${program##*/}
    check "${name%_fuzz}: seeds and corpus" replay "$program" "${name%_fuzz}"
done
tap_done
