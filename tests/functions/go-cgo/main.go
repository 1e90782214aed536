// A function on AWS's own Go client that uses C and is never quite at rest: timers, a collector with work to do, signals.
package main

/*
static int twice(int x) { return 2 * x; }
*/
import "C"

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	Do    string `json:"do"`
	Value any    `json:"value"`
}

var ticks atomic.Int64

func tick() {
	for range time.Tick(time.Millisecond) {
		ticks.Add(1)
	}
}

func litter() {
	for {
		block := make([]byte, 1<<16)
		runtime.KeepAlive(block)
		time.Sleep(300 * time.Microsecond)
	}
}

func handle(ctx context.Context, in event) (any, error) {
	switch in.Do {
	case "twice":
		return int(C.twice(21)), nil
	case "ticks":
		before := ticks.Load()
		time.Sleep(20 * time.Millisecond)
		return ticks.Load() - before, nil
	}
	return in.Value, nil
}

func main() {
	go tick()
	for i := 0; i < 4; i++ {
		go litter()
	}
	lambda.Start(handle)
}
