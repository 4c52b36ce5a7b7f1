package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cleanup ends every process of the cluster, unmounts what it mounted and removes its groups and its namespace. Its
// data stay.
func (c *cluster) cleanup(ctx context.Context) error {
	if err := c.killProcesses(ctx, c.processes); err != nil {
		return err
	}
	for _, m := range c.mounts() {
		if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	for _, dir := range cgroupDirs(cgroupRoot) {
		removeCgroups(dir)
	}
	// Its mount was among those above; without it, and without processes, the namespace is gone.
	if err := os.Remove(c.netns()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What pods were run with is void without the processes: the kubelet makes it anew.
	return errors.Join(os.RemoveAll(c.path("run")), os.RemoveAll(c.path("kubelet")), os.RemoveAll(c.path("fixed")), os.RemoveAll(c.node2().dir))
}

// killProcesses ends processes, and those that are found afterwards.
func (c *cluster) killProcesses(ctx context.Context, find func() []int) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		pids := find()
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes do not end: %v", pids)
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended by itself
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// processesOf finds those of one node's pods.
func (c *cluster) processesOf(n node) []int {
	var pids []int
	for _, dir := range cgroupDirs(n.cgroup) {
		filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error { //nolint:errcheck // groups come and go
			if err == nil && filepath.Base(path) == "cgroup.procs" {
				pids = append(pids, readPIDs(path)...)
			}
			return nil
		})
	}
	entries, _ := os.ReadDir("/proc") //nolint:errcheck // nothing is found then
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(cmdline), "containerd-shim-runc-v2") && strings.Contains(string(cmdline), n.path("run")) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return slices.DeleteFunc(slices.Compact(pids), isZombie)
}

// processes finds the cluster's by where they are: in its network namespace, in its control groups, or a shim that
// answers in its state folder.
func (c *cluster) processes() []int {
	found := map[int]bool{}
	for _, dir := range cgroupDirs(cgroupRoot) {
		filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error { //nolint:errcheck // groups come and go
			if err == nil && filepath.Base(path) == "cgroup.procs" {
				for _, pid := range readPIDs(path) {
					found[pid] = true
				}
			}
			return nil
		})
	}
	namespaceID, _ := os.Stat(c.netns()) //nolint:errcheck // there may be none
	entries, _ := os.ReadDir("/proc")    //nolint:errcheck
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, err := os.Stat(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && namespaceID != nil && os.SameFile(id, namespaceID) {
			found[pid] = true
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(cmdline), "containerd-shim-runc-v2") && strings.Contains(string(cmdline), c.state+"/") {
			found[pid] = true
		}
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		if !isZombie(pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// isZombie says whether a process has ended and only waits for its parent to notice.
func isZombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

func readPIDs(path string) []int {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if pid, err := strconv.Atoi(scanner.Text()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mounts lists what is mounted below the state folder, the innermost first.
func (c *cluster) mounts() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], c.state+"/") {
			list = append(list, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	slices.Reverse(list)
	return list
}

func removeCgroups(dir string) {
	var dirs []string
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { //nolint:errcheck // groups come and go
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		os.Remove(d) //nolint:errcheck // leftovers() tells
	}
}

// leftovers names what should be gone and is not.
func (c *cluster) leftovers() []string {
	var left []string
	for _, pid := range c.processes() {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	for _, m := range c.mounts() {
		left = append(left, "mount "+m)
	}
	for _, path := range append(cgroupDirs(cgroupRoot), c.state) {
		if _, err := os.Stat(path); err == nil {
			left = append(left, path)
		}
	}
	return left
}
