#!/bin/sh
# What is installed is built so that a fault in it is harder to use: loaded anywhere, with tables
# that cannot be written once it runs, a stack that is watched and not executable, and the C
# library's checks of sizes.  Looked at in the files themselves, because flags can get lost.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_stage
tap_mktemp
[ -z "$NQ_FLAGS" ] || skip_all "a build with sanitizers"
for tool in readelf objdump; do
    command -v "$tool" >/dev/null || skip_all "no $tool"
done
: "${NQ_CPPFLAGS:=}"

relro() { # file
    readelf -lW "$1" | grep GNU_RELRO
}

# Every address is resolved when it is loaded, so that the whole table is protected then.
bound_at_once() { # file
    readelf -dW "$1" | grep -E '\(FLAGS_1\).*\<NOW\>|\(BIND_NOW\)'
}

# Debuggers call a library DYN as well: a program has the mark PIE.
position_independent() { # file
    readelf -hW "$1" | grep -E 'Type: +DYN' && readelf -dW "$1" | grep -E '\(FLAGS_1\).*\<PIE\>'
}

no_executable_stack() { # file
    readelf -lW "$1" | grep -E 'GNU_STACK .* RW +0x'
}

no_text_relocation() { # file
    ! readelf -dW "$1" | grep -E 'TEXTREL'
}

stack_protected() { # file
    "$NM" -D --undefined-only "$1" | grep __stack_chk_fail
}

# Not each call: the compiler leaves out the checks that it can do itself.
fortified() { # file
    "$NM" -D --undefined-only "$1" | grep -E ' __[a-z]+_chk(@|$)'
}

# Nowhere the stack grows by more than a page without the page being touched.  (Numbers that begin
# with f are negative.)
stack_probed() { # file
    objdump -d --no-show-raw-insn "$1" | awk '
        /[ \t]sub +\$0x[0-9a-f]+,%rsp$/ {
            size = $0
            sub(/.*\$0x/, "", size)
            sub(/,.*/, "", size)
            if (size !~ /^ffff/ && (length(size) > 4 || (length(size) == 4 && size > "1000"))) {
                print
                bad = 1
            }
        }
        END { exit bad }'
}

# A program whose stack needs it, built with and without, as the compiler can.
compile_large() { # name, flag...
    large=$1
    shift
    "$CC" -O2 "$@" -shared -fPIC -o "$tap_tmp/$large.so" "$tap_tmp/large.c"
}

stack_probes_are_seen() {
    cat >"$tap_tmp/large.c" <<'EOF'
void fill(char *);
void large(void)
{
    char bytes[200000];
    fill(bytes);
}
EOF
    compile_large without -fno-stack-clash-protection && ! stack_probed "$tap_tmp/without.so" &&
        compile_large with -fstack-clash-protection && stack_probed "$tap_tmp/with.so"
}

harden() { # file
    name=${1##*/}
    check "$name: tables are read-only once it is loaded" relro "$1"
    check "$name: everything is bound when it is loaded" bound_at_once "$1"
    check "$name: the stack is not executable" no_executable_stack "$1"
    check "$name: its code is not written to" no_text_relocation "$1"
    check "$name: the stack is watched" stack_protected "$1"
    case $NQ_CPPFLAGS in
    *_FORTIFY_SOURCE*) check "$name: sizes are checked" fortified "$1" ;;
    *) skip "$name: sizes are checked" "nothing is optimised, or the level is not ours" ;;
    esac
    [ "$probes" = no ] || check "$name: the stack is probed" stack_probed "$1"
}

probes=no
if [ "$(uname -m)" = x86_64 ]; then
    check "this test sees a stack that is not probed" stack_probes_are_seen
    probes=yes
fi
check "netqueue can be loaded anywhere" position_independent "$stage${bindir:?}/netqueue"
for file in "$stage$bindir/netqueue" "$stage_lib/libnetqueue.so" "$stage${plugindir:?}"/*.so; do
    harden "$file"
done
tap_done
