package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// hostGrammar is a host's name or address, an IPv6 address in brackets or without.
var hostGrammar = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]*:[0-9a-fA-F:.]*|[a-zA-Z0-9_]([a-zA-Z0-9._-]*[a-zA-Z0-9])?)$`)

// validHostOrAddr says whether a connection could be made to it. What is made of digits and dots must be an address.
func validHostOrAddr(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return hostGrammar.MatchString(host) && strings.Trim(host, "0123456789.:[]") != ""
}

// validPort says whether it is a number from least to 65535.
func validPort(port string, least uint64) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n >= least
}

// validateAddr checks where to listen: host:port or :port. The port may be the name of a service; 0 picks any.
func (d *decoder) validateAddr(path, addr string) {
	if addr == "" {
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		d.fail("%s: %q is not host:port or :port", path, addr)
		return
	}
	if !validPort(port, 0) {
		if _, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil || strings.Trim(port, "-+0123456789") == "" {
			d.fail("%s: %q: the port is no number from 0 to 65535", path, addr)
		}
	}
	if host != "" && !validHostOrAddr(host) {
		d.fail("%s: %q: %q is no host's name or address", path, addr, host)
	}
}

// validateListeners refuses two listeners on one port.
func (d *decoder) validateListeners(paths, addrs []string) {
	for i := range addrs {
		for j := range i {
			if sameListener(addrs[i], addrs[j]) {
				d.fail("%s: %q is the address of %s (%q) too; use another port", paths[i], addrs[i], paths[j], addrs[j])
			}
		}
	}
}

func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return isWildcard(hostA) || isWildcard(hostB) || hostA == hostB
}

func isWildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// parseURL reads the URL of a server: one of the schemes, a host, perhaps a port and a path, and nothing else. Errors do not
// show it, since it may hold a password.
func parseURL(text string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it cannot be parsed")
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
		return nil, fmt.Errorf("its scheme is not %s", strings.Join(schemes, " or "))
	case !validHostOrAddr(u.Hostname()):
		return nil, errors.New("it names no host")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && !validPort(u.Port(), 1):
		return nil, errors.New("its port is no number from 1 to 65535")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, errors.New("it must hold neither a user nor a query")
	}
	return u, nil
}
