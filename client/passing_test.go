package client

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

func TestWhatIsTriedAgain(t *testing.T) {
	cut := func(err error) error { return fmt.Errorf("Patch: %w", &net.OpError{Op: "write", Net: "tcp", Err: err}) }
	for _, err := range []error{cut(net.ErrClosed), cut(os.NewSyscallError("write", syscall.EPIPE)), cut(os.NewSyscallError("read", syscall.ECONNRESET))} {
		if again, _ := mayPass(nil, err); !again {
			t.Errorf("%v is not tried again", err)
		}
	}
	if again, got := mayPass(nil, os.ErrPermission); again || got == nil {
		t.Errorf("%v is tried again", os.ErrPermission)
	}
}

// Credentials go where the registry is, however its port is written.
func TestUploadsStayAtTheirHost(t *testing.T) {
	for _, tt := range []struct {
		server, location string
		same             bool
	}{
		{"packs.example.com:443", "https://packs.example.com/u", true},
		{"packs.example.com", "https://PACKS.example.com:443/u", true},
		{"packs.example.com:5000", "https://packs.example.com/u", false},
		{"packs.example.com", "https://evil.example.com/u", false},
		{"packs.example.com", "https://packs.example.com:8443/u", false},
	} {
		c, err := Connect(Server{Host: tt.server})
		if err != nil {
			t.Fatal(err)
		}
		location, err := url.Parse(tt.location)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&chunkedUpload{client: c}).sameHost(location); got != tt.same {
			t.Errorf("%s and %s: %v", tt.server, tt.location, got)
		}
	}
}
