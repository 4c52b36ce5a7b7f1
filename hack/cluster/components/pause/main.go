// Command pause does nothing until it is told to stop: it is the first process of each pod, and keeps the pod's
// namespaces open while containers come and go.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}
