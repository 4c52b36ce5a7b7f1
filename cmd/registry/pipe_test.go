package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The readers of both logs go away while the server serves, as when journald restarts: it goes on, and ends in order.
func TestTheLogsReaderGoesAway(t *testing.T) {
	var readers, writers []*os.File
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		readers, writers = append(readers, r), append(writers, w)
	}
	read := make(chan struct{}, len(readers))
	p := launch(t, []string{"REGISTRY_STORAGE=inmemory", "REGISTRY_AUTH=none", "REGISTRY_HTTP_ADDR=127.0.0.1:0", "REGISTRY_LOG_ACCESSLOG_FORMATTER=combined"},
		[]string{"serve"}, func(cmd *exec.Cmd) {
			output := cmd.Stdout
			cmd.Stdout, cmd.Stderr = writers[0], writers[1]
			for _, r := range readers {
				go func() {
					io.Copy(output, r) //nolint:errcheck // until it is closed
					read <- struct{}{}
				}()
			}
		})
	for i := range readers {
		writers[i].Close()
		readers[i].Close()
		<-read
	}
	for range 20 { // each writes a line of the access log
		if r, _, err := p.do("GET", "/v2/", nil); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("after the readers went: %v", err)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil { // which writes to the log
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %s", p.cmd.ProcessState)
	}
}
