package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// origin is where a request came from, and what its sender calls this server.
type origin struct {
	addr netip.Addr
	// scheme and host are empty where nobody trusted said anything about them.
	scheme, host string
}

// findOrigin believes what proxies add to a request as far as they are trusted: from the connection's own end backwards,
// the first address that is no trusted proxy is the client's. Only the one header that the proxies set is read
// (http.clientipheader): they pass on the others as the client wrote them.
func findOrigin(r *http.Request, trusted []netip.Prefix, header string) origin {
	o := origin{addr: remoteAddr(r)}
	if len(trusted) == 0 || !contains(trusted, o.addr) {
		return o
	}
	for _, h := range slices.Backward(hops(r.Header, header)) {
		if h.scheme != "" || h.host != "" {
			o.scheme, o.host = validScheme(h.scheme), validForwardedHost(h.host)
		}
		addr, err := parseNode(h.node)
		if err != nil {
			return o // whoever wrote this is the last that we know of
		}
		o.addr = addr
		if !contains(trusted, addr) {
			return o
		}
	}
	return o
}

func remoteAddr(r *http.Request) netip.Addr {
	if p, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return p.Addr().Unmap()
	}
	return netip.Addr{}
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// hop is what one proxy says: the address that its request came from, and what it was asked for.
type hop struct{ node, scheme, host string }

// hops returns what the proxies of a request said in the header that they set, the outermost first.
func hops(h http.Header, header string) []hop {
	switch header {
	case "Forwarded":
		return forwardedHops(h.Values("Forwarded"))
	case "X-Real-IP":
		// It holds one address. Of several the last is the nearest proxy's.
		lines := h.Values("X-Real-Ip")
		return addressHops(lines[max(len(lines)-1, 0):])
	}
	list := addressHops(h.Values("X-Forwarded-For"))
	// Proxies do not append to these two but replace them, so they are the outermost's, whose address is any of the hops'.
	for i := range list {
		list[i].scheme, list[i].host = firstWord(h.Get("X-Forwarded-Proto")), firstWord(h.Get("X-Forwarded-Host"))
	}
	return list
}

// addressHops reads lists of addresses.
func addressHops(lines []string) []hop {
	var list []hop
	for word := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, hop{node: word})
		}
	}
	return list
}

// forwardedHops reads RFC 7239. It is split at every comma, quoted or not, so that a quote that a client opened cannot
// swallow what a proxy appended.
func forwardedHops(lines []string) []hop {
	var list []hop
	if len(lines) == 0 {
		return nil
	}
	for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		var one hop
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "for":
				one.node = value
			case "proto":
				one.scheme = value
			case "host":
				one.host = value
			}
		}
		list = append(list, one)
	}
	return list
}

func firstWord(list string) string {
	word, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(word)
}

func validScheme(s string) string {
	if s = strings.ToLower(s); s == "http" || s == "https" {
		return s
	}
	return ""
}

// validForwardedHost refuses what would make of a Location header something else than a host.
func validForwardedHost(host string) string {
	if strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" {
		return ""
	}
	return host
}

// parseNode reads an address as proxies write it: with or without port and brackets.
func parseNode(s string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.Unmap(), nil
	}
	host, _, err := net.SplitHostPort(s)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap(), err
}
