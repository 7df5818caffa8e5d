#!/bin/sh
# docs/security.md says which test proves what: each of these tests is there.  And what it says of
# the sources that no test program can see.
#
# On the page a file's path stands in backticks; the names of tests behind it, in backticks or, of
# scripts, in quotation marks, are that file's, up to the next path or the end of the cell.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99
page=docs/security.md

# Lines "file", "file<TAB>test": what the page names.  A paragraph goes on over its lines, a row of a
# table ends with its line, and a file with its cell.
named() {
    awk '
        function look(text, file, part) {
            while (match(text, /`[^`]*`|"[^"]*"/)) {
                part = substr(text, RSTART + 1, RLENGTH - 2)
                quoted = substr(text, RSTART, 1) == "\""
                text = substr(text, RSTART + RLENGTH)
                if (!quoted && part ~ /^[a-z_\/]*_(test|fuzz)\.(c|sh)$|^(tests|tools\/conform)\/[a-z_\/]*\.c$/)
                    print file = part
                else if (file && (quoted ? file ~ /\.sh$/ : part ~ /^[a-z0-9]+(_[a-z0-9]+)+$/))
                    print file "\t" part
            }
        }
        /^\|/ {
            look(block)
            block = ""
            n = split($0, cell, "|")
            for (i = 1; i <= n; i++)
                look(cell[i])
            next
        }
        /^$/ { look(block); block = "" }
        { block = block " " $0 }
        END { look(block) }
    ' "$page"
}

# A path from the top, or the name of one file below tests/.
find_test() {
    if [ -e "$1" ]; then
        echo "$1"
    else
        find tests -name stage -prune -o -name "${1##*/}" -print
    fi
}

missing() {
    tab=$(printf '\t')
    named | sort -u | while IFS=$tab read -r file name; do
        path=$(find_test "$file")
        if [ -z "$path" ]; then
            echo "$file: there is no such test"
        elif [ -n "$name" ] && ! grep -qF "$name" "$path"; then
            echo "$file: it has no \"$name\""
        fi
    done
}
all_there() {
    ! missing | grep .
}
enough() { # or the page is written in another way than it is read here
    [ "$(named | grep -c "$(printf '\t')")" -gt 100 ]
}
check "the page names its tests as they are read here" enough
check "each test that the page names is there" all_there

# ---- what the page says of the sources ----------------------------------------------------

# With alloca() or a length that is not constant an array's size could be input.
no_alloca() {
    ! grep -nE '\balloca *\(' core/*.[ch] plugins/*/*.[ch] include/netqueue/*.h &&
        grep -q -e '-Wvla' configure.ac
}
check "no array on the stack whose size is input" no_alloca

# memcmp() ends where two secrets differ.  What is compared with it is public.
constant_time() {
    ! grep -nE 'memcmp\(.*(proof|key|tag|psk|secret)' core/attach.c core/guard.c core/keyring*.c \
        core/tomb.c core/session*.c core/link*.c core/peer*.c core/queue*.c &&
        grep -q memeql_sec core/attach.c && grep -q memeql_sec core/guard.c
}
check "secrets are compared in constant time" constant_time
tap_done
