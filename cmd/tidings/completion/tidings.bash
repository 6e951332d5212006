# Completion of tidings for bash. In ~/.bashrc: source <(tidings completion bash)

_tidings() {
  local current="${COMP_WORDS[COMP_CWORD]}" line
  local request=("${COMP_WORDS[0]/#\~/$HOME}" "${COMP_WORDS[@]:1:COMP_CWORD-1}")
  [[ "$current" == -* ]] && request+=("$current")
  COMPREPLY=()
  while IFS= read -r line; do
    line="${line%%:*}" # a description follows
    [[ -n "$line" && "$line" == "$current"* ]] && COMPREPLY+=("$line")
  done < <("${request[@]}" --generate-shell-completion 2>/dev/null </dev/null)
}

complete -o bashdefault -o default -F _tidings tidings
