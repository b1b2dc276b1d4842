# Completions of offshoot for fish.
function __offshoot_complete
    set -l words (commandline -opc)
    set -l typed (string trim --left --chars=\'\" -- (commandline -ct))
    set -l candidates ($words[1] __complete words $words[2..-1] "$typed" 2>/dev/null)
    if set -q candidates[1]
        printf '%s\n' $candidates
    else
        __fish_complete_path "$typed"
    end
end
complete -c offshoot -f -a '(__offshoot_complete)'
