// Command pause is the first process of every pod on a real node: it keeps the pod's namespaces
// alive, reaps orphans where a pod shares its process namespace, and ends at once when told to.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			// One SIGCHLD may stand for several ended children.
			ended, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if ended <= 0 {
				break
			}
		}
	}
}
