//go:build linux

package measure

var (
	Field       = field
	ParseMemory = parseMemory
	ParseTime   = parseTime
)
