#!/bin/sh
# The guides leave nothing out: each name of an enum, of a list of macros or of a struct's fields in the
# headers stands on the page that explains them all, and each text is the one that programs print.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99

# The names in a header that match: constants in their own lines, or behind a #define.
names() { # header pattern
    grep -oE "^( +|#define )$2\\b" "include/netqueue/$1" | grep -oE '[A-Z_]+$' |
        grep -vxE 'NQ_REASONS|NQ_HEALTHS' | sort -u
}

fields() { # header struct
    awk -v open="^struct $2 [{]" '$0 ~ open { on = 1; next } /^}/ { on = 0 } on' \
        "include/netqueue/$1" | sed 's|/\*.*||; s|\[.*;|;|' |
        grep -oE '[a-z_]+(,|;)' | tr -d ',;'
}

# In backticks, all of them or after a comma.
missing() { # page, names on the standard input
    while read -r name; do
        seen=y
        grep -qF "\`$name\`" "docs/$1" || echo "docs/$1 has no $name"
    done
    [ "${seen:-}" ] || echo "there are no such names"
}

all_there() { # page COMMAND...
    page=$1
    shift
    "$@" >"$tap_tmp/names" && ! missing "$page" <"$tap_tmp/names" | grep .
}

tap_mktemp
check "each event is explained" all_there operations.md names queue.h 'NQ_EVENT_[A-Z_]+'
check "each reason is explained" all_there operations.md names future.h 'NQ_REASON_[A-Z_]+'
check "each state of a transport is explained" all_there operations.md names queue.h 'NQ_HEALTH_[A-Z_]+'
check "each outcome is explained" all_there operations.md names future.h \
    'NQ_(PENDING|DELIVERED|HANDED|CANCELLED|EXPIRED|DROPPED|NOT_DELIVERED|UNKNOWN)'
check "each counter is explained" all_there operations.md fields queue.h nq_stats
check "each capability of a transport is explained" all_there plugin-guide.md names transport.h \
    'NQT_CAP_[A-Z_]+'
check "each event of a transport is explained" all_there plugin-guide.md names transport.h \
    'NQT_EV_[A-Z_]+'
check "each failure of a transport is explained" all_there plugin-guide.md names transport.h \
    'NQT_E_[A-Z_]+'

# Rows "| `NAME` | text |", for those that have a function for their text.
tab=$(printf '\t')
texts() { # pattern of names
    sed -n "s/^| \`\\($1\\)\` | \\([^|]*\\) |.*/\\1$tab\\2/p" docs/operations.md
}
other_texts() {
    {
        texts 'NQ_REASON_[A-Z_]*'
        texts 'NQ_[A-Z]*'
        texts 'NQ_NOT_DELIVERED'
    } | while IFS=$tab read -r name text; do
        grep -qF "[$name] = \"$text\"" core/future.c || echo "$name is not \"$text\""
    done
}
texts_are_so() {
    [ "$(texts 'NQ_REASON_[A-Z_]*' | wc -l)" -ge 20 ] && ! other_texts | grep .
}
check "the texts of reasons and outcomes are those that programs print" texts_are_so
tap_done
