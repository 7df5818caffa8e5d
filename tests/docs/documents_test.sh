#!/bin/sh
# Every example in the documents is true: programs compile without warnings, configurations pass the
# check, commands run as they stand there and print what the document says.  README.md beside this
# file has the marks that say how.  DOCUMENTS names fewer documents than all; with INSTALLED it is the
# machine's own netqueue that is tried, by who has nothing of this tree.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99
tap_mktemp
tab=$(printf '\t')
umask 077 # files of keys are closed to others, as the documents ask for

# What a reader has in the path: a compiler, pkg-config and the command, all of this tree.
path_of_this_tree() {
    [ -x "$stage${bindir:?}/netqueue" ] || skip_all "the command is not built"
    plugins=$stage${plugindir:?}
    NETQUEUE_PLUGIN_UNSAFE=1
    export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE
    mkdir "$tap_tmp/bin"
    cat >"$tap_tmp/bin/cc" <<END
#!/bin/sh
PATH=\${PATH#*:}
exec $CC $NQ_FLAGS -Wall -Wextra -Werror "\$@"
END
    cat >"$tap_tmp/bin/pkg-config" <<END
#!/bin/sh
PATH=\${PATH#*:}
exec pkg-config --define-variable=prefix='$stage${prefix:?}' \
    --define-variable=exec_prefix='$stage${exec_prefix:?}' --define-variable=libdir='$stage_lib' \
    --define-variable=includedir='$stage${includedir:?}' "\$@"
END
    chmod +x "$tap_tmp/bin/cc" "$tap_tmp/bin/pkg-config"
    PATH=$tap_tmp/bin:$stage$bindir:$PATH
}

if [ -n "${INSTALLED:-}" ]; then
    plugins=$(pkg-config --variable=transportdir netqueue-transport) || exit 99
else
    tap_stage
    path_of_this_tree
fi

# ---- one block: N is its number, `options` what its mark adds ---------------------------------

option() { # name
    case $options in
    *"; $1;"*) ;;
    *) return 1 ;;
    esac
}

# What the option `needs` asks for, and the transports that a configuration names.
all_there() { # N
    for thing in $(echo "$options" | grep -o 'needs [a-z]*' | cut -d ' ' -f 2) \
        $(grep -oE '"(transport|inner)": *"[a-z]*"' "$blocks/$1" | cut -d '"' -f 4); do
        [ -e "$plugins/$thing.so" ] || [ -e "$files/$thing.so" ] || command -v "$thing" || return 1
    done >/dev/null
}

compiles() { # N
    {
        echo '#include <netqueue/netqueue.h>'
        echo "#line $((line + 1)) \"$document\""
        cat "$blocks/$1"
    } >"$blocks/$1.c"
    # shellcheck disable=SC2046 # a list of words
    cc -Wno-misleading-indentation $(pkg-config --cflags netqueue) -c -o "$blocks/$1.o" "$blocks/$1.c"
}

ended() { # CODE: as the mark wants it
    echo "ended with $1"
    if option fails; then
        [ "$1" -ne 0 ] && [ "$1" -ne 124 ]
    else
        [ "$1" -eq 0 ]
    fi
}

is_checked() { # file
    netqueue check -c "$files/$1"
    ended $?
}

# All that is wrong is that the reader's own certificates are not here.
lacks_certificates() { # file
    netqueue check -c "$files/$1" >"$blocks/said"
    [ -s "$blocks/said" ] && ! grep -qv 'tls\.[a-z]*: cannot read .*: No such file' "$blocks/said"
}

# In the folder of the document's files, where paths count from.
is_checked_there() { # N
    cp "$blocks/$1" "$files/.checked.json" &&
        { lacks_certificates .checked.json || is_checked .checked.json; }
}

# run N: in the folder that the last commands left, which it may change.
run() {
    (
        cd "$(cat "$blocks/here")" || exit 99
        timeout 120 sh -ec '. "$1"; pwd >"$2"' sh "$blocks/$1" "$blocks/here"
    ) >"$blocks/out." 2>"$blocks/err." </dev/null
    code=$?
    cat "$blocks/out." "$blocks/err."
    ended $code
}

# A server that listens on several transports does so on tcp last.
until_it_listens() { # pid
    listening=":$(printf %04X "$port") 00000000:0000 0A"
    until grep -q "$listening" /proc/net/tcp; do
        kill -0 "$1" || return
    done
}

