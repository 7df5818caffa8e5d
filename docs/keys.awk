# The keys of the configuration in its manual page, from the page with all keys, which is made of the
# library's own table:
#
#     awk -f docs/keys.awk config/README.md docs/netqueue.conf.5
#
# prints the manual page with what stands between the lines `.\" keys` and `.\" end` made anew.

function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/'/, "\\(aq", text)
    gsub(/\*\*/, "", text)
    while (match(text, /`[^`]*`/))
        text = substr(text, 1, RSTART - 1) "\\fB" substr(text, RSTART + 1, RLENGTH - 2) "\\fP" \
            substr(text, RSTART + RLENGTH)
    return text
}

FNR == NR && /^## / {
    name = substr($0, 4)
    inside = name != "Other names"
    gsub(/`/, "", name)
    if (inside)
        made = made (name == "The file" ? ".SH KEYS\n" : ".SS " escape(name) "\n")
    next
}
# | `key` | value | default | meaning |
FNR == NR && inside && /^\| `/ {
    split($0, cell, / *\| */)
    about = cell[3]
    if (cell[4] == "required")
        about = about ", required"
    else if (cell[4])
        about = about ", default " cell[4]
    made = made ".TP\n" escape(cell[2] " (" about ")") "\n" escape(cell[5]) "\n"
    next
}
FNR == NR && inside && /^[A-Za-z]/ { made = made escape($0) "\n" }
FNR == NR { next }

/^\.\\" keys$/ { print; printf "%s", made; hidden = 1; next }
/^\.\\" end$/ { hidden = 0 }
!hidden
