# shellcheck shell=sh
# For test scripts: results in TAP, and what they know of the tree.  Source it first:
#
#     . "${top_srcdir:-.}/tests/support/tap.sh"
#
# `make check` sets the variables below; by hand, from the top of a built tree, the defaults do.
# Thread of a script: ok/not_ok/check/try/skip for each case, tap_done at its end.

top_srcdir=$(cd "${top_srcdir:-.}" && pwd) || exit 99
top_builddir=$(cd "${top_builddir:-.}" && pwd) || exit 99
: "${CC:=cc}" "${CXX:=c++}" "${NM:=nm}" "${NQ_FLAGS:=}"
unset MAKEFLAGS MAKELEVEL MFLAGS # a make inside a test is its own

tap_count=0
tap_failed=0
tap_tmp=

# Lines of explanation, from the standard input.
note() {
    sed 's/^/# /'
}

ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

not_ok() {
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
}

skip() { # name, why
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

skip_all() { # why
    echo "1..0 # SKIP $1"
    exit 0
}

# check NAME COMMAND...: passes when the command does; its output becomes notes when it fails.
check() {
    tap_name=$1
    shift
    if tap_out=$("$@" 2>&1); then
        ok "$tap_name"
    else
        not_ok "$tap_name"
        printf '%s\n' "$tap_out" | note
    fi
}

# Whatever fails, nothing that was started stays: a stopped process least of all.
tap_end() {
    while read -r pid; do
        kill -KILL "$pid"
    done <"$tap_tmp/started" 2>/dev/null
    rm -rf "$tap_tmp"
}

# A folder for this test alone, removed when it ends; the answer is in $tap_tmp.
tap_mktemp() {
    tap_tmp=$(mktemp -d "$top_builddir/tests/tmp.XXXXXX") || exit 99
    : >"$tap_tmp/started"
    trap tap_end EXIT
    trap 'exit 99' HUP INT TERM
}

# check in this shell, which then knows what the command sets, and can wait for what it starts; behind
# tap_mktemp.
try() { # name, command...
    tap_name=$1
    shift
    if "$@" >"$tap_tmp/said" 2>&1; then
        ok "$tap_name"
    else
        not_ok "$tap_name"
        note <"$tap_tmp/said"
    fi
}

# started PID: it is killed when the test ends; behind tap_mktemp.
started() {
    echo "$1" >>"$tap_tmp/started"
}

# The folder a `make install DESTDIR=` went to: variables for programs that use it.
tap_stage() {
    stage=$top_builddir/tests/stage
    [ -d "$stage" ] || skip_all "nothing is installed in tests/stage: run make check"
    stage_lib=$stage${libdir:?}
    PKG_CONFIG_PATH=$stage_lib/pkgconfig
    LD_LIBRARY_PATH=$stage_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PKG_CONFIG_PATH LD_LIBRARY_PATH
}

# stage_config ARG... MODULE: pkg-config, answering as if the stage were the root.
stage_config() {
    pkg-config --define-variable=prefix="$stage${prefix:?}" \
        --define-variable=exec_prefix="$stage${exec_prefix:?}" \
        --define-variable=libdir="$stage_lib" \
        --define-variable=includedir="$stage${includedir:?}" "$@"
}

# A TCP port that nobody listens on now, below the range that the system hands out itself and above
# that of support/port.c.
free_port() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v seed="$(date +%N)" '
        { split($2, part, ":"); used[part[2]] = 1 }
        END {
            srand(seed)
            do port = 21000 + int(rand() * 11000)
            while (sprintf("%04X", port) in used)
            print port
        }'
}

tap_done() {
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
    exit
}
