// Package htpasswd reads files of users as `htpasswd -B` writes them: lines of user:hash with bcrypt hashes. The server and
// the operator read them by the same rules.
//
// A line that can never match is not passed over in silence: it comes back with its number and the reason. Neither
// errors nor reasons show anything of a line's content, which may be a password.
package htpasswd

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// File is what a file of users says.
type File struct {
	// Entries are the lines that can match, each user's first.
	Entries []Entry
	// Unusable are the lines that never match.
	Unusable []Unusable
}

// Entry is a user with the bcrypt hash of the password.
type Entry struct {
	Line       int
	User, Hash string
	// Cost is the hash's: checking it takes 2^Cost rounds.
	Cost int
}

// Unusable is a line that never matches, and why.
type Unusable struct {
	Line   int
	Reason string
	// Doubled is the user of a line that only an earlier one of the same user keeps from matching.
	Doubled string
}

// What a hash may cost. Whoever writes the file chooses what each login and each failure costs the programs that read it.
const (
	// MinCost is bcrypt's own.
	MinCost = 4
	// MaxCost is 2^14 rounds, about a second of computation.
	MaxCost = 14
)

// maxPassword is how many bytes of a password bcrypt reads.
const maxPassword = 72

// CheckPassword returns why a password can be nobody's. bcrypt reads 72 bytes, and a shorter password again and again with a NUL
// after each, so that the same hash would match several spellings: what comes after byte 72 changes nothing, and "a" is
// "a\x00a". One user has one password, so these are none. The error shows nothing of the password.
func CheckPassword(password []byte) error {
	switch {
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than the %d bytes that bcrypt reads", maxPassword)
	case bytes.IndexByte(password, 0) >= 0:
		return errors.New("the password holds a NUL byte, where bcrypt takes it to end")
	}
	return nil
}

// CheckUser returns why a name cannot be a user's: a line of it could not be read, or not as that user's.
func CheckUser(user string) error {
	switch {
	case user == "" || strings.Contains(user, ":"):
		return errors.New("the user's name must not be empty or hold ':'")
	case !utf8.ValidString(user) || strings.IndexFunc(user, unicode.IsControl) >= 0:
		return errors.New("the user's name holds control characters, or bytes that are no UTF-8")
	case strings.TrimSpace(user) != user || strings.ContainsAny(user[:1], `#"'`) || strings.HasPrefix(user, string(bom)):
		return errors.New("the user's name must not begin with '#', quotes or a byte order mark, nor begin or end with a space")
	}
	return nil
}

var (
	// bom is the byte order mark that some editors write.
	bom = []byte("\ufeff")
	// form is a bcrypt hash: version, cost, 22 characters of salt and 31 of hash, of bcrypt's own base64.
	form = regexp.MustCompile(`^\$2[abxy]?\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
)

const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Parse reads the text of a file. A line that is not of the form user:hash is an error: half of a file is no file of users.
func Parse(text []byte) (*File, error) {
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) || bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("not text in UTF-8 (UTF-16?); save it as UTF-8")
	}
	f := &File{}
	first := map[string]int{}
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		line := string(bytes.TrimSpace(bytes.TrimPrefix(raw, bom)))
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d: not of the form user:hash", number)
		}
		cost, reason := check(line, user, hash)
		doubled := ""
		if earlier := first[user]; reason == "" && earlier > 0 {
			reason, doubled = fmt.Sprintf("line %d is the same user's, and holds", earlier), user
		}
		if reason != "" {
			f.Unusable = append(f.Unusable, Unusable{number, reason, doubled})
			continue
		}
		first[user] = number
		f.Entries = append(f.Entries, Entry{number, user, hash, cost})
	}
	return f, nil
}

// check returns the cost of a line's hash, or why it never matches.
func check(line, user, hash string) (cost int, reason string) {
	if strings.Trim(line, `"'`) != line || strings.Trim(hash, `"'`) != hash {
		return 0, "quotes around it; remove them"
	}
	if err := CheckUser(user); err != nil {
		return 0, err.Error()
	}
	match := form.FindStringSubmatch(hash)
	if match == nil {
		return 0, kindOf(hash)
	}
	cost, err := strconv.Atoi(match[1])
	switch {
	case err != nil, cost < MinCost, cost > 31:
		return 0, "a bcrypt hash of a cost that there is not"
	case cost > MaxCost:
		return 0, fmt.Sprintf("a bcrypt hash of cost %d; %d to %d are taken: write the line again with htpasswd -B -C 10", cost, MinCost, MaxCost)
	case strings.IndexByte(alphabet, hash[len(hash)-1])%4 != 0:
		// 31 characters hold 184 bits; the last two bits are always zero.
		return 0, damaged
	}
	return cost, ""
}

const (
	damaged   = "a damaged bcrypt hash; write the line again with htpasswd -B"
	onlyThese = "; only bcrypt is accepted: write the line with htpasswd -B"
)

// kindOf names a hash by its form, for a message that does not show it.
func kindOf(hash string) string {
	switch {
	case hash != strings.TrimSpace(hash):
		return "a space before the hash; remove it"
	case strings.HasPrefix(hash, "$apr1$"), strings.HasPrefix(hash, "$1$"):
		return "an MD5 hash" + onlyThese
	case strings.HasPrefix(hash, "{SHA}"):
		return "a SHA-1 hash" + onlyThese
	case strings.HasPrefix(hash, "$5$"), strings.HasPrefix(hash, "$6$"):
		return "a SHA-2 crypt hash" + onlyThese
	case strings.HasPrefix(hash, "$2"):
		if length := len("$2y$10$") + 53; len(hash) != length {
			return fmt.Sprintf("a damaged bcrypt hash of %d characters instead of %d; write the line again with htpasswd -B", len(hash), length)
		}
		return damaged
	}
	return "no hash that is known (plain text or crypt)" + onlyThese
}

// Lines lists the numbers of unusable lines, at most ten of them.
func Lines(list []Unusable) string {
	const most = 10
	words := make([]string, 0, most+1)
	for _, u := range list[:min(len(list), most)] {
		words = append(words, strconv.Itoa(u.Line))
	}
	if len(list) > most {
		words = append(words, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(words, ", ")
}
