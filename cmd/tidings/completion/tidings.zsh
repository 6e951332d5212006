#compdef tidings
# Completion of tidings for zsh. In ~/.zshrc, after compinit: source <(tidings completion zsh)

_tidings() {
  local -a request lines
  request=("${(@)words[1,CURRENT-1]}")
  request[1]=${(Q)${request[1]/#\~/$HOME}}
  [[ "${words[CURRENT]}" == -* ]] && request+=("${words[CURRENT]}")
  lines=("${(@f)$("${(@)request}" --generate-shell-completion 2>/dev/null </dev/null)}")
  lines=("${(@)lines//\`/}")
  if [[ -n "${lines[1]}" ]]; then
    _describe 'tidings' lines
  else
    _files
  fi
}

if [[ "${funcstack[1]}" == _tidings ]]; then
  _tidings "$@"
else
  compdef _tidings tidings
fi
