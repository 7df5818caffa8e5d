# The options of a transport in its manual page, from what the transport itself says:
#
#     netqueue transports tcp | awk -f docs/options.awk - docs/netqueue-tcp.7
#
# prints the page with what stands between the lines `.\" options` and `.\" end` made anew.

function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/'/, "\\(aq", text)
    return text
}

# Numbers as one writes them in a configuration.
function human(number, unit,    n, i, size, names) {
    if (unit == "ns")
        n = split("3600000000000 h 60000000000 min 1000000000 s 1000000 ms 1000 us", size, " ")
    else if (unit == "bytes")
        n = split("1099511627776 TiB 1073741824 GiB 1048576 MiB 1024 KiB", size, " ")
    else
        n = 0
    for (i = 1; i < n; i += 2)
        if (number >= size[i] + 0 && number % size[i] == 0)
            return sprintf("%d%s", number / size[i], size[i + 1])
    return number
}

# "duration, ns, 1000000 to 3600000000000, default 10s" without the unit, which its numbers have then.
function facts(text,    unit, part, n, i, ends, out) {
    n = split(text, part, /, /)
    unit = ""
    out = part[1]
    for (i = 2; i <= n; i++) {
        if (part[i] == "ns" || part[i] == "bytes") {
            unit = part[i]
            continue
        }
        if (split(part[i], ends, / to /) == 2)
            part[i] = human(ends[1], unit) " to " human(ends[2], unit)
        out = out ", " part[i]
    }
    return out
}

FNR == NR && /^capabilities: / { capabilities = substr($0, 15); next }
FNR == NR && /^  [a-z]/ {
    name = $1
    text = substr($0, length(name) + 5)
    sub(/\)$/, "", text)
    made = made ".TP\n.BR " escape(name) " \" (" escape(facts(text)) ")\"\n"
    next
}
FNR == NR && /^      one of: / { made = made "One of " escape(substr($0, 15)) ".\n"; next }
FNR == NR && /^      / { made = made escape(substr($0, 7)) (/[.]$/ ? "\n" : ".\n"); next }
FNR == NR { next }

/^\.\\" options$/ { print; printf "%s", made; inside = 1; next }
/^\.\\" end$/ {
    inside = 0
    print ".PP\nCapabilities: " escape(capabilities) "."
}
!inside
