// Package clientip finds out who sent a request, behind which proxies.
//
// Each proxy adds to one header of the request the address that the request came to it from. The last address is what the
// nearest proxy reports; what stands before it was written by proxies further out, or by the client itself, who may write anything. So
// Find begins at the connection's own end and goes backwards while the address is a trusted proxy's: the first that is not is
// the client's.
//
// Three headers are in use: X-Forwarded-For with X-Forwarded-Proto and X-Forwarded-Host, Forwarded (RFC 7239), and X-Real-IP.
// Only the one that the configuration names is read, since proxies pass on the others as the client wrote them.
package clientip

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is who sent a request, and how it addressed this server.
type Client struct {
	// Addr is not valid where the connection has no IP address.
	Addr netip.Addr
	// Scheme and Host are what the client asked for, as a trusted proxy reports it. They are empty where none does.
	Scheme, Host string
	// Proxied is whether a trusted proxy sent the request on.
	Proxied bool
}

// Network is what counts as one sender: an IPv4 address, or the 64 bits of IPv6 that one customer has.
func Network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.WithZone("").Prefix(bits) //nolint:errcheck // an invalid address makes the zero prefix, a sender too
	return prefix
}

// Find returns the client of a request. trusted are the networks of proxies, header is the name of the header that they set:
// X-Forwarded-For, Forwarded or X-Real-IP.
func Find(r *http.Request, trusted []netip.Prefix, header string) Client {
	c := Client{Addr: remoteAddr(r)}
	if len(trusted) == 0 || !contains(trusted, c.Addr) {
		return c
	}
	c.Proxied = true
	for _, h := range slices.Backward(hops(r.Header, header)) {
		if h.scheme != "" || h.host != "" {
			c.Scheme, c.Host = validScheme(h.scheme), validForwardedHost(h.host)
		}
		addr, err := parseNode(h.node)
		if err != nil {
			return c // whoever wrote this is the last that we know of
		}
		c.Addr = addr
		if !contains(trusted, addr) {
			return c
		}
	}
	return c
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
		list[i].scheme, list[i].host = firstElement(h.Get("X-Forwarded-Proto")), firstElement(h.Get("X-Forwarded-Host"))
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

func firstElement(list string) string {
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
