package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// workers is how many PackRegistries the operator reconciles at once, by default.
const workers = 4

// operator is the operator's process.
type operator struct {
	cmd     *exec.Cmd
	metrics string
	// leading is when it had the lease.
	leading time.Time
	ended   chan struct{}
}

// startOperator starts the operator and waits until it leads.
func (b *bench) startOperator(ctx context.Context) (*operator, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	// Stopped in order, by a signal: exec.CommandContext would kill it.
	cmd := exec.Command(b.operator, "--metrics-bind-address", addr, "--metrics-secure=false", "--health-probe-bind-address", "0", //nolint:noctx // see above
		"--leader-elect-namespace", system, "--registry-image", "registry:bench", "--workers", strconv.Itoa(workers), "--pprof-bind-address", os.Getenv("BENCH_OPERATOR_PPROF"))
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig())
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	op := &operator{cmd: cmd, metrics: "http://" + addr + "/metrics", ended: make(chan struct{})}
	leads := make(chan time.Time, 1)
	go func() {
		var last string
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			last = scanner.Text()
			if strings.Contains(last, "Starting workers") {
				leads <- time.Now()
			}
		}
		cmd.Wait() //nolint:errcheck // it was told to end
		close(op.ended)
	}()
	select {
	case op.leading = <-leads:
		return op, nil
	case <-op.ended:
		return nil, errors.New("the operator ended at once")
	case <-ctx.Done():
		op.stop()
		return nil, ctx.Err()
	}
}

func (op *operator) stop() {
	op.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may be gone
	<-op.ended
}

// resident is the memory that the process holds, in MiB.
func (op *operator) resident() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", op.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// gauges reads what the operator says of itself: how many reconciles it has done, and how much is left to do.
func (op *operator) gauges(ctx context.Context) (done, waiting float64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, op.metrics, nil)
	if err != nil {
		return 0, 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(name, "controller_runtime_reconcile_total{"):
			done += n
		case strings.HasPrefix(name, "workqueue_depth{"), strings.HasPrefix(name, "controller_runtime_active_workers{"):
			waiting += n
		}
	}
	return done, waiting, nil
}

// settleTime is how long the operator must have had nothing to do.
const settleTime = 3 * time.Second

// settled waits until the operator has looked at every registry and has nothing to do.
func (b *bench) settled(ctx context.Context, op *operator, registries int) error {
	var last float64
	since := time.Now()
	for {
		done, waiting, err := op.gauges(ctx)
		if err != nil {
			return err
		}
		if done != last || waiting > 0 {
			last, since = done, time.Now()
		}
		if done >= float64(registries) && time.Since(since) >= settleTime {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-op.ended:
			return errors.New("the operator ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
