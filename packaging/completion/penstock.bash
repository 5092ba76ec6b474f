# bash completion for penstock

# Options of ctl and top, and the words that commands of the console begin with.
_penstock_console()
{
    local words
    words=$(penstock "${COMP_WORDS[1]}" --help 2>/dev/null | grep -Eo -- '--[a-z]+' | sort -u)
    [ "${COMP_WORDS[1]}" = ctl ] && words="$words SHOW SET RELOAD PAUSE RESUME SUSPEND DISABLE ENABLE RECONNECT
        WAIT_CLOSE KILL KILL_CLIENT SHUTDOWN UPGRADE CACHE DRAIN UNDRAIN EXPLAIN RESET"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$1")
}

_penstock()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=
    [ "$COMP_CWORD" -gt 0 ] && prev=${COMP_WORDS[COMP_CWORD - 1]}
    case $prev in
    -u | --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$cur")
        return
        ;;
    esac
    if [ "${COMP_WORDS[1]:-}" = ctl ] || [ "${COMP_WORDS[1]:-}" = top ]; then
        [ "$COMP_CWORD" -gt 1 ] && _penstock_console "$cur"
        return
    fi
    case $cur in
    --user=*)
        mapfile -t COMPREPLY < <(compgen -u -- "${cur#--user=}")
        ;;
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$(penstock --help 2>/dev/null |
            grep -Eo -- '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,' | sort -u)" -- "$cur")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -f -X '!*.ini' -- "$cur"; compgen -d -- "$cur"
            [ "$COMP_CWORD" -eq 1 ] && compgen -W 'ctl top' -- "$cur")
        ;;
    esac
}
complete -o filenames -F _penstock penstock
