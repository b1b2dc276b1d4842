#compdef offshoot
# Completions of offshoot for zsh.
_offshoot() {
    local candidate
    local -a values shown
    for candidate in "${(@f)$("${(Q)words[1]}" __complete words "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $candidate ]] || continue
        values+=("${candidate%%$'\t'*}")
        shown+=("${candidate/$'\t'/  }")
    done
    if (( $#values )); then
        compadd -l -d shown -a values
    else
        _files
    fi
}
compdef _offshoot offshoot
