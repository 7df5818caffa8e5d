#!/bin/sh
# Each public header compiles alone, as C11 and as C++17, with nothing but include/ in the path.
# Those with threads want POSIX 2008, transport_x509.h OpenSSL's headers too, transport_unix.h Linux.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99

warnings="-Wall -Wextra -Wpedantic -Werror"

alone() { # header, command...
    header=$1
    shift
    printf '#include <netqueue/%s>\n#include <netqueue/%s>\n' "$header" "$header" |
        "$@" -Iinclude -fsyntax-only -
}

# The numbers in netqueue.h are those of the package.
same_version() {
    from_header=$(awk '$1 == "#define" && $2 ~ /^NQ_VERSION_(MAJOR|MINOR|PATCH)$/ {
        text = text sep $3; sep = "."
    } END { print text }' include/netqueue/netqueue.h)
    echo "netqueue.h: $from_header, package: $PACKAGE_VERSION"
    [ "$from_header" = "$PACKAGE_VERSION" ]
}

for file in include/netqueue/*.h; do
    name=${file##*/}
    posix=
    if [ "$name" = transport_thread.h ]; then
        posix=-D_POSIX_C_SOURCE=200809L
    fi
    if [ "$name" = transport_unix.h ]; then
        posix=-D_DEFAULT_SOURCE
    fi
    if [ "$name" = transport_x509.h ]; then
        posix=-D_POSIX_C_SOURCE=200809L
        # shellcheck disable=SC2086 # a list of words
        if ! echo '#include <openssl/ssl.h>' | $CC -fsyntax-only -x c - 2>/dev/null; then
            skip "$name compiles alone" "no headers of OpenSSL"
            continue
        fi
    fi
    # shellcheck disable=SC2086 # lists of words
    check "$name compiles alone as C11" alone "$name" $CC -std=c11 $posix -x c $warnings
    if command -v "${CXX%% *}" >/dev/null; then
        # shellcheck disable=SC2086
        check "$name compiles alone as C++17" alone "$name" $CXX -std=c++17 $posix -x c++ $warnings
    else
        skip "$name compiles alone as C++17" "no C++ compiler"
    fi
done
if [ -n "${PACKAGE_VERSION:-}" ]; then
    check "netqueue.h has the version of the package" same_version
fi
tap_done
