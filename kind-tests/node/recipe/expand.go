// Package recipe works out what a container's process gets from a pod's specification: its command,
// environment, files of names, and user. Nothing here touches the machine or the API server.
package recipe

import "strings"

// Expand replaces every $(NAME) that `lookup` knows; one it does not know stays as it is, and $$
// stands for $.
func Expand(text string, lookup func(string) (string, bool)) string {
	var out strings.Builder
	for {
		dollar := strings.IndexByte(text, '$')
		if dollar < 0 || dollar == len(text)-1 {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:dollar])
		text = text[dollar:]
		if text[1] == '$' {
			out.WriteByte('$')
			text = text[2:]
			continue
		}
		end := strings.IndexByte(text, ')')
		if text[1] != '(' || end < 0 {
			out.WriteByte('$')
			text = text[1:]
			continue
		}
		if value, ok := lookup(text[2:end]); ok {
			out.WriteString(value)
		} else {
			out.WriteString(text[:end+1])
		}
		text = text[end+1:]
	}
}
