# Completions of offshoot for bash.
_offshoot() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <("${COMP_WORDS[0]}" __complete bash "${COMP_LINE:0:COMP_POINT}" "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null)
    # More can follow what ends in one of these.
    case ${COMPREPLY[0]-} in
        *[:/=]) compopt -o nospace 2>/dev/null ;;
    esac
}
complete -o bashdefault -o default -F _offshoot offshoot
