package client

import (
	"fmt"
	"net"
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
