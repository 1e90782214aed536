// What Go's runtime and library need of the kernel. Prints "ok" when all of it worked.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func goroutines() {
	var group sync.WaitGroup
	sum := make(chan int, 100)
	for i := range 100 {
		group.Go(func() {
			runtime.LockOSThread() // a thread each
			time.Sleep(10 * time.Millisecond)
			sum <- i
		})
	}
	group.Wait()
	runtime.GC()
	if len(sum) != 100 {
		panic("goroutines lost")
	}
}

func web() {
	listener := must(net.Listen("tcp", "127.0.0.1:0")) // asks for MPTCP first
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	answer := must(http.Post("http://"+listener.Addr().String(), "text/plain", os.Stdin))
	must(io.ReadAll(answer.Body))
	must(net.Interfaces())
	must(net.InterfaceAddrs())
	must(net.LookupHost("localhost"))
	udp := must(net.ListenPacket("udp", "127.0.0.1:0"))
	must(udp.WriteTo([]byte("x"), udp.LocalAddr()))
	udp.Close()
}

func programs() {
	if text := must(exec.Command("/bin/sh", "-c", "echo 42").Output()); string(text) != "42\n" {
		panic(string(text))
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	if exec.CommandContext(ctx, "sleep", "10").Run() == nil {
		panic("sleep was not killed")
	}
	process := must(os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{}))
	must(process.Wait())
	hits := make(chan os.Signal, 1)
	signal.Notify(hits, syscall.SIGUSR1)
	check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	<-hits
}

func files() {
	folder := must(os.MkdirTemp("", "go-"))
	defer os.RemoveAll(folder)
	check(os.WriteFile(filepath.Join(folder, "a"), make([]byte, 1<<20), 0o600))
	in := must(os.Open(filepath.Join(folder, "a")))
	out := must(os.Create(filepath.Join(folder, "b")))
	if must(io.Copy(out, in)) != 1<<20 { // copy_file_range
		panic("short copy")
	}
	check(out.Sync())
	root := must(os.OpenRoot(folder))
	must(root.Open("b"))
	must(os.ReadDir(folder))
}

func main() {
	goroutines()
	web()
	programs()
	files()
	must(os.Hostname())
	must(user.Current())
	if _, _, err := syscall.RawSyscall(syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER, 0, 0); err != syscall.EPERM {
		panic("unshare")
	}
	fmt.Println("ok")
}