start() { # N terminal
    finish "$2" || return
    (
        cd "$(cat "$blocks/here")" && exec timeout 120 sh -e "$blocks/$1"
    ) >"$blocks/out.$2" 2>"$blocks/err.$2" </dev/null &
    echo $! >"$blocks/pid.$2"
    started $!
    if option listens; then
        until_it_listens $!
    fi
}

# The commands in a terminal have ended well.  No terminal: those that were run last.
finish() { # terminal
    [ -e "$blocks/pid.$1" ] || return 0
    wait "$(cat "$blocks/pid.$1")"
    code=$?
    rm "$blocks/pid.$1"
    cat "$blocks/err.$1"
    ended $code
}

prints() { # N terminal
    finish "$2" && diff "$blocks/$1" "$blocks/out.$2"
}

# ---- a document ------------------------------------------------------------------------------

place() { # N name
    mkdir -p "$(dirname "$files/$2")" && [ ! -e "$files/$2" ] && cp "$blocks/$1" "$files/$2"
}

block() { # N language mark
    name="$document:$line:"
    argument=${3#* }
    case $3 in
    "not run, "*)
        not_run=$((not_run + 1))
        ok "$name is not run: ${argument#run, }"
        return
        ;;
    esac
    all_there "$1" || {
        skip "$name" "what it needs is not there"
        return
    }
    case $2,$3 in
    c,file\ * | c,within | c,) try "$name a program compiles" compiles "$1" ;;
    json,file\ *)
        ! grep -q '"purpose"' "$blocks/$1" || try "$name $argument is checked" is_checked "$argument"
        ;;
    json,within | json,) try "$name a configuration is checked" is_checked_there "$1" ;;
    sh,terminal\ *) try "$name commands run in terminal $argument" start "$1" "$argument" ;;
    sh, | sh,run) try "$name commands run" run "$1" ;;
    text,prints) try "$name they print what the document says" prints "$1" '' ;;
    text,prints\ *)
        try "$name terminal $argument prints what the document says" prints "$1" "$argument"
        ;;
    *,file\ * | text,) ;;
    *) not_ok "$name the mark \"$3\" of a block in \"$2\" is unknown" ;;
    esac
}

document() { # path from the top
    document=$1
    blocks=$tap_tmp/blocks/$1
    files=$tap_tmp/files/$1
    port=$(free_port)
    mkdir -p "$blocks" "$files"
    NETQUEUE_PLUGIN_PATH=$plugins:$files # also what the document itself builds
    echo "$files" >"$blocks/here"
    sed "s/51966/$port/g" "$1" |
        awk -v folder="$blocks" -f tests/docs/blocks.awk >"$blocks/list"
    while IFS=$tab read -r n line language mark options; do
        case $mark in
        file\ *) place "$n" "${mark#* }" || not_ok "$1:$line: ${mark#* } is there already" ;;
        esac
    done <"$blocks/list"
    while IFS=$tab read -r n line language mark options <&3; do
        block "$n" "$language" "$mark"
    done 3<"$blocks/list"
    options=';'
    for pid in "$blocks"/pid.*; do
        [ ! -e "$pid" ] || try "$1: terminal ${pid##*.} has ended" finish "${pid##*.}"
    done
}

not_run=0
for path in ${DOCUMENTS:-README.md docs/*.md plugins/*/README.md}; do
    document "$path"
done

# Code that is only indented is seen by nobody.
no_example_without_fence() {
    ! awk '
        FNR == 1 { inside = 0 }
        /^```/ || /^<!--/ && !/-->$/ || /^-->$/ { inside = !inside }
        !inside && /^    .*([;{}]|\\)$|^    (\.?[a-z]*\/|cc |cd |make |sudo |netqueue |openssl |npm )/ {
            print FILENAME ":" FNR ": " $0
            found = 1
        }
        END { exit !found }' README.md docs/*.md plugins/*/README.md
}
check "no example stands outside a fence" no_example_without_fence

# Links to places on the network are left to the reader.
links_lead_somewhere() {
    ! for path in README.md CONTRIBUTING.md docs/*.md plugins/*/README.md; do
        grep -oE '\]\([^):#]+[)#]' "$path" | sed 's/^](//; s/.$//' | while read -r link; do
            [ -e "$(dirname "$path")/$link" ] || echo "$path: $link is not there"
        done
    done | grep .
}
check "links between documents lead somewhere" links_lead_somewhere
check "few examples are not run" test "$not_run" -le 8
tap_done
