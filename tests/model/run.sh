#!/bin/sh
# Check the models exhaustively with spin, and that they find the faults planted in them.  TAP.
#
#     tests/model/run.sh         two minutes on two processors
#     tests/model/run.sh long    also the larger ones: minutes, and up to 2 GiB of memory each

cd "$(dirname "$0")" || exit 99
if ! command -v spin >/dev/null; then
    echo "1..0 # SKIP spin is not installed"
    exit 0
fi
: "${CC:=cc}"

# run.sh one FOLDER/NUMBER holds|finds MODEL DEFINES...: build the checker of a model in a folder of its
# own, run it, and leave a line of TAP there.  holds: every order of steps is right; finds: the planted
# fault is found.
if [ "${1:-}" = one ]; then
    dir=$2 what=$3 model=$4
    number=${dir##*/}
    shift 4
    optimise=-O0 errors=1
    [ "$what" = holds ] && optimise=-O1 errors=0
    mkdir "$dir" && cp "$model.pml" "$dir/" && cd "$dir" || exit 99
    if spin -a "$@" "$model.pml" >out 2>&1 &&
        "$CC" $optimise -w -DSAFETY -DNOFAIR -DMEMLIM=4096 -o pan pan.c >>out 2>&1 &&
        ./pan -m100000 -w24 >>out 2>&1 &&
        ! grep -q 'max search depth too small\|out of memory\|error:' out &&
        grep -q "errors: $errors" out; then
        states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/: \1 states/p' out)
        [ "$what" = holds ] || states=
        echo "ok $number - $model $* $what$states" >tap
    else
        {
            echo "not ok $number - $model $* $what"
            sed 's/^/# /' out
        } >tap
    fi
    rm -f pan pan.*
    exit 0
fi

dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' INT TERM
count=0

add() {
    count=$((count + 1))
    echo "$dir/$count $*" >>"$dir/checks"
}

holds() {
    add holds "$@"
}

finds() {
    add finds "$@"
}

holds strand
for bug in LEAVE SETTLE ORDER ENTER; do
    finds strand -DBUG_$bug
done

holds join
for bug in POINTER FREE DRAIN LEAVE; do
    finds join -DBUG_$bug
done

holds session
holds session -DPUTS=3 -DANSWERS=2
holds session -DLINKS=4 -DPUTS=1
for bug in NONCE PROOF COUNTER AGAIN OPENED KEEP BEHIND ACKED FIRST REACHED ACK EARLY TOMB STRANGER FORMER; do
    finds session -DBUG_$bug
done

holds wait -DW=1
holds wait -DW=1 -DGETS=2
holds wait -DW=1 -DFDS=0 -DPOSTS=2
holds wait -DFDS=2 -DPOSTS=0
holds wait -DFDS=0 -DPOSTS=0 -DFOREIGN=2
holds wait -DTIMED -DFDS=2 -DPOSTS=0
holds wait -DCALLBACK -DFDS=2 -DPOSTS=0
holds wait -DHOT -DW=1 -DGETS=2
holds wait -DHOT -DCALLBACK -DFDS=2 -DPOSTS=0
holds wait -DMANUAL
holds wait -DMANUAL -DFOREIGN=1
holds wait -DMANUAL -DTIMED -DW=3 -DFDS=2
holds wait -DTHREAD -DFOREIGN=1
holds wait -DTHREAD -DCALLBACK

finds wait -DBUG_TOKEN
finds wait -DBUG_SLEEP_CHECK -DW=1 -DFDS=0
finds wait -DBUG_WORD_CHECK -DFDS=0 -DPOSTS=0 -DFOREIGN=2
finds wait -DBUG_ENLIST_CHECK -DFDS=0 -DPOSTS=0 -DFOREIGN=2
finds wait -DBUG_KICK_ONCE -DMANUAL -DW=1 -DGETS=2
finds wait -DBUG_LEAVE_INBOX -DW=1 -DFDS=0 -DPOSTS=2
finds wait -DBUG_LEAVE_CHECK -DMANUAL
finds wait -DBUG_FOLLOW_CHECK -DMANUAL
finds wait -DBUG_PROMOTE -DMANUAL
finds wait -DBUG_LATE -DMANUAL -DTIMED -DW=3 -DFDS=2
finds wait -DBUG_REST -DW=1 -DFDS=0 -DPOSTS=2
finds wait -DBUG_OFF -DW=1 -DFDS=2 -DPOSTS=0
finds wait -DBUG_BUSY -DCALLBACK -DFDS=2 -DPOSTS=0
finds wait -DBUG_HOT -DHOT -DW=1 -DFDS=2 -DPOSTS=0
finds wait -DBUG_STOP -DTHREAD -DW=1
finds wait -DBUG_AWAIT -DTHREAD -DCALLBACK

holds poll
for bug in UNTIL WOKEN ENTER CHECK WATCH; do
    finds poll -DBUG_$bug
done

if [ "${1:-}" = long ]; then
    holds poll -DPOSTS=2
    holds wait
    holds wait -DHOT
    holds wait -DFDS=0 -DPOSTS=2
    holds wait -DFOREIGN=1 -DPOSTS=0
    holds strand -DCOMERS=4
    holds join -DCOMERS=3
    holds session -DLINKS=4 -DPUTS=3 -DANSWERS=2
fi

# As many at a time as there are processors; the lines in the order from above.
xargs -P "$(nproc)" -L 1 sh run.sh one <"$dir/checks"
failed=0
for number in $(seq "$count"); do
    cat "$dir/$number/tap" || echo "not ok $number - it did not run"
    grep -q '^ok ' "$dir/$number/tap" || failed=$((failed + 1))
done
echo "1..$count"
[ "$failed" -eq 0 ]
