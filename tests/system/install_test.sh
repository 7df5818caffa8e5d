#!/bin/sh
# What `make install DESTDIR=` leaves serves a user and the author of a transport: all files are
# there, pkg-config finds them, and the plugin of tests/outside/ is built against the installed
# headers alone and runs in the installed library.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_stage
tap_mktemp

no_la_files() {
    ! find "$stage${plugindir:?}" -name '*.la' | grep .
}

plugins_are_there() {
    for file in "$top_builddir"/plugins/*/.libs/*.so; do
        [ -e "$file" ] || continue
        [ -e "$stage$plugindir/${file##*/}" ] || {
            echo "${file##*/} is not installed"
            return 1
        }
    done
}

headers_are_there() {
    for file in "$top_srcdir"/include/netqueue/*.h; do
        cmp "$file" "$stage$includedir/netqueue/${file##*/}" || return 1
    done
}

same_numbers() {
    header=$top_srcdir/include/netqueue/transport.h
    major=$(sed -n 's/^#define NQT_ABI_MAJOR //p' "$header")
    minor=$(sed -n 's/^#define NQT_ABI_MINOR //p' "$header")
    [ "$(stage_config --variable=transport_abi_major netqueue-transport)" = "$major" ] &&
        [ "$(stage_config --variable=transport_abi_minor netqueue-transport)" = "$minor" ] &&
        [ "$(stage_config --variable=transportdir netqueue-transport)" = "$stage$plugindir" ] &&
        [ "$(stage_config --modversion netqueue)" = "$PACKAGE_VERSION" ]
}

transport_links_nothing() {
    [ -z "$(stage_config --libs netqueue-transport)" ]
}

user_program() {
    cat >"$tap_tmp/user.c" <<'EOF'
#include <netqueue/netqueue.h>
#include <stdio.h>

int main(void)
{
    return puts(nq_version()) < 0;
}
EOF
    # shellcheck disable=SC2046,SC2086 # lists of words
    $CC $NQ_FLAGS $(stage_config --cflags netqueue) -o "$tap_tmp/user" "$tap_tmp/user.c" \
        $(stage_config --libs netqueue) &&
        [ "$("$tap_tmp/user")" = "$PACKAGE_VERSION" ]
}

installed_command() {
    NETQUEUE_PLUGIN_PATH=$stage$plugindir "$stage${bindir:?}/netqueue" transports
}

check "every public header is installed" headers_are_there
check "every plugin that is built is installed" plugins_are_there
check "no .la file lies beside the plugins" no_la_files
check "pkg-config tells version, folder and ABI of transports" same_numbers
check "netqueue-transport has nothing to link with" transport_links_nothing
check "a program is built and runs with pkg-config's flags" user_program
if [ -x "$stage$bindir/netqueue" ]; then
    check "the installed command lists the transports" installed_command
else
    skip "the installed command lists the transports" "the command is not built"
fi

# tests/outside/run.sh STAGE_VARIABLES...: builds and runs a third transport, and answers 0 when
# it worked.  It sees the compiler and the installed tree, and nothing of this one.
if [ -e "$top_srcdir/tests/outside/run.sh" ]; then
    outside() {
        cp "$top_srcdir"/tests/outside/* "$tap_tmp/" && chmod -R u+w "$tap_tmp" && cd "$tap_tmp" &&
            CFLAGS="$NQ_FLAGS" \
                TRANSPORT_CFLAGS=$(stage_config --cflags netqueue-transport) \
                NETQUEUE_CFLAGS=$(stage_config --cflags netqueue) \
                NETQUEUE_LIBS=$(stage_config --libs netqueue) \
                STAGE_PLUGINS="$stage$plugindir" CC="$CC" sh ./run.sh
    }
    check "a transport built out of tree against the installed headers works" outside
else
    skip "a transport built out of tree against the installed headers works" "tests/outside is empty"
fi
tap_done
