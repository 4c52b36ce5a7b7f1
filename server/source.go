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
// the first address that is no trusted proxy is the client's. RFC 7239's Forwarded wins over X-Forwarded-*.
func findOrigin(r *http.Request, trusted []netip.Prefix) origin {
	o := origin{addr: remoteAddr(r)}
	if len(trusted) == 0 || !contains(trusted, o.addr) {
		return o
	}
	hops, scheme, host := forwarded(r.Header)
	o.scheme, o.host = scheme, host
	for _, hop := range slices.Backward(hops) {
		addr, err := parseNode(hop)
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

// forwarded returns the addresses that a request passed, the client's first, and the scheme and host that the outermost
// proxy was asked for.
func forwarded(h http.Header) (hops []string, scheme, host string) {
	if lines := h.Values("Forwarded"); len(lines) > 0 {
		for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
			for pair := range strings.SplitSeq(element, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
				value = strings.Trim(value, `"`)
				switch strings.ToLower(name) {
				case "for":
					hops = append(hops, value)
				case "proto":
					scheme = orFirst(scheme, value)
				case "host":
					host = orFirst(host, value)
				}
			}
		}
		return hops, validScheme(scheme), validForwardedHost(host)
	}
	for word := range strings.SplitSeq(strings.Join(h.Values("X-Forwarded-For"), ","), ",") {
		if word = strings.TrimSpace(word); word != "" {
			hops = append(hops, word)
		}
	}
	return hops, validScheme(firstWord(h.Get("X-Forwarded-Proto"))), validForwardedHost(firstWord(h.Get("X-Forwarded-Host")))
}

func orFirst(first, next string) string {
	if first != "" {
		return first
	}
	return next
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
