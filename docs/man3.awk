# The manual page of a public header, from the header itself:
#
#     awk -v header=queue.h -v date=2026-11-22 -v version=0.1.0 -f docs/man3.awk include/netqueue/queue.h
#
# Its last line, a comment, has the names of the functions, which are other names of the page.
#
# A header is read as it is written here: "@file" first; then groups that blank lines part, each a
# comment of the form "/** */" with what is declared below it; lines "/* ---- title ---- */" between.
# In comments @param and @return begin a paragraph, "Thread:" and "Blocks:" at the beginning of a line
# do, what stands two blanks further in than the text is an example, and `this` is code.

function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/'/, "\\(aq", text)
    gsub(/\^/, "\\(ha", text)
    gsub(/~/, "\\(ti", text)
    return text
}

# A line of running text; never one that groff takes for a request.
function running(text,    out) {
    out = ""
    text = escape(text)
    while (match(text, /`[^`]+`/)) {
        out = out substr(text, 1, RSTART - 1) "\\fB" substr(text, RSTART + 1, RLENGTH - 2) "\\fR"
        text = substr(text, RSTART + RLENGTH)
    }
    text = out text
    if (text ~ /^[.]/)
        text = "\\&" text
    return text
}

function code(text) {
    text = escape(text)
    return text ~ /^[.]/ ? "\\&" text : text
}

# ---- comments ---------------------------------------------------------------------------------

# A request that parts paragraphs; behind a heading ".PP" does nothing.
function part(request) {
    if (request != ".PP" || !headed_now)
        print request
    headed_now = 0
}

function heading(request) {
    print request
    headed_now = 1
}

function example(on) {
    if (on && !in_example) {
        part(".PP")
        print ".EX"
    }
    if (!on && in_example)
        print ".EE"
    in_example = on
}

function paragraph(request) {
    example(0)
    part(request)
}

# One line of a comment, without its asterisk; `tag` is "" in running text.
function say(line,    at) {
    if (line ~ /^[ ]*$/) {
        blank = 1
        return
    }
    if (tag == "" && line ~ /^  /) {
        if (blank && in_example)
            print ""
        example(1)
        print code(substr(line, 3))
        blank = 0
        return
    }
    sub(/^ +/, "", line)
    while ((at = match(line, /@(param|return) */)) > 1) {
        say_piece(substr(line, 1, at - 1))
        line = substr(line, at)
    }
    say_piece(line)
}

function say_piece(line,    name) {
    sub(/ +$/, "", line)
    if (line ~ /^@param/) {
        sub(/^@param +/, "", line)
        match(line, /^[a-z_]+(, [a-z_]+)*/)
        name = substr(line, 1, RLENGTH)
        line = substr(line, RLENGTH + 1)
        sub(/^ +/, "", line)
        paragraph(".TP\n.I " escape(name))
        tag = "param"
    } else if (line ~ /^@return/) {
        sub(/^@return */, "", line)
        paragraph(".TP\n.B Returns:")
        tag = "return"
    } else if (line ~ /^(Thread|Blocks|Waiting|Fork|Locks|Members|Delivery|Serials|Growth): /) {
        name = line
        sub(/:.*/, "", name)
        sub(/^[^:]*: +/, "", line)
        paragraph(".TP\n.B " name ":")
        tag = "word"
    } else if (blank || in_example) {
        paragraph(".PP")
        tag = ""
    }
    blank = 0
    if (line != "")
        print running(line)
}

function comment(text,    n, line, i) {
    tag = ""
    blank = 1
    n = split(text, line, "\n")
    for (i = 1; i <= n; i++)
        say(line[i])
    example(0)
}

# ---- declarations -------------------------------------------------------------------------------

# A function's on as many lines as it takes, without what is for the compiler.
function prototype(text,    out, words, i, n, width) {
    gsub(/NQ_API|NQ_MUST_CHECK|static inline|__attribute__\(\(format\([^)]*\)\)\)/, "", text)
    gsub(/[ \n]+/, " ", text)
    sub(/^ /, "", text)
    sub(/ *[{].*/, ";", text)
    if (match(text, /nqt?_[a-z0-9_]+\(/))
        functions = functions " " substr(text, RSTART, RLENGTH - 1)
    n = split(text, words, ", ")
    out = words[1]
    width = length(out)
    for (i = 2; i <= n; i++) {
        if (width + length(words[i]) > 74) {
            out = out ",\n        " words[i]
            width = 8 + length(words[i])
        } else {
            out = out ", " words[i]
            width += 2 + length(words[i])
        }
    }
    return out
}

function declaration(text,    n, line, i) {
    part(".PP")
    print ".EX"
    n = split(text, line, "\n")
    for (i = 1; i <= n; i++)
        if (i < n || line[i] != "")
            print code(line[i])
    print ".EE"
}

function flush() {
    if (declared != "") {
        sub(/\n+$/, "", declared)
        declaration(declared)
        if (said != "")
            comment(said)
        declared = said = ""
    }
}

# ---- the header -----------------------------------------------------------------------------------

# The page of a header, as the requests have it.
function page(header) {
    sub(/[.]h$/, "", header)
    return header == "netqueue" ? header : "netqueue\\-" escape(header)
}

function head(    first, name) {
    first = said
    sub(/^\n+/, "", first)
    sub(/\n *\n.*/, "", first)
    gsub(/\n */, " ", first)
    sub(/^ +/, "", first)
    sub(/[.] .*/, "", first)
    sub(/[.:]$/, "", first)
    name = page(header)
    print ".\\\" Made from <netqueue/" header "> by docs/man3.awk."
    print ".TH " name " 3 \"" date "\" \"netqueue " version "\" \"Library Functions\""
    print ".SH NAME\n" name " \\- " running(first)
    print ".SH SYNOPSIS\n.nf\n.B #include <netqueue/" header ">"
    if (header ~ /^transport/)
        print "\n.B cc \\-fPIC \\-shared \\fIfile\\fB.c $(pkg\\-config \\-\\-cflags netqueue\\-transport)"
    else
        print "\n.B cc \\fIfile\\fB.c $(pkg\\-config \\-\\-cflags \\-\\-libs netqueue)"
    print ".fi"
    heading(".SH DESCRIPTION")
    comment(said)
    said = ""
}

# "---- title ----", and what the comment goes on to say about all that follows.
function section(text,    title) {
    title = text
    sub(/ ?-----*.*/, "", title)
    heading(".SS \"" toupper(substr(title, 1, 1)) escape(substr(title, 2)) "\"")
    sub(/^[^\n]*\n/, "", text)
    if (text != "")
        comment(text)
}

BEGIN { state = "outside" }

state == "comment" {
    last = sub(/ *\*\/$/, "")
    sub(/^ ?\*( |$)/, "")
    said = said $0 "\n"
    if (last) {
        state = "outside"
        if (!headed) {
            headed = 1
            sub(/^[ \n]*@file *\n/, "", said)
            head()
        } else if (said ~ /^---- /) {
            section(substr(said, 6))
            said = ""
        }
    }
    next
}
state == "body" {
    if ($0 ~ /^}/)
        state = "outside"
    next
}
state == "declaration" { more($0); next }

/^\/\*\*/ {
    flush()
    said = $0
    last = sub(/ *\*\/$/, "", said)
    sub(/^\/\*\* ?/, "", said)
    said = said "\n"
    state = last ? "outside" : "comment"
    next
}
/^\/\* ----/ {
    flush()
    said = substr($0, 4)
    state = "comment"
    if (said ~ /\*\/$/) {
        state = "outside"
        section(substr(said, 6) "\n")
        said = ""
    } else {
        said = said "\n"
    }
    next
}
/^#include <netqueue\// {
    sub(/^#include <netqueue\//, "")
    sub(/>.*/, "")
    others = others ",\n.BR " page($0) " (3)"
    next
}
/^#(ifn?def|include|endif|if|undef|else)/ || /^extern "C"/ || /^}$/ || /^#define NETQUEUE_/ { next }
/^$/ { flush(); said = ""; next }
/^\/\* .*\*\/$/ { if (declared == "") next }
{ text = ""; more($0) }

# One more line of a declaration: whole at a ";" or "}" in the first column, a body is left out.
function more(line) {
    text = text line "\n"
    if (match(text, /^#define nq_[a-z_]+\(/)) # it is called like a function
        functions = functions " " substr(text, 9, RLENGTH - 9)
    if (line ~ /\\$/ || text ~ /^(typedef )?(struct|enum|union)[^(]*[{]/ && line !~ /^}/) {
        state = "declaration"
    } else if (text ~ /^[^#].*\(/ && text !~ /^(typedef )?(struct|enum) [a-z_]* [{]/ && text !~ /^\/\*/) {
        if (line ~ /^[{]$/) {
            declared = declared prototype(text) "\n"
            state = "body"
        } else if (line ~ /;( *\/\*.*\*\/)?$/) {
            declared = declared prototype(text) "\n"
            state = "outside"
        } else {
            state = "declaration"
        }
    } else if (line ~ /;( *\/\*.*)?$/ || line ~ /^[}#\/]/ || text ~ /^#/) {
        declared = declared text
        state = "outside"
    } else {
        state = "declaration"
    }
}

END {
    flush()
    print ".SH \"SEE ALSO\"\n.BR netqueue (1)" (header == "netqueue.h" ? "" : ",\n.BR netqueue (3)") others \
        ",\n.BR netqueue.conf (5)"
    print ".\\\"" functions
}
