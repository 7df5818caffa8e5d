#!/bin/sh
# Check the models exhaustively with spin, and that they find the faults planted in them.  TAP.
#
#     tests/model/run.sh         about a minute
#     tests/model/run.sh long    also the larger ones: minutes, and up to 2 GiB of memory

cd "$(dirname "$0")" || exit 99
if ! command -v spin >/dev/null; then
    echo "1..0 # SKIP spin is not installed"
    exit 0
fi
: "${CC:=cc}"
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' INT TERM
count=0
failed=0

# Say the outcome of the last command: name, what pan printed.
result() { # status, name
    count=$((count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $count - $2"
    else
        echo "not ok $count - $2"
        failed=$((failed + 1))
        sed 's/^/# /' "$dir/out"
    fi
}

# pan MODEL DEFINES...: build the checker of a model and run it.  Its words are in $dir/out.
pan() {
    model=$1
    shift
    cp "$model.pml" "$dir/" && (
        cd "$dir" && rm -f pan && spin -a "$@" "$model.pml" >out 2>&1 &&
            "$CC" $optimise -w -DSAFETY -DNOFAIR -DMEMLIM=4096 -o pan pan.c >>out 2>&1 &&
            ./pan -m100000 -w24 >>out 2>&1
    )
    ! grep -q 'max search depth too small\|out of memory\|error:' "$dir/out"
}

# Every order of steps is right.
holds() {
    optimise=-O1
    pan "$@" && grep -q 'errors: 0' "$dir/out"
    result $? "$* holds: $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1 states/p' "$dir/out")"
}

# The planted fault is found.
finds() {
    optimise=-O0
    pan "$@" && grep -q 'errors: 1' "$dir/out"
    result $? "$* is found"
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
finds wait -DBUG_STOP -DTHREAD -DW=1
finds wait -DBUG_AWAIT -DTHREAD -DCALLBACK

holds poll
for bug in UNTIL WOKEN ENTER CHECK WATCH; do
    finds poll -DBUG_$bug
done

if [ "${1:-}" = long ]; then
    holds poll -DPOSTS=2
    holds wait
    holds wait -DFDS=0 -DPOSTS=2
    holds wait -DFOREIGN=1 -DPOSTS=0
    holds strand -DCOMERS=4
    holds join -DCOMERS=3
    holds session -DLINKS=4 -DPUTS=3 -DANSWERS=2
fi

echo "1..$count"
[ "$failed" -eq 0 ]
