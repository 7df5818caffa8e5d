#!/bin/sh
# What programs were built against: the library has every function that libnetqueue.abi lists, with
# the same arguments and types.  `make update-abi` writes that file, for a release; what was in the
# last one then may not have changed, or the soname does.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_mktemp
lib=$top_builddir/.libs/libnetqueue.so

same_abi() { # the file
    abidiff --suppr "$top_srcdir/tests/api/abi.private" --exported-interfaces-only --no-added-syms "$1" "$lib"
}

# The file says something that the library is not, and that is what abidiff says, with bit 4.
is_told() { # sed's program
    sed "$1" "$top_srcdir/tests/api/libnetqueue.abi" >"$tap_tmp/other.abi"
    cmp -s "$tap_tmp/other.abi" "$top_srcdir/tests/api/libnetqueue.abi" && return 1
    same_abi "$tap_tmp/other.abi"
    [ $(($? & 4)) -ne 0 ]
}

# The types as that compiler and that machine have them, of a library as it is installed.
command -v abidiff >/dev/null || skip_all "no abidiff"
[ "$(uname -m)" = x86_64 ] || skip_all "the file is that of x86_64"
[ -e "$lib" ] || skip_all "no shared library"
"$NM" -D "$lib" | grep -q '__asan_\|__tsan_' && skip_all "not the library that is installed"

check "what programs were built against is there as it was" \
    same_abi "$top_srcdir/tests/api/libnetqueue.abi"
check "a function that has gone is told" is_told "s/name='nq_put'/name='nq_putt'/"
check "a member that has moved is told" is_told \
    "/class-decl name='nq_stats'/,/class-decl>/s/layout-offset-in-bits='640'/layout-offset-in-bits='672'/"
check "a struct that has grown is told" is_told "/class-decl name='nq_peer_info'/s/size-in-bits='/&1/"
tap_done
