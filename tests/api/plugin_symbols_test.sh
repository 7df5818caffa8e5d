#!/bin/sh
# A plugin exports one constant, <name>_LTX_nqt<major>_module, and needs no symbol of the library.
. "${top_srcdir:-.}/tests/support/tap.sh"
major=$(sed -n 's/^#define NQT_ABI_MAJOR //p' "$top_srcdir/include/netqueue/transport.h")

one_export() { # file, name
    found=$("$NM" -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }')
    echo "$found"
    [ "$found" = "${2}_LTX_nqt${major}_module" ]
}

nothing_of_ours() { # file
    ! "$NM" -D --undefined-only "$1" | grep -E ' nq'
}

not_linked() { # file
    ! readelf -d "$1" | grep 'NEEDED.*netqueue'
}

tested=0
for file in "$top_builddir"/plugins/*/.libs/*.so; do
    [ -e "$file" ] || continue
    name=${file##*/}
    name=${name%.so}
    check "$name exports its module and nothing else" one_export "$file" "$name"
    check "$name leaves no symbol of the library undefined" nothing_of_ours "$file"
    check "$name does not link the library" not_linked "$file"
    tested=$((tested + 1))
done
[ $tested -gt 0 ] || skip_all "no plugin is built"
tap_done
