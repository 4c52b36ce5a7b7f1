package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file runs a registry under ptrace and kills it as it is about to make its n-th system call that changes a folder of
// files or answers a client, of all its threads together, counted from SIGUSR1 on. The test's own program is the tracer,
// in a process of its own: only there nobody else waits for children.

// Variables that make the test's program the tracer of the command that its arguments are.
const (
	killAtVariable   = "PACKREGISTRY_TEST_KILL_AT"
	killRootVariable = "PACKREGISTRY_TEST_KILL_ROOT"
)

// launchKilled starts a registry that is killed at its n-th call below root (never, where n is 0).
func launchKilled(t testing.TB, root string, n int, args []string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, []string{killAtVariable + "=" + strconv.Itoa(n), killRootVariable + "=" + root}, args, func(c *exec.Cmd) {
		c.Args = append([]string{self, c.Path}, c.Args[1:]...)
		c.Path = self
	})
}

func init() {
	n, err := strconv.Atoi(os.Getenv(killAtVariable))
	if err != nil {
		return
	}
	root := os.Getenv(killRootVariable)
	os.Unsetenv(killAtVariable) //nolint:errcheck // it is set
	if err := traceUntil(n, root, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tracer:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func traceUntil(n int, root string, args []string) error {
	runtime.LockOSThread()
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // what the test asks for
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	var counting atomic.Bool
	var count atomic.Int64
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for order := range orders {
			if order == unix.SIGUSR1 {
				counting.Store(true)
				fmt.Fprintln(os.Stderr, "tracer: counting")
			} else {
				fmt.Fprintln(os.Stderr, "tracer: counted", count.Load(), "calls")
			}
		}
	}()
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	for tid := pid; ; {
		pass := 0
		if status.Stopped() {
			switch s := status.StopSignal(); {
			case s == unix.SIGTRAP|0x80:
				if counting.Load() && changes(tid, root) && count.Add(1) == int64(n) {
					return unix.Kill(pid, unix.SIGKILL)
				}
			case s != unix.SIGTRAP && s != unix.SIGSTOP:
				pass = int(s)
			}
			if err := unix.PtraceSyscall(tid, pass); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		} else if tid == pid {
			return nil
		}
		var err error
		for tid, err = unix.Wait4(-1, &status, unix.WALL, nil); errors.Is(err, unix.EINTR); {
			tid, err = unix.Wait4(-1, &status, unix.WALL, nil)
		}
		if err != nil {
			return err
		}
	}
}

// callInfo is the beginning of the kernel's struct ptrace_syscall_info.
type callInfo struct {
	op     uint8
	_      [3]byte
	arch   uint32
	ip, sp uint64
	number uint64
	args   [6]uint64
	_      [4]uint64
}

// changes says whether a thread is about to make a call that matters.
func changes(tid int, root string) bool {
	const getSyscallInfo, entry = 0x420e, 1
	var info callInfo
	size, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || size == 0 || info.op != entry {
		return false
	}
	switch info.number {
	case unix.SYS_LINKAT, unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_FTRUNCATE, unix.SYS_FSYNC:
		return true
	case unix.SYS_OPENAT:
		return info.args[2]&unix.O_CREAT != 0
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, info.args[0]))
		return err == nil && (strings.HasPrefix(target, root) || strings.HasPrefix(target, "socket:"))
	}
	return false
}
