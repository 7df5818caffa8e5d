#!/bin/sh
# A transport that breaks one rule is told to break that one, and no other: tests/conform/wrong.c with
# each of its faults.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"
wrong=$top_builddir/tests/conform/.libs/wrong.so
[ -e "$wrong" ] || skip_all "$wrong is not built"

# Of those that never come, each is waited for so long; a slot that hangs, three times that.
patience=4s
[ -z "$NQ_FLAGS" ] || patience=8s

broken_rules() {
    sed -n 's/^not ok [0-9]* - \([^:]*\):.*/\1/p' out
}

# breaks FAULT RULE: that rule, and no other.
breaks() {
    # shellcheck disable=SC2016 # the command puts a folder there
    NQ_WRONG=$1 timeout --foreground -k 5 250 "$NETQUEUE" conform --timeout "$patience" \
        --config '{"both": {"path": "$DIR/socket"}}' "$wrong" >out 2>err
    code=$?
    [ "$code" -eq "$3" ] && [ "$(broken_rules)" = "$2" ] && return
    echo "exit code $code, broken: $(broken_rules | tr '\n' ' ')"
    grep -A 1 '^not ok' out
    cat err
    return 1
}

check "without a fault all rules hold" breaks "" "" 0
while read -r fault rule; do
    check "the fault \"$fault\" breaks the rule $rule" breaks "$fault" "$rule" 1
done <<END
name            load
minor           load
claims          descriptor
helpless        option-table
misfit          option-table
no-ep-up        endpoint-up
no-link-up      link-up
nameless        info
sixteen         many-links
eight           many-endpoints
presumes        older-host
exact           newer-host
large-error     sizes
homesick        any-thread
idler           threads
crash           slots-when-down
steals          address-in-use
listener        listener
no-writable     back-pressure
lost            end
no-link-down    end
deaf            killed-peer
reuses          received-buffers
careless-memory no-memory
careless-watch  no-help
deep            option-ends
short-list      option-ends
tells           secrets
serial          serial
flip            bytes-in-order
down-twice      up-then-down
closed-twice    closed-is-last
epoch           event
no-text         error
eager           taken
no-commit       rx-space
leak-buffer     buffers
scribbles       read-only
late-write      read-only
leak-memory     memory
closed-watched  watches
leak-descriptor descriptors
inherited       descriptors
asks            options
newline         log
late-post       after-mod-close
hang            never-blocks
END
for fault in exports needs; do
    wrong=$top_builddir/tests/conform/$fault/.libs/unixsock.so
    check "a file that $fault too much breaks the rule symbols" breaks "" symbols 1
done
wrong=$top_builddir/tests/conform/.libs/wrong.so
# The sanitizers' malloc() does not say how much of it is used.
if [ -z "$NQ_FLAGS" ]; then
    check 'the fault "leak-malloc" breaks the rule many-lives' breaks leak-malloc many-lives 1
fi
# What is seen while another rule is tried alone is not passed over.
told_of_the_one_that_was_asked_for() {
    # shellcheck disable=SC2016 # the command puts a folder there
    NQ_WRONG=leak-descriptor "$NETQUEUE" conform --rule link-up \
        --config '{"both": {"path": "$DIR/socket"}}' "$wrong" >out 2>err
    code=$?
    cat out err
    [ "$code" -eq 1 ] && [ "$(broken_rules)" = link-up ] &&
        grep -q '^# descriptors: .* /dev/null' out
}
check "a rule that is tried alone tells what else was broken" told_of_the_one_that_was_asked_for
tap_done
