# fish completion for netqueue.  As for bash, everything is read off --help of the command that is
# typed; the head of the file for bash says what is looked for there.

# The words that the help of $argv explains, and what they are.
function __netqueue_words
    $argv --help 2>/dev/null | string replace -rf '^  ([a-z][a-z-]*)  +(.*)' '$1\t$2'
end

# The options of $argv, with = where a value follows, and what they do.
function __netqueue_options
    $argv --help 2>/dev/null | string replace -rf '^  .{0,4}(--[a-z-]+=?)\S* *(.*)' '$1\t$2'
end

# What option $argv[1] of the rest takes: FILE, block|fail; nothing for a flag.
function __netqueue_takes
    set -l option $argv[1]

    $argv[2..] --help 2>/dev/null |
        string replace -rf "^  (?:.{4}$option|$option, --[a-z-]+)=(\S+).*" '$1'
end

function __netqueue_transports
    $argv[1] transports 2>/dev/null | string replace -rf '^([a-z]\S*) .*' '$1'
end

# $argv[1] is what stands there of the value of option $argv[2]; the rest is the command.
function __netqueue_value
    set -l takes (__netqueue_takes $argv[2..])

    switch "$argv[2]:$takes"
        case '--transport:*' '-t:T'
            __netqueue_transports $argv[3]
        case '*:FILE*' '*:JSON' '*:PATH' '*:SOCKET'
            __fish_complete_path $argv[1]
        case '*:DIR'
            __fish_complete_directories $argv[1]
        case '*|*'
            string split '|' $takes | string match -r '^[a-z_]+$'
    end
end

# $argv[1] is what stands there of an operand; the rest is the command.
function __netqueue_operand
    set -l words (__netqueue_words $argv[2..])

    if set -q words[1]
        string join \n $words
    else if string match -q '*[NAME]*' -- ($argv[2..] --help 2>/dev/null)[1]
        __netqueue_transports $argv[2]
    else
        __fish_complete_path $argv[1]
    end
end

function __netqueue_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l command $words[1] $words[2]
    set -l option (string match -r '^(--[a-z-]+)=(.*)' -- $cur)

    if set -q option[1]
        __netqueue_value "$option[3]" $option[2] $command | string replace -r '^' -- "$option[2]="
    else if set -q words[3]
        and string match -q -- '-*' $words[-1]
        and __netqueue_takes $words[-1] $command >/dev/null
        __netqueue_value "$cur" $words[-1] $command
    else if string match -q -- '-*' $cur
        __netqueue_options $command
    else
        __netqueue_operand "$cur" $command
    end
end

complete -c netqueue -f -a '(__netqueue_complete)'
