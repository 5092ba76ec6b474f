# bash completion for penstock

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
    case $cur in
    --user=*)
        mapfile -t COMPREPLY < <(compgen -u -- "${cur#--user=}")
        ;;
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$(penstock --help 2>/dev/null |
            grep -Eo -- '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,' | sort -u)" -- "$cur")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -f -X '!*.ini' -- "$cur"; compgen -d -- "$cur")
        ;;
    esac
}
complete -o filenames -F _penstock penstock
