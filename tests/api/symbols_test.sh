#!/bin/sh
# The names that the headers declare, that core/libnetqueue.map lists, that the built library
# exports and that debian/libnetqueue0.symbols promises are the same.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_mktemp
lib=$top_builddir/.libs/libnetqueue.so

# Without comments and preprocessor lines a declaration runs from NQ_API to its semicolon, and the
# first name before a parenthesis is the function's.
awk '
    {
        line = $0
        while (1) {
            if (comment) {
                if (!(at = index(line, "*/")))
                    next
                line = substr(line, at + 2)
                comment = 0
            }
            if (!(at = index(line, "/*")))
                break
            text = text " " substr(line, 1, at - 1)
            line = substr(line, at + 2)
            comment = 1
        }
        if (line !~ /^#/ && line !~ /\\$/)
            text = text " " line
    }
    END {
        n = split(text, part, ";")
        for (i = 1; i <= n; i++) {
            if (!(at = index(part[i], "NQ_API ")))
                continue
            rest = substr(part[i], at)
            if (match(rest, /nq_[a-z0-9_]+ *\(/)) {
                name = substr(rest, RSTART, RLENGTH - 1)
                sub(/ +$/, "", name)
                print name
            }
        }
    }' "$top_srcdir"/include/netqueue/*.h | sort >"$tap_tmp/declared"

sed -nE 's/^ +(nq_[a-z0-9_]+);$/\1/p' "$top_srcdir/core/libnetqueue.map" >"$tap_tmp/mapped"

same() { # what is wrong with the left, left, what is wrong with the right, right
    comm -23 "$2" "$4" | sed "s/\$/: $1/"
    comm -13 "$2" "$4" | sed "s/\$/: $3/"
    cmp -s "$2" "$4"
}

check "the map lists the names in order" sort -c "$tap_tmp/mapped"
sort -o "$tap_tmp/mapped" "$tap_tmp/mapped"
check "headers and map name the same functions" same "declared, not in the map" \
    "$tap_tmp/declared" "in the map, not declared" "$tap_tmp/mapped"

if [ -e "$lib" ]; then
    "$NM" -D --defined-only "$lib" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
        sort >"$tap_tmp/exported"
    check "map and library name the same functions" same "in the map, not in the library" \
        "$tap_tmp/mapped" "exported, not in the map" "$tap_tmp/exported"
else
    skip "map and library name the same functions" "libnetqueue.so is not built"
fi

# What is no checkout has no packaging.
if [ -e "$top_srcdir/debian" ]; then
    sed -nE 's/^ (nq_[a-z0-9_]+)@.*/\1/p' "$top_srcdir/debian/libnetqueue0.symbols" |
        sort >"$tap_tmp/packaged"
    check "map and Debian's package name the same functions" same "in the map, not in debian/" \
        "$tap_tmp/mapped" "in debian/, not in the map" "$tap_tmp/packaged"
    abi() {
        sed -n "s/^#define NQT_ABI_$1 //p" "$top_srcdir/include/netqueue/transport.h"
    }
    check "the RPM packages have the plugin interface's numbers" \
        test "$(sed -n 's/^%global abi_m[a-z]* //p' "$top_srcdir/packaging/rpm/netqueue.spec" |
            tr '\n' .)" = "$(abi MAJOR).$(abi MINOR)."
else
    skip "map and Debian's package name the same functions" "no folder debian/"
    skip "the RPM packages have the plugin interface's numbers" "no folder packaging/"
fi
tap_done
