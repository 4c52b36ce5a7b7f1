package store

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// This file is the only builder of keys. R is a repository's name with '-', '.' and '/' written as '!', '-' and '.':
// one path component, in the same byte order as the names themselves. D is a digest written <algorithm>-<hex>.
//
//	format                 the layout's version
//	c/<R>                  catalog: this repository has a manifest
//	r/<R>/m/<D>            manifest: one line of JSON about it, then its exact content
//	r/<R>/t/<tag>          tag: the manifest it names; alive while that manifest has the generation the tag was given
//	r/<R>/g/<D>/<tag>      reverse index of tags by manifest
//	r/<R>/d/<tag>!<nonce>  deletion of a tag: the tag is read before it is listed
//	r/<R>/d/!<D>!<nonce>   deletion of a manifest: the tags that the reverse index has of it are read before they are listed
//	r/<R>/s/<D>/<D>        referrers by subject: the referrer's descriptor, listed while its manifest exists
//	r/<R>/l/<D>            link: this blob is in this repository, and its data is at that key
//	b/<alg>/<hh>/<hex>.<i> blob data, generation i
//	a/<name>               what the server keeps for itself: accounts and certificates of an ACME server, keys of tokens
//	u/<id>/<number>        one step of an upload: what it takes to go on from there; u/<id>/over ends it
//	x/<alg>/<hh>/<hex>.<i> mark on the data of the same name: for deletion, or a tombstone
//	q/<name>               what was found corrupt, kept for whoever wants to look at it
//	gc                     when the last collection was, and whose
//
// Every change is a series of writes with one commit point (marked !); what a crash leaves before it is invisible:
//
//	push blob          stream data, b, l!, look at x, then forget the upload
//	mount blob         l!, look at x
//	delete blob        l!
//	push manifest      s (if it has a subject), m!, look at the l and m it names, s once more, c, look at m where c was new
//	tag manifest       g, t!, look at m
//	delete manifest    d, m!, then its tags t and g, s, d; c when it was the last
//	delete tag         t!, then g; where the storage cannot delete on a condition d, t! (a tombstone), then g
//
// A tag whose manifest is gone, or of another generation, is dead: it is not listed, reading it finds nothing, and it never
// comes back to life, so that anybody may remove it at any time. The collector mends g, s, c and d where a crash left them.

const formatKey = "format"

var (
	idGrammar = regexp.MustCompile(`^[0-9a-f]{10}[st][0-9a-f]{48}$`)

	dataGrammar = regexp.MustCompile(`^b/[a-z0-9]+/[0-9a-f]{2}/[0-9a-f]+\.[0-9]+$`)

	unescaper = strings.NewReplacer("!", "-", "-", ".", ".", "/")
)

func escape(name string) string   { return string(appendEscaped(nil, name)) }
func unescape(name string) string { return unescaper.Replace(name) }

func appendEscaped(key []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch c {
		case '-':
			c = '!'
		case '.':
			c = '-'
		case '/':
			c = '.'
		}
		key = append(key, c)
	}
	return key
}

func digestName(d digest.Digest) string {
	return string(d.Algorithm()) + "-" + d.Encoded()
}

func parseDigestName(s string) (digest.Digest, error) {
	algorithm, hex, ok := strings.Cut(s, "-")
	if !ok {
		return "", fmt.Errorf("%q is no digest's name", s)
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%q is no digest's name: %w", s, err)
	}
	return d, nil
}

const catalogPrefix = "c/"

func catalogKey(name string) string { return catalogPrefix + escape(name) }

// repositoryKey is a key of a repository's own. It is built for every request, with one allocation.
func repositoryKey(name string, rest ...string) string {
	key := append(make([]byte, 0, 512), repositoriesPrefix...)
	key = append(appendEscaped(key, name), '/')
	for _, part := range rest {
		key = append(key, part...)
	}
	return string(key)
}

func manifestPrefix(name string) string { return repositoryKey(name, "m/") }
func manifestKey(name string, d digest.Digest) string {
	return repositoryKey(name, "m/", string(d.Algorithm()), "-", d.Encoded())
}

func tagPrefix(name string) string   { return repositoryKey(name, "t/") }
func tagKey(name, tag string) string { return repositoryKey(name, "t/", tag) }

func taggedPrefix(name string, d digest.Digest) string {
	return repositoryKey(name, "g/", digestName(d), "/")
}
func taggedKey(name string, d digest.Digest, tag string) string { return taggedPrefix(name, d) + tag }

// A '!' comes before every character of a tag, so that deletions are in the order of the tags.
func deletionPrefix(name string) string { return repositoryKey(name, "d/") }
func tagDeletionKey(name, tag, nonce string) string {
	return repositoryKey(name, "d/", tag, "!", nonce)
}
func manifestDeletionKey(name string, d digest.Digest, nonce string) string {
	return repositoryKey(name, "d/!", digestName(d), "!", nonce)
}

// parseDeletion takes the name of a deletion apart: it is of a tag or of a manifest.
func parseDeletion(name string) (tag string, d digest.Digest, ok bool) {
	what, _, ok := strings.Cut(strings.TrimPrefix(name, "!"), "!")
	if !ok {
		return "", "", false
	}
	if !strings.HasPrefix(name, "!") {
		return what, "", ValidTag(what)
	}
	d, err := parseDigestName(what)
	return "", d, err == nil
}

func referrersPrefix(name string) string { return repositoryKey(name, "s/") }
func indexPrefix(name string) string     { return repositoryKey(name, "g/") }

func referrerPrefix(name string, subject digest.Digest) string {
	return repositoryKey(name, "s/", digestName(subject), "/")
}
func referrerKey(name string, subject, d digest.Digest) string {
	return referrerPrefix(name, subject) + digestName(d)
}

func linkPrefix(name string) string { return repositoryKey(name, "l/") }
func linkKey(name string, d digest.Digest) string {
	return repositoryKey(name, "l/", string(d.Algorithm()), "-", d.Encoded())
}

func dataKey(d digest.Digest, generation int) string {
	hex := d.Encoded()
	return fmt.Sprintf("%s%s/%s/%s.%d", dataPrefix, d.Algorithm(), hex[:2], hex, generation)
}

const (
	dataPrefix  = "b/"
	marksPrefix = "x/"
	// repositoriesPrefix holds every repository that holds anything, in the catalog or not.
	repositoriesPrefix = "r/"
	collectionKey      = "gc"
)

func quarantineKey(name string) string { return "q/" + name }

// stepDigits is how many digits a step's number has.
const stepDigits = 9

// uploadOver comes after every number.
const uploadOver = "over"

func privateKey(name string) string { return "a/" + url.QueryEscape(name) }

const uploadsPrefix = "u/"

func uploadPrefix(id string) string          { return uploadsPrefix + id + "/" }
func stepName(number int) string             { return fmt.Sprintf("%0*d", stepDigits, number) }
func uploadKey(id string, number int) string { return uploadPrefix(id) + stepName(number) }
