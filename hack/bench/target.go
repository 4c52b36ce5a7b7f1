package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// target is something that a load is run on.
type target struct {
	name string
	url  string
	auth bool
	// tls is how to begin TLS with it; nil for plain HTTP.
	tls *tls.Config
	// pid is its process; 0 where that is not known.
	pid  int
	stop func() error
	// bare says that it stands for a limit, not for a registry.
	bare bool
	// filled is what loads have put there.
	filled map[string]bool
}

// laboratory starts targets and keeps those that several loads share.
type laboratory struct {
	options options
	dir     string
	s3      *target
	// shared is the registry that loads share which do not push, sharedFor what it was started for.
	shared    *target
	sharedFor string
	// distribution and before are shared like the registry, crane by all loads.
	distribution *target
	before       *target
	crane        *target
	theirs       *target
	// certified is the certificate of all that serve HTTPS.
	certified address
	n         int
}

func (l *laboratory) close() error {
	err := l.release()
	for _, t := range []*target{l.s3, l.crane} {
		if t != nil {
			err = errors.Join(err, t.stop())
		}
	}
	return err
}

// release ends what loads share that have the same driver and clients.
func (l *laboratory) release() (err error) {
	for _, t := range []*target{l.shared, l.before, l.distribution} {
		if t != nil {
			err = errors.Join(err, t.stop())
		}
	}
	l.shared, l.before, l.distribution = nil, nil, nil
	return err
}

// freeAddr is an address on loopback that nobody listened on a moment ago.
func freeAddr() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// begin starts a program and waits until it answers at path.
func begin(ctx context.Context, name string, at address, path string, environ []string, program string, args ...string) (*target, error) {
	// Its own group, so that an interrupt reaches the bench alone, which then ends what it began.
	cmd := exec.Command(program, args...) //nolint:noctx // it is ended by stop, in order
	cmd.Env = append(os.Environ(), environ...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // killed, as a rule
		close(ended)
	}()
	t := &target{name: name, url: at.url(), tls: at.clientTLS(), pid: cmd.Process.Pid, filled: map[string]bool{}, stop: func() error {
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		<-ended
		return nil
	}}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: t.tls, DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, client, t.url+path) {
			return t, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("%s ended at once:\n%s", program, output.String())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s does not answer: %w", program, ctx.Err()), t.stop())
		case <-tick.C:
		}
	}
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(r)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode < 500
}

// S3's keys, of a server that lives as long as this program.
const (
	accessKey = "AKIABENCHBENCHBENCH0"
	secretKey = "the/secret/of/the/bench"
)

func (l *laboratory) startS3(ctx context.Context) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	data := filepath.Join(l.dir, "s3")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	l.s3, err = begin(ctx, "s3", address{addr: addr}, "/health", []string{"ROOT_ACCESS_KEY_ID=" + accessKey, "ROOT_SECRET_ACCESS_KEY=" + secretKey},
		l.options.versitygw, "--port", addr, "--keep-alive", "--quiet", "--health", "/health", "posix", data)
	return err
}

// start runs a registry on an empty store.
func (l *laboratory) start(ctx context.Context, load load) (*target, error) {
	return l.startProgram(ctx, load, "packregistry", l.options.registry)
}

// startProgram runs a build of the registry on an empty store.
func (l *laboratory) startProgram(ctx context.Context, load load, name, program string) (*target, error) {
	dir, err := l.newDir()
	if err != nil {
		return nil, err
	}
	driver := load.driver
	storage := driver
	switch driver {
	case "filesystem":
		storage = fmt.Sprintf("{filesystem: {rootdirectory: %s/store}}", dir)
	case "s3":
		if l.s3 == nil {
			if err := l.startS3(ctx); err != nil {
				return nil, err
			}
		}
		bucket := bucketOf(dir)
		if err := os.Mkdir(filepath.Join(l.dir, "s3", bucket), 0o700); err != nil {
			return nil, err
		}
		storage = fmt.Sprintf("{s3: {region: us-east-1, bucket: %s, regionendpoint: '%s', forcepathstyle: true, accesskey: %s, secretkey: %s}}",
			bucket, l.s3.url, accessKey, secretKey)
	}
	at, err := l.address(load)
	if err != nil {
		return nil, err
	}
	// Every client comes from one address, and the log of requests would be written to a pipe of ours.
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: %s\nhttp: {addr: '%s'%s}\ncatalog: {maxentries: 1000000}\ntags: {maxtags: 1000000}\n",
		storage, at.addr, at.settings())
	if load.auth {
		if err := writeUsers(dir + "/htpasswd"); err != nil {
			return nil, err
		}
		text += "auth: {htpasswd: {path: " + dir + "/htpasswd}}\n"
	}
	if err := os.WriteFile(dir+"/config.yml", []byte(text), 0o600); err != nil {
		return nil, err
	}
	t, err := begin(ctx, name, at, "/health", []string{"TMPDIR=" + dir}, program, "serve", dir+"/config.yml")
	if err != nil {
		return nil, err
	}
	t.auth = load.auth
	kill := t.stop
	t.stop = func() error {
		err := errors.Join(kill(), os.RemoveAll(dir))
		if driver == "s3" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(l.dir, "s3", bucketOf(dir))))
		}
		return err
	}
	return t, nil
}

// bucketOf is the bucket that belongs to a registry's folder.
func bucketOf(dir string) string { return "bucket-" + filepath.Base(dir) }

// peer is the registry that --peer names.
func (l *laboratory) peer() *target {
	if l.options.peer != "" && l.theirs == nil {
		l.theirs = &target{name: "peer", url: l.options.peer, pid: l.options.peerPID, filled: map[string]bool{}}
	}
	return l.theirs
}

// startBare runs the limit of what a server could reach, as a process of its own too.
func (l *laboratory) startBare(ctx context.Context) (*target, error) {
	dir, err := l.newDir()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	t, err := begin(ctx, "bare", address{addr: addr}, "/", []string{"BENCH_ADDR=" + addr}, self, "serve-bare", dir)
	if err != nil {
		return nil, err
	}
	t.bare = true
	kill := t.stop
	t.stop = func() error { return errors.Join(kill(), os.RemoveAll(dir)) }
	return t, nil
}

// processorTime is what a process has computed so far, over all of its threads; false where the system does not say.
func processorTime(pid int) (time.Duration, bool) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || pid == 0 || len(files) == 0 {
		return 0, false
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		if n, err := strconv.ParseInt(ns, 10, 64); err == nil {
			total += time.Duration(n)
		}
	}
	return total, true
}

// resetPeak makes the system forget the most memory that a process had held.
func resetPeak(pid int) {
	if pid != 0 {
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) //nolint:errcheck // then the peak is since its start
	}
}

// peak is the most memory that a process has held, in bytes; 0 where the system does not say.
func peak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
