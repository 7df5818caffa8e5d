#!/bin/sh
# What `netqueue new-transport` makes is built against the installed headers, by one call of the
# compiler and by autotools, keeps the rules, and runs in the installed library.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_stage
tap_mktemp
cd "${tap_tmp:?}" || exit 99
NETQUEUE=$stage${bindir:?}/netqueue
export NETQUEUE

# pkg-config for configure scripts, as if the stage were the root.
{
    echo '#!/bin/sh'
    echo "exec pkg-config --define-variable=prefix='$stage${prefix:?}' \\"
    echo "    --define-variable=exec_prefix='$stage${exec_prefix:?}' \\"
    echo "    --define-variable=libdir='$stage_lib' \\"
    echo "    --define-variable=includedir='$stage${includedir:?}' \"\$@\""
} >pkg-config
chmod +x pkg-config

made() {
    "$NETQUEUE" new-transport pigeon mine && ! grep -r unixsock mine && [ -e mine/pigeon.c ]
}

keeps_rules() { # file
    "$NETQUEUE" conform --config mine/conform.json "$1"
}

one_call() {
    # shellcheck disable=SC2046,SC2086 # lists of words
    $CC $NQ_FLAGS -std=gnu17 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -shared \
        -Wl,-z,nodelete $(stage_config --cflags netqueue-transport) -o pigeon.so mine/pigeon.c &&
        keeps_rules ./pigeon.so
}

# The README's own call, with this test's pkg-config.
call_of_the_readme() {
    sed -n '/^    cc /,/^$/p' mine/README.md | sed 's/pkg-config/..\/pkg-config/' >call
    (cd mine && sh -e ../call) && keeps_rules mine/pigeon.so && rm mine/pigeon.so
}

autotools() {
    cp -R mine auto && cd auto && autoreconf -fi >log 2>&1 && mkdir build && cd build &&
        ../configure PKG_CONFIG="$PWD/../../pkg-config" >>../log 2>&1 &&
        make >>../log 2>&1 && make check >>../log 2>&1 &&
        make install DESTDIR="$PWD/root" >>../log 2>&1 &&
        (cd root && find . -name 'pigeon.*') | grep -q "/transport-[0-9]*/pigeon.so\$"
}
with_autotools() {
    (autotools) && return
    tail -n 30 auto/log
    return 1
}

not_again() {
    "$NETQUEUE" new-transport pigeon mine >out 2>err
    [ $? -eq 1 ] && grep 'mine: it is not empty' err
}

no_name() {
    for name in Pigeon 7up "a b" ../x ''; do
        "$NETQUEUE" new-transport "$name" other 2>err
        [ $? -eq 2 ] && grep 'is no name' err && [ ! -e other ] || return 1
    done
}

check "a new transport is made, under its own name" made
check "one call of the compiler builds it, and it keeps the rules" one_call
if [ -z "$NQ_FLAGS" ]; then
    check "so does the call that its README has" call_of_the_readme
    if command -v autoreconf libtoolize >/dev/null; then
        check "autotools build, try and install it" with_autotools
    else
        skip "autotools build, try and install it" "no autoconf or libtool"
    fi
fi
check "what is there is not overwritten" not_again
check "a name that is no identifier is refused" no_name
tap_done
