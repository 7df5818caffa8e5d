# The fenced blocks of a Markdown document.  Block N goes to the file `folder`/N as it stands, or in
# the frame that its mark gives it; to the standard output goes a line of fields, parted by tabs:
#
#     N  line of the fence  language  mark  options, each in "; "
#
# A mark is the comment right above a fence, `<!-- test: MARK; OPTION; OPTION -->`; README.md beside
# this file has what they mean.  Of "within" the other lines are the frame, and the block stands for
# its line "..."; its #include lines stand first.  A frame of one line may follow the word itself.

function options(text,    n, part, i, ret) {
    n = split(text, part, /; */)
    mark = part[1]
    ret = ""
    for (i = 2; i <= n; i++)
        ret = ret "; " part[i]
    return ret ";"
}

function reset() {
    mark = rest = before = after = ""
    below = 0
}

function frame(line) {
    if (line == "...")
        below = 1
    else if (below)
        after = after line "\n"
    else
        before = before line "\n"
}

BEGIN { reset() }

!inside && /^<!-- test: / {
    text = $0
    sub(/^<!-- test: /, "", text)
    open = !sub(/ *-->$/, "", text)
    rest = options(text)
    if (split(mark, part, / \.\.\. /) == 2) { # a frame of one line
        before = substr(part[1], length("within ") + 1) "\n"
        after = part[2] "\n"
        mark = "within"
    }
    next
}
open && /^-->$/ { open = 0; next }
open { frame($0); next }

/^```/ && !inside {
    inside = 1
    first = NR
    language = substr($0, 4)
    head = body = ""
    next
}
/^```$/ {
    inside = 0
    file = folder "/" ++count
    printf "%s", head before body after >file
    close(file)
    printf "%d\t%d\t%s\t%s\t%s\n", count, first, language, mark, rest
    reset()
    next
}
inside && before && /^#include/ { head = head $0 "\n"; next }
inside { body = body $0 "\n"; next }
{ reset() }
