package request

// maxDepth is how deeply encoding/json reads arrays and objects inside one another.
const maxDepth = 10_000

// NestedTooDeeply says what is wrong with a text for which TooDeep reports true.
const NestedTooDeeply = "the JSON is nested too deeply: there may be up to 10,000 arrays and objects inside one another"

// TooDeep reports whether the beginning of a JSON text, up to the byte that encoding/json
// refuses, opens more arrays and objects inside one another than it reads.
func TooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return depth > maxDepth
}
