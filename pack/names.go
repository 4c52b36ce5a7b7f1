package pack

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds on the names in a pack: a name's bytes, and the number of folders that it leads through.
const (
	maxNameLength = 4096
	maxDepth      = 100
	// maxNames bounds the bytes of all names together, folders counted like files.
	maxNames = 4 << 20
	// maxQuoted bounds what a message quotes.
	maxQuoted = 200
)

// deviceName is what Windows takes for a device, in any folder and with any ending.
var deviceName = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$`)

// checkName says why a file of that name, a clean path below the pack's top folder, could not be unpacked on every system,
// or shown on a terminal as what it is; "" where it can.
func checkName(name string) string {
	if len(name) > maxNameLength {
		return fmt.Sprintf("the name is longer than %d bytes", maxNameLength)
	}
	if !utf8.ValidString(name) {
		return "the name is not UTF-8"
	}
	if strings.Count(name, "/") > maxDepth {
		return fmt.Sprintf("more than %d folders deep", maxDepth)
	}
	for _, c := range name {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
			return fmt.Sprintf("the name holds the control character %U", c)
		}
	}
	for component := range strings.SplitSeq(name, "/") {
		switch {
		case strings.ContainsAny(component, `<>:"|?*\`):
			return fmt.Sprintf("the name holds one of < > : \" | ? * \\, which not every system allows (%q)", clip(component, maxQuoted))
		case strings.HasSuffix(component, " "), strings.HasSuffix(component, "."):
			return fmt.Sprintf("%q ends in a blank or a dot, which not every system keeps", clip(component, maxQuoted))
		case deviceName.MatchString(component):
			return fmt.Sprintf("%q is the name of a device on Windows", clip(component, maxQuoted))
		}
	}
	return ""
}

// nameSet is the files and folders of a pack, and notices names that some systems take for one.
type nameSet struct {
	length int
	// folders says of each name whether it is a folder.
	folders map[string]bool
	// spelling is the name by what is left of it where case and composition of letters do not count.
	spelling map[string]string
}

func newNameSet() *nameSet {
	return &nameSet{folders: map[string]bool{}, spelling: map[string]string{}}
}

func (s *nameSet) has(name string) bool {
	_, ok := s.folders[name]
	return ok
}

func (s *nameSet) isFolder(name string) bool { return s.folders[name] }

// add adds a file or a folder, with the folders that it lies in, and says what is wrong with that.
func (s *nameSet) add(name string, folder bool) (problem string) {
	if s.has(name) && (!folder || !s.folders[name]) {
		return "twice in the pack"
	}
	for ; name != "." && !s.has(name); name, folder = path.Dir(name), true {
		folded := strings.ToLower(strings.ToUpper(norm.NFC.String(name)))
		if other, ok := s.spelling[folded]; ok {
			return fmt.Sprintf("differs from %q in case only; some systems take them for one", clip(other, maxQuoted))
		}
		if s.length += len(name); s.length > maxNames {
			return fmt.Sprintf("the names of all files and folders are longer than %d bytes", maxNames)
		}
		s.spelling[folded] = name
		s.folders[name] = folder
	}
	if name != "." && !s.folders[name] {
		return fmt.Sprintf("lies in %q, which is a file", clip(name, maxQuoted))
	}
	return ""
}

func (s *nameSet) size() int { return len(s.folders) }

// clip keeps messages readable, whatever they quote.
func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
