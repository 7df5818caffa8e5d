#!/bin/sh
# The manual pages: those of headers, transports and the configuration leave nothing out, and all of
# them format without a warning.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_stage
cd "$top_srcdir" || exit 99
man=$stage${mandir:?}
headers=include/netqueue
NETQUEUE_PLUGIN_UNSAFE=1
NETQUEUE_PLUGIN_PATH=$stage${plugindir:?}
export NETQUEUE_PLUGIN_UNSAFE NETQUEUE_PLUGIN_PATH

page_of() { # header
    name=$(basename "$1" .h)
    [ "$name" = netqueue ] || name=netqueue-$name
    echo "$man/man3/$name.3"
}

# What a program can call: functions, and macros that are named like them.
functions() { # header
    grep -E '^NQ_API|^static inline|^(int|void|const) .*\(|^nqt_|^#define nq_' "$1" |
        grep -oE '\bnqt?_[a-z0-9_]+\(' | tr -d '(' | sort -u
}

every_function_is_there() {
    for header in "$headers"/*.h; do
        page=$(page_of "$header")
        [ -s "$page" ] || echo "${header##*/} has no page"
        for function in $(functions "$header"); do
            grep -q "\b$function(" "$page" || echo "${page##*/} does not have $function"
            grep -qx "\.so man3/${page##*/}" "$man/man3/$function.3" || echo "no page is called $function"
        done
    done >"$tap_tmp/missing"
    ! grep . "$tap_tmp/missing" && [ "$(ls "$man/man3" | wc -l)" -gt 150 ]
}

# Also what is no function: structs, enums, constants.
every_type_is_there() {
    for header in "$headers"/*.h; do
        for name in $(grep -oE '^(struct|enum|typedef enum) nqt?_[a-z_]+ \{|^ +NQT?_[A-Z0-9_]+ =|^#define NQT?_[A-Z0-9_]+' \
            "$header" | grep -oE 'NQT?_[A-Z0-9_]+|nqt?_[a-z0-9_]+'); do
            grep -q "\b$name\b" "$(page_of "$header")" || echo "${header##*/}: $name"
        done
    done >"$tap_tmp/missing"
    ! grep . "$tap_tmp/missing"
}

options_are_so() { # transport
    "$stage${bindir:?}/netqueue" transports "$1" >"$tap_tmp/options" &&
        awk -f docs/options.awk "$tap_tmp/options" "docs/netqueue-$1.7" >"$tap_tmp/page" &&
        [ "$(grep -c '^\.TP' "$tap_tmp/page")" -ge "$(grep -c '^  [a-z]' "$tap_tmp/options")" ] &&
        diff "docs/netqueue-$1.7" "$tap_tmp/page"
}

keys_are_so() {
    awk -f docs/keys.awk config/README.md docs/netqueue.conf.5 >"$tap_tmp/page" &&
        [ "$(grep -c '^\.TP' "$tap_tmp/page")" -gt 30 ] && diff docs/netqueue.conf.5 "$tap_tmp/page"
}

each_page() { # COMMAND...: it says nothing of any of them
    find "$man" -name 'n*.[1-9]' -size +1 -print | while read -r page; do
        "$@" "$page" 2>&1 >/dev/null | sed "s|^|${page##*/}: |"
    done >"$tap_tmp/said"
    ! grep . "$tap_tmp/said"
}
lint() { # page
    mandoc -Tlint -Wwarning "$1" >&2
}
# As manual pages are looked at where packages are made.
show() { # page
    LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$1"
}

tap_mktemp
check "every function of a header is in its page, and another name of it" every_function_is_there
check "so is every type and constant" every_type_is_there
for transport in tcp shm mqtt grpc; do
    name="the page of $transport has the options that it has"
    if [ -e "$NETQUEUE_PLUGIN_PATH/$transport.so" ] && [ -x "$stage$bindir/netqueue" ]; then
        check "$name" options_are_so "$transport"
    else
        skip "$name" "the transport or the command is not built"
    fi
done
check "the page of the configuration file has the keys that there are" keys_are_so
for tool in groff mandoc man; do
    name="the pages format without a warning of $tool"
    if ! command -v $tool >/dev/null; then
        skip "$name" "$tool is not installed"
    elif [ $tool = groff ]; then
        check "$name" each_page groff -ww -man -Tutf8
    elif [ $tool = mandoc ]; then
        check "$name" each_page lint
    else
        check "$name" each_page show
    fi
done
tap_done
